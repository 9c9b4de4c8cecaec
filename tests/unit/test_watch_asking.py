"""whoami watch against in-process peers: its requests, its losses, and what it tolerates."""

import asyncio
import itertools
import json
import socket
import struct
import subprocess
import sys
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

import pytest
from aiohttp import web
from hpack import Encoder
from hyperframe.frame import DataFrame, Frame, GoAwayFrame, HeadersFrame, SettingsFrame

from tests.server import PATIENCE, free_port
from tests.watching import watch
from whoami.watch.connection import Http2Connection, NotTakenError

Respond = Callable[[web.Request], Awaitable[web.StreamResponse]]
Serve = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


@asynccontextmanager
async def app(respond: Respond) -> AsyncIterator[str]:
    """The URL of an aiohttp application with a constant answer."""
    application = web.Application()
    application.router.add_route("*", "/{path:.*}", respond)
    runner = web.AppRunner(application, access_log=None, shutdown_timeout=0.1)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    yield f"http://127.0.0.1:{runner.addresses[0][1]}"
    await runner.cleanup()


@asynccontextmanager
async def raw(serve: Serve) -> AsyncIterator[str]:
    """The URL of a server that writes raw bytes."""

    async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            await serve(reader, writer)
        except (ConnectionError, asyncio.IncompleteReadError):
            pass
        finally:
            writer.close()

    async with await asyncio.start_server(handle, "127.0.0.1", 0) as server:
        yield f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"


async def test_numbers_are_those_of_the_server() -> None:
    """Answers by pod, and connections by what the server saw."""
    pods, sources = Counter[str](), set[object]()
    turns = itertools.cycle(["web-4wzkx", "web-n8jtd", "web-n8jtd"])

    async def respond(request: web.Request) -> web.Response:
        assert request.transport is not None
        sources.add(request.transport.get_extra_info("peername"))
        pod = next(turns)
        pods[pod] += 1
        return web.json_response({"pod": pod, "node": "worker1"})

    async with app(respond) as url:
        new = await watch("-n", "31", url)
        assert new.counts("new connections") == [pods["web-4wzkx"], pods["web-n8jtd"], len(sources)]
        assert len(sources) == 31
        pods.clear()
        sources.clear()
        kept = await watch("-n", "31", "--keep-alive", url)
        assert kept.counts("keep-alive")[:3] == [pods["web-4wzkx"], pods["web-n8jtd"], len(sources)]
        assert len(sources) == 1
    assert (new.status, kept.status, new.err, kept.err) == (0, 0, "", "")
    assert kept.out.endswith("An HTTP proxy is in between: it spreads requests of one connection.\n")


async def test_the_request_is_the_one_asked_for() -> None:
    """By the URL's path, or --path instead; with a User-Agent."""
    asked = []

    async def respond(request: web.Request) -> web.Response:
        asked.append((request.raw_path, request.headers["Connection"], request.headers["User-Agent"][:13]))
        return web.Response(text="Hostname: web-4wzkx\n")

    async with app(respond) as url:
        await watch("-n", "1", url)
        await watch("-n", "1", f"{url}/whoareyou?x=1")
        await watch("-n", "1", "--path", "/whoareyou/.who?wait=1ms", f"{url}/other")
        await watch("-n", "1", url.removeprefix("http://"))
    paths = ["/", "/whoareyou?x=1", "/whoareyou/.who?wait=1ms", "/"]
    assert asked == [(path, "close", "whoami-watch/") for path in paths]


@pytest.mark.parametrize("flags", [(), ("--keep-alive",), ("--http2",), ("--grpc",)])
async def test_a_connection_that_ends_at_once(flags: tuple[str, ...]) -> None:
    """As from a balancer without pods: nothing waits for it."""

    async def hang_up(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.transport.abort()

    async with raw(hang_up) as url:
        watched = await watch("-n", "4", *flags, "--rate", "20", url)
    assert watched.summary == "4 requests, 0 pods, 4 lost (refused 0, reset 4, timed out 0, 5xx 0)"


async def test_a_connection_that_ends_early_is_a_request_lost() -> None:
    """It is not silently retried: the server saw as many as were counted."""
    seen = 0

    async def hang_up(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal seen
        await reader.readuntil(b"\r\n\r\n")
        seen += 1
        if seen % 2:
            linger = struct.pack("ii", 1, 0)
            writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)

    async with raw(hang_up) as url:
        watched = await watch("-n", "10", url)
    assert seen == 10
    assert watched.summary == "10 requests, 0 pods, 10 lost (refused 0, reset 10, timed out 0, 5xx 0)"
    assert watched.status == 1


async def test_new_connections_are_new_whatever_the_server_likes() -> None:
    """Each request gets a new one, even if the server would keep the old one."""
    connections = 0

    async def keep(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal connections
        connections += 1
        while await reader.readuntil(b"\r\n\r\n"):
            writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 12\r\n\r\nHostname: a\n")

    async with raw(keep) as url:
        watched = await watch("-n", "5", url)
    assert watched.counts("new connections") == [5, connections] == [5, 5]


async def test_a_kept_connection_that_the_server_closed_costs_no_request() -> None:
    """As in any client: it was closed while idle, so the request uses a new one."""
    seen = 0

    async def answer_once(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal seen
        await reader.readuntil(b"\r\n\r\n")
        seen += 1
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 12\r\n\r\nHostname: a\n")
        await reader.read(1)

    async with raw(answer_once) as url:
        watched = await watch("-n", "5", "--keep-alive", url)
    assert (watched.status, seen) == (0, 5)
    assert watched.counts("keep-alive")[:2] == [5, 5]


@pytest.mark.parametrize("flags", [(), ("--keep-alive",), ("--http2",), ("--grpc",)])
async def test_nobody_listens(flags: tuple[str, ...]) -> None:
    """Each request is refused, also for a name with several addresses."""
    watched = await watch("-n", "3", *flags, f"http://localhost:{free_port()}")
    assert watched.summary == "3 requests, 0 pods, 3 lost (refused 3, reset 0, timed out 0, 5xx 0)"
    assert watched.status == 1


@pytest.mark.parametrize("flags", [(), ("--keep-alive",), ("--http2",), ("--grpc",)])
async def test_a_peer_that_stays_silent(flags: tuple[str, ...]) -> None:
    """Each request has its timeout, and the next one is sent."""

    async def say_nothing(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read()

    async with raw(say_nothing) as url:
        watched = await watch("-n", "2", "--timeout", "50ms", *flags, url)
    assert watched.summary == "2 requests, 0 pods, 2 lost (refused 0, reset 0, timed out 2, 5xx 0)"


async def test_errors_of_the_server_and_of_names() -> None:
    """5xx has its own count; rarer kinds are described."""

    async def respond(request: web.Request) -> web.Response:
        raise web.HTTPServiceUnavailable(text="Hostname: web-4wzkx\n")

    async with app(respond) as url:
        watched = await watch("-n", "2", url)
        assert "2 lost (refused 0, reset 0, timed out 0, 5xx 2)\n5xx: status 503\n" in watched.out
        assert watched.out.endswith("Every answer was an error.\n")
        watched = await watch("-n", "2", url.replace("http:", "https:"))
        assert "other 2)\nother: its answer is not TLS (give an http:// URL)\n" in watched.out
    watched = await watch("-n", "2", "http://whoami.invalid")
    assert "2 lost (refused 0, reset 0, timed out 0, 5xx 0, other 2)\nother: " in watched.out
    assert watched.out.endswith("Nobody answered.\n")
    assert "Errno" not in watched.out


async def test_an_answer_without_a_name_is_no_loss() -> None:
    """Redirects are not followed; the sentence says what to do."""

    async def respond(request: web.Request) -> web.Response:
        raise web.HTTPFound("http://127.0.0.1:1/")

    async with app(respond) as url:
        watched = await watch("-n", "2", url)
    assert watched.status == 0
    assert "2 without a name" in watched.out
    assert "No answer names a pod" in watched.out


async def test_what_is_read_of_an_answer_is_bounded() -> None:
    """Of an endless answer, the name is read, and no more."""
    sent = 0

    async def respond(request: web.Request) -> web.StreamResponse:
        nonlocal sent
        response = web.StreamResponse()
        await response.prepare(request)
        await response.write(b"Hostname: web-\x1b[31m4wzkx\n")
        while True:
            await response.write(b"x" * 65536)
            sent += 65536

    async with app(respond) as url:
        watched = await watch("-n", "3", "--keep-alive", url)
    assert watched.status == 0
    assert watched.counts("keep-alive")[0] == 3
    assert "\x1b" not in watched.out
    assert sent < 100 << 20


async def test_cookies_are_kept_when_asked_for() -> None:
    """On new connections too; without the flag there are none."""
    sent = []

    async def respond(request: web.Request) -> web.Response:
        sent.append(request.cookies.get("sticky"))
        response = web.Response(text="Hostname: web-4wzkx\n")
        response.set_cookie("sticky", "b")
        return response

    async with app(respond) as url:
        await watch("-n", "3", "--cookies", url)
        await watch("-n", "2", url)
    assert sent == [None, "b", "b", None, None]


async def test_resolve_leads_elsewhere() -> None:
    """The URL's name with the given address; other ports are not affected."""
    hosts = []

    async def respond(request: web.Request) -> web.Response:
        hosts.append(request.host)
        return web.Response(text="Hostname: web-4wzkx\n")

    async with app(respond) as url:
        port = url.rpartition(":")[2]
        named = f"http://whoami.invalid:{port}"
        good = await watch("-n", "1", "--resolve", f"WHOAMI.invalid:{port}:127.0.0.1", named)
        bad = await watch("-n", "1", "--resolve", "whoami.invalid:1:127.0.0.1", named)
    assert (good.status, bad.status) == (0, 1)
    assert hosts == [f"whoami.invalid:{port}"]


async def test_json_has_a_line_for_each_request() -> None:
    """With everything known; the summary goes elsewhere."""

    async def respond(request: web.Request) -> web.Response:
        return web.json_response({"pod_name": "web-4wzkx", "node_name": "worker1"})

    async with app(respond) as url:
        watched = await watch("-n", "2", "--json", "--keep-alive", url)
    lines = [json.loads(line) for line in watched.out.splitlines()]
    assert [(line["pod"], line["node"], line["status"], line["connection"]) for line in lines] == [
        ("web-4wzkx", "worker1", 200, 1)
    ] * 2
    assert watched.err.startswith("2 requests, 1 pod, 0 lost")


async def test_a_slow_request_holds_nobody_up() -> None:
    """At a rate, requests start on time, whatever happened to earlier ones."""
    last, numbers = asyncio.Event(), itertools.count(1)

    async def respond(request: web.Request) -> web.Response:
        if (number := next(numbers)) == 25:
            last.set()
        elif number % 2:
            await last.wait()  # would take until its timeout, if the next ones waited for it
        return web.Response(text="Hostname: web-4wzkx\n")

    async with app(respond) as url:
        watched = await watch("--rate", "50", "-n", "25", "--timeout", f"{PATIENCE}s", url)
    assert watched.summary.startswith("25 requests, 1 pod, 0 lost")


async def test_the_lines_of_the_seconds_add_up() -> None:
    """Each request is in one line."""

    async def respond(request: web.Request) -> web.Response:
        return web.Response(text="Hostname: web-4wzkx\n")

    async with app(respond) as url:
        watched = await watch("--rate", "40", "-n", "50", url)
    lines = [line.split() for line in watched.out.splitlines() if "█" in line]
    assert len(lines) >= 2
    assert sum(int(line[1]) for line in lines) == sum(int(line[-1]) for line in lines) == 50


async def test_who_does_not_speak_http2_is_told_apart() -> None:
    """With --all it is a remark; if requested, it is an error. Neither counts as a loss."""

    async def respond(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if (await reader.readuntil(b"\r\n\r\n")).startswith(b"PRI"):
            return writer.write(b"HTTP/1.1 400 Bad Request\r\n\r\n")
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 12\r\nConnection: close\r\n\r\nHostname: a\n")

    async with raw(respond) as url:
        everything, alone = await watch("-n", "2", "--all", url), await watch("-n", "2", "--http2", url)
    assert everything.status == 0
    assert everything.out.count("not spoken here") == 2
    assert alone.status == 1
    assert alone.err == "whoami watch: no HTTP/2 here: its answer is not HTTP/2\n"


class Http2Peer:
    """Answers each stream with its connection's number; `goodbyes` says which connections leave, and how.

    ``finish`` sends GOAWAY before the answer. ``refuse`` says that it did not process the stream.
    """

    def __init__(self, goodbyes: dict[int, str], streams: int = 100, pause: float = 0.0) -> None:
        self.connections = 0
        self.requests = 0
        self._goodbyes = goodbyes
        self._settings = {SettingsFrame.MAX_CONCURRENT_STREAMS: streams}
        self._pause = pause

    async def __call__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        goodbye = self._goodbyes.get(self.connections, "")
        pod, encoder, gone = f"pod-{self.connections}", Encoder(), False
        await reader.readexactly(24)
        writer.write(SettingsFrame(0, self._settings).serialize())
        while True:
            frame, length = Frame.parse_frame_header(memoryview(await reader.readexactly(9)))
            await reader.readexactly(length)
            if not isinstance(frame, HeadersFrame):
                continue
            if gone:
                continue  # as it said
            if goodbye == "refuse":
                writer.write(GoAwayFrame(0, last_stream_id=0).serialize())
                continue
            self.requests += 1
            head = HeadersFrame(frame.stream_id, encoder.encode([(":status", "200")]), flags=["END_HEADERS"])
            body = DataFrame(frame.stream_id, f"Hostname: {pod}\n".encode(), flags=["END_STREAM"])
            leave = [GoAwayFrame(0, last_stream_id=frame.stream_id)] if goodbye else []
            gone = bool(goodbye)
            reply = b"".join(each.serialize() for each in (*leave, head, body))
            asyncio.get_running_loop().call_later(self._pause, writer.write, reply)


async def test_who_has_its_limit_of_streams_gets_another_connection() -> None:
    """Slow requests at a rate do not wait for a stream to end."""
    peer = Http2Peer({}, streams=2, pause=1)
    async with raw(peer) as url:
        watched = await watch("-n", "6", "--http2", "--rate", "100", url)
    assert watched.status == 0
    assert (peer.requests, peer.connections) == (6, watched.counts("HTTP/2")[-1])
    assert peer.connections > 1


@pytest.mark.parametrize("pace", [(), ("--rate", "100")])
async def test_goaway_loses_no_request(pace: tuple[str, ...]) -> None:
    """A processed stream is answered; another goes to a new connection."""
    peer = Http2Peer({1: "finish", 2: "refuse"})
    async with raw(peer) as url:
        watched = await watch("-n", "6", "--http2", *pace, url)
    assert watched.status == 0
    assert peer.requests == 6
    assert watched.counts("HTTP/2")[-1] == peer.connections == 3


async def test_a_connection_that_says_goodbye_at_once() -> None:
    """A peer that never accepts a request is a loss, soon."""

    async def leave(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(SettingsFrame(0).serialize() + GoAwayFrame(0, last_stream_id=0).serialize())
        await reader.read()

    async with raw(leave) as url:
        watched = await watch("-n", "2", "--http2", url)
    assert watched.summary == "2 requests, 0 pods, 2 lost (refused 0, reset 2, timed out 0, 5xx 0)"


GET = [(":method", "GET"), (":scheme", "http"), (":authority", "a"), (":path", "/")]


@pytest.mark.parametrize(
    ("goodbye", "problem"),
    [(b"", ConnectionError), (GoAwayFrame(0, last_stream_id=0).serialize(), NotTakenError)],
)
async def test_an_http2_connection_that_ended_meanwhile(goodbye: bytes, problem: type[Exception]) -> None:
    """No request is delayed by a peer that disconnected, or is about to, right after the handshake."""

    async def end(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if goodbye:
            writer.write(SettingsFrame(0).serialize() + goodbye)
            await reader.read()

    async with raw(end) as url:
        loop, port = asyncio.get_running_loop(), int(url.rpartition(":")[2])
        _, connection = await loop.create_connection(lambda: Http2Connection(1), "127.0.0.1", port)
        async with asyncio.timeout(PATIENCE):
            while connection.has_room:  # noqa: ASYNC110
                await asyncio.sleep(0.01)
            with pytest.raises(problem):
                await connection.exchange(GET, b"")


async def test_http2_peers_that_talk_nonsense() -> None:
    """They count as losses, with a reason."""

    async def babble(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(SettingsFrame(0).serialize() + b"\0" * 5000)
        await reader.read()

    async with raw(babble) as url:
        watched = await watch("-n", "2", "--http2", url)
    assert watched.status == 1
    assert "other 2)\nother: not HTTP/2" in watched.out


def test_nothing_of_it_is_loaded_by_a_server() -> None:
    """Nor by a health check: it costs them no time or memory."""
    code = (
        "import sys, whoami.cli, whoami.serve, podkit.process.healthcheck;"
        "sys.exit(any(name.startswith('whoami.watch') for name in sys.modules))"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
