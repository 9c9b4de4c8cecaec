"""A head of a mebibyte, whatever it contains, costs little more than reading it."""

import sys
import time
import tracemalloc
from collections import Counter
from collections.abc import Callable

import pytest

from podkit.go.url import escape_html, escape_non_ascii, escape_path
from podkit.http1.head import parse_head
from podkit.http1.reader import RequestReader
from podkit.message import Client, HttpError, Request, Response
from podkit.pod.pod import Pod
from podkit.routes import Routes
from podkit.server import Server
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


def memory(work: Callable[[], object]) -> int:
    """The bytes that some work takes at its peak."""
    tracemalloc.start()
    try:
        work()
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


def calls(work: Callable[[], object]) -> int:
    """The number of functions that are called, also in C."""
    events = Counter[str]()
    sys.setprofile(lambda frame, event, argument: events.update((event,)))
    try:
        work()
    finally:
        sys.setprofile(None)
    return events["call"] + events["c_call"]


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
    assert memory(lambda: answer(routes, block)) < 32 * MIB


@pytest.mark.parametrize("line_end", [b"\r\n", b"\n"])
def test_pipelined_heads_take_time_in_proportion(routes: Routes, line_end: bytes) -> None:
    """Each is found without a look at all that follow it."""
    server = Server(routes.find)
    client = Client("w1-1", "127.0.0.1:1", 0.0)
    reader, found = RequestReader(server, client), 0
    data = b"GET /bench HTTP/1.1\nHost: h\n\n".replace(b"\n", line_end) * 8000
    start = time.process_time()
    while reader.position < len(data):
        found += reader.next(data, reader.position) is not None
    assert found == 8000
    assert time.process_time() - start < 0.3


@pytest.mark.parametrize("path", [b'"' * MIB, b'a/"' * (MIB // 3), b'"%22' * (MIB // 4)])
def test_a_path_longer_than_any_known_one_is_neither_unescaped_nor_copied(routes: Routes, path: bytes) -> None:
    """It cannot lead anywhere but to ``/``."""
    head = parse_head(get(b"/" + path))
    assert memory(lambda: routes.find(head)) < MIB // 16
    assert routes.find(head) == routes.find(parse_head(get(b"/")))


@pytest.mark.parametrize("text", [b"\xe2\x80", b"\xf0\x90\x80<", b"\xff", b"?\xc3"])
def test_json_takes_no_step_for_each_byte_that_is_not_utf_8(routes: Routes, text: bytes) -> None:
    """However the bytes are mixed."""
    block = get(b"/api", b"X: " + text * (MIB // len(text)))
    assert calls(lambda: answer(routes, block)) < 1000


@pytest.mark.parametrize(
    ("escape", "text", "mebibytes"),
    [(escape_path, b'"', 8), (escape_non_ascii, b"\xff", 8), (escape_html, b'"', 10)],
)
def test_escaping_takes_little_more_space_than_its_result(
    escape: Callable[[bytes], bytes], text: bytes, mebibytes: int
) -> None:
    """Which is three or five times as long."""
    assert memory(lambda: escape(b"/" + text * MIB)) < mebibytes * MIB
