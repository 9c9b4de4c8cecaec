"""One request of an HTTP/2 connection and its answer, from the first frame to the last."""

import asyncio
import time
from collections.abc import AsyncIterator, Callable, Iterator

from podkit.message import NO_HEADERS, Block, Fields, Head, Headers, Response, error
from podkit.routes import Route

REFUSED = Route(lambda request: error(400, "Bad Request"))


class Stream:
    """What is known of a stream between frames. What most streams never have stands in the class."""

    # the request
    route = REFUSED
    number = 0  # of the request on its connection
    declared = -1  # bytes of the body, by its content-length
    received = 0  # of them so far
    body: bytearray | None = None  # kept for an endpoint that reads it
    trailers: Headers = NO_HEADERS
    inbox: "Inbox | None" = None  # takes the body where a dialogue is held
    # the answer
    is_answered = False  # its head is sent
    maker: asyncio.TimerHandle | asyncio.Task[None] | None = None  # makes what does not come at once
    block: Block = b""  # that is being sent
    made = 0  # bytes that were made to be sent; those of an iterator are not known
    source: Iterator[Block] | None = None  # of the blocks that follow
    is_fed = False  # more blocks come by the maker
    taken: asyncio.Future[None] | None = None  # done when the maker's block is sent
    trailers_to_send: Fields = ()
    # of the process's budget
    charge = 0  # bytes

    def __init__(self, id: int, head: Head, size: int, ended: bool, windows: tuple[int, int]) -> None:
        self.id = id
        self.head = head
        self.size = size  # of the head
        self.ended = ended  # the client has sent all
        self.start = self.touched = time.monotonic()
        self.window, self.receive_window = windows  # bytes that may be sent and received

    def holds(self) -> int:
        """The bytes that it keeps of the request and of the answer."""
        size = self.size + self.made + (len(self.body) if self.body is not None else 0)
        return size + (len(self.inbox) if self.inbox is not None else 0)

    def send(self, response: Response) -> None:
        """Have a response's body sent, unless the maker has to be waited for."""
        self.trailers_to_send = response.trailers
        if isinstance(response.body, AsyncIterator):
            self.is_fed = True
        elif isinstance(response.body, bytes):
            self.block, self.made, self.body = memoryview(response.body), len(response.body), None
        else:
            self.source = iter(response.body)
            self.refill()

    def refill(self) -> None:
        """Get the next block that is not empty, if there is one."""
        if self.source is not None:
            self.block = b""
            for block in self.source:
                if block:
                    self.block = block
                    return
            self.source = None


class Inbox:
    """A request's body as it comes; the client may send on as it is taken out."""

    def __init__(self, taken: Callable[[int], None]) -> None:
        self._taken = taken  # is called with the number of bytes
        self._data = bytearray()
        self._lent = 0  # bytes of the block that somebody works on
        self.kept = 0
        self._has_ended = False
        self._news: asyncio.Future[None] | None = None

    def __len__(self) -> int:
        return len(self._data) + self._lent + self.kept

    def put(self, data: bytes) -> None:
        """More has come."""
        self._data += data
        self._tell()

    def end(self) -> None:
        """The client has sent all."""
        self._has_ended = True
        self._tell()

    def _tell(self) -> None:
        if self._news is not None and not self._news.done():
            self._news.set_result(None)

    async def blocks(self) -> AsyncIterator[bytes]:
        """What has come, up to the end. A block counts as taken when the next is asked for."""
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
        """Let go of what has come and is not taken; the number of bytes."""
        size = len(self._data) + self._lent
        self._data.clear()
        self._lent = 0
        return size
