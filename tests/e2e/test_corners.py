"""Easily missed corner cases of Go's rules and of RFC 6455."""

import signal
import time

import pytest

from tests.server import PATIENCE, REST, UNFINISHED, Client, Server, has_unread, request, started, wait_for

HANDSHAKE = request(
    "/echo",
    "Connection: Upgrade",
    "Upgrade: websocket",
    "Sec-WebSocket-Version: 13",
    "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==",
)
CHUNKED = "Transfer-Encoding: chunked"


def frame(opcode: int, payload: bytes, final: bool = True) -> bytes:
    """A client's frame, masked with zeros."""
    return bytes((opcode | 0x80 * final, 0x80 | len(payload))) + bytes(4) + payload


def open_websocket(client: Client) -> None:
    """Performs the handshake."""
    client.send(HANDSHAKE)
    answer = client.read()
    assert answer is not None
    assert answer.status == 101


@pytest.mark.parametrize(
    ("announced", "shown"),
    [
        ([], b""),
        (["Trailer: X-Sum"], b"X-Other: 1\r\nX-Sum: 8\r\n"),
        (["Trailer: X-Never"], b"X-Other: 1\r\nX-Sum: 8\r\n"),
    ],
    ids=["none", "one", "another"],
)
def test_trailers_show_where_any_was_announced(whoami: Server, announced: list[str], shown: bytes) -> None:
    """Go adds received trailers to the announced ones, and writes none without a Trailer header."""
    body = b"2\r\nhi\r\n0\r\nX-Sum: 8\r\nX-Other: 1\r\n\r\n"
    answer = whoami.ask(request("/", CHUNKED, *announced, method="POST") + body)
    assert answer.body.endswith(b"\r\n\r\n2\r\nhi\r\n0\r\n" + shown + b"\r\n")


@pytest.mark.parametrize(
    ("header", "status"),
    [
        ('If-None-Match: "x", *', 304),
        ("If-None-Match: x,*", 200),
        ('If-Match: *, "x"', 200),
        ("If-Modified-Since: Fri, 01 Jan 2100 00:00:00 +0000", 200),
        ("If-Modified-Since: Fri Jan  1 00:00:00 2100", 304),
        ("If-Modified-Since: Wednesday, 01-Jan-68 00:00:00 GMT", 304),
        ("Range: bytes=0-1,500-", 200),
    ],
)
def test_conditions_are_parsed_as_go_parses_them(whoami: Server, header: str, status: int) -> None:
    """A star counts anywhere, a bad tag ends the list, a date has one of three forms."""
    assert whoami.get("/data?size=30&attachment=1", header).status == status


@pytest.mark.parametrize(
    "wait", [".2s", "%2B200ms", "200000us", "200000%C2%B5s", "200000%CE%BCs", "0.1s100ms", "200000000ns"]
)
def test_a_duration_is_waited_for(whoami: Server, wait: str) -> None:
    """Each of these is 200 ms."""
    start = time.monotonic()
    assert whoami.get(f"/?wait={wait}").status == 200
    assert time.monotonic() - start >= 0.2


@pytest.mark.parametrize("wait", ["1e9s", "2562048h", ".s", "h", "1h%20", "%201h", "+1h", "1H", "--1h"])
def test_what_looks_like_a_duration_is_not_waited_for(whoami: Server, wait: str) -> None:
    """Go's ParseDuration refuses each of them; none delays the answer by an hour."""
    assert whoami.get(f"/?wait={wait}").status == 200


def test_a_body_that_is_too_large_is_refused_before_it_is_sent() -> None:
    """A client that waits for 100 Continue is not told to send a body that will be refused."""
    with started("whoami", "--max-body", "1000") as server, server.connect() as client:
        client.send(request("/", "Expect: 100-continue", "Content-Length: 1001", method="POST"))
        answer = client.read()
        assert answer is not None
        assert answer.status == 413


@pytest.mark.parametrize("chunked", [False, True], ids=["length", "chunked"])
def test_a_client_that_sends_all_before_it_reads_sees_413(whoami: Server, chunked: bool) -> None:
    """Thirty megabytes are read but not kept, so that a reset does not destroy the refusal."""
    piece = bytes(1 << 16)
    count = 450
    with whoami.connect() as client:
        header = CHUNKED if chunked else f"Content-Length: {count * len(piece)}"
        client.send(request("/", header, method="POST"))
        for _ in range(count):
            client.send(b"10000\r\n" + piece + b"\r\n" if chunked else piece)
        answer = client.read()
        assert answer is not None
        assert answer.status == 413


def test_nothing_is_answered_behind_the_last_request(whoami: Server) -> None:
    """After Connection: close, further input is ignored."""
    with whoami.connect() as client:
        client.send(request("/one", "Connection: Close") + request("/two"))
        data = client.reader.read()
    assert (data.count(b"HTTP/1.1 200"), b"/two" in data) == (1, False)


def test_a_chunked_body_that_is_cut_off_shows_what_came(whoami: Server) -> None:
    """The chunks so far and the reason, without a last chunk."""
    cut = request("/", CHUNKED, method="POST") + b"5\r\nhello\r\n3\r\nab"
    assert whoami.ask(cut, half_close=True).body.endswith(b"\r\n\r\n7\r\nhelloab\r\nunexpected EOF\n")


def test_an_error_behind_fifty_requests_comes_last(whoami: Server) -> None:
    """All requests are answered in order, then the error, then the connection closes."""
    with whoami.connect() as client:
        client.send(b"".join(request(f"/{number}") for number in range(50)) + b"BAD\r\n\r\n")
        for number in range(50):
            answer = client.read()
            assert answer is not None
            assert b"GET /%d HTTP/1.1" % number in answer.body
        last = client.read()
        assert last is not None
        assert last.status == 400
        assert client.closes()


def test_a_ping_inside_a_fragmented_message(whoami: Server) -> None:
    """The pong does not wait for the end of the message."""
    with whoami.connect() as client:
        open_websocket(client)
        client.send(frame(2, b"ab", final=False) + frame(9, b"p") + frame(0, b"c"))
        assert client.reader.read(8) == b"\x8a\x01p\x82\x03abc"


@pytest.mark.parametrize(
    "data",
    [frame(3, b"x"), frame(0, b"x"), frame(9, b"x", final=False), frame(8, b"x")],
    ids=["reserved-opcode", "continuation-first", "fragmented-ping", "close-of-one-byte"],
)
def test_frames_against_the_protocol_end_with_1002(whoami: Server, data: bytes) -> None:
    """RFC 6455 requires a server to fail the connection."""
    with whoami.connect() as client:
        open_websocket(client)
        client.send(data)
        assert client.reader.read(4)[:1] == b"\x88"
        assert client.closes()


def test_a_websocket_hears_of_the_end() -> None:
    """Close code 1001, and an unresponsive client delays nothing."""
    with started("whoami", "--grace-period=1h") as server, server.connect() as client:
        open_websocket(client)
        server.process.send_signal(signal.SIGTERM)
        assert client.reader.read(4)[2:] == b"\x03\xe9"
        assert server.process.wait(PATIENCE) == 0


def test_a_download_that_nobody_reads_ends_with_the_grace_period() -> None:
    """Draining does not wait for three gigabytes."""
    with started("whoami", "--grace-period", "500ms") as server, server.connect() as client:
        client.send(request("/data?size=3&unit=GB"))
        assert client.reader.read(1000)
        server.stop()


def test_idle_connections_close_while_the_last_answer_is_awaited() -> None:
    """An answer during the drain says Connection: close; idle clients are disconnected before it."""
    with (
        started("whoami", "--grace-period=1h") as server,
        server.connect() as busy,
        server.connect() as idle,
    ):
        idle.send(request("/bench"))
        assert idle.read() is not None
        busy.send(UNFINISHED)
        wait_for(lambda: not has_unread(server))
        server.process.send_signal(signal.SIGTERM)
        assert idle.closes()
        busy.send(REST)
        answer = busy.read()
        assert answer is not None
        assert (answer.status, answer.header("Connection")) == (200, "close")
        assert server.process.wait(PATIENCE) == 0


def test_memory_does_not_grow_with_requests() -> None:
    """Paths, names and hosts that never recur are not cached."""

    def resident() -> int:
        with open(f"/proc/{server.process.pid}/statm") as file:
            return int(file.read().split()[1]) * 4096

    def ask(start: int, stop: int) -> None:
        with server.connect() as client:
            for number in range(start, stop, 50):
                client.send(b"".join(request(f"/{n}?x={n}", f"X-{n}: 1") for n in range(number, number + 50)))
                for _ in range(50):
                    assert client.read() is not None

    with started("whoami") as server:
        ask(0, 5000)
        before = resident()
        ask(5000, 25000)
        assert resident() - before < 8 << 20
