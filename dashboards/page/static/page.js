// Keeps an open page up to date. The server renders; this only puts parts in their place.
"use strict";
(() => {
  const view = document.body.dataset.view;
  const live = document.getElementById("live");
  if (!view || !live || !window.EventSource) return;
  const RETRY_MS = 15000;
  let stream = null;
  let timer = 0;

  const say = (text, lost) => {
    live.textContent = text;
    live.classList.toggle("lost", lost);
  };

  // What is focused or opened must stay so when its part is replaced.
  const keyOf = (element) => element.getAttribute("href") || element.id;
  const put = (element, html) => {
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
  if (!document.hidden) open();
})();
