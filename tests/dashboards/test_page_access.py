"""The page by keyboard, by ear and by eye, in a real browser: what axe-core does not look at."""

from __future__ import annotations

import itertools

import pytest
from a_browser import PROGRAM, browser
from dashboards_page import T0, a_page, bad_and_good, hostile_alerts, ways
from some_windows import make_window

from netslo.model import Path

pytestmark = [
    pytest.mark.skipif(PROGRAM is None, reason="no chromium; make test installs it as root"),
    pytest.mark.timeout(400),
]
PATH = "/paths/london:leeds/ef"
ADDRESSES = ("/", "/paths", PATH)
LIVE = "document.getElementById('live').textContent.startsWith('live')"
TEXT_LEAST, LARGE_LEAST, MARK_LEAST = 4.5, 3.0, 3.0  # WCAG 2.2: 1.4.3, 1.4.11

# Colours as they are seen: each layer over what lies behind it.
COLOURS = """
  const read = (text) => {
    const canvas = document.createElement('canvas').getContext('2d', {willReadFrequently: true});
    canvas.clearRect(0, 0, 1, 1); canvas.fillStyle = text; canvas.fillRect(0, 0, 1, 1);
    return [...canvas.getImageData(0, 0, 1, 1).data];
  };
  const known = new Map();
  const colour = (text) => {
    if (!known.has(text)) known.set(text, read(text));
    return known.get(text);
  };
  const over = (top, below) => top.slice(0, 3).map(
    (part, n) => part * top[3] / 255 + below[n] * (1 - top[3] / 255));
  const behind = (element) => {
    const layers = [];
    for (let each = element; each; each = each.parentElement)
      layers.unshift(colour(getComputedStyle(each).backgroundColor));
    return layers.reduce((below, layer) => over(layer, below), [255, 255, 255]);
  };
  const light = (rgb) => {
    const [r, g, b] = rgb.map((part) => part / 255)
      .map((part) => part <= 0.04045 ? part / 12.92 : ((part + 0.055) / 1.055) ** 2.4);
    return 0.2126 * r + 0.7152 * g + 0.0722 * b;
  };
  const contrast = (a, b) => {
    const [low, high] = [light(a), light(b)].sort((x, y) => x - y);
    return (high + 0.05) / (low + 0.05);
  };
  const seen = (element) => element.checkVisibility({visibilityProperty: true});
"""
TEXTS = f"""(() => {{ {COLOURS}
  const found = [];
  const walker = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
  for (let node = walker.nextNode(); node; node = walker.nextNode()) {{
    const element = node.parentElement, style = getComputedStyle(element);
    if (!node.textContent.trim() || !seen(element) || element.localName === 'title') continue;
    const svg = element instanceof SVGElement;
    const back = behind(element);
    const ratio = contrast(over(colour(svg ? style.fill : style.color), back), back);
    const size = parseFloat(style.fontSize);
    const large = size >= 24 || (size >= 18.66 && style.fontWeight >= 700);
    found.push([node.textContent.trim().slice(0, 30), ratio, large]);
  }}
  return found;
}})()"""
MARKS = f"""(() => {{ {COLOURS}
  const wanted = '.chart path.p50, .chart path.p99, .chart .bar, .chart line.limit,'
    + '.spark path.p50, .spark path.p99, .map .site path, .map .site rect, .map .site circle,'
    + '.map .trouble, .chart .change path, path.lost';
  return [...document.querySelectorAll(wanted)].filter(seen).map((mark) => {{
    const style = getComputedStyle(mark);
    const line = mark.localName === 'line' || style.fill === 'none';
    const shade = line ? style.stroke : style.fill;
    const back = behind(mark.closest('svg').parentElement);
    return [mark.getAttribute('class') || mark.parentElement.getAttribute('class'),
            contrast(over(colour(shade), back), back)];
  }});
}})()"""
REACHABLE = """(() => {
  window.all = [...document.querySelectorAll(
    'a[href], button, select, summary, input, [tabindex="0"]')].filter(
      (each) => each.checkVisibility({visibilityProperty: true}));
  return window.all.map((each) => each.outerHTML.slice(0, 90));
})()"""
FOCUSED = f"""(() => {{ {COLOURS}
  const each = document.activeElement;
  if (!each || each === document.body) return null;
  const style = getComputedStyle(each), box = each.getBoundingClientRect();
  const line = over(colour(style.outlineColor), behind(each.parentElement));
  return {{
    number: window.all.indexOf(each),
    what: each.outerHTML.slice(0, 90),
    outline: style.outlineStyle === 'none' ? 0 : parseFloat(style.outlineWidth),
    contrast: contrast(line, behind(each.parentElement)),
    inside: box.bottom > 0 && box.right > 0 && box.top < innerHeight && box.left < innerWidth
      && box.width > 1 && box.height > 1,
  }};
}})()"""


async def press(tab, key: str) -> None:
    what = {"key": key, "code": key, "windowsVirtualKeyCode": {"Tab": 9, "Enter": 13}[key]}
    if key == "Enter":
        what["text"] = "\r"
    await tab.call("Input.dispatchKeyEvent", type="keyDown", **what)
    await tab.call("Input.dispatchKeyEvent", type="keyUp", **what)


async def at(tab, room, address: str, width: int = 1280, scheme: str = "light") -> None:
    await tab.look(width, scheme=scheme)
    await tab.go(room.url + address)
    await tab.until(LIVE)


def a_full_page(folder):
    return a_page(folder, alerts=hostile_alerts())


async def fill(room) -> None:
    await room.send(*bad_and_good())
    await room.tell(*ways())


async def test_tab_reaches_everything_in_order_seen_and_without_a_trap(tmp_path) -> None:
    async with a_full_page(tmp_path) as room, browser(tmp_path / "b") as tab:
        await fill(room)
        for address, width, scheme in (
            ("/", 1280, "light"),
            (PATH, 1280, "dark"),
            ("/", 360, "dark"),
        ):
            await at(tab, room, address, width, scheme)
            reachable = await tab.run(REACHABLE)
            assert len(reachable) > 15
            order = []
            for _ in range(len(reachable) + 1):
                await press(tab, "Tab")
                focused = await tab.run(FOCUSED)
                if focused is None or (focused["number"] == 0 and order):
                    break  # it left the page at its end, for the browser's own or its beginning
                order.append(focused["number"])
                assert focused["outline"] >= 2, focused
                assert focused["contrast"] >= MARK_LEAST, focused
                assert focused["inside"], focused
            assert order == list(range(len(reachable))), reachable


async def test_skip_links_skip_and_the_keyboard_opens_what_is_closed(tmp_path) -> None:
    async with a_full_page(tmp_path) as room, browser(tmp_path / "b") as tab:
        await fill(room)
        await at(tab, room, "/")
        await press(tab, "Tab")
        await press(tab, "Enter")
        assert await tab.run("document.activeElement.id") == "main"
        skip = "document.querySelector('.skip.beside')"
        await tab.run(f"{skip}.focus()")
        await press(tab, "Enter")
        assert await tab.run("document.activeElement.id") == "map-title"
        await press(tab, "Tab")
        assert await tab.run("document.activeElement.closest('svg.map') !== null")
        await tab.run("document.querySelector('summary').focus()")
        await press(tab, "Enter")
        assert await tab.run("document.activeElement.parentElement.open")


async def test_landmarks_headings_charts_and_tables_have_names(tmp_path) -> None:
    async with a_full_page(tmp_path) as room, browser(tmp_path / "b") as tab:
        await fill(room)
        for address in ADDRESSES:
            await at(tab, room, address)
            tree = (await tab.call("Accessibility.getFullAXTree"))["nodes"]
            nodes = [
                (node["role"]["value"], node.get("name", {}).get("value", ""))
                for node in tree
                if not node.get("ignored")
            ]
            roles = [role for role, _ in nodes]
            for once in ("banner", "main", "contentinfo", "status"):
                assert roles.count(once) == 1, once
            for named in ("navigation", "region", "image", "img", "link", "button", "combobox"):
                assert all(name for role, name in nodes if role == named), named
            assert not any(name.startswith("undefined") for _, name in nodes)
            levels = await tab.run(
                "[...document.querySelectorAll('h1,h2,h3,h4')].map((h) => Number(h.localName[1]))"
            )
            assert levels[0] == 1
            assert levels.count(1) == 1
            assert all(b - a <= 1 for a, b in itertools.pairwise(levels))
            headless = await tab.run(
                "[...document.querySelectorAll('table')].filter((table) =>"
                " !table.querySelector('thead th[scope=col]')).map((t) => t.outerHTML.slice(0, 80))"
            )
            assert headless == []
            unnamed = await tab.run(
                "[...document.querySelectorAll('svg:not([aria-hidden])')].filter((svg) =>"
                " !svg.getAttribute('aria-label')).map((svg) => svg.outerHTML.slice(0, 80))"
            )
            assert unnamed == []


@pytest.mark.parametrize("scheme", ["light", "dark"])
async def test_text_and_marks_stand_out_from_what_is_behind(tmp_path, scheme) -> None:
    async with a_full_page(tmp_path) as room, browser(tmp_path / "b") as tab:
        await fill(room)
        for address in (*ADDRESSES, "/paths/nowhere"):
            await tab.look(1280, scheme=scheme)
            await tab.go(room.url + address)
            texts = await tab.run(TEXTS)
            assert len(texts) > 5
            pale = [each for each in texts if each[1] < (LARGE_LEAST if each[2] else TEXT_LEAST)]
            assert pale == []
            faint = [each for each in await tab.run(MARKS) if each[1] < MARK_LEAST]
            assert faint == []


async def test_it_speaks_when_it_turns_worse_and_not_with_each_window(tmp_path) -> None:
    now_s = [T0 + 100.0]
    windows = list(bad_and_good())
    well = [window for window in windows if not window.packets.lost]
    ill = [window for window in windows if window.packets.lost]
    async with a_page(tmp_path, clock=lambda: now_s[0]) as room, browser(tmp_path / "b") as tab:
        await room.send(*well)
        await at(tab, room, "/")
        await tab.run(
            "window.said = []; new MutationObserver(() => window.said.push("
            "document.getElementById('said').textContent))"
            ".observe(document.getElementById('said'), {childList: true, characterData: true,"
            " subtree: true}); Date.now = () => 5e12"  # its minute ends when we say so
        )
        before = await tab.run("document.getElementById('verdict').innerText")
        # Another figure, which does not change how it stands.
        seen = await tab.run("document.getElementById('paths').innerText")
        now_s[0] += 2
        await room.send(*(make_window(T0 + 90, path, rtts=[0.012] * 50) for path in paths(well)))
        await tab.until(f"document.getElementById('paths').innerText !== {seen!r}", timeout_s=120)
        assert await tab.run("document.getElementById('verdict').innerText") == before
        assert await tab.run("window.said") == []
        await room.send(*ill)
        now_s[0] += 2
        await tab.until("document.querySelector('.verdict.bad') !== null", timeout_s=120)
        (said,) = await tab.run("window.said")
        assert "burns its error budget fast enough to page" in said
        # More burn: that is told with the figures, and aloud not before a minute has passed.
        for burning, other in enumerate((("leeds", "dundee"), ("dundee", "leeds")), start=2):
            path = Path(*other, "ef")
            await room.send(
                *(make_window(w.window.start_s, path, rtts=(0.15,), lost=9) for w in ill)
            )
            now_s[0] += 2
            shown = f"document.querySelector('.verdict').innerText.includes('{burning} of')"
            await tab.until(shown, 120)
            assert await tab.run("window.said.length") == burning - 1
            await tab.run("Date.now = () => 5e12 + 60000")
        assert (await tab.run("window.said"))[-1].startswith("3 of")


def paths(windows):
    return sorted({window.key.path for window in windows})
