"""``make screenshot``: takes docs/live.png, the page at ``/.live`` with three pods behind a service."""

import asyncio
import sys
from contextlib import ExitStack
from pathlib import Path

from tests.browser import browser
from tests.proxies import balancer, pod

PODS = {
    "whoami-7d9f8c6b5-4wzkx": "worker1",
    "whoami-7d9f8c6b5-n8jtd": "worker2",
    "whoami-7d9f8c6b5-p7c2f": "worker2",
}


async def shoot() -> bytes:
    """Starts the pods, lets the page call each over its own connection, and returns the screenshot."""
    with ExitStack() as stack:
        pods = [
            stack.enter_context(pod("whoami", name, env={"NODE_NAME": node, "POD_NAME": name}))
            for name, node in PODS.items()
        ]
        service = stack.enter_context(balancer([pods[number].port for number in (0, 1, 2, 1, 0, 1, 2)]))
        async with browser() as page:
            await page.open(f"{service.url}/.live", width=1280, height=660)
            await page.evaluate("rate = document.querySelector('#rate'); rate.value = 12; rate.oninput()")
            await page.until("answers > 40")
            await page.evaluate("document.querySelector('#where').textContent = 'whoami.example/'")
            await page.press("c")
            await page.until("answers > 160", 20)
            return await page.screenshot()


if __name__ == "__main__":
    Path(sys.argv[1]).write_bytes(asyncio.run(shoot()))
