"""What aiohttp can do at best, answering a constant: ``application`` or its ``low-level`` server."""

import asyncio
import sys

import uvloop
from aiohttp import web


async def one(request: web.BaseRequest) -> web.Response:
    """The smallest answer."""
    return web.Response(text="1")


async def main(kind: str) -> None:
    """Serve on a free port until the process is ended."""
    runner: web.BaseRunner
    if kind == "application":
        application = web.Application()
        application.router.add_get("/bench", one)
        runner = web.AppRunner(application, access_log=None)
    else:
        runner = web.ServerRunner(web.Server(one, access_log=None))  # type: ignore[arg-type]  # None: no log
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    print(f"listening on http://127.0.0.1:{runner.addresses[0][1]}", file=sys.stderr, flush=True)
    await asyncio.Event().wait()


if __name__ == "__main__":
    uvloop.run(main(sys.argv[1]))
