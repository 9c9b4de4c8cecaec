"""A repeated head on a connection is not parsed again, but its answer is new."""

from tests.server import Server, request, started


def test_each_request_gets_its_own_answer(whoami: Server) -> None:
    """Whether or not it repeats the previous one, one by one and pipelined."""
    sent = [request("/a", "X-Who: 1"), request("/a", "X-Who: 2"), request("/a", "X-Who: 2"), request("/b")]
    with whoami.connect() as client:
        for raw in [*sent, *sent]:
            client.send(raw)
            answer = client.read()
            assert answer is not None
            assert answer.body.count(raw.partition(b"\r\n")[0]) == 1
            assert answer.body.count(b"X-Who: 2") == raw.count(b"X-Who: 2")
        client.send(b"".join(sent))
        answers = [client.read() for _ in sent]
    assert [b"X-Who: 2" in answer.body for answer in answers if answer] == [False, True, True, False]


def test_the_answer_is_of_now() -> None:
    """A change between two equal requests is visible in the second."""
    with started("whoami") as server, server.connect() as client:
        for status in (200, 503, 204):
            assert server.get("/health", method="POST", body=b"%d" % status).status == 200
            client.send(request("/health"))
            answer = client.read()
            assert answer is not None
            assert answer.status == status


def test_a_head_that_is_refused_stays_refused(whoami: Server) -> None:
    """First, after a good one, and every time."""
    for good in (b"", request("/bench"), request("/bench")):
        for bad in (request("/bench", "no colon"), b"\r\n\r\n"):
            with whoami.connect() as client:
                client.send(good)
                assert not good or client.read() is not None
                client.send(bad)
                answer = client.read()
                assert answer is not None
                assert answer.status == 400


def test_an_answer_to_all_fits_each_request(whoami: Server) -> None:
    """/bench always answers the same, but what frames it depends on the request."""
    usual = request("/bench")
    others = {
        usual.replace(b"GET", b"HEAD"): b"",
        usual.replace(b"HTTP/1.1", b"HTTP/1.0\r\nConnection: keep-alive"): b"1",
        usual.replace(b"GET", b"PUT"): b"1",
    }
    with whoami.connect() as client:
        for other, body in others.items():
            for raw, expected in ((usual, b"1"), (usual, b"1"), (other, body)):
                client.send(raw)
                answer = client.read(raw)
                assert answer is not None
                assert (answer.version.encode() in raw, answer.status, answer.body) == (True, 200, expected)
                assert answer.header("Connection") == "keep-alive"
    with whoami.connect() as client:
        client.send(usual + request("/bench", "Connection: close"))
        first, last = client.read(), client.read()
        assert first is not None
        assert last is not None
        assert (first.header("Connection"), last.header("Connection")) == ("keep-alive", "close")
        assert client.read() is None
