"""The cost of a request in executed bytecode instructions, which do not depend on machine load.

Counted in this process, from the connection's input to the answer, on a fake transport. C code is not counted;
``make bench`` measures that. The budgets are about a tenth above the counts on Python 3.11, since they guard
against blunders; later versions take somewhat less.
"""

import asyncio
import selectors
import sys
from collections import Counter
from collections.abc import Callable
from functools import partial
from io import StringIO
from pathlib import Path
from types import CodeType, FrameType
from typing import Any, cast

import pytest
from hpack import Encoder

from podkit.grpc.routes import build_find_call
from podkit.limits import Limits
from podkit.log import Log
from podkit.opening import Opening
from podkit.pod.pod import Pod
from podkit.routes import FindRoute
from podkit.server import Server
from tests.http2 import PREFACE, raw
from whereami.app import build_routes as build_whereami
from whoami.app import build_routes as build_whoami
from whoami.health import Health
from whoami.rpc import build_methods

WRK = b"GET %s HTTP/1.1\r\nHost: 127.0.0.1:8080\r\n\r\n"
CURL = b"GET %s HTTP/1.1\r\nHost: localhost:8080\r\nUser-Agent: curl/8.5.0\r\nAccept: */*\r\n\r\n"
BROWSER_BEHIND_PROXY = (
    b"GET %s HTTP/1.1\r\nHost: whoami.example\r\nUser-Agent: Mozilla/5.0 (X11; Linux x86_64) Firefox/128.0\r\n"
    b"Accept: text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8\r\n"
    b"Accept-Encoding: gzip, deflate, br, zstd\r\nAccept-Language: en-US,en;q=0.5\r\nCookie: a=b; c=d\r\n"
    b"Upgrade-Insecure-Requests: 1\r\nX-Forwarded-For: 192.0.2.1\r\nX-Forwarded-Host: whoami.example\r\n"
    b"X-Forwarded-Port: 80\r\nX-Forwarded-Proto: http\r\nX-Forwarded-Server: proxy-1\r\n"
    b"X-Real-Ip: 192.0.2.1\r\n\r\n"
)
CLOSING = b"GET /bench HTTP/1.1\r\nHost: 127.0.0.1:8080\r\nConnection: close\r\n\r\n"
OTHER = b"GET /other HTTP/1.1\r\nHost: a\r\n\r\n"
HANDSHAKE = (
    b"GET /echo HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"
    b"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: MDEyMzQ1Njc4OWFiY2RlZg==\r\n\r\n"
)
LIMITS = Limits(turn_time=60)  # counting takes time
NOT_COUNTED = (__file__, str(Path(asyncio.__file__).parent), selectors.__file__)  # this test, and the loop


def find_in_whoami() -> FindRoute:
    """whoami's routes."""
    return build_whoami(Pod(), Health()).find


def find_in_whereami() -> FindRoute:
    """whereami's routes, with its log."""
    return build_whereami(Pod("node1"), Log(StringIO()).line)


BUDGETS = {
    "whoami /bench for wrk": (find_in_whoami, WRK % b"/bench", 940),
    "whoami / for curl": (find_in_whoami, CURL % b"/", 1370),
    "whoami / for a browser behind a proxy": (find_in_whoami, BROWSER_BEHIND_PROXY % b"/", 1950),
    "whoami /api for curl": (find_in_whoami, CURL % b"/api", 1460),
    "whereami / for curl": (find_in_whereami, CURL % b"/", 1210),
}


class Wire(asyncio.Transport):
    """A connection to a client that reads all answers immediately."""

    def __init__(self, server: Server) -> None:
        super().__init__({"peername": ("192.0.2.1", 40000)})
        self.received = b""
        self._protocol: asyncio.BaseProtocol = Opening(server)
        self._protocol.connection_made(self)

    async def answer(self, data: bytes) -> bytes:
        """The answer to some bytes."""
        self.received = b""
        cast(asyncio.Protocol, self._protocol).data_received(data)
        for _ in range(10):  # turns of the loop: more than an answer and its log take
            await asyncio.sleep(0)
        return self.received

    def write(self, data: Any) -> None:
        """Bytes from the server."""
        self.received += data

    def is_closing(self) -> bool:
        """It stays open."""
        return False

    def close(self) -> None:
        """The server closes."""

    def resume_reading(self) -> None:
        """It always reads."""

    def set_write_buffer_limits(self, high: int | None = None, low: int | None = None) -> None:
        """It has no buffer."""

    def set_protocol(self, protocol: asyncio.BaseProtocol) -> None:
        """Switches the protocol."""
        self._protocol = protocol

    def get_protocol(self) -> asyncio.BaseProtocol:
        """The current protocol."""
        return self._protocol


class Steps:
    """Counts instructions while entered; `dearest` shows where.

    Python 3.13 loses its count when tracing stops and restarts, so `answer` restarts the count inside.
    """

    def __init__(self) -> None:
        self.by_code: Counter[CodeType] = Counter()

    def __enter__(self) -> "Steps":
        self._previous = sys.gettrace()
        sys.settrace(self._trace)
        return self

    def __exit__(self, *details: object) -> None:
        sys.settrace(self._previous)

    def _trace(self, frame: FrameType, event: str, argument: Any) -> Callable[..., Any] | None:
        if frame.f_code.co_filename.startswith(NOT_COUNTED):
            return None
        frame.f_trace_opcodes = True
        frame.f_trace_lines = False
        return self._count

    def _count(self, frame: FrameType, event: str, argument: Any) -> Callable[..., Any]:
        self.by_code[frame.f_code] += event == "opcode"
        return self._count

    async def answer(self, wire: Wire, data: bytes) -> Counter[CodeType]:
        """The instructions of one answer, by function."""
        self.by_code = Counter()
        await wire.answer(data)
        return self.by_code


def dearest(counts: Counter[CodeType]) -> str:
    """The most expensive functions, one per line."""
    found = [(steps, code, Path(code.co_filename)) for code, steps in counts.most_common(10)]
    return "\n".join(
        f"{steps:6} {code.co_qualname} in {file.parent.name}/{file.name}:{code.co_firstlineno}"
        for steps, code, file in found
    )


async def cheapest(wire: Wire, data: bytes, before: bytes = b"") -> Counter[CodeType]:
    """The cheapest of several answers: the first fills caches, and each new second renders its date.

    Before each, another request may be answered, which does not count.
    """
    with Steps() as steps:  # Python 3.12 counts from the second time on
        await steps.answer(wire, data)
    runs = []
    with Steps() as steps:
        for _ in range(6):
            if before:
                await wire.answer(before)
            runs.append(await steps.answer(wire, data))
    return min(runs[2:], key=Counter.total)


@pytest.mark.parametrize("name", BUDGETS)
async def test_a_request_stays_within_its_budget(name: str) -> None:
    """Detects work added to every request; if it is worth it, raise the budget."""
    find_route, request, budget = BUDGETS[name]
    wire = Wire(Server(find_route(), limits=LIMITS))
    await asyncio.sleep(0)
    assert (await wire.answer(request)).startswith(b"HTTP/1.1 200 OK\r\n")
    counts = await cheapest(wire, request, before=OTHER)  # since a repeated head is not parsed again
    total = counts.total()
    assert 0 < total <= budget, (
        f"{name} takes {total} steps of Python, its budget is {budget}. Most are in\n{dearest(counts)}\n"
        "Do less for each request or, if that is worth it, raise the budget."
    )


async def test_a_request_that_comes_again_costs_less() -> None:
    """Load tests and probes repeat the same head: it is parsed once."""
    wire = Wire(Server(find_in_whoami(), limits=LIMITS))
    await asyncio.sleep(0)
    request = BROWSER_BEHIND_PROXY % b"/"
    first, again = await cheapest(wire, request, before=OTHER), await cheapest(wire, request)
    assert 0 < again.total() < first.total() * 0.7


async def test_a_new_connection_stays_within_its_budget() -> None:
    """From open to close, for a client that repeats another's request, as probes do."""
    server, totals = Server(find_in_whoami(), limits=LIMITS), []
    with Steps() as steps:
        for _ in range(6):
            steps.by_code = Counter()
            wire = Wire(server)
            answer = await wire.answer(CLOSING)
            wire.get_protocol().connection_lost(None)
            totals.append(steps.by_code.total())
            assert answer.startswith(b"HTTP/1.1 200 OK\r\n")
    assert 0 < min(totals[2:]) <= 1230, f"it takes {min(totals[2:])} steps of Python\n{dearest(steps.by_code)}"


def build_server() -> Server:
    """whoami with gRPC."""
    find_call = build_find_call(partial(build_methods, Pod(), "", Health()), LIMITS)
    return Server(find_in_whoami(), find_call=find_call, limits=LIMITS)


HTTP2_BUDGETS = {
    "/bench": (((b":path", b"/bench"),), b"", 2200),
    "/ with a new head": (
        ((b":path", b"/"), (b"user-agent", b"curl/8.5.0"), (b"accept", b"*/*")),
        b"",
        5410,
    ),
    "a gRPC call of Bench": (
        ((b":path", b"/whoami.Whoami/Bench"), (b"content-type", b"application/grpc"), (b"te", b"trailers")),
        bytes(5),
        2830,
    ),
}


@pytest.mark.parametrize("name", HTTP2_BUDGETS)
async def test_a_request_over_http2_stays_within_its_budget(name: str) -> None:
    """A repeated head is parsed once there, too."""
    fields, body, budget = HTTP2_BUDGETS[name]
    wire, encoder, varies = Wire(build_server()), Encoder(), "new head" in name
    await wire.answer(PREFACE + raw(4, 0) + raw(8, 0, (1 << 30).to_bytes(4, "big")))
    totals = []
    for number in range(1, 20, 2):
        other = ((b"x-request-id", b"%032d" % number),) if varies else ()
        head = [
            (b":method", b"POST" if body else b"GET"),
            (b":scheme", b"http"),
            (b":authority", b"localhost:8080"),
            *fields,
            *other,
        ]
        frame = raw(1, number, encoder.encode(head), 4 if body else 5) + (
            raw(0, number, body, 1) if body else b""
        )
        with Steps() as steps:
            totals.append((await steps.answer(wire, frame)).total())
        assert b"\x88" in wire.received  # 200
        assert not body or b"\2\x08\1" in wire.received  # the reply's size, and its field
    assert 0 < min(totals) <= budget, f"{name} takes {min(totals)} steps of Python, its budget is {budget}"


async def test_an_echo_costs_the_same_whatever_its_size() -> None:
    """No bytecode runs per byte of a WebSocket message."""
    wire = Wire(Server(find_in_whoami(), limits=LIMITS))
    await asyncio.sleep(0)
    assert (await wire.answer(HANDSHAKE)).startswith(b"HTTP/1.1 101 ")
    totals = []
    for size in (1000, 30_000):
        frame = b"\x82\xfe%s\0\0\0\0%s" % (size.to_bytes(2, "big"), bytes(size))
        assert await wire.answer(frame) == b"\x82\x7e%s%s" % (size.to_bytes(2, "big"), bytes(size))
        totals.append((await cheapest(wire, frame)).total())
    assert 0 < totals[1] < totals[0] + 20
