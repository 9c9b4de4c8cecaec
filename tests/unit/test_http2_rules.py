"""Violations of RFC 9113 and RFC 7541: the stream ends if that is enough, otherwise the connection."""

from collections.abc import Callable

import pytest
from hpack import Encoder
from hyperframe.frame import (
    ContinuationFrame,
    DataFrame,
    Frame,
    GoAwayFrame,
    HeadersFrame,
    PingFrame,
    PriorityFrame,
    PushPromiseFrame,
    RstStreamFrame,
    SettingsFrame,
    WindowUpdateFrame,
)

from podkit.message import Delayed, Request, Response
from podkit.routes import Route, Routes
from podkit.server import Server
from tests.http2 import GET, PREFACE, Field, Peer, get, raw, serialize

PROTOCOL, INTERNAL, FLOW_CONTROL, STREAM_CLOSED, FRAME_SIZE, REFUSED = 1, 2, 3, 5, 6, 7
COMPRESSION, ENHANCE_YOUR_CALM = 9, 11
Frames = Callable[[Peer], list[Frame | bytes]]


def show(request: Request) -> Response:
    """The parsed request."""
    head = request.head
    lines = [b"%s %s %s" % (head.method, head.request_uri, head.host)]
    lines += [b"%s: %s" % (name, value) for name, values in head.headers.items() for value in values]
    lines += [b"%d: %s" % (head.length, request.body)]
    lines += [b"%s: %s" % (name, value) for name, values in request.trailers.items() for value in values]
    return Response(body=b"\n".join(lines))


def build_server() -> Server:
    """A few routes for these tests."""
    table = {
        b"/": Route(show, reads_body=True),
        b"/bench": Route(lambda request: Response(body=b"1")),
        b"/later": Route(lambda request: Delayed(60, lambda: Response(body=b"late"))),
    }
    return Server(Routes(table).find)


FIELDS: dict[str, tuple[tuple[Field, ...], str]] = {
    "fine": (GET, "answer 200"),
    "upper case": ((*GET, ("X-Name", "1")), f"reset 1 {PROTOCOL}"),
    "no path": (GET[:3], f"reset 1 {PROTOCOL}"),
    "empty path": ((*GET[:3], (":path", "")), f"reset 1 {PROTOCOL}"),
    "relative path": ((*GET[:3], (":path", "bench")), f"reset 1 {PROTOCOL}"),
    "no method": (GET[1:], f"reset 1 {PROTOCOL}"),
    "method is no token": (get("/bench", method="GE T"), f"reset 1 {PROTOCOL}"),
    "authority with a path": ((*GET[:2], (":authority", "a/b"), GET[3]), "answer 200"),
    "host with a user": ((*GET[:2], GET[3], ("host", "me@a")), f"reset 1 {PROTOCOL}"),
    "authority with a user": ((*GET[:2], (":authority", "me@a"), GET[3]), f"reset 1 {PROTOCOL}"),
    "authority with a port": ((*GET[:2], (":authority", "[::1]:80"), GET[3]), "answer 200"),
    "no scheme": ((GET[0], *GET[2:]), f"reset 1 {PROTOCOL}"),
    "unknown scheme": ((GET[0], (":scheme", "ftp"), *GET[2:]), f"reset 1 {PROTOCOL}"),
    "a method twice": ((GET[0], *GET), f"reset 1 {PROTOCOL}"),
    "a path twice": ((*GET, GET[3]), f"reset 1 {PROTOCOL}"),
    "unknown pseudo": ((*GET, (":other", "1")), f"reset 1 {PROTOCOL}"),
    "a response's pseudo": ((*GET, (":status", "200")), f"reset 1 {PROTOCOL}"),
    "pseudo last": ((*GET[:3], ("accept", "*/*"), GET[3]), f"reset 1 {PROTOCOL}"),
    "line end in a value": ((*GET, ("x-name", "a\r\nb: c")), f"reset 1 {PROTOCOL}"),
    "space in a name": ((*GET, ("x name", "1")), f"reset 1 {PROTOCOL}"),
    "empty name": ((*GET, ("", "1")), f"reset 1 {PROTOCOL}"),
    "connection": ((*GET, ("connection", "close")), "answer 400"),
    "transfer-encoding": ((*GET, ("transfer-encoding", "chunked")), "answer 400"),
    "te": ((*GET, ("te", "gzip")), "answer 400"),
    "te: trailers": ((*GET, ("te", "trailers")), "answer 200"),
    "host, no authority": ((*GET[:2], GET[3], ("host", "a")), "answer 200"),
    "connect with a path": (((":method", "CONNECT"), *GET[2:]), f"reset 1 {PROTOCOL}"),
    "connect": (((":method", "CONNECT"), (":authority", "a:80")), "answer 404"),
    "a length and no body": (get("/bench", ("content-length", "7"), method="POST"), f"reset 1 {PROTOCOL}"),
    "a length of 0 and no body": (get("/bench", ("content-length", "0"), method="POST"), "answer 200"),
    "a length that is no number": ((*GET, ("content-length", "x")), f"reset 1 {PROTOCOL}"),
    "a length twice": ((*GET, ("content-length", "0"), ("content-length", "0")), f"reset 1 {PROTOCOL}"),
    "500 lines": ((*GET, *[("a", "1")] * 496), "answer 200"),
    "500 lines without an authority": ((*GET[:2], GET[3], *[("a", "1")] * 497), "answer 200"),
    "501 lines of cookies": ((*GET, *[("cookie", "1")] * 497), "answer 431"),
    "501 lines": ((*GET, *[("a", "1")] * 497), "answer 431"),
    "501 lines, one of them of HTTP/1.1": ((*GET, ("connection", "x"), *[("a", "1")] * 496), "answer 431"),
}


@pytest.mark.parametrize("name", FIELDS)
async def test_malformed_requests_end_their_stream(name: str) -> None:
    """The stream ends with an error or gets an answer; the connection continues."""
    fields, expected = FIELDS[name]
    peer = Peer(build_server())
    assert await peer.outcome(peer.headers(1, *fields)) == expected
    assert await peer.outcome(peer.headers(3)) == "answer 200"


POST = get("/", method="POST")
SEVEN = get("/", ("content-length", "7"), method="POST")
END = ["END_STREAM"]
STREAM: dict[str, tuple[Frames, str]] = {
    "less than announced": (
        lambda c: [c.headers(1, *SEVEN, ended=False), DataFrame(1, b"x", flags=END)],
        f"reset 1 {PROTOCOL}",
    ),
    "more than announced": (
        lambda c: [c.headers(1, *SEVEN, ended=False), DataFrame(1, bytes(8))],
        f"reset 1 {PROTOCOL}",
    ),
    "less than announced, and trailers": (
        lambda c: [c.headers(1, *SEVEN, ended=False), c.headers(1, ("a", "b"))],
        f"reset 1 {PROTOCOL}",
    ),
    "trailers that go on": (
        lambda c: [c.headers(1, *POST, ended=False), c.headers(1, ("a", "b"), ended=False)],
        f"reset 1 {PROTOCOL}",
    ),
    "trailers with a pseudo-header": (
        lambda c: [c.headers(1, *POST, ended=False), c.headers(1, (":path", "/"))],
        f"reset 1 {PROTOCOL}",
    ),
    "window grows by nothing": (
        lambda c: [c.headers(1, *POST, ended=False), raw(8, 1, bytes(4))],
        f"reset 1 {PROTOCOL}",
    ),
    "window overflows": (
        lambda c: [c.headers(1, *POST, ended=False), WindowUpdateFrame(1, 2**31 - 1)],
        f"reset 1 {FLOW_CONTROL}",
    ),
    "depends on itself": (
        lambda c: [c.headers(1, *POST, ended=False), PriorityFrame(1, depends_on=1)],
        f"reset 1 {PROTOCOL}",
    ),
    "opens and depends on itself": (
        lambda c: [
            HeadersFrame(
                1, c.encoder.encode(GET), depends_on=1, flags=["END_HEADERS", "END_STREAM", "PRIORITY"]
            )
        ],
        f"reset 1 {PROTOCOL}",
    ),
    "a priority of four bytes": (
        lambda c: [c.headers(1, *POST, ended=False), raw(2, 1, bytes(4))],
        f"reset 1 {FRAME_SIZE}",
    ),
    "data after the end": (
        lambda c: [c.headers(1, *get("/later")), DataFrame(1, b"x")],
        f"reset 1 {STREAM_CLOSED}",
    ),
    "data after the client's reset": (
        lambda c: [c.headers(1, *POST, ended=False), RstStreamFrame(1), DataFrame(1, b"x")],
        f"reset 1 {STREAM_CLOSED}",
    ),
    "data after the server's reset": (
        lambda c: [c.headers(1, *SEVEN, ended=False), *[DataFrame(1, bytes(8))] * 3],
        f"reset 1 {PROTOCOL}",
    ),
    "padded data": (
        lambda c: [
            c.headers(1, *POST, ended=False),
            DataFrame(1, b"x", pad_length=9, flags=["PADDED", "END_STREAM"]),
        ],
        "answer 200",
    ),
    "padded headers with a priority": (
        lambda c: [
            HeadersFrame(
                1,
                c.encoder.encode(GET),
                pad_length=3,
                depends_on=3,
                flags=["END_HEADERS", "END_STREAM", "PRIORITY", "PADDED"],
            )
        ],
        "answer 200",
    ),
    "headers in pieces": (
        lambda c: [
            HeadersFrame(1, (block := c.encoder.encode(GET))[:5], flags=["END_STREAM"]),
            ContinuationFrame(1, block[5:9]),
            ContinuationFrame(1, block[9:], flags=["END_HEADERS"]),
        ],
        "answer 200",
    ),
}


@pytest.mark.parametrize("name", STREAM)
async def test_what_is_wrong_with_a_stream_ends_the_stream(name: str) -> None:
    """And nothing else: another stream is answered."""
    build, expected = STREAM[name]
    peer = Peer(build_server())
    frames = await peer.ask(*build(peer))
    resets = [f"reset {f.stream_id} {f.error_code}" for f in frames if isinstance(f, RstStreamFrame)]
    statuses = [f"answer {fields[':status']}" for fields in peer.fields]
    assert resets + statuses == [expected]
    assert await peer.outcome(peer.headers(3)) == "answer 200"
    await peer.leave()
    assert peer.server.budget.used == 0


def huffman(byte: int) -> bytes:
    """A block with a name of one Huffman-coded byte, as given."""
    return b"\x00\x81" + bytes((byte,)) + b"\x01a"


def block(data: bytes) -> HeadersFrame:
    """A request with this header block."""
    return HeadersFrame(1, data, flags=["END_HEADERS", "END_STREAM"])


CONNECTION: dict[str, tuple[Frames, int]] = {
    "data frame too large": (
        lambda c: [c.headers(1, *POST, ended=False), raw(0, 1, bytes(16_385))],
        FRAME_SIZE,
    ),
    "the head of a frame of 16 MiB": (lambda c: [b"\xff\xff\xff\x00\x00\x00\x00\x00\x01"], FRAME_SIZE),
    "data on an idle stream": (lambda c: [DataFrame(1, b"x")], PROTOCOL),
    "reset of an idle stream": (lambda c: [RstStreamFrame(1)], PROTOCOL),
    "window of an idle stream": (lambda c: [WindowUpdateFrame(1, 5)], PROTOCOL),
    "even stream": (lambda c: [c.headers(2)], PROTOCOL),
    "stream number falls": (lambda c: [c.headers(5), c.headers(3)], PROTOCOL),
    "headers after the end": (lambda c: [c.headers(1), c.headers(1)], STREAM_CLOSED),
    "headers before the answer": (lambda c: [c.headers(1, *get("/later")), c.headers(1)], STREAM_CLOSED),
    "headers after the client's reset": (
        lambda c: [c.headers(1, *POST, ended=False), RstStreamFrame(1), c.headers(1)],
        STREAM_CLOSED,
    ),
    "data on stream 0": (lambda c: [raw(0, 0, b"x")], PROTOCOL),
    "headers on stream 0": (lambda c: [raw(1, 0, b"\x82", 5)], PROTOCOL),
    "priority on stream 0": (lambda c: [raw(2, 0, bytes(5))], PROTOCOL),
    "reset on stream 0": (lambda c: [raw(3, 0, bytes(4))], PROTOCOL),
    "a reset of three bytes": (lambda c: [c.headers(1, *POST, ended=False), raw(3, 1, bytes(3))], FRAME_SIZE),
    "padding too long": (lambda c: [c.headers(1, *POST, ended=False), raw(0, 1, b"\x09abc", 8)], PROTOCOL),
    "padding of the head too long": (lambda c: [raw(1, 1, b"\x09\x82\x84", 0x0D)], PROTOCOL),
    "padded and empty": (lambda c: [c.headers(1, *POST, ended=False), raw(0, 1, b"", 8)], FRAME_SIZE),
    "half a priority": (lambda c: [raw(1, 1, b"\0\0", 0x25)], FRAME_SIZE),
    "settings of odd length": (lambda c: [raw(4, 0, b"abc")], FRAME_SIZE),
    "settings on a stream": (lambda c: [raw(4, 1)], PROTOCOL),
    "acknowledged settings with a payload": (lambda c: [raw(4, 0, bytes(6), 1)], FRAME_SIZE),
    "push is 2": (lambda c: [raw(4, 0, b"\0\x02\0\0\0\x02")], PROTOCOL),
    "window of 2**31": (lambda c: [raw(4, 0, b"\0\x04\x80\0\0\0")], FLOW_CONTROL),
    "frame size of 100": (lambda c: [raw(4, 0, b"\0\x05\0\0\0\x64")], PROTOCOL),
    "frame size of 2**24": (lambda c: [raw(4, 0, b"\0\x05\x01\0\0\0")], PROTOCOL),
    "a stream's window overflows by a setting": (
        lambda c: [
            c.headers(1, *POST, ended=False),
            WindowUpdateFrame(1, 2**31 - 1 - 65_535),
            SettingsFrame(0, {4: 65_536}),
        ],
        FLOW_CONTROL,
    ),
    "short ping": (lambda c: [raw(6, 0, b"abc")], FRAME_SIZE),
    "ping on a stream": (lambda c: [raw(6, 1, bytes(8))], PROTOCOL),
    "goodbye on a stream": (lambda c: [raw(7, 1, bytes(8))], PROTOCOL),
    "short goodbye": (lambda c: [raw(7, 0, bytes(7))], FRAME_SIZE),
    "window grows by nothing": (lambda c: [raw(8, 0, bytes(4))], PROTOCOL),
    "window in three bytes": (lambda c: [raw(8, 0, bytes(3))], FRAME_SIZE),
    "window overflows": (lambda c: [WindowUpdateFrame(0, 2**31 - 1)] * 2, FLOW_CONTROL),
    "naked continuation": (lambda c: [c.headers(1, ended=False), ContinuationFrame(1, b"")], PROTOCOL),
    "headers interrupted": (lambda c: [HeadersFrame(1, b"\x82"), PingFrame(0, bytes(8))], PROTOCOL),
    "headers interrupted by something unknown": (lambda c: [HeadersFrame(1, b"\x82"), raw(99, 1)], PROTOCOL),
    "headers go on elsewhere": (lambda c: [HeadersFrame(1, b"\x82"), ContinuationFrame(3, b"")], PROTOCOL),
    "push promise": (lambda c: [PushPromiseFrame(1, 2, b"\x82", flags=["END_HEADERS"])], PROTOCOL),
    "an index that is not there": (lambda c: [block(b"\xbe")], COMPRESSION),
    "an index of 0": (lambda c: [block(b"\x80")], COMPRESSION),
    "a number without end": (lambda c: [block(b"\xff" * 9)], COMPRESSION),
    "a block that is cut off": (lambda c: [block(b"\x00\x05ab")], COMPRESSION),
    "a table that is too large": (lambda c: [block(b"\x3f\xe2\x1f" + b"\x82")], COMPRESSION),
    "a table's size behind a field": (lambda c: [block(b"\x82\x20")], COMPRESSION),
    "padding of zeros": (lambda c: [block(huffman(0x18))], COMPRESSION),
    "padding of a byte": (lambda c: [block(b"\x00\x82\x1f\xff\x01a")], COMPRESSION),
    "the end of a string, coded": (lambda c: [block(b"\x00\x84\xff\xff\xff\xff\x01a")], COMPRESSION),
}


@pytest.mark.parametrize("name", CONNECTION)
async def test_bad_frames_end_the_connection(name: str) -> None:
    """With RFC 9113's error code, and then it closes."""
    build, expected = CONNECTION[name]
    peer = Peer(build_server())
    frames = await peer.ask(*build(peer))
    assert [frame.error_code for frame in frames if isinstance(frame, GoAwayFrame)] == [expected]
    assert peer.wire.end == "eof"
    assert not peer.wire.buffer
    await peer.leave()
    assert peer.server.budget.used == peer.server.room.used == 0


OPENINGS = {
    "no settings": PREFACE + raw(6, 0, bytes(8)),
    "acknowledged settings": PREFACE + raw(4, 0, b"", 1),
    "no frames": PREFACE + b"GET / HTTP/1.1\r\nHost: a\r\n\r\n",
}


@pytest.mark.parametrize("name", OPENINGS)
async def test_the_preface_ends_with_settings(name: str) -> None:
    """Nothing else may come first."""
    peer = Peer(build_server(), opening=OPENINGS[name])
    await peer.settle()
    assert peer.seen[-1].error_code in (PROTOCOL, FRAME_SIZE)


IGNORED = {
    "unknown kind": raw(99, 0, b"x"),
    "unknown flags": raw(6, 0, bytes(8), 0xFE),
    "reserved bit": raw(6, 1 << 31, bytes(8)),
    "priority of an idle stream": PriorityFrame(7, depends_on=5).serialize(),
    "window of a stream that has ended": raw(8, 1, b"\0\0\0\x05"),
    "unknown setting": SettingsFrame(0, {99: 1}).serialize(),
    "a ping's answer": raw(6, 0, bytes(8), 1),
}


@pytest.mark.parametrize("name", IGNORED)
async def test_what_need_not_be_known_is_passed_over(name: str) -> None:
    """The connection continues."""
    peer = Peer(build_server())
    assert await peer.outcome(peer.headers(1)) == "answer 200"
    assert await peer.outcome(IGNORED[name]) == ""
    assert await peer.outcome(peer.headers(3)) == "answer 200"


async def test_any_segments_give_the_same_answers() -> None:
    """Byte by byte, as in one piece."""
    frames = Peer(build_server())
    wanted = serialize(
        frames.headers(1, *POST, ("trailer", "x-sum"), ended=False),
        DataFrame(1, b"hello"),
        frames.headers(1, ("x-sum", "42"), ("x-other", "1")),
        frames.headers(3),
    )
    peer = Peer(build_server(), opening=PREFACE)
    for byte in serialize(SettingsFrame(0), wanted):
        peer.send(bytes((byte,)))
    await peer.settle()
    assert peer.body(1) == b"POST / whoami.example\n-1: hello\nX-Sum: 42"
    assert peer.body(3) == b"1"


async def test_fields_that_refer_to_the_table_are_read() -> None:
    """Entries that a client has added and evicted, in any encoding."""
    peer = Peer(build_server())
    for number, value in ((1, "first"), (3, "first"), (5, "x" * 5000), (7, "first"), (9, "second")):
        await peer.ask(peer.headers(number, *get("/"), ("x-name", value)))
        assert f"X-Name: {value}\n".encode() in peer.body(number)
    peer.encoder.header_table_size = 0
    await peer.ask(peer.headers(11, *get("/"), ("x-name", "first")))
    peer.encoder.header_table_size = 4096
    await peer.ask(peer.headers(13, *get("/"), ("x-name", "third")))
    await peer.ask(peer.headers(15, *get("/"), ("x-name", "third")))
    assert b"X-Name: first\n" in peer.body(11)
    assert peer.body(13) == peer.body(15)
    plain = HeadersFrame(17, Encoder().encode(get("/"), huffman=False), flags=["END_HEADERS", "END_STREAM"])
    await peer.ask(plain)
    assert peer.body(17) == b"GET / whoami.example\n0: "


async def test_the_same_block_again_is_read_anew_where_the_table_has_changed() -> None:
    """It has another meaning then."""
    peer = Peer(build_server())
    fields = b"\x82\x86\x84"  # GET, http, /
    again = fields + b"\xbe"  # and the field that came into the table last
    blocks = (fields + b"\x40\x01a\x01b", again, again, fields + b"\x40\x01c\x01d", again, again)
    for number, data in enumerate(blocks):
        await peer.ask(raw(1, 2 * number + 1, data, 5))
    shown = [peer.body(2 * number + 1).partition(b" / \n")[2][:4] for number in range(6)]
    assert shown == [b"A: b"] * 3 + [b"C: d"] * 3


async def test_a_refused_head_request_gets_no_body() -> None:
    """Its client would treat DATA as an error."""
    for field in (("te", "gzip"), ("connection", "close"), ("keep-alive", "1")):
        peer = Peer(build_server())
        frames = await peer.ask(peer.headers(1, *get("/bench", field, method="HEAD")))
        assert peer.fields[-1][":status"] == "400"
        assert not [frame for frame in frames if isinstance(frame, DataFrame)]


async def test_a_mistake_of_ours_ends_one_stream(capsys: pytest.CaptureFixture[str]) -> None:
    """A 500 before the head is sent, a reset afterwards; one log line each."""

    def broken(request: Request) -> Response:
        raise RuntimeError("broken")

    def breaks(request: Request) -> Response:
        def blocks() -> object:
            yield b"x" * 20_000
            raise RuntimeError("breaks")

        return Response(body=blocks())  # type: ignore[arg-type]  # an iterator of blocks

    table = {b"/": Route(lambda request: Response()), b"/broken": Route(broken), b"/breaks": Route(breaks)}
    peer = Peer(Server(Routes(table).find))
    assert await peer.outcome(peer.headers(1, *get("/broken"))) == "answer 500"
    frames = await peer.ask(peer.headers(3, *get("/breaks")))
    assert [frame.error_code for frame in frames if isinstance(frame, RstStreamFrame)] == [INTERNAL]
    assert await peer.outcome(peer.headers(5, *get("/"))) == "answer 200"
    lines = capsys.readouterr().err.splitlines()
    assert [line.partition(": ")[2][:10] for line in lines] == ["b'/broken'", "b'/breaks'"]
