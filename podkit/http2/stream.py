"""One request of an HTTP/2 connection and its answer, from the first frame to the last."""

import asyncio
from collections.abc import AsyncIterator, Callable, Iterable, Iterator

from podkit.message import Block, Fields, Head, Headers
from podkit.routes import Route


class Stream:
    """What is known of a stream between frames."""

    __slots__ = (
        "blocks", "ended", "head", "inbox", "left", "rest", "route", "sent", "size", "source", "start", "task",
        "touched", "trailers", "trailers_to_send",
    )  # fmt: skip

    def __init__(self, head: Head, route: Route, ended: bool, now: float) -> None:
        self.head = head
        self.route = route
        self.ended = ended  # the client has sent all
        self.start = self.touched = now
        # the request's body
        self.blocks: list[bytes] = []
        self.size = 0
        self.trailers: Headers = {}
        self.inbox: Inbox | None = None  # takes the body where a dialogue is held
        # the answer
        self.task: asyncio.Task[None] | None = None  # makes what does not come at once
        self.source: Iterator[Block] = iter(())
        self.rest = memoryview(b"")  # of the block that is being sent
        self.left = 0  # bytes to send
        self.sent: asyncio.Future[None] | None = None  # done when they are sent, if more may come
        self.trailers_to_send: Fields = ()

    def send(self, blocks: Iterable[Block], length: int) -> None:
        """Have `length` bytes sent as the windows allow."""
        self.source, self.left = iter(blocks), length

    def next_piece(self, room: int) -> memoryview:
        """The next bytes to send, at most `room` of them."""
        while not self.rest:
            self.rest = memoryview(next(self.source))
        piece, self.rest = self.rest[:room], self.rest[room:]
        self.left -= len(piece)
        return piece

    def take_body(self) -> bytes:
        """The request's body, which is not kept here any longer."""
        body = b"".join(self.blocks)
        self.blocks, self.size = [], 0
        return body


class Inbox:
    """The blocks of a request's body as they come; the client may send on as they are taken out."""

    def __init__(self, acknowledge: Callable[[int], None]) -> None:
        self._acknowledge = acknowledge
        self._waiting = 0  # bytes of the window that the blocks here take
        self._queue: asyncio.Queue[tuple[bytes, int] | None] = asyncio.Queue()

    def put(self, block: bytes, size: int) -> None:
        """A block has come, which took `size` bytes of the window."""
        self._waiting += size
        self._queue.put_nowait((block, size))

    def end(self) -> None:
        """The client has sent all."""
        self._queue.put_nowait(None)

    async def blocks(self) -> AsyncIterator[bytes]:
        """The blocks in order, up to the end."""
        while (item := await self._queue.get()) is not None:
            block, size = item
            self._waiting -= size
            self._acknowledge(size)
            yield block

    def discard(self) -> None:
        """Nobody takes the rest: give its room back, which all streams share."""
        waiting, self._waiting = self._waiting, 0
        self._acknowledge(waiting)
