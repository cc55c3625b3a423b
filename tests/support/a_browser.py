"""A real browser, driven by the DevTools protocol over aiohttp: no driver, no further package."""

from __future__ import annotations

import asyncio
import base64
import contextlib
import itertools
import os
import pathlib
import shutil
import signal
import subprocess
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import aiohttp

PROGRAM = shutil.which("chromium") or shutil.which("chromium-browser")
_START_S = 120.0
_ANSWER_S = 120.0
_FLAGS = (
    "--headless=new",
    "--no-sandbox",  # of a page that is our own; containers have no user namespaces
    "--disable-gpu",
    "--disable-dev-shm-usage",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-extensions",
    "--no-first-run",
    "--hide-scrollbars",
    "--remote-debugging-port=0",
)


@dataclass
class Tab:
    """One page of the browser, and what it said and asked for."""

    _socket: aiohttp.ClientWebSocketResponse
    complaints: list[str] = field(default_factory=list)  # console errors, exceptions, CSP
    requests: list[str] = field(default_factory=list)
    _numbers: Any = field(default_factory=lambda: itertools.count(1))
    _answers: dict[int, asyncio.Future[Any]] = field(default_factory=dict)
    _loaded: asyncio.Event = field(default_factory=asyncio.Event)

    async def call(self, method: str, **params: Any) -> Any:
        number = next(self._numbers)
        self._answers[number] = asyncio.get_running_loop().create_future()
        await self._socket.send_json({"id": number, "method": method, "params": params})
        return await asyncio.wait_for(self._answers[number], _ANSWER_S)

    async def go(self, url: str) -> None:
        """Go to a page, and wait until it has loaded."""
        self._loaded.clear()
        await self.call("Page.navigate", url=url)
        await asyncio.wait_for(self._loaded.wait(), _ANSWER_S)

    async def run(self, script: str) -> Any:
        """Return what an expression is worth; one that is awaited is waited for."""
        answer = await self.call(
            "Runtime.evaluate", expression=script, awaitPromise=True, returnByValue=True
        )
        assert "exceptionDetails" not in answer, answer["exceptionDetails"]
        return answer["result"].get("value")

    async def until(self, script: str, timeout_s: float = 120.0) -> None:
        """Wait until an expression is true."""
        async with asyncio.timeout(timeout_s):
            while not await self.run(f"Boolean({script})"):  # noqa: ASYNC110 - it is elsewhere
                await asyncio.sleep(0.1)

    async def look(self, width: int, height: int = 900, *, scheme: str = "light") -> None:
        """Take the size of a window, and a colour scheme."""
        await self.call(
            "Emulation.setDeviceMetricsOverride",
            width=width,
            height=height,
            deviceScaleFactor=1,
            mobile=width < 500,
        )
        features = [{"name": "prefers-color-scheme", "value": scheme}]
        await self.call("Emulation.setEmulatedMedia", features=features)

    async def picture(self, file: pathlib.Path, *, whole: bool = True) -> None:
        """Write what is seen, or the whole page, as PNG or WebP by the file's name."""
        form: dict[str, Any] = {"format": file.suffix.removeprefix(".")}
        if form["format"] == "webp":
            form["quality"] = 82
        if whole:
            size = (await self.call("Page.getLayoutMetrics"))["cssContentSize"]
            clip = {"x": 0, "y": 0, "width": size["width"], "height": size["height"], "scale": 1}
            form |= {"captureBeyondViewport": True, "clip": clip}
        answer = await self.call("Page.captureScreenshot", **form)
        await asyncio.to_thread(file.write_bytes, base64.b64decode(answer["data"]))

    async def listen(self) -> None:
        async for message in self._socket:
            said = message.json()
            if "id" in said:
                answer = self._answers.pop(said["id"])
                if answer.done():
                    continue
                if "error" in said:
                    answer.set_exception(RuntimeError(said["error"]["message"]))
                else:
                    answer.set_result(said["result"])
                continue
            params = said.get("params", {})
            match said["method"]:
                case "Page.loadEventFired":
                    self._loaded.set()
                case "Network.requestWillBeSent":
                    self.requests.append(params["request"]["url"])
                case "Runtime.exceptionThrown":
                    self.complaints.append(str(params["exceptionDetails"]))
                case "Runtime.consoleAPICalled" if params["type"] in {"error", "warning"}:
                    self.complaints.append(str(params["args"]))
                case "Log.entryAdded" if params["entry"]["level"] in {"error", "warning"}:
                    self.complaints.append(str(params["entry"]))


@asynccontextmanager
async def browser(profile: pathlib.Path) -> AsyncIterator[Tab]:
    """Start a browser with an empty profile; yield its one tab."""
    assert PROGRAM is not None
    process = subprocess.Popen(  # noqa: ASYNC220 - it starts once, and is ended by its pid
        [PROGRAM, *_FLAGS, f"--user-data-dir={profile}", "about:blank"],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,  # so that all its processes end together
    )
    try:
        port = await _port(process, profile / "DevToolsActivePort")
        async with aiohttp.ClientSession() as client:
            async with client.get(f"http://127.0.0.1:{port}/json/list") as answer:
                pages = [page for page in await answer.json() if page["type"] == "page"]
            url = pages[0]["webSocketDebuggerUrl"]
            async with client.ws_connect(url, max_msg_size=0) as socket:
                tab = Tab(socket)
                listening = asyncio.create_task(tab.listen())
                for domain in ("Page", "Runtime", "Network", "Log"):
                    await tab.call(f"{domain}.enable")
                try:
                    yield tab
                finally:
                    listening.cancel()
                    with contextlib.suppress(asyncio.CancelledError):
                        await listening
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()


async def _port(process: subprocess.Popen[bytes], file: pathlib.Path) -> int:
    async with asyncio.timeout(_START_S):
        while True:
            assert process.poll() is None, f"the browser ended with {process.returncode}"
            with contextlib.suppress(FileNotFoundError):
                if lines := (await asyncio.to_thread(file.read_text)).splitlines():
                    return int(lines[0])
            await asyncio.sleep(0.05)
