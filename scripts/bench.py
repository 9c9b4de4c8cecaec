"""Requests a second of both servers beside a bare aiohttp application that answers a constant.

Each round asks every server in turn, so that a noisy machine disturbs all alike; what counts is the
ratio to the bare application's figure of the same rounds. Uses wrk, with one thread and 32 connections.
"""

import os
import re
import shutil
import statistics
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

ROUNDS = int(os.environ.get("ROUNDS", "3"))
SECONDS = int(os.environ.get("SECONDS", "3"))

BARE = """
import asyncio, contextlib, sys
from aiohttp import web
async def one(request):
    return web.Response(text="1")
async def main():
    app = web.Application()
    app.router.add_get("/bench", one)
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    print(f"listening on http://127.0.0.1:{runner.addresses[0][1]}", file=sys.stderr, flush=True)
    await asyncio.Event().wait()
try:
    import uvloop
    uvloop.run(main())
except ImportError:
    asyncio.run(main())
"""


@contextmanager
def running(*command: str) -> Iterator[str]:
    """A server's address."""
    with subprocess.Popen(
        [sys.executable, *command], stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True
    ) as server:
        assert server.stderr is not None
        found = re.search(r"listening on http://\S*:(\d+)", server.stderr.readline())
        assert found, f"{command} did not start"
        try:
            yield f"http://127.0.0.1:{found[1]}"
        finally:
            server.terminate()


def measure(url: str) -> float:
    """Requests a second."""
    command = ["wrk", "-t1", "-c32", f"-d{SECONDS}", url]
    text = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    assert "Non-2xx" not in text, f"{url} answered errors"
    return float(re.findall(r"Requests/sec:\s+([\d.]+)", text)[0])


def main() -> int:
    """Print a table; 1 where wrk is missing."""
    if shutil.which("wrk") is None:
        print("wrk is needed (on Debian and Ubuntu: apt install wrk)", file=sys.stderr)
        return 1
    with ExitStack() as stack:
        bare = stack.enter_context(running("-c", BARE))
        whoami = stack.enter_context(running("-m", "whoami", "--port", "0"))
        whereami = stack.enter_context(running("-m", "whereami", "--port", "0"))
        subjects = {
            "bare aiohttp application": f"{bare}/bench",
            "whoami /bench": f"{whoami}/bench",
            "whoami /": f"{whoami}/",
            "whoami /api": f"{whoami}/api",
            "whoami /data 10 MB": f"{whoami}/data?size=10&unit=MB",
            "whereami /": f"{whereami}/",
        }
        figures: dict[str, list[float]] = {name: [] for name in subjects}
        for _ in range(ROUNDS):
            for name, url in subjects.items():
                figures[name].append(measure(url))
    reference = statistics.median(figures["bare aiohttp application"])
    print(f"{'':<26}{'requests/s':>12}{'ratio':>8}    (median of {ROUNDS} rounds of {SECONDS} s)")
    for name, rates in figures.items():
        rate = statistics.median(rates)
        print(f"{name:<26}{rate:>12,.0f}{rate / reference:>8.2f}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
