"""An HTTP/2 request and its answer, from the first frame to the last."""

import asyncio
import time
from collections.abc import AsyncIterator, Callable, Iterator

from podkit.message import NO_HEADERS, Block, Fields, Head, Headers, Response, error
from podkit.routes import Route

REFUSED = Route(lambda request: error(400, "Bad Request"))


class Stream:
    """The state of a stream between frames. Rarely used attributes have class-level defaults."""

    # the request
    route = REFUSED
    number = 0  # of the request on its connection
    declared = -1  # bytes of the body, by its content-length
    received = 0  # bytes received so far
    body: bytearray | None = None  # kept for an endpoint that reads it
    trailers: Headers = NO_HEADERS
    inbox: "Inbox | None" = None  # takes the body for a dialogue
    # the answer
    is_answered = False  # its head has been sent
    maker: asyncio.TimerHandle | asyncio.Task[None] | None = None  # creates a delayed or streamed answer
    block: Block = b""  # the block being sent
    made = 0  # bytes generated but not sent; unknown for iterators
    source: Iterator[Block] | None = None  # of the following blocks
    is_fed = False  # the maker adds more blocks
    taken: asyncio.Future[None] | None = None  # done when the maker's block is sent
    trailers_to_send: Fields = ()
    # of the process's memory budget
    charge = 0  # bytes

    def __init__(self, id: int, head: Head, size: int, ended: bool, windows: tuple[int, int]) -> None:
        self.id = id
        self.head = head
        self.size = size  # of the head
        self.ended = ended  # the client has sent everything
        self.start = self.touched = time.monotonic()
        self.window, self.receive_window = windows  # bytes that may be sent and received

    def holds(self) -> int:
        """The bytes held for the request and the answer."""
        size = self.size + self.made + (len(self.body) if self.body is not None else 0)
        return size + (len(self.inbox) if self.inbox is not None else 0)

    def send(self, response: Response) -> None:
        """Sends a response's body, unless it has to wait for the maker."""
        self.trailers_to_send = response.trailers
        if isinstance(response.body, AsyncIterator):
            self.is_fed = True
        elif isinstance(response.body, bytes):
            self.block, self.made, self.body = memoryview(response.body), len(response.body), None
        else:
            self.source = iter(response.body)
            self.refill()

    def refill(self) -> None:
        """Gets the next non-empty block, if there is one."""
        if self.source is not None:
            self.block = b""
            for block in self.source:
                if block:
                    self.block = block
                    return
            self.source = None


class Inbox:
    """A request body while it arrives; taking data extends the client's window."""

    def __init__(self, taken: Callable[[int], None]) -> None:
        self._taken = taken  # called with the number of bytes
        self._data = bytearray()
        self._lent = 0  # bytes of the block that the consumer holds
        self.kept = 0
        self._has_ended = False
        self._news: asyncio.Future[None] | None = None

    def __len__(self) -> int:
        return len(self._data) + self._lent + self.kept

    def put(self, data: bytes) -> None:
        """Adds received data."""
        self._data += data
        self._tell()

    def end(self) -> None:
        """The client has sent everything."""
        self._has_ended = True
        self._tell()

    def _tell(self) -> None:
        if self._news is not None and not self._news.done():
            self._news.set_result(None)

    async def blocks(self) -> AsyncIterator[bytes]:
        """Yields the blocks until the end. A block counts as taken when the next one is requested."""
        while True:
            if self._data:
                self._lent = len(self._data)
                yield self._pop()
                size, self._lent = self._lent, 0
                self._taken(size)
            elif self._has_ended:
                return
            else:
                self._news = asyncio.get_running_loop().create_future()
                await self._news

    def _pop(self) -> bytes:
        block = bytes(self._data)
        self._data.clear()
        return block

    def empty(self) -> int:
        """Drops the data that was not taken; returns the number of bytes."""
        size = len(self._data) + self._lent
        self._data.clear()
        self._lent = 0
        return size
