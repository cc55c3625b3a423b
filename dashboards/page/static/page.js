// Keeps an open page up to date. The server renders; this only puts parts in their place.
"use strict";
(() => {
  const view = document.body.dataset.view;
  const live = document.getElementById("live");
  if (!view || !live || !window.EventSource) return;
  const RETRY_MS = 15000;
  const SAY_MS = 60000;
  let stream = null;
  let timer = 0;

  const say = (text, lost) => {
    live.textContent = text;
    live.classList.toggle("lost", lost);
  };

  // Read out, for who does not see it, when it turns better or worse; else once a minute at most:
  // figures change with each window.
  const aloud = document.getElementById("said");
  let before = null;
  const tell = () => {
    const element = document.querySelector("[data-says]");
    if (!element || !aloud) return;
    const kind = element.dataset.says || element.className;
    const read = element.cloneNode(true);
    read.querySelectorAll("[aria-hidden]").forEach((sign) => sign.remove());
    const words = read.textContent.replace(/\s+/g, " ").trim();
    if (!before) before = { kind, words, at: Date.now() };
    if (kind === before.kind && (words === before.words || Date.now() - before.at < SAY_MS)) return;
    before = { kind, words, at: Date.now() };
    aloud.textContent = words;
  };

  // What is focused or opened must stay so when its part is replaced.
  const keyOf = (element) => element.getAttribute("href") || element.id;
  const shown = new Map();
  const put = (element, html) => {
    if (shown.get(element) === html) return;
    shown.set(element, html);
    const active = document.activeElement;
    const focused = element.contains(active) && active !== element ? keyOf(active) : null;
    const opened = [...element.querySelectorAll("details")].map((each) => each.open);
    element.innerHTML = html;
    element.querySelectorAll("details").forEach((each, n) => { each.open = Boolean(opened[n]); });
    if (!focused) return;
    const same = [...element.querySelectorAll("a, summary, [id]")].find((each) => keyOf(each) === focused);
    if (same) same.focus({ preventScroll: true });
  };

  const take = (event) => {
    const parts = JSON.parse(event.data);
    for (const [id, html] of Object.entries(parts)) {
      const element = document.getElementById(id);
      if (element) put(element, html);
    }
    tell();
    say("live ·", false);
  };

  const open = () => {
    close();
    stream = new EventSource(`/events?view=${encodeURIComponent(view)}`);
    stream.addEventListener("parts", take);
    stream.onerror = () => {
      say("not live, last at", true);
      // After a refusal the browser gives up; we do not.
      if (stream && stream.readyState === EventSource.CLOSED) timer = setTimeout(open, RETRY_MS);
    };
  };
  const close = () => {
    clearTimeout(timer);
    if (stream) stream.close();
    stream = null;
  };

  // Nobody looks at a hidden page: it asks for nothing.
  document.addEventListener("visibilitychange", () => (document.hidden ? close() : open()));
  window.addEventListener("pagehide", close);
  window.addEventListener("pageshow", (event) => { if (event.persisted) open(); });
  tell();
  if (!document.hidden) open();
})();
