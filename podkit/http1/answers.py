"""Sends answers: immediate ones, delayed ones, and those that are streamed."""

import asyncio
import time
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Iterable, Iterator
from typing import cast

from podkit.answer import log_answer, own_mistake, respond
from podkit.flow import Progress
from podkit.http1.writer import LAST_CHUNK, closes, is_chunked, render_answer, render_chunk, render_head
from podkit.message import Block, Delayed, Request, Response
from podkit.server import Server
from podkit.turns import Turn


def _pieces(head: bytes, request: Request, response: Response) -> Iterator[Block]:
    """All that is sent for a response whose body is an iterable."""
    yield head
    chunked = is_chunked(request.head, response)
    for block in cast(Iterable[Block], response.body):
        yield render_chunk(block) if chunked else block
    if chunked:
        yield LAST_CHUNK


class Answers:
    """Sends the answers of one connection, in order. `finished` is called after each that took time."""

    _progress: Progress  # of its reading

    def __init__(self, server: Server, transport: asyncio.Transport, finished: Callable[[], None]) -> None:
        # no transport buffer: what the kernel does not take is seen here and can be charged
        transport.set_write_buffer_limits(high=0)
        self._server = server
        self._transport = transport
        self._finished = finished
        self.is_over = False  # the last answer has been sent
        self.is_last_by_agreement = False  # the client asked for none after it
        self.is_busy = False  # no other answer can be sent now
        self._late: asyncio.TimerHandle | Turn | None = None  # creates a delayed answer
        self._task: asyncio.Task[None] | None = None  # relays blocks that take time
        self._stream: tuple[Request, Iterator[Block]] | None = None  # a request, and the rest of its answer
        self._turn: Turn | None = None  # sends some of that
        self._kept = 0  # bytes of the request, while its answer is in progress
        self._drained: asyncio.Future[None] | None = None  # while the client does not read

    @property
    def is_under_way(self) -> bool:
        """Whether an answer is in progress."""
        return self._late is not None or self._task is not None or self._stream is not None

    @property
    def is_held_up(self) -> bool:
        """Whether the client has not yet taken everything that was written."""
        return self._drained is not None

    @property
    def size(self) -> int:
        """The bytes held for answers."""
        return self._kept + (0 if self._drained is None else self._transport.get_write_buffer_size())

    def render(self, request: Request, response: Response, is_last: bool, start: float, now: float) -> bytes:
        """Renders an answer, without the body if that is streamed. The request arrived at `start`."""
        server, head = self._server, request.head
        if server.access_log is not None:
            log_answer(server, request, response, start)
        date_line, is_over = server.clock.date_line(now), is_last or head.close
        last, last_date_line, was_over, rendered = server.last_answer
        is_usual = head.method == b"GET" and head.version == (1, 1)
        if not (response is last and date_line is last_date_line and is_over is was_over and is_usual):
            is_over = is_over or closes(head, response)
            render = render_answer if type(response.body) is bytes else render_head
            rendered = render(head, response, is_over, date_line)
            if response.is_kept and is_usual:
                server.last_answer = response, date_line, is_over, rendered
        self.is_over = is_over
        if is_over:
            self.is_last_by_agreement = head.close
        return rendered

    def wait(self, request: Request, delayed: Delayed, is_last: Callable[[], bool], start: float) -> None:
        """Sends an answer after a delay."""

        def due() -> None:
            response = respond(request, delayed)
            if isinstance(response, Response):
                self.give(request, response, is_last(), start)
            else:
                self._transport.abort()

        # thousands may be due at once
        self._late = asyncio.get_running_loop().call_later(delayed.seconds, self.put_off, request, due)
        self._kept, self.is_busy = request.size, True

    def put_off(self, request: Request, work: Callable[[], None]) -> None:
        """Does the work for a request's answer when it is this connection's turn."""

        def due() -> None:
            self._late, self._kept = None, 0
            self._look()
            work()

        self._late = self._server.turns.put_off(due)
        self._kept, self.is_busy = request.size, True

    def give(self, request: Request, response: Response, is_last: bool, start: float) -> None:
        """Sends an answer now; its body may take time."""
        head = self.render(request, response, is_last, start, time.monotonic())
        if type(response.body) is bytes or request.head.method == b"HEAD":
            self._transport.write(head)
            return self._finish()
        self._kept, self.is_busy = request.size, True
        if isinstance(response.body, AsyncIterator):
            self._transport.write(head)
            chunked = is_chunked(request.head, response)
            self._task = asyncio.get_running_loop().create_task(self._relay(request, response.body, chunked))
        else:
            self._stream = request, _pieces(head, request, response)
            self._turn = self._server.turns.put_off(self._send)

    def _send(self) -> None:
        """Sends the next blocks: a turn's worth, or as many as the client takes."""
        size, self._turn = 0, None
        while self._stream is not None and self._drained is None and size < self._server.limits.turn_bytes:
            request, blocks = self._stream
            try:
                block = next(blocks, None)
            except Exception as mistake:
                own_mistake(request, mistake)
                return self._transport.abort()
            if block is None:
                return self._finish()
            self._transport.write(block)
            size += len(block)
        self._send_more()

    def _send_more(self) -> None:
        if self._stream is not None and self._drained is None:
            self._turn = self._server.turns.put_off(self._send)

    async def _relay(self, request: Request, blocks: AsyncIterator[bytes], chunked: bool) -> None:
        """Sends blocks as they are generated; the next one when the client has taken the last."""
        try:
            async for block in blocks:
                if self._transport.is_closing():
                    return
                self._transport.write(render_chunk(block) if chunked else block)
                if self._drained is not None:
                    await self._drained
                await self._server.turns.wait()  # thousands may have more to send
        except Exception as mistake:
            own_mistake(request, mistake)
            return self._transport.abort()
        finally:
            if isinstance(blocks, AsyncGenerator):
                await blocks.aclose()
        if chunked:
            self._transport.write(LAST_CHUNK)
        self._finish()

    def _finish(self) -> None:
        self._task, self._stream, self._kept = None, None, 0
        self._look()
        self._finished()

    def _look(self) -> None:
        self.is_busy = self.is_under_way or self._drained is not None

    # flow control

    def pause(self) -> None:
        """The kernel takes no more."""
        self._drained = asyncio.get_running_loop().create_future()
        self.is_busy = True
        self._progress = Progress()

    def resume(self) -> None:
        """Everything has been taken."""
        drained, self._drained = self._drained, None
        self._look()
        if drained is not None and not drained.done():
            drained.set_result(None)
        self._send_more()

    def is_stuck(self, now: float) -> bool:
        """Whether the client has made no progress for too long. Call it regularly."""
        return self._progress.is_stuck(self._transport, now, self._server.limits.send_timeout)

    def takes_longer_than(self, seconds: float) -> bool:
        """Whether the answer in progress is known to begin only after `seconds`."""
        late = self._late
        if late is None or isinstance(late, Turn):
            return False
        return late.when() - asyncio.get_running_loop().time() > seconds

    def cancel(self) -> None:
        """Cancels the answer, because the client is gone."""
        self.is_over = True
        self._finished = lambda: None  # otherwise only the garbage collector would free the connection
        if self._task is not None:
            self._server.turns.cancel(self._task)
        for handle in (self._late, self._turn):
            if handle is not None:
                handle.cancel()
        self._stream = None
