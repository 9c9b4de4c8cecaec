"""A head of a mebibyte, whatever it contains, costs little more than reading it."""

import time
import tracemalloc

import pytest

from podkit.http1.head import parse_head
from podkit.message import Client, HttpError, Request, Response
from podkit.pod.pod import Pod
from podkit.routes import Routes
from whoami.app import build_routes
from whoami.health import Health

MIB = 1 << 20
ATTACHMENT = b"/data?size=30&attachment=1"


@pytest.fixture(scope="module")
def routes() -> Routes:
    """whoami's routes."""
    return build_routes(Pod(), Health())


def answer(routes: Routes, block: bytes) -> None:
    """Parses a head and calls its endpoint."""
    try:
        head = parse_head(block)
    except HttpError:
        return
    response = routes.find(head).endpoint(Request(head, Client("w1-1", "127.0.0.1:1", 0.0)))
    if isinstance(response, Response):
        assert isinstance(response.body, bytes)


def get(target: bytes, *lines: bytes) -> bytes:
    """The head of a request for an attachment."""
    return b"\r\n".join([b"GET %s HTTP/1.1" % target, b"Host: h", *lines])


@pytest.mark.parametrize(
    "block",
    [
        get(ATTACHMENT, b"If-Match: " + b'"",' * (MIB // 3)),
        get(ATTACHMENT, b"If-Match: " + b"," * MIB),
        get(ATTACHMENT, b"If-None-Match: " + b'"' * MIB),
        get(ATTACHMENT, b"If-Modified-Since: Sun," + b" " * MIB),
        get(ATTACHMENT, b"Range: bytes=" + b"0-0," * (MIB // 4)),
        get(ATTACHMENT, b"Range: bytes=0-" + b"1" * MIB),
        get(b"/", b"Connection: " + b"close;," * (MIB // 7)),
        get(b"/echo", b"Connection: upgrade", b"Upgrade: " + b"a," * (MIB // 2)),
        get(b"/", b"Transfer-Encoding: chunked", b"Trailer: " + b"a," * (MIB // 2)),
        get(b"/", b"Transfer-Encoding: chunked", b"Trailer: " + b"(" * MIB),
        get(b"/", b"Content-Length: " + b"0" * MIB),
        get(b"/", b"X: " + b" " * MIB + b"a"),
        get(b"/", *[b"a:b"] * (MIB // 5)),
        get(b"/", b"X: a", *[b" b"] * (MIB // 4)),
        get(b"/" + b"%41" * (MIB // 3)),
        get(b"/" + b"\xe9" * MIB),
        get(b"/" + b"<a" * (MIB // 2)),
        get(b"/" + b"a/../" * (MIB // 5)),
        get(b"//?" + b"\xe9a" * (MIB // 2)),
        get(b"//?" + b'"' * MIB),
        get(b"/?" + b"a=b&" * (MIB // 4)),
        get(b"/?wait=" + b"1s" * (MIB // 2)),
        get(b"/data?size=" + b"1" * MIB),
        get(b"/api?" + b"<" * MIB),
        get(b"/api", b"X: " + b"\xff" * MIB),
        get(b"http://" + b"\xc3\xa9" * (MIB // 2) + b"/"),
        get(b"http://" + b"%C3" * (MIB // 3) + b"/"),
        get(b"http://[" + b":" * MIB + b"]/"),
        get(b"http://[::1%25" + b"%41" * (MIB // 3) + b"]/"),
        b"G" * MIB,
    ],
    ids=lambda block: ascii(block.replace(b"Host: h\r\n", b"")[:60]),
)
def test_a_mebibyte_takes_time_and_memory_in_proportion(routes: Routes, block: bytes) -> None:
    """0.3 s and 32 MiB at most, on a slow machine; quadratic time would be minutes."""
    start = time.process_time()
    answer(routes, block)
    assert time.process_time() - start < 0.3
    tracemalloc.start()
    try:
        answer(routes, block)
        assert tracemalloc.get_traced_memory()[1] < 32 * MIB
    finally:
        tracemalloc.stop()
