"""Calls the endpoint of each stream once, and sends its answer."""

import asyncio
import time
from collections.abc import AsyncGenerator, AsyncIterator, Callable
from functools import partial
from typing import cast

from podkit.answer import call, log_answer, own_mistake, respond, too_busy
from podkit.http2.compression import HeadWriter, encode
from podkit.http2.frames import DATA, END_STREAM, Code
from podkit.http2.send_queue import SendQueue
from podkit.http2.stream import REFUSED, Inbox, Stream
from podkit.http2.streams import Streams
from podkit.message import CLOSE, Answer, Block, Client, Delayed, Dialogue, Fields, Request, Response, error
from podkit.server import Server


class Answers:
    """`wake` is called when an answer makes progress without input from the client."""

    def __init__(
        self, server: Server, client: Client, streams: Streams, queue: SendQueue, wake: Callable[[], None]
    ) -> None:
        self._server = server
        self._client = client
        self._streams = streams
        self._queue = queue
        self._wake = wake
        self._heads = HeadWriter(server.clock)
        self.closes = False  # an answer asks to close the connection
        self._put_off: dict[Stream, Callable[[], None]] = {}  # answers that are created only when there is room

    def let_go(self) -> None:
        """Drops the callbacks, so that no reference cycle is left for the garbage collector."""
        self._wake = lambda: None

    # when to answer

    def ask(self, stream: Stream) -> None:
        """Answers a request when everything that its endpoint needs has arrived."""
        body = stream.body if stream.body is not None else b""
        request = Request(stream.head, self._client, stream.number, body, "", stream.trailers)
        if stream.route.keeps_raw:
            request = request._replace(body=b"", raw=body)
        self._answer(stream, request)

    def begin(self, request: Request) -> None:
        """Answers an HTTP/1.1 request as stream 1."""
        self._streams.last_id = 1
        stream = self._streams.open_stream(1, request.head, request.size, ended=True)
        stream.route, stream.number = self._server.find_route(request.head), request.number
        self._answer(stream, request)

    def _answer(self, stream: Stream, request: Request) -> None:
        """Calls the endpoint as soon as its answer can be sent."""
        self._when_of_use(stream, lambda: self._give(stream, request, call(request, stream.route)))

    def _when_of_use(self, stream: Stream, make: Callable[[], None]) -> None:
        self._streams.touched.append(stream)
        if self._is_of_use(stream):
            make()
        else:
            self._put_off[stream] = make

    def _is_of_use(self, stream: Stream) -> bool:
        """Whether to create an answer now: if it cannot be sent yet, only if few others wait."""
        queue, limits = self._queue, self._server.limits
        return queue.made < (limits.window if queue.room(stream) > 0 else limits.turn_bytes)

    def go_on(self) -> bool:
        """Creates deferred answers, for one turn; returns whether there are more."""
        until = time.monotonic() + self._server.limits.turn_time
        for stream, make in tuple(self._put_off.items()):
            if stream.id not in self._streams.open:
                del self._put_off[stream]
            elif self._queue.fresh >= self._server.limits.turn_bytes or time.monotonic() >= until:
                return True
            elif self._is_of_use(stream):
                del self._put_off[stream]
                make()
        return False

    # how to answer

    def _give(self, stream: Stream, request: Request, answer: Answer) -> None:
        if isinstance(answer, Response):
            self.respond(stream, request, answer)
        elif isinstance(answer, Delayed):
            due = partial(self._give_late, stream, request, answer)
            turns = self._server.turns  # thousands may be due at once
            stream.maker = asyncio.get_running_loop().call_later(answer.seconds, turns.put_off, due)
        elif isinstance(answer, Dialogue):
            self._hold(stream, request, answer)
        else:  # a proxy treats this as a broken connection; no request here asks for a WebSocket
            self._streams.reset(stream.id, Code.INTERNAL_ERROR)

    def _give_late(self, stream: Stream, request: Request, delayed: Delayed) -> None:
        if stream.id in self._streams.open:
            stream.maker = None
            self._when_of_use(stream, lambda: self._give(stream, request, respond(request, delayed)))
            self._wake()

    def respond(self, stream: Stream, request: Request, response: Response) -> None:
        """Sends a response."""
        queue, head = self._queue, stream.head
        stream.is_answered, stream.touched = True, time.monotonic()
        self.closes = self.closes or CLOSE in response.headers
        if head.method != b"HEAD" and response.status not in (204, 304):
            try:
                stream.send(response)
            except Exception as mistake:
                response = own_mistake(request, mistake)
                stream.send(response)
        is_all = not stream.block and not stream.is_fed and not stream.trailers_to_send
        queue.write_block(stream.id, self._heads.render(head, response), end=is_all)
        if self._server.access_log is not None:
            log_answer(self._server, request, response, stream.start)
        if stream.is_fed:
            body = cast("AsyncIterator[Block | Fields]", response.body)
            stream.maker = asyncio.ensure_future(self._feed(stream, request, body, response.trailers))
        elif stream.block:
            queue.put(stream)
        else:
            queue.complete(stream)

    def write_interim(self, stream: Stream, block: bytes) -> None:
        """Sends a header block before the final one."""
        self._queue.write_block(stream.id, block, end=False)

    def break_off(self, stream: Stream, mistake: Exception) -> None:
        """Resets the stream: an error occurred after the head was sent."""
        own_mistake(Request(stream.head, self._client), mistake)
        self._streams.reset(stream.id, Code.INTERNAL_ERROR)

    def settle(self) -> bool:
        """Charges what streams hold; refuses those over the budget, and returns whether there were any."""
        touched, self._streams.touched = self._streams.touched, []
        refused = False
        for stream in touched:
            if stream.id in self._streams.open and not self._streams.charge(stream):
                self._refuse(stream)
                refused = True
        return refused

    def _refuse(self, stream: Stream) -> None:
        if stream.is_answered:
            return self._streams.reset(stream.id, Code.ENHANCE_YOUR_CALM)
        if stream in self._put_off and not stream.body:
            return self._streams.reset(stream.id, Code.REFUSED_STREAM)
        self.refuse(stream, too_busy())
        if stream.id in self._streams.open and not self._streams.charge(stream):
            self._streams.reset(stream.id, Code.ENHANCE_YOUR_CALM)

    def refuse(self, stream: Stream, response: Response) -> None:
        """Sends this answer instead of the request's own, whatever has arrived."""
        if stream.route.refusal is not None:
            response = stream.route.refusal(response)
        stream.body, stream.route = None, REFUSED  # the rest of the body is dropped
        self._put_off.pop(stream, None)
        if stream.maker is not None:
            stream.maker.cancel()
            stream.maker = None
        self.respond(stream, Request(stream.head, self._client, stream.number), response)

    def check(self, now: float) -> bool:
        """Gives up on stalled streams; returns whether there were any."""
        limits, streams, found = self._server.limits, self._streams, False
        for stream in tuple(streams.open.values()):
            stood = now - stream.touched
            if stream.id in self._queue.sending or stream in self._put_off:
                if stood > limits.send_timeout:
                    streams.reset(stream.id, Code.CANCEL)
                    found = True
            elif stream.body is not None and not stream.ended and stood > limits.body_timeout:
                self.refuse(stream, error(408, "the body takes too long"))
                found = True
        for stream_id, since in tuple(streams.unread.items()):
            if now - since > limits.linger:
                streams.reset(stream_id, Code.NO_ERROR)
                found = True
        return found

    def say_farewell(self) -> None:
        """Ends dialogues, which may not end by themselves."""
        for stream in self._streams.open.values():
            if stream.inbox is not None and stream.maker is not None:
                asyncio.get_running_loop().call_soon(stream.maker.cancel)  # after it has started

    def _hold(self, stream: Stream, request: Request, dialogue: Dialogue) -> None:
        response = Response(headers=dialogue.headers, trailers=dialogue.farewell)
        if self._server.draining:
            return self.respond(stream, request, response)
        stream.inbox = Inbox(partial(self._on_taken, stream))
        if stream.ended:
            stream.inbox.end()
        stream.is_answered = stream.is_fed = True
        self._queue.write_block(stream.id, self._heads.render(stream.head, response), end=False)
        pieces = dialogue.converse(stream.inbox)
        stream.maker = asyncio.ensure_future(self._feed(stream, request, pieces, dialogue.farewell))

    def _on_taken(self, stream: Stream, size: int) -> None:
        self._streams.credit(size, stream)
        self._wake()

    async def _feed(
        self, stream: Stream, request: Request, pieces: AsyncIterator[Block | Fields], farewell: Fields
    ) -> None:
        """Sends pieces as they are generated, then the last trailers, or else the farewell."""
        trailers = farewell
        try:
            async for piece in pieces:
                if isinstance(piece, tuple):
                    trailers = piece
                elif piece:
                    await self._send(stream, piece)
        except asyncio.CancelledError:
            if not self._server.draining or stream.id not in self._streams.open:
                raise
        except Exception as mistake:
            stream.maker = None
            self.break_off(stream, mistake)
            return self._wake()
        finally:
            if isinstance(pieces, AsyncGenerator):
                await pieces.aclose()
        if stream.id not in self._streams.open:
            return
        stream.maker, stream.is_fed = None, False
        if stream.inbox is not None and self._server.access_log is not None:
            log_answer(self._server, request, Response(), stream.start)
        if trailers:
            self._queue.write_block(stream.id, encode(trailers), end=True)
        else:
            self._queue.write(DATA, END_STREAM, stream.id)
        self._streams.finish(stream)
        self._wake()

    async def _send(self, stream: Stream, piece: Block) -> None:
        if stream.id not in self._streams.open:  # it is about to be cancelled
            raise asyncio.CancelledError
        stream.block, stream.made = memoryview(piece), len(piece)
        stream.taken = asyncio.get_running_loop().create_future()
        stream.touched = time.monotonic()
        self._queue.put(stream)
        self._streams.touched.append(stream)
        self._wake()
        await stream.taken
        await self._server.turns.wait()  # thousands of streams may have more to send
        stream.made = 0
