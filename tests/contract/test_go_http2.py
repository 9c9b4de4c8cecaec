"""Corners of HTTP/2 that the original's server decides, as it answers them."""

from collections.abc import Sequence

import pytest
from hyperframe.frame import DataFrame, RstStreamFrame

from tests.http2 import GET, Field, RawHttp2, get
from tests.server import Server


class Answer:
    """What a stream got."""

    def __init__(
        self,
        server: Server,
        fields: Sequence[Field],
        body: bytes | None = None,
        trailers: Sequence[Field] = (),
    ) -> None:
        with RawHttp2(server) as peer:
            ended = body is None and not trailers
            peer.send(peer.headers(1, *fields, ended=ended))
            if body is not None:
                peer.send(DataFrame(1, body, flags=[] if trailers else ["END_STREAM"]))
            if trailers:
                peer.send(peer.headers(1, *trailers))
            self.body, self.reset = b"", False
            for frame in peer.frames():
                self.body += frame.data if isinstance(frame, DataFrame) else b""
                self.reset = isinstance(frame, RstStreamFrame)
                if self.reset or "END_STREAM" in frame.flags:
                    break
            self.statuses = [head[":status"] for head in peer.fields]
            self.head = peer.fields[-1] if peer.fields else {}

    @property
    def echo(self) -> bytes:
        """What stands behind the line with the client's address."""
        return self.body.partition(b"RemoteAddr: ")[2].partition(b"\n")[2]


@pytest.mark.parametrize(("authority", "shown"), [("a/b", ""), (" a", ""), ("a|b", ""), ("é", "xn--9ca")])
def test_any_text_is_an_authority(whoami: Server, authority: str, shown: str) -> None:
    """But one with user information; the echo has only those that are hosts."""
    fields = (*GET[:2], (":authority", authority), (":path", "/"))
    assert Answer(whoami, fields).echo.startswith(b"GET / HTTP/1.1\r\nHost: %s\r\n" % shown.encode())


@pytest.mark.parametrize("authority", ["a b", "[::1%en0]", "a:b:c"])
def test_connect_takes_any_authority(whoami: Server, authority: str) -> None:
    """And finds no tunnel."""
    assert Answer(whoami, ((":method", "CONNECT"), (":authority", authority))).statuses == ["404"]


@pytest.mark.parametrize(
    ("path", "length"),
    [("/data?size=512", "512"), ("/data?size=4096", "4096"), ("/data?size=4097", None)],
)
def test_head_is_told_lengths_up_to_4096(whoami: Server, path: str, length: str | None) -> None:
    """The original's buffer is twice that of HTTP/1.1, and no stream goes out before it is full."""
    assert Answer(whoami, get(path, method="HEAD")).head.get("content-length") == length


@pytest.mark.parametrize(("method", "chunks"), [("GET", b"1\r\nh\r\n4\r\nello"), ("POST", b"5\r\nhello")])
def test_a_body_that_is_not_expected_has_its_first_byte_alone(
    whoami: Server, method: str, chunks: bytes
) -> None:
    """The original looks for it first; how much it found is seen in the chunks."""
    assert Answer(whoami, get("/", method=method), b"hello").echo.endswith(
        b"\r\n\r\n" + chunks + b"\r\n0\r\n\r\n"
    )


def test_trailers_are_not_announced_for_a_body_of_known_length(whoami: Server) -> None:
    """There are no chunks that they could follow, so nobody minds their names."""
    fields = get("/", ("content-length", "1"), ("trailer", "a b"), method="POST")
    assert Answer(whoami, fields, b"x", (("y", "1"),)).echo.endswith(b"Content-Length: 1\r\n\r\nx")


def test_an_empty_trailer_name_is_none(whoami: Server) -> None:
    """It is told as over HTTP/1.1."""
    fields = get("/", ("trailer", "a,,b"), method="POST")
    assert Answer(whoami, fields, b"x").echo == b'net/http: invalid trailer field name ""\n'


@pytest.mark.parametrize("name", ["host", "connection", "if-match", "content-length", "te"])
def test_what_is_for_headers_is_no_trailer(whoami: Server, name: str) -> None:
    """The stream is reset where trailers are announced, and they are dropped where they are not."""
    assert Answer(whoami, get("/", ("trailer", "x"), method="POST"), b"x", ((name, "1"),)).reset
    assert Answer(whoami, get("/", method="POST"), b"x", ((name, "1"),)).statuses == ["200"]


@pytest.mark.parametrize("method", ["GET", "POST"])
def test_an_expectation_is_met_even_if_nothing_follows(whoami: Server, method: str) -> None:
    """As the original does where it looks for a body."""
    expect = ("expect", "100-continue")
    assert Answer(whoami, get("/", expect, method=method)).statuses == ["100", "200"]
    assert Answer(whoami, get("/bench", expect, method=method)).statuses == ["200"]
