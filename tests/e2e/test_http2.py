"""HTTP/2 without TLS: curl, a client library, and frames that clients should not send."""

import asyncio
import os
import subprocess
from collections.abc import Callable
from pathlib import Path

import httpx
import pytest
from hpack import Encoder
from hyperframe.frame import (
    ContinuationFrame,
    DataFrame,
    Frame,
    GoAwayFrame,
    HeadersFrame,
    PingFrame,
    RstStreamFrame,
    SettingsFrame,
    WindowUpdateFrame,
)

from tests.http2 import GET, PREFACE, RawHttp2, get
from tests.inprocess import until
from tests.server import PATIENCE, Server, request, started, wait_for

MEMORY = 48 << 10  # kB of growth allowed under abuse


def curl(*arguments: str, stdin: bytes = b"") -> bytes:
    """curl's output."""
    command = ["curl", "--silent", "--show-error", "--max-time", str(PATIENCE), *arguments]
    return subprocess.run(command, input=stdin, check=True, capture_output=True).stdout


def body_of(answer: bytes) -> bytes:
    """The echoed request in an answer of ``/``, without the client's port."""
    return answer.partition(b"RemoteAddr: 127.0.0.1:")[2].partition(b"\n")[2]


@pytest.mark.parametrize("how", ["--http2-prior-knowledge", "--http2"])
def test_curl_speaks_http2(whoami: Server, how: str) -> None:
    """With prior knowledge or by the upgrade from HTTP/1.1, the answer uses HTTP/2."""
    address = f"http://127.0.0.1:{whoami.port}/bench"
    assert curl(how, "-w", " %{http_version}", address) == b"1 2"
    assert curl(how, "-I", "-w", "%{http_version}", address).endswith(b"2")


def test_a_request_is_shown_as_over_http11(whoami: Server) -> None:
    """The host comes from ``:authority``, names are in Go's form, the protocol is HTTP/1.1."""
    address = f"http://127.0.0.1:{whoami.port}/some/path?x=1"
    answer = curl("--http2-prior-knowledge", "-A", "test", "-H", "x-real-ip: 192.0.2.1", address)
    assert body_of(answer) == (
        b"GET /some/path?x=1 HTTP/1.1\r\nHost: 127.0.0.1:%d\r\nUser-Agent: test\r\nAccept: */*\r\n"
        b"X-Real-Ip: 192.0.2.1\r\n\r\n" % whoami.port
    )


def test_an_upgraded_request_is_shown_as_it_came(whoami: Server) -> None:
    """The upgrading request is an HTTP/1.1 request, including its body."""
    answer = curl("--http2", "-A", "test", "-d", "hello", f"http://127.0.0.1:{whoami.port}/")
    assert body_of(answer).startswith(b"POST / HTTP/1.1\r\n")
    assert b"\r\nUpgrade: h2c\r\n\r\nhello" in answer
    assert b"Connection: Upgrade, HTTP2-Settings\r\n" in answer


def test_an_upgrade_with_a_body_that_nobody_reads_is_answered(whereami: Server) -> None:
    """The server stays with HTTP/1.1, as it may."""
    address = f"http://127.0.0.1:{whereami.port}/"
    assert curl("--http2", "-d", "hello", "-w", "%{http_code}", address).endswith(b"node1\n200")


@pytest.mark.parametrize(
    "settings",
    ["!", "AAMAAABkAAQ", "AAMAAABk" * 2731],
    ids=["no base64", "half a setting", "more than a frame may have"],
)
def test_bad_settings_of_an_upgrade_are_refused(whoami: Server, settings: str) -> None:
    """The client gets 400 over HTTP/1.1, and the connection closes."""
    upgrade = ("Connection: Upgrade, HTTP2-Settings", "Upgrade: h2c", f"HTTP2-Settings: {settings}")
    assert whoami.get("/bench", *upgrade).status == 400


def test_a_body_of_known_length_is_echoed(whoami: Server) -> None:
    """All of it, although it is larger than the windows."""
    body = bytes(range(256)) * 12_000
    address = f"http://127.0.0.1:{whoami.port}/"
    answer = curl("--http2-prior-knowledge", "--data-binary", "@-", address, stdin=body)
    assert b"Content-Length: %d\r\n" % len(body) in answer
    assert answer.endswith(b"\r\n\r\n" + body)


def test_a_body_of_unknown_length_is_shown_in_chunks(whoami: Server) -> None:
    """As the original forwards it."""
    answer = curl("--http2-prior-knowledge", "-T", "-", f"http://127.0.0.1:{whoami.port}/", stdin=b"hello")
    assert b"Transfer-Encoding: chunked\r\n" in answer
    assert answer.endswith(b"\r\n\r\n5\r\nhello\r\n0\r\n\r\n")


def test_a_body_that_is_too_large_gets_413() -> None:
    """And curl can read the answer while it still sends."""
    with started("whoami", "--max-body", "100000") as server:
        address = f"http://127.0.0.1:{server.port}/"
        answer = curl(
            "--http2-prior-knowledge", "-T", "-", "-w", "%{http_code}", address, stdin=bytes(2_000_000)
        )
        assert answer == b"the body is larger than 100000 bytes\n413"


def test_every_path_answers_as_over_http11(whoami: Server, tmp_path: Path) -> None:
    """The same status, type, length and body."""
    for target in (
        "/bench",
        "/health",
        "/openapi.yaml",
        "/data?size=3&unit=MB",
        "/a//b",
        "/echo",
        "/?wait=10ms",
    ):
        address = f"http://127.0.0.1:{whoami.port}{target}"
        shown = "%{http_code} %{content_type} %{size_download} %{redirect_url}"
        found = [
            (
                curl(how, "-A", "test", "-o", str(tmp_path / how), "-w", shown, address),
                (tmp_path / how).read_bytes(),
            )
            for how in ("--http1.1", "--http2-prior-knowledge")
        ]
        assert found[0][0] == found[1][0]
        if not target.startswith("/?"):  # it shows the client's port
            assert found[0][1] == found[1][1]


def test_whereami_speaks_it_too(whereami: Server) -> None:
    """The kubia server answers over HTTP/2."""
    address = f"http://127.0.0.1:{whereami.port}/any"
    assert curl("--http2-prior-knowledge", address).endswith(b" on this node: node1\n")


async def test_many_streams_at_once(whoami: Server) -> None:
    """A client library's requests share one connection; delayed ones do not block the others."""
    limits = httpx.Limits(max_connections=1)
    async with httpx.AsyncClient(
        http1=False, http2=True, limits=limits, base_url=f"http://127.0.0.1:{whoami.port}", timeout=PATIENCE
    ) as client:
        await client.get("/bench")  # negotiates the protocol
        waiting = asyncio.ensure_future(client.get("/?wait=1m"))
        bodies = [b"%d" % number * 9000 for number in range(100)]
        answers = await asyncio.gather(*[client.post("/", content=body) for body in bodies])
        assert not waiting.done()
        waiting.cancel()
    assert {answer.http_version for answer in answers} == {"HTTP/2"}
    assert all(answer.content.endswith(body) for answer, body in zip(answers, bodies, strict=True))
    assert len({answer.text.partition("RemoteAddr: ")[2].split("\n")[0] for answer in answers}) == 1


def test_data_waits_for_the_clients_window(whoami: Server) -> None:
    """No byte more than the window allows, and the rest when it grows."""
    with RawHttp2(whoami, {SettingsFrame.INITIAL_WINDOW_SIZE: 10}) as client:
        client.send(client.headers(1, *get("/data?size=15")))
        frames, blocks = client.frames(), []
        for frame in frames:
            if isinstance(frame, DataFrame):
                blocks.append(frame.data)
                if len(blocks) == 1:
                    client.send(PingFrame(0, b"no more?"))
                else:
                    assert "END_STREAM" in frame.flags
                    break
            if isinstance(frame, PingFrame):  # answered after the first block, so nothing else was sent
                client.send(WindowUpdateFrame(1, 100))
        assert blocks == [b"|ABCDEFGHI", b"JKLM|"]


@pytest.mark.parametrize("method", ["POST", "PUT", "PATCH", "PURGE"])
def test_no_body_is_shown_as_an_empty_one_where_methods_have_one(whoami: Server, method: str) -> None:
    """As the original forwards it."""
    with RawHttp2(whoami) as client:
        client.send(client.headers(1, *get("/", method=method)))
        body = b"".join(frame.data for frame in client.answer() if isinstance(frame, DataFrame))
    assert body.endswith(b"\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n")


@pytest.mark.parametrize("method", ["GET", "DELETE", "OPTIONS", "SEARCH"])
def test_no_body_is_none_where_methods_have_none(whoami: Server, method: str) -> None:
    """Whether the stream ends with the head, or with an empty DATA frame."""
    for ended in (True, False):
        with RawHttp2(whoami) as client:
            client.send(client.headers(1, *get("/", method=method), ended=ended))
            if not ended:
                client.send(DataFrame(1, b"", flags=["END_STREAM"]))
            body = b"".join(frame.data for frame in client.answer() if isinstance(frame, DataFrame))
        assert body.endswith(b"\r\nUser-Agent: Go-http-client/1.1\r\n\r\n")


def test_a_host_beside_the_authority_is_shown_once(whoami: Server) -> None:
    """The authority wins."""
    with RawHttp2(whoami) as client:
        client.send(client.headers(1, *get("/", ("host", "other.example"))))
        body = b"".join(frame.data for frame in client.answer() if isinstance(frame, DataFrame))
    assert b"\r\nHost: whoami.example\r\n" in body
    assert b"other.example" not in body


def test_upgrades_with_a_large_answer_work_every_time(whoami: Server) -> None:
    """The data right after the 101 fits into curl's buffer for it."""
    for _ in range(15):
        address = f"http://127.0.0.1:{whoami.port}/data?size=100000"
        shown = curl("--http2", "-o", os.devnull, "-w", "%{http_version} %{size_download}", address)
        assert shown == b"2 100000"


def test_trailers_come_with_the_echo(whoami: Server) -> None:
    """The announced ones; others are ignored."""
    with RawHttp2(whoami) as client:
        client.send(
            client.headers(1, *get("/", ("trailer", "x-sum"), method="POST"), ended=False),
            DataFrame(1, b"hello"),
            client.headers(1, ("x-sum", "42"), ("x-other", "1")),
        )
        body = b"".join(frame.data for frame in client.answer() if isinstance(frame, DataFrame))
    assert b"\r\nTrailer: X-Sum\r\n" in body
    assert body.endswith(b"5\r\nhello\r\n0\r\nX-Sum: 42\r\n\r\n")


def test_a_client_that_waits_for_100_gets_it(whoami: Server) -> None:
    """Then its body is echoed."""
    fields = get("/", ("expect", "100-continue"), method="POST")
    with RawHttp2(whoami) as client:
        client.send(client.headers(1, *fields, ended=False))
        assert client.outcome() == "answer 100"
        client.send(DataFrame(1, b"hello", flags=["END_STREAM"]))
        body = b"".join(frame.data for frame in client.answer() if isinstance(frame, DataFrame))
        assert client.fields[-1][":status"] == "200"
        assert body.endswith(b"hello\r\n0\r\n\r\n")


def bomb() -> bytes:
    """A small header block of 2 MB: one field of 4000 bytes, and 500 references to it."""
    return Encoder().encode([*GET, ("x-bomb", "b" * 4000)]) + b"\xbe" * 500


FLOODS: tuple[Callable[[RawHttp2], list[Frame | bytes]], ...] = (
    lambda c: [
        frame
        for number in range(1, 10_000, 2)
        for frame in (c.headers(number, *get("/?wait=1m")), RstStreamFrame(number))
    ],
    lambda c: [HeadersFrame(1, bomb(), flags=["END_HEADERS", "END_STREAM"])],
    lambda c: [PingFrame(0, bytes(8))] * 5000,
    lambda c: [HeadersFrame(1, b""), *[ContinuationFrame(1, bytes(100))] * 5000],
)


def test_abuse_costs_bounded_memory() -> None:
    """On many new connections, and on one that never reads; and others are served."""
    with started("whoami") as server:
        with RawHttp2(server) as client:
            client.send(client.headers(1))
            assert client.outcome() == "answer 200"  # loads HTTP/2
        before = resident(server)
        for flood in FLOODS:
            for _ in range(5):
                with RawHttp2(server) as client:
                    client.send(*flood(client))
                    assert client.outcome() != "closed"
        with RawHttp2(server, {SettingsFrame.INITIAL_WINDOW_SIZE: 2**31 - 1}) as client:
            client.send(WindowUpdateFrame(0, 2**31 - 1 - 65_535))
            big = get("/data?size=1&unit=GB")
            client.send(*[client.headers(number, *big) for number in range(1, 100, 2)])
            client.send(client.headers(101, *get("/bench")))
            assert server.get("/bench").status == 200
            assert resident(server) - before < MEMORY


def resident(server: Server) -> int:
    """The process's resident memory in kB."""
    status = Path(f"/proc/{server.process.pid}/status").read_text()
    return int(status.partition("VmRSS:")[2].split()[0])


@pytest.mark.parametrize("opening", [PREFACE[:10], PREFACE[:18], b"P"], ids=["half", "a head", "one byte"])
def test_half_a_preface_does_not_hold_others_up(whoami: Server, opening: bytes) -> None:
    """It may still become HTTP/2 or HTTP/1.1; a client that disconnects costs nothing."""
    with whoami.connect() as client:
        client.send(opening)
        assert whoami.get("/bench").status == 200
        client.socket.shutdown(1)
        answer = client.read()
        assert answer is None or answer.status == 400


@pytest.mark.slow
def test_half_a_preface_is_timed_out(whoami: Server) -> None:
    """Like an incomplete head; the connection closes."""
    with whoami.connect() as half, whoami.connect() as head:
        half.send(PREFACE[:10])
        head.send(PREFACE[:18])
        for client, status in ((half, 408), (head, 400)):
            answer = client.read()
            assert answer is not None
            assert answer.status == status
            assert client.closes()


def test_http11_in_small_pieces_is_still_http11(whoami: Server) -> None:
    """A method that begins like the preface is still HTTP/1.1."""
    with whoami.connect() as client:
        for byte in request("/bench", method="PRIZE"):
            client.send(bytes((byte,)))
        answer = client.read()
        assert answer is not None
        assert answer.body == b"1"


def test_draining_finishes_streams_and_says_goodbye() -> None:
    """After SIGTERM a delayed stream is answered, GOAWAY names it, and the process exits."""
    with started("whoami") as server, RawHttp2(server) as client:
        client.send(client.headers(1, *get("/?wait=2s")))
        client.send(client.headers(3))
        assert client.outcome() == "answer 200"
        server.process.terminate()
        seen: list[str] = []
        for frame in client.frames():
            if isinstance(frame, PingFrame) and "ACK" not in frame.flags:
                client.send(PingFrame(0, frame.opaque_data, flags=["ACK"]))
            if isinstance(frame, GoAwayFrame):
                seen.append(f"goodbye {frame.last_stream_id} {frame.error_code}")
            if "END_STREAM" in frame.flags and frame.stream_id == 1:
                seen.append("end")
        assert seen == ["goodbye 2147483647 0", "goodbye 3 0", "end", "goodbye 3 0"]
        wait_for(lambda: server.process.poll() == 0)


def test_cancelled_calls_give_their_room_back(whoami: Server) -> None:
    """Data of a cancelled call does not block the connection's other streams."""
    call = (("content-type", "application/grpc"), ("te", "trailers"))
    fields = get("/grpc.health.v1.Health/Watch", *call, method="POST")
    with RawHttp2(whoami) as client:
        for number in range(1, 201, 2):
            frames = [DataFrame(number, bytes(16_000)) for _ in range(2)]
            head = client.headers(number, *fields, ended=False)
            client.send(head, *frames, PingFrame(0, bytes(8)))
            next(frame for frame in client.frames() if isinstance(frame, PingFrame))
            client.send(RstStreamFrame(number))
        client.send(client.headers(201))
        for frame in client.frames():
            assert not isinstance(frame, GoAwayFrame)
            if isinstance(frame, DataFrame) and frame.stream_id == 201:
                break


def test_a_client_that_says_goodbye_gets_its_answers(whoami: Server) -> None:
    """Streams opened before its GOAWAY are answered, then the connection closes."""
    with RawHttp2(whoami) as client:
        client.send(client.headers(1, *get("/?wait=500ms")))
        client.send(client.headers(3, *get("/data?size=50000")), GoAwayFrame(0))
        ended = set()
        for frame in client.frames():
            if "END_STREAM" in frame.flags:
                ended.add(frame.stream_id)
        assert ended == {1, 3}


async def test_a_restart_under_load_loses_no_stream() -> None:
    """Every stream up to the one in GOAWAY is answered; later ones can be retried safely."""
    for _ in range(3):
        with started("whoami") as server:
            done = [set[int]() for _ in range(4)]
            clients = [asyncio.to_thread(keep_asking, server, answered) for answered in done]
            gathered = asyncio.gather(*clients)
            await until(lambda done=done: min(map(len, done)) > 100)  # type: ignore[misc]
            server.process.terminate()
            results = await gathered
            await asyncio.to_thread(server.process.wait, PATIENCE)
            for (asked, last), answered in zip(results, done, strict=True):
                assert {number for number in asked if number <= last} == answered


def keep_asking(server: Server, done: set[int]) -> tuple[set[int], int]:
    """Sends ten requests at a time until GOAWAY; adds the answered ones to `done`.

    Returns those sent, and the last stream that GOAWAY names.
    """
    asked, last = set(range(1, 20, 2)), 0
    with RawHttp2(server) as client:
        client.send(WindowUpdateFrame(0, 1 << 30), *map(client.headers, sorted(asked)))
        going = False
        for frame in client.frames():
            if isinstance(frame, PingFrame) and "ACK" not in frame.flags:
                client.send(PingFrame(0, frame.opaque_data, flags=["ACK"]))
            if isinstance(frame, GoAwayFrame):
                going, last = True, frame.last_stream_id
            if "END_STREAM" in frame.flags:
                done.add(frame.stream_id)
                if not going:
                    asked.add(max(asked) + 2)
                    client.send(client.headers(max(asked)))
    return asked, last
