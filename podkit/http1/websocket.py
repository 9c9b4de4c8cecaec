"""A WebSocket (RFC 6455) on a connection after its HTTP/1.1 handshake."""

import asyncio
import base64
import hashlib
import time
from typing import Final, cast

from podkit.answer import log_answer
from podkit.budget import Share
from podkit.connections import Connection
from podkit.flow import Progress, Reading
from podkit.http1.frames import (
    CLOSE,
    CONTINUATION,
    PING,
    PONG,
    TRY_AGAIN_LATER,
    FrameReader,
    Violation,
    render_frame,
)
from podkit.kernel import end_output
from podkit.message import Request, Response, Upgrade
from podkit.server import Server
from podkit.turns import Turn

_SHORT: Final = 128  # bytes of a read with a few messages at most, whose work is not put off
_GUID: Final = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11"
_GOING_AWAY: Final = (1001).to_bytes(2) + b"server shutdown"
_ACCEPTED: Final = (
    b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
    b"Sec-WebSocket-Accept: %s\r\n\r\n"
)


class WebSocketConnection(Connection):
    """Answers each message with the endpoint's reply, and answers pings."""

    def __init__(self, server: Server, request: Request, upgrade: Upgrade) -> None:
        self._server = server
        self._request = request
        self._cost = server.limits.stream_cost + request.head.size
        self._upgrade = upgrade
        self._loop = asyncio.get_running_loop()
        self._reader = FrameReader(server.limits.max_message)
        self._share = Share(server.budget)
        self._start = self._last_message = self._last_seen = time.monotonic()
        self._held = bytearray()  # received, but not processed yet
        self._turn: Turn | None = None
        self._is_held_up = False  # the client does not read its answers
        self._progress = Progress()
        self._is_over = False

    # callbacks of the transport

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Accepts the handshake, which the endpoint has checked."""
        self._transport = cast(asyncio.Transport, transport)
        self._reading = Reading(self._transport)
        self._server.connections.add(self)
        key = self._request.head.header(b"Sec-Websocket-Key")
        proof = hashlib.sha1(key + _GUID, usedforsecurity=False).digest()
        self._transport.write(_ACCEPTED % base64.b64encode(proof))
        self._account()

    def connection_lost(self, exc: Exception | None) -> None:
        """The client has disconnected."""
        self._server.connections.discard(self)
        self._is_over = True
        if self._turn is not None:
            self._turn.cancel()
        self._share.resize(0)
        log_answer(self._server, self._request, Response(101), self._start)

    def data_received(self, data: bytes) -> None:
        """Frames from the client."""
        self._last_seen = time.monotonic()
        if self._is_over:
            return self._reading.rest(self._server.turns)
        turns, size = self._server.turns, len(data)
        if self._turn is not None or self._is_held_up:
            self._held += data
        elif turns.is_full and size > _SHORT:
            self._held += data
            self._turn = turns.put_off(self._take_turn)
        elif self._held:
            self._held += data
            self._work(self._held)
        else:
            self._work(data)
        if size > _SHORT:
            turns.spend(time.monotonic() - self._last_seen)
        if self._held or self._reader.size or self._share.size != self._cost or not self._reading.is_on:
            self._account()

    def pause_writing(self) -> None:
        """The client reads more slowly than it sends."""
        self._is_held_up = True
        self._progress.restart()
        self._account()

    def resume_writing(self) -> None:
        """The client has caught up."""
        self._is_held_up = False
        self._take_turn()

    # messages

    def _take_turn(self) -> None:
        self._turn = None
        if not self._is_over and not self._is_held_up:
            self._work(self._held)
            self._account()

    def _work(self, data: bytes | bytearray) -> None:
        """Answers the messages in `data`, as many as one turn allows, and holds the rest."""
        limits, out, size, position = self._server.limits, list[bytes | bytearray](), 0, 0
        left = limits.turn_requests
        try:
            while left and size < limits.turn_bytes:
                left -= 1
                if position == len(data):
                    break
                message = self._reader.next(data, position)
                position = self._reader.position
                if message is None:
                    break
                opcode, payload = message
                if opcode == CONTINUATION:
                    continue
                self._last_message = self._last_seen
                if opcode == CLOSE:
                    out += (render_frame(CLOSE, payload), payload)
                    self._is_over = True
                    break
                if opcode != PONG:
                    answer = payload if opcode == PING else self._upgrade.reply(payload)
                    out += (render_frame(PONG if opcode == PING else opcode, answer), answer)
                    size += len(answer)
            else:
                self._turn = self._server.turns.put_off(self._take_turn)
        except Violation as problem:
            out += (render_frame(CLOSE, b"xx"), problem.code.to_bytes(2))
            self._is_over = True
        if data is self._held:
            del self._held[:position]
        elif position < len(data):
            self._held += memoryview(data)[position:]
        if out:
            self._transport.write(b"".join(out))
        if self._is_over:
            self._hang_up()

    def _account(self) -> None:
        """Charges what is held for the client, and pauses reading while more input would not help."""
        unsent = self._transport.get_write_buffer_size() if self._is_held_up else 0
        held = len(self._held) + self._reader.size + unsent + self._cost
        if not self._share.resize(held):
            return self._end(TRY_AGAIN_LATER.to_bytes(2))
        reading = self._is_over or (self._turn is None and not self._is_held_up)
        self._reading.switch(reading)

    # closing

    def _end(self, payload: bytes) -> None:
        if not self._is_over:
            self._is_over = True
            self._transport.write(render_frame(CLOSE, payload) + payload)
            self._hang_up()

    def _hang_up(self) -> None:
        """Closes, but keeps reading briefly: unread bytes make the kernel reset the connection."""
        self._held.clear()
        if self._transport.can_write_eof():
            end_output(self._transport)
        self._loop.call_later(self._server.limits.linger, self._transport.close)

    def check(self, now: float) -> None:
        """Closes the connection if a timeout has passed."""
        limits = self._server.limits
        if self._is_held_up:
            if self._progress.is_stuck(self._transport, now, limits.send_timeout):
                self._transport.abort()
        elif self._reader.inside_message and now - self._last_seen > limits.body_timeout:
            self._transport.abort()
        elif now - self._last_message > limits.websocket_timeout:
            self._end(_GOING_AWAY)

    def say_goodbye(self) -> None:
        """Closes with 1001, and does not wait for unresponsive clients."""
        self._end(_GOING_AWAY)

    def close_if_quiet(self, since: float) -> None:
        """Does nothing: `say_goodbye` closes it."""
