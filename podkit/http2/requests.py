"""Converts a client's header blocks and bodies to requests."""

import time
from collections.abc import Generator, Iterator
from typing import Final

from podkit.answer import max_body, too_large
from podkit.http2 import frames
from podkit.http2.allowance import Allowance
from podkit.http2.answers import Answers
from podkit.http2.compression import Decoder, encode
from podkit.http2.control import Control
from podkit.http2.frames import Code, ConnectionFault, Frame, StreamFault
from podkit.http2.head import (
    Malformed,
    Opening,
    parse_fields,
    parse_trailers,
    refuse,
    render_fields,
    without_body,
)
from podkit.http2.header_block import HeaderBlock
from podkit.http2.stream import Stream
from podkit.http2.streams import Streams
from podkit.message import FIELD_COST, Client, error
from podkit.routes import Route
from podkit.server import Server

_FRAME_WORK: Final = 256  # bytes that are as much work as a frame
_SMALL_DATA: Final = 64  # bytes; a smaller DATA frame causes work but carries little
_REMEMBERED: Final = 8192  # bytes of a head that a connection caches, in case it is repeated
_RAW_START: Final = (
    b"# HTTP/2: the fields as they were decoded, in their order, then the body without its frames\r\n"
)
_RAW_TRAILERS: Final = b"\r\n# trailers\r\n"
_MANY: Final = 4  # this many times the allowed number of fields closes the connection
_CONTINUE: Final = encode(((b":status", b"100"),))


class Requests:
    """Processes a connection's frames in order; those that belong to no request go to `control`."""

    _opening: Opening  # the last parsed header block

    def __init__(
        self,
        server: Server,
        client: Client,
        streams: Streams,
        answers: Answers,
        control: Control,
        allowance: Allowance,
    ) -> None:
        self._server = server
        self._limits = server.limits
        self._client = client
        self._streams = streams
        self._answers = answers
        self._control = control
        self._allowance = allowance
        self._decoder = Decoder(server.limits.max_head, _MANY * server.limits.max_header_lines)
        self._has_settings = False
        self.block = HeaderBlock(server.limits, allowance)  # the next one, while it is incomplete
        self._steps: Iterator[int] | None = None  # the rest of the work on the last one
        self._stepping = 0  # its stream
        self._last_block: tuple[bytes, bool] | None = None  # and whether it ended its stream
        self.last_wanted = frames.MAX_WINDOW  # the last stream that will be answered
        self.work = 0  # work done since it was last reset, in bytes

    @property
    def held(self) -> int:
        """The bytes of a header block that is incomplete or not yet decoded."""
        return len(self.block) + self._decoder.size

    def handle(self, frame: Frame) -> None:
        """Processes a frame. Raises ConnectionFault if the connection must close."""
        self.work += _FRAME_WORK + len(frame.payload)
        kind = frame.kind
        first = self.block.first
        if first is not None and (kind != frames.CONTINUATION or frame.stream_id != first.stream_id):
            raise ConnectionFault(Code.PROTOCOL_ERROR)
        if not self._has_settings:  # they must come first, as a part of the preface
            if kind != frames.SETTINGS or frame.flags & frames.ACK:
                raise ConnectionFault(Code.PROTOCOL_ERROR)
            self._has_settings = True
        try:
            if kind == frames.HEADERS or kind == frames.CONTINUATION:
                complete = self.block.add(frame)
                if complete is not None:
                    self._steps, self._stepping = self._on_block(*complete), frame.stream_id
                    self.go_on()
            elif kind == frames.DATA:
                self._on_data(frame)
            else:
                self._control.handle(frame)
        except StreamFault as fault:
            self._end_faulty(frame.stream_id, fault)

    @property
    def is_behind(self) -> bool:
        """Whether a header block has to be finished before the next frame."""
        return self._steps is not None

    def go_on(self) -> None:
        """Works on the last header block, for the rest of a turn. Raises ConnectionFault."""
        assert self._steps is not None
        try:
            for size in self._steps:
                self.work += size
                if self.work >= self._limits.turn_input:
                    return
        except StreamFault as fault:
            self._end_faulty(self._stepping, fault)
        self._steps = None

    def _end_faulty(self, stream_id: int, fault: StreamFault) -> None:
        self._allowance.spend()
        self._streams.reset(stream_id, fault.code)

    def let_go(self) -> None:
        """Drops a header block that is not finished."""
        self._steps = None

    # header blocks

    def _on_block(self, frame: Frame, block: bytes) -> Iterator[int]:
        """Opens or completes a stream, in steps; yields the work of each, in bytes."""
        streams, stream_id, ended = self._streams, frame.stream_id, bool(frame.flags & frames.END_STREAM)
        if stream_id <= streams.last_id:
            yield from self._on_trailers(stream_id, block, ended)
            return
        streams.last_id = stream_id
        if self._last_block == (block, ended):  # clients repeat themselves, as in load tests and probes
            opening = self._opening
        else:
            opening = yield from self._read_opening(block, ended)
        if frame.flags & frames.HAS_PRIORITY and frames.depends_on_itself(frame):
            raise Malformed("a stream does not depend on itself")
        if stream_id > self.last_wanted or len(streams) >= self._limits.max_streams:
            raise StreamFault(Code.REFUSED_STREAM)
        self._open(stream_id, opening, ended)

    def _read_opening(self, block: bytes, ended: bool) -> Generator[int, None, Opening]:
        """Parses a request's fields."""
        self._last_block = None
        fields, size, can_be_repeated = yield from self._decoder.decode(block)
        opening = parse_fields(fields, size, ended)
        if can_be_repeated and opening.size <= _REMEMBERED:
            self._last_block, self._opening = (block, ended), opening
        return opening

    def _on_trailers(self, stream_id: int, block: bytes, ended: bool) -> Iterator[int]:
        self._last_block = None
        fields, size, _ = yield from self._decoder.decode(block)  # even if refused: the next depends on it
        streams, stream = self._streams, self._streams.open.get(stream_id)
        if stream_id in streams.unread:
            streams.end(stream_id)
        elif stream is None or stream.ended:
            if not streams.was_reset(stream_id):
                known = stream is not None or streams.has_ended(stream_id)
                raise ConnectionFault(Code.STREAM_CLOSED if known else Code.PROTOCOL_ERROR)
        else:
            if not ended:
                raise Malformed("trailers end their stream")
            trailers = parse_trailers(fields, stream.head.trailer_names)
            if stream.body is not None:
                stream.trailers = trailers
                stream.size += size + FIELD_COST * len(fields)
            if stream.body is not None and stream.route.keeps_raw:
                stream.body += _RAW_TRAILERS + render_fields(fields)
            self._complete(stream)

    # requests

    def _open(self, stream_id: int, opening: Opening, ended: bool) -> None:
        head, answers = opening.head, self._answers
        stream = self._streams.open_stream(stream_id, head, opening.size, ended)
        self._client.requests += 1
        stream.number, stream.declared = self._client.requests, opening.declared
        refusal = refuse(opening, self._limits)
        if refusal is not None:
            return answers.refuse(stream, refusal)
        stream.route = self._find_route(opening)
        if stream.route.keeps_raw:
            stream.body = bytearray(_RAW_START + render_fields(opening.fields) + b"\r\n")
        if ended or not stream.route.reads_body:
            if opening.waits and stream.route.reads_body:
                answers.write_interim(stream, _CONTINUE)  # as Go does, even though the request is complete
            return answers.ask(stream)
        limit = max_body(self._limits, stream.route)
        if head.length > limit:
            return answers.refuse(stream, error(413, too_large(limit).reason))
        stream.body = stream.body or bytearray()
        self._streams.touched.append(stream)
        if opening.waits:
            answers.write_interim(stream, _CONTINUE)

    def _find_route(self, opening: Opening) -> Route:
        find_call, head = self._server.find_call, opening.head
        if find_call is not None and head.header(b"Content-Type").startswith(b"application/grpc"):
            return find_call(head)
        return self._server.find_route(head)

    def _on_data(self, frame: Frame) -> None:
        streams, data, size = self._streams, frames.content(frame), len(frame.payload)
        streams.receive(size)
        ended = bool(frame.flags & frames.END_STREAM)
        if len(data) < _SMALL_DATA and not ended:
            self._allowance.spend()
        stream = streams.open.get(frame.stream_id)
        if stream is None or stream.ended:
            streams.credit(size)
            return streams.take_late_data(frame.stream_id, ended)
        stream.receive_window -= size
        stream.received += len(data)
        stream.touched = time.monotonic()
        if stream.receive_window < 0 or 0 <= stream.declared < stream.received:
            streams.credit(size)
            raise StreamFault(Code.FLOW_CONTROL_ERROR if stream.receive_window < 0 else Code.PROTOCOL_ERROR)
        if stream.inbox is not None:
            streams.credit(size - len(data), stream)
            stream.inbox.put(data)
            streams.touched.append(stream)
        else:
            streams.credit(size, stream)
            if stream.body is not None and data:
                self._keep(stream, stream.body, data)
        if ended:
            self._complete(stream)

    def _keep(self, stream: Stream, body: bytearray, data: bytes) -> None:
        body += data
        self._streams.touched.append(stream)
        limit = max_body(self._limits, stream.route)
        if stream.received > limit:
            self._answers.refuse(stream, error(413, too_large(limit).reason))

    def _complete(self, stream: Stream) -> None:
        """The client has sent a complete request."""
        if 0 <= stream.declared != stream.received:
            raise Malformed("less has come than was announced")
        stream.ended = True
        if stream.inbox is not None:
            stream.inbox.end()
        elif stream.body is not None:
            if not stream.received:
                stream.head = without_body(stream.head)
            self._answers.ask(stream)
