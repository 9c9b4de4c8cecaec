"""A headless Chromium, driven over the DevTools protocol by aiohttp's client.

async with browser() as page:
    await page.open(url)
    assert await page.evaluate("document.title") == "Who answers?"
"""

import asyncio
import base64
import json
import os
import re
import tempfile
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import aiohttp

from tests.needs import find, require
from tests.server import PATIENCE

# only the tests' pages: no update checks, no persistent profile
_FLAGS = (
    *("--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-sync"),
    *("--disable-background-networking", "--disable-component-update", "--disable-dev-shm-usage"),
    *("--ignore-certificate-errors", "--remote-debugging-port=0"),
)


class Page:
    """One tab. `problems` are the errors that it reported: exceptions, and violations of a policy."""

    def __init__(self, socket: aiohttp.ClientWebSocketResponse) -> None:
        self.problems: list[str] = []
        self._socket = socket
        self._number = 0

    async def call(self, method: str, patience: float = PATIENCE, **params: Any) -> Any:
        """Sends a DevTools command and returns its result, within `patience` seconds."""
        self._number += 1
        await self._socket.send_json({"id": self._number, "method": method, "params": params})
        async with asyncio.timeout(patience):
            while True:
                message = await self._socket.receive_json()
                if message.get("id") == self._number:
                    assert "error" not in message, message
                    return message["result"]
                self._hear(message)

    def _hear(self, event: dict[str, Any]) -> None:
        if event["method"] == "Runtime.exceptionThrown":
            self.problems.append(json.dumps(event["params"]["exceptionDetails"]))
        elif event["method"] == "Log.entryAdded" and event["params"]["entry"]["source"] != "network":
            self.problems.append(event["params"]["entry"]["text"])

    async def open(self, url: str, *, width: int = 1600, height: int = 900, scheme: str = "light") -> None:
        """Opens a page in a window of that size, in the light or dark scheme."""
        features = [{"name": "prefers-color-scheme", "value": scheme}]
        size = {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": False}
        await self.call("Emulation.setEmulatedMedia", features=features)
        await self.call("Emulation.setDeviceMetricsOverride", **size)
        failed = (await self.call("Page.navigate", url=url)).get("errorText")
        assert not failed, f"{url}: {failed}"
        await self.until("document.readyState === 'complete'")

    async def evaluate(self, expression: str, patience: float = PATIENCE) -> Any:
        """The value of an expression, or of its promise."""
        options = {"returnByValue": True, "awaitPromise": True}
        result = await self.call("Runtime.evaluate", patience, expression=expression, **options)
        assert "exceptionDetails" not in result, result["exceptionDetails"]
        return result["result"].get("value")

    async def until(self, condition: str, within: float = 4 * PATIENCE) -> None:
        """Waits for a condition."""
        holds = await self.evaluate(
            f"""new Promise(done => {{
              const end = performance.now() + {within * 1000};
              const look = () => {{
                if ({condition}) return done(true);
                performance.now() > end ? done(false) : setTimeout(look, 20);
              }};
              look();
            }})""",
            within + PATIENCE,
        )
        if not holds:
            shown = await self.evaluate("document.body?.innerText")
            raise AssertionError(f"{condition} did not hold in time: {shown} {self.problems}")

    async def press(self, key: str) -> None:
        """Presses and releases a key."""
        for kind in ("keyDown", "keyUp"):
            await self.call("Input.dispatchKeyEvent", type=kind, key=key, text=key if kind == "keyDown" else "")

    async def screenshot(self) -> bytes:
        """A screenshot as PNG."""
        return base64.b64decode((await self.call("Page.captureScreenshot", format="png"))["data"])


@asynccontextmanager
async def browser() -> AsyncIterator[Page]:
    """A browser page, closed with the context. Skips the test without Chromium."""
    require("chromium")
    program = find("chromium")
    assert program
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as profile:
        command = [program, *_FLAGS, f"--user-data-dir={profile}", "about:blank"]
        environment = {"PATH": os.environ["PATH"], "HOME": profile, "TMPDIR": profile}
        process = await asyncio.create_subprocess_exec(
            *command, env=environment, stderr=asyncio.subprocess.PIPE, start_new_session=True
        )
        assert process.stderr
        draining: asyncio.Task[bytes] | None = None
        try:
            async with asyncio.timeout(3 * PATIENCE):
                found = None
                while not found:
                    line = await process.stderr.readline()
                    assert line, "Chromium did not start"
                    found = re.search(r"DevTools listening on ws://([^/]*)/", line.decode())
            draining = asyncio.create_task(process.stderr.read())
            async with aiohttp.ClientSession() as session:
                async with session.get(f"http://{found[1]}/json") as answer:
                    tabs = await answer.json()
                url = next(tab["webSocketDebuggerUrl"] for tab in tabs if tab["type"] == "page")
                async with session.ws_connect(url, max_msg_size=0) as socket:
                    page = Page(socket)
                    for domain in ("Page", "Runtime", "Log"):
                        await page.call(f"{domain}.enable")
                    yield page
        finally:
            process.terminate()
            await process.wait()
            if draining:
                draining.cancel()
