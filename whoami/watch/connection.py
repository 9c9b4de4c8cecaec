"""One HTTP/2 client connection; each request is a stream. Only this module uses h2."""

import asyncio
from dataclasses import dataclass, field
from typing import Any, Final, cast

from h2.config import H2Configuration
from h2.connection import ConnectionState, H2Connection
from h2.errors import ErrorCodes
from h2.events import (
    ConnectionTerminated,
    DataReceived,
    Event,
    ResponseReceived,
    StreamEnded,
    StreamReset,
    TrailersReceived,
)
from h2.exceptions import ProtocolError
from h2.settings import SettingCodes, Settings

from whoami.watch.outcome import Lost, LostError, NotSpokenError
from whoami.watch.peer import LIMIT

_MOST_UNSENT: Final = 1 << 20  # bytes of replies to pings and settings that the peer does not read
_SETTINGS: Final = 4  # the type of a peer's first frame (RFC 9113, 3.4)
_LAST_STREAM: Final = 1 << 30  # far below the last stream number


class NotTakenError(Exception):
    """The peer did not process the request: it may be sent again (RFC 9113, 8.7)."""


@dataclass
class Response:
    """An answer: `headers` include those of its trailers."""

    connection: int
    done: "asyncio.Future[None]"
    headers: list[tuple[str, str]] = field(default_factory=list)
    body: bytearray = field(default_factory=bytearray)

    def header(self, name: str) -> str:
        """The first header of that name, else empty."""
        return next((value for key, value in self.headers if key == name), "")

    @property
    def status(self) -> int:
        """The status; 0 if it is not a number."""
        status = self.header(":status")
        return int(status) if status.isascii() and status.isdigit() else 0


class Http2Connection(asyncio.Protocol):
    """A connection; `number` identifies it in its responses."""

    def __init__(self, number: int) -> None:
        self.closed = False
        self._problem: Exception = NotTakenError()  # why it closed
        self._number = number
        self._transport: asyncio.Transport | None = None
        self._leaving = False
        self._spoken = False
        self._input = bytearray()
        self._streams: dict[int, Response] = {}
        self._h2 = H2Connection(H2Configuration(client_side=True, header_encoding="latin-1"))
        limits = {SettingCodes.ENABLE_PUSH: 0, SettingCodes.MAX_HEADER_LIST_SIZE: LIMIT}
        self._h2.local_settings = Settings(client=True, initial_values=limits)

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Sends the preface."""
        self._transport = cast(asyncio.Transport, transport)
        self._h2.initiate_connection()
        self._flush()

    @property
    def has_room(self) -> bool:
        """Whether another request can be sent."""
        most = self._h2.remote_settings.max_concurrent_streams
        fresh = self._h2.highest_outbound_stream_id < _LAST_STREAM
        return not self.closed and not self._leaving and fresh and len(self._streams) < most

    async def exchange(self, fields: list[tuple[str, str]], body: bytes) -> Response:
        """Sends a request and waits for the complete answer.

        Raises OSError, LostError, NotSpokenError and NotTakenError.
        """
        if self.closed:  # it may have closed during the handshake
            raise self._problem
        response = Response(self._number, asyncio.get_running_loop().create_future())
        try:
            stream_id = self._h2.get_next_available_stream_id()
            self._h2.send_headers(stream_id, fields, end_stream=not body)
            if body:
                self._h2.send_data(stream_id, body, end_stream=True)
        except ProtocolError as problem:
            raise LostError(Lost.OTHER, f"HTTP/2: {problem}") from problem
        self._streams[stream_id] = response
        self._flush()
        try:
            await response.done
        finally:
            if self._streams.pop(stream_id, None) and not self.closed:
                self._h2.reset_stream(stream_id, ErrorCodes.CANCEL)
                self._flush()
        return response

    def data_received(self, data: bytes) -> None:
        """Feeds h2 one frame at a time: it treats GOAWAY as the end, but open streams continue."""
        if self.closed:
            return
        self._input += data
        if not self._spoken and len(self._input) >= 9:
            self._spoken = self._input[3] == _SETTINGS
            if not self._spoken:
                return self._end(NotSpokenError("its answer is not HTTP/2"))
        try:
            while len(self._input) >= 9:
                length = 9 + int.from_bytes(self._input[:3])
                if length <= 9 + self._h2.max_inbound_frame_size and length > len(self._input):
                    break
                frame = bytes(self._input[:length])
                del self._input[:length]
                for event in self._h2.receive_data(frame):
                    self._take(event)
                if self._h2.state_machine.state is ConnectionState.CLOSED:
                    self._h2.state_machine.state = ConnectionState.CLIENT_OPEN
        except ProtocolError as problem:
            return self._end(LostError(Lost.OTHER, f"not HTTP/2: {problem}"))
        self._flush()
        if self._leaving and not self._streams:
            self.close()

    def connection_lost(self, problem: Exception | None) -> None:
        """Requests in flight are lost."""
        self._end(problem if isinstance(problem, OSError) else ConnectionResetError("the peer hung up"))

    def close(self) -> None:
        """Closes gracefully."""
        if not self.closed:
            self._h2.close_connection()
            self._flush()
            self._end(self._problem)

    def _take(self, event: Event) -> None:
        if isinstance(event, ConnectionTerminated):
            self._leaving = True
            for each in [each for each in self._streams if each > (event.last_stream_id or 0)]:
                self._finish(each, NotTakenError())
            return
        stream_id: Any = getattr(event, "stream_id", None)
        response = self._streams.get(stream_id)
        if isinstance(event, DataReceived) and event.flow_controlled_length:
            self._h2.acknowledge_received_data(event.flow_controlled_length, event.stream_id or 0)
        if response is None:
            return
        if isinstance(event, ResponseReceived | TrailersReceived):
            response.headers += cast(list[tuple[str, str]], event.headers)
        elif isinstance(event, DataReceived):
            response.body += (event.data or b"")[: LIMIT - len(response.body)]
            if len(response.body) >= LIMIT and event.stream_ended is None:
                self._h2.reset_stream(stream_id, ErrorCodes.CANCEL)
                self._finish(stream_id)
        elif isinstance(event, StreamEnded):
            self._finish(stream_id)
        elif isinstance(event, StreamReset):
            taken = event.error_code != ErrorCodes.REFUSED_STREAM
            reset = LostError(Lost.RESET, f"RST_STREAM with error {event.error_code}")
            self._finish(stream_id, reset if taken else NotTakenError())

    def _finish(self, stream_id: int, problem: Exception | None = None) -> None:
        done = self._streams.pop(stream_id).done
        if done.done():
            return
        if problem is None:
            done.set_result(None)
        else:
            done.set_exception(problem)

    def _flush(self) -> None:
        if self._transport is not None:
            self._transport.write(self._h2.data_to_send())
            if self._transport.get_write_buffer_size() > _MOST_UNSENT:
                self._transport.abort()

    def _end(self, problem: Exception) -> None:
        if not self.closed:
            self.closed, self._problem = True, problem
        for stream_id in list(self._streams):
            self._finish(stream_id, problem)
        if self._transport is not None:
            self._transport.close()
