"""When the original answers, and when it waits: truncated or withheld requests, and garbage."""

import json
import socket

import pytest

from tests.server import Server, request, started, wait_for

BENCH = request("/bench")


@pytest.mark.parametrize("sent", [BENCH[:length] for length in (1, 4, 14, 21, 30, 50, len(BENCH) - 1)])
def test_a_head_that_is_cut_off_is_malformed(whoami: Server, sent: bytes) -> None:
    """400 if the client half-closes within it, also after another request, except for under four bytes."""
    with whoami.connect() as client:
        client.send(sent)
        client.socket.shutdown(socket.SHUT_WR)
        answer = client.read()
        assert answer is not None
        assert answer.status == 400
        assert client.closes()
    with whoami.connect() as client:
        client.send(BENCH + sent)
        client.socket.shutdown(socket.SHUT_WR)
        statuses = [answer.status for answer in (client.read(), client.read()) if answer]
        assert statuses == ([200, 400] if len(sent) >= 4 else [200])


@pytest.mark.parametrize(
    "start",
    [
        b"\r\n",
        b"GET\r\n",
        b"GET a HTTP/1.1\r\n",
        b"GET / HTTP/1.1\r\nHost: a\r\nX\r\n",
        b"GET / HTTP/1.1\r\nHost: a\r\nX: \x01\r\nY",
        b"GET / HTTP/1.1\r\n Host: a\r\nX: b",
        b"GET / HTTP/1.1\r\nHost: a\r\n\r \n",
    ],
)
def test_a_malformed_line_is_refused_before_the_rest_has_come(whoami: Server, start: bytes) -> None:
    """Immediately, although the head is incomplete; however its bytes are split."""
    for pieces in ([start], [start[:-1], start[-1:]]):
        with whoami.connect() as client:
            for piece in pieces:
                client.send(piece)
            answer = client.read()
            assert answer is not None
            assert (answer.status, client.closes()) == (400, True)


def test_a_head_may_come_line_by_line(whoami: Server) -> None:
    """Continuation lines may begin a segment."""
    with whoami.connect() as client:
        for line in (b"GET /api HTTP/1.1\r\n", b"Host: a\r\nX: 1\r\n", b" :2\r\n", b"\t3\r\nY: 4\r\n", b"\r\n"):
            client.send(line)
        answer = client.read()
        assert answer is not None
        assert json.loads(answer.body)["headers"] == {"X": ["1 :2 3"], "Y": ["4"]}


@pytest.mark.parametrize("stray", [b"\r\n", b"\n", b"\n\n", b"\r\n\r", b"\n\r\n"])
def test_less_than_four_bytes_are_not_looked_at_behind_a_request(whoami: Server, stray: bytes) -> None:
    """They get no answer, and after a POST they do not make the next request malformed."""
    with whoami.connect() as client:
        client.send(BENCH + stray)
        client.socket.shutdown(socket.SHUT_WR)
        assert client.read() is not None
        assert client.read() is None
    with whoami.connect() as client:
        for _ in range(2):
            client.send(request("/bench", method="POST") + stray)
            answer = client.read()
            assert answer is not None
            assert answer.body == b"1"


def test_line_ends_behind_a_post_are_not_a_request(whoami: Server) -> None:
    """If the client half-closes after them while it waits, it gets one answer."""
    with whoami.connect() as client:
        client.send(request("/?wait=50ms", method="POST") + b"\r\n\r\n")
        client.socket.shutdown(socket.SHUT_WR)
        assert client.read() is not None
        assert client.read() is None


@pytest.mark.parametrize(
    "raw",
    [
        b"GET /bench HTTP/1.1\r\nHost: a\r\nConnection: close\r\nContent-Length: 10\r\n\r\nabc",
        b"POST /api HTTP/1.1\r\nHost: a\r\nConnection: close\r\nTransfer-Encoding: chunked\r\n\r\n",
        b"POST /data HTTP/1.0\r\nContent-Length: 10\r\n\r\n",
        b"CONNECT /bench HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\n\r\n",
        b"PUT /health HTTP/1.0\r\nContent-Length: 10\r\n\r\n",
    ],
)
def test_a_body_that_nobody_reads_is_not_waited_for(whoami: Server, raw: bytes) -> None:
    """If the connection closes after the answer anyway."""
    with whoami.connect() as client:
        client.send(raw)
        answer = client.read(raw)
        assert answer is not None
        assert (answer.status, client.closes()) == (200, True)


def test_health_takes_a_body_that_did_not_wait_for_100_continue(whoami: Server) -> None:
    """The original reads it before it answers, unlike that of ``/``."""
    raw = request("/health", "Expect: 100-continue", method="POST", body=b"200")
    assert whoami.ask(raw).status == 200


def test_health_reads_the_body_of_a_post_alone(whoami: Server) -> None:
    """Other methods may have a body of any size."""
    assert whoami.get("/health", method="PUT", body=b"x" * 5000).status == 200
    assert whoami.get("/health", method="POST", body=b" " * 1025).status == 413
    assert whoami.get("/health", method="CONNECT", body=b"1").status == 200


@pytest.mark.parametrize(
    ("ending", "shown"),
    [
        (b"0\r\n", b"http: unexpected EOF reading trailer\n"),
        (b"0\r\nx", b"http: unexpected EOF reading trailer\n"),
        (b"0\r\nx: 1\r\n", b"http: suspiciously long trailer after chunked body\n"),
        (b"2\r\nx", b"unexpected EOF\n"),
    ],
)
def test_the_end_within_a_chunked_body_is_said(whoami: Server, ending: bytes, shown: bytes) -> None:
    """In the original's words."""
    raw = request("/", "Transfer-Encoding: chunked", method="POST") + ending
    assert whoami.ask(raw, half_close=True).body.endswith(shown)


@pytest.mark.parametrize(("length", "known"), [(511, True), (512, False)])
def test_head_is_told_the_length_where_the_original_knows_it(whoami: Server, length: int, known: bool) -> None:
    """A body of 512 bytes makes it send the head before the answer is complete; chunks do not."""
    body = b"x" * length
    answer = whoami.get("/", method="HEAD", body=body)
    assert (answer.header("Content-Length") is not None) == known
    chunks = request("/", "Transfer-Encoding: chunked", method="HEAD") + b"%x\r\n%s\r\n0\r\n\r\n" % (
        length,
        body,
    )
    assert whoami.ask(chunks).header("Content-Length")


def test_a_change_of_the_health_status_is_told_on_standard_output() -> None:
    """As the original does, and nowhere else."""
    with started("whoami") as server:
        assert server.get("/health", method="POST", body=b"503").status == 200
        wait_for(lambda: server.out)
        assert server.out == ["Update health check status code [503]\n"]
        assert "health" not in "".join(server.err)
