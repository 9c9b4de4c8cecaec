"""``/.answer``: faults on demand, and their shares."""

from collections import Counter
from contextlib import suppress
from random import Random
from urllib.parse import quote

import pytest

from podkit.message import UNREADABLE, Abort, Answer, Client, Delayed, Request, Response
from podkit.pod.pod import Pod
from podkit.routes import Route, Routes
from podkit.server import Server
from tests.http2 import Peer, get
from tests.inprocess import running
from tests.readme import shown
from whoami.faults import Faults

POD = Pod()
HOST = POD.hostname


def build(seed: int = 1) -> Faults:
    """The endpoint with repeatable random numbers."""
    return Faults(POD, Random(seed))


def ask(query: str, faults: Faults | None = None) -> Answer:
    """The answer to a query."""
    head = UNREADABLE._replace(query=quote(query, safe="&=:,").encode())
    return (faults or build())(Request(head, Client("w1-1", "192.0.2.1:40000", 0.0)))


def text(answer: Answer) -> str:
    """The body."""
    assert isinstance(answer, Response)
    return b"".join([answer.body] if isinstance(answer.body, bytes) else answer.body).decode()  # type: ignore


def test_without_a_query() -> None:
    """200, immediately."""
    answer = ask("")
    assert isinstance(answer, Response)
    assert (answer.status, text(answer)) == (200, f"200 from {HOST}\n")
    assert (b"Cache-Control", b"no-store") in answer.headers
    assert (b"X-Content-Type-Options", b"nosniff") in answer.headers


def test_shares_are_kept() -> None:
    """Each value gets its share of many requests, and 200 the rest; the body names the value."""
    faults = build()
    drawn = Counter(text(ask("status=503:10,429:5.5", faults)) for _ in range(10_000))
    shares = {line.removesuffix(f" from {HOST}\n"): count / 100 for line, count in drawn.items()}
    assert shares.keys() == {"503 (10 %)", "429 (5.5 %)", "200 (84.5 %)"}
    for line, share in shares.items():
        assert abs(share - float(line.split("(")[1].split()[0])) < 1.5


def test_the_readmes_example() -> None:
    """The line that it shows is one of those that its command gets."""
    command, line = shown("curl 'localhost:8080/.answer")
    query = command.partition("?")[2].removesuffix("'")
    drawn = set()
    for seed in range(300):
        answer = ask(query, build(seed))
        if isinstance(answer, Delayed):
            made = answer.respond()
            assert isinstance(made, Response)
            answer = made
        drawn.add(text(answer).partition(" from ")[0])
    assert line.partition(" from ")[0] in drawn


def test_waits() -> None:
    """The answer is delayed, or omitted if the connection is to be closed."""
    answer = ask("wait=200ms&status=503")
    assert isinstance(answer, Delayed)
    assert (answer.seconds, text(answer.respond())) == (0.2, f"503 after 200ms from {HOST}\n")
    broken = ask("wait=1m&close=true")
    assert isinstance(broken, Delayed)
    assert isinstance(broken.respond(), Abort)
    assert isinstance(ask("close=true"), Abort)
    assert isinstance(ask("close=false"), Response)
    assert isinstance(ask("wait=0s"), Response)


@pytest.mark.parametrize(
    ("size", "expected"), [("0", 0), ("3", 3), ("100", 100), ("1KB", 1024), ("1kb", 1024), ("2MB", 2 << 20)]
)
def test_sizes(size: str, expected: int) -> None:
    """The body is padded or truncated to the size."""
    answer = ask(f"size={size}")
    assert isinstance(answer, Response)
    body = text(answer)
    assert answer.length == len(body) == expected
    assert body.startswith(f"200, {size} from {HOST}\n"[:expected])


def test_headers() -> None:
    """Caching, Retry-After and X-..., several if needed; a cache rule replaces ours."""
    answer = ask("header=cache-control:max-age=60&header=X-Lab:a b&header=X-Lab:c&header=retry-after:")
    assert isinstance(answer, Response)
    expected = [(b"cache-control", b"max-age=60"), (b"X-Lab", b"a b"), (b"X-Lab", b"c"), (b"retry-after", b"")]
    assert [*answer.headers[2:]] == expected


@pytest.mark.parametrize(
    "query",
    [
        *("status=199", "status=600", "status=2000", "status=abc", "status=", "status=503:", "status=503:-1"),
        *("status=503:101", "status=503:60,429:41", "status=503,429", "status=503:nan", "status=1e2"),
        *("wait=301s", "wait=-1s", "wait=soon", "size=11MB", "size=-1", "size=1GB", "size=999999999999"),
        *("close=maybe", "close", "statu=503", "status=503&status=200", "header=X-A", "header=:x"),
        *("header=Content-Type:text/html", "header=Set-Cookie:a=b", "header=Content-Length:0", "header=Date:x"),
        *("header=Transfer-Encoding:chunked", "header=Location:/", "header=X-Accel-Redirect:/secret"),
        *("header=X-Sendfile:/etc/passwd", "header=X-Content-Type-Options:x", "header=Connection:close"),
        *("header=X-A:b\r\nSet-Cookie: c=d", "header=X-A:\0", "header=X-A:\x7f", "header=X-A:\u00e9"),
        *("header=X-A\r\n:b", "header=X A:b", "header=X-A:" + "b" * 513, "header=X-" + "a" * 63 + ":b"),
        *("&".join(["header=X-A:b"] * 11), "status=" + ",".join(["503:1"] * 21), "status=503:1" + " " * 9000),
        "<script>=1",
    ],
)
def test_anything_else_is_refused(query: str) -> None:
    """400, and one line with the reason and the allowed values."""
    answer = ask(query)
    assert isinstance(answer, Response)
    assert answer.status == 400
    assert text(answer).count("\n") == 1
    assert ": allowed are status=" in text(answer)
    assert text(answer).isprintable() or text(answer)[:-1].isprintable()
    assert all(name not in (b"Set-Cookie", b"X-A") for name, _ in answer.headers)


def find() -> Routes:
    """A table with only the endpoint."""
    return Routes({b"/": Route(build())})


@pytest.mark.parametrize("status", [204, 205, 304])
async def test_an_answer_that_has_no_body(status: int) -> None:
    """The next answer follows correctly."""
    first = b"GET /?status=%d&size=2MB HTTP/1.1\r\nHost: a\r\n\r\n" % status
    async with running(find().find) as server:
        answer = await server.ask(first + b"GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n")
    head, body = answer.split(b"\r\n\r\n", 1)
    assert head.startswith(b"HTTP/1.1 %d " % status)
    assert body.startswith(b"HTTP/1.1 200 OK")


async def test_close_breaks_the_connection() -> None:
    """Without a byte of an answer, immediately or delayed; over HTTP/2, only its stream."""
    async with running(find().find) as server:
        for query in (b"close=true", b"close=true&wait=20ms"):
            reader, writer = await server.connect()
            writer.write(b"GET /?%s HTTP/1.1\r\nHost: a\r\n\r\n" % query)
            with suppress(ConnectionResetError):
                assert await reader.read() == b""
            writer.close()
        await server.let_go()
    peer = Peer(Server(find().find))
    assert await peer.outcome(peer.headers(1, *get("/?close=true"))) == "reset 1 2"
    assert await peer.outcome(peer.headers(3, *get("/"))) == "answer 200"
    await peer.leave()
