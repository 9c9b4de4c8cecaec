"""``/.events``: a stream of server-sent events.

https://html.spec.whatwg.org/multipage/server-sent-events.html
"""

import asyncio
from collections import deque
from collections.abc import AsyncIterator
from contextlib import suppress

from podkit.message import Request, Response
from podkit.pod.pod import Pod
from whoami.api import render_json
from whoami.who import NO_STORE, Who

_INTERVAL = 1.0  # seconds between two events
_AT_ONCE = 16  # streams to wake per loop iteration
_RETRY = b"retry: 1000\n\n"  # milliseconds until a browser reconnects
_HEADERS = (
    (b"Content-Type", b"text/event-stream"),
    *NO_STORE,
    (b"X-Accel-Buffering", b"no"),  # otherwise nginx would buffer it
)


class Events:
    """The endpoint. One task wakes all streams, a few at a time, because thousands may be due at once."""

    def __init__(self, who: Who, pod: Pod) -> None:
        self._who = who
        self._pod = pod
        self._waiting: deque[tuple[float, asyncio.Future[None]]] = deque()  # and when each is due, in order
        self._waker: asyncio.Task[None] | None = None

    def __call__(self, request: Request) -> Response:
        """Sends ``state`` now and every second, with the pod as in ``/.who``; ``leaving`` at shutdown."""
        return Response(headers=_HEADERS, body=self._tell())

    async def _tell(self) -> AsyncIterator[bytes]:
        yield _RETRY
        while not self._pod.leaving.is_set():
            yield self._render(b"state")
            await self._wait()
        yield self._render(b"leaving")

    def _render(self, name: bytes) -> bytes:
        # the JSON ends in a newline
        return b"event: %s\ndata: %s\n" % (name, render_json(self._who.describe()))

    async def _wait(self) -> None:
        loop = asyncio.get_running_loop()
        due: asyncio.Future[None] = loop.create_future()
        self._waiting.append((loop.time() + _INTERVAL, due))
        if self._waker is None or self._waker.done():
            self._waker = loop.create_task(self._wake())
        await due

    async def _wake(self) -> None:
        loop, waiting, leaving = asyncio.get_running_loop(), self._waiting, self._pod.leaving
        while waiting:
            with suppress(TimeoutError):
                # not wait_for, which in Python 3.11 may swallow a simultaneous cancellation
                async with asyncio.timeout_at(waiting[0][0]):
                    await leaving.wait()
            for _ in range(min(_AT_ONCE, len(waiting))):
                if waiting[0][0] > loop.time() and not leaving.is_set():
                    break
                due = waiting.popleft()[1]
                if not due.done():
                    due.set_result(None)
            await asyncio.sleep(0)
