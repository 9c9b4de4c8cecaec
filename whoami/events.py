"""``/.events``: a stream of server-sent events.

https://html.spec.whatwg.org/multipage/server-sent-events.html
"""

import asyncio
from collections.abc import AsyncIterator
from contextlib import suppress

from podkit.message import Request, Response
from podkit.pod.pod import Pod
from whoami.api import render_json
from whoami.who import NO_STORE, Who

_INTERVAL = 1.0  # seconds between two events
_RETRY = b"retry: 1000\n\n"  # milliseconds until a browser reconnects
_HEADERS = (
    (b"Content-Type", b"text/event-stream"),
    *NO_STORE,
    (b"X-Accel-Buffering", b"no"),  # otherwise nginx would buffer it
)


def events(who: Who, pod: Pod, request: Request) -> Response:
    """Sends ``state`` immediately and every second, with the pod as in ``/.who``; ``leaving`` at shutdown."""
    return Response(headers=_HEADERS, body=_tell(who, pod))


async def _tell(who: Who, pod: Pod) -> AsyncIterator[bytes]:
    yield _RETRY
    while not pod.leaving.is_set():
        yield _render(b"state", who)
        with suppress(TimeoutError):
            # not wait_for, which in Python 3.11 may swallow a simultaneous cancellation
            async with asyncio.timeout(_INTERVAL):
                await pod.leaving.wait()
    yield _render(b"leaving", who)


def _render(name: bytes, who: Who) -> bytes:
    return b"event: %s\ndata: %s\n" % (name, render_json(who.describe()))  # the JSON ends in a newline
