"""What gRPC calls can make the process hold, in process: whoami's methods over HTTP/2."""

import asyncio
import gzip
import itertools
import time
import tracemalloc
from collections import Counter
from dataclasses import replace
from functools import partial
from typing import Any

import pytest
from hyperframe.frame import DataFrame, HeadersFrame, RstStreamFrame, SettingsFrame, WindowUpdateFrame

from podkit.grpc.call import Status
from podkit.grpc.frames import frame
from podkit.grpc.routes import build_find_call
from podkit.limits import Limits
from podkit.pod.pod import Pod
from podkit.server import Server
from tests.http2 import Peer, get
from whoami.app import build_routes
from whoami.health import Health
from whoami.rpc import build_methods

MIB = 1 << 20
END = ("END_STREAM",)
CANCEL, ENHANCE_YOUR_CALM = 8, 11
NO_WINDOW = {SettingsFrame.INITIAL_WINDOW_SIZE: 0}
BENCH = "/whoami.Whoami/Bench"
WATCH = "/grpc.health.v1.Health/Watch"
REFLECTION = "/grpc.reflection.v1.ServerReflection/ServerReflectionInfo"
SERVING, NOT_SERVING = frame(b"\x08\x01"), frame(b"\x08\x02")
BOMB = gzip.compress(bytes(4 * MIB))
BOMB = b"\x01" + len(BOMB).to_bytes(4, "big") + BOMB


def build_server(state: Health | None = None, **limits: Any) -> Server:
    """whoami with these limits."""
    pod, state, found = Pod(), state or Health(), replace(Limits(), **limits)
    find_call = build_find_call(partial(build_methods, pod, "", state), found)
    return Server(build_routes(pod, state).find, find_call=find_call, limits=found)


def call(peer: Peer, stream_id: int, path: str, encoding: str = "identity") -> HeadersFrame:
    """The head of a call."""
    fields = get(path, ("content-type", "application/grpc"), ("grpc-encoding", encoding), method="POST")
    return peer.headers(stream_id, *fields, ended=False)


def data(stream_id: int, body: bytes, end: bool = True) -> list[DataFrame]:
    """A body in frames."""
    parts = [body[start : start + 16_384] for start in range(0, len(body), 16_384)] or [b""]
    return [
        DataFrame(stream_id, part, flags=END if end and number == len(parts) else ())
        for number, part in enumerate(parts, 1)
    ]


def statuses(peer: Peer) -> list[Status]:
    """The calls' statuses."""
    return [Status(int(fields["grpc-status"])) for fields in peer.fields if "grpc-status" in fields]


def resets(frames: list[Any]) -> list[tuple[int, int]]:
    """Which streams were reset, and with which codes."""
    return [(found.stream_id, found.error_code) for found in frames if isinstance(found, RstStreamFrame)]


@pytest.mark.parametrize(
    ("body", "encoding", "status"),
    [
        pytest.param(BOMB * 64, "gzip", Status.UNIMPLEMENTED, id="64-bombs"),
        pytest.param(bytes(16 * MIB), "identity", Status.RESOURCE_EXHAUSTED, id="16-MiB-of-zeros"),
        pytest.param(frame(bytes(5 * MIB)), "identity", Status.RESOURCE_EXHAUSTED, id="too-large"),
        pytest.param(bytes(4 * MIB), "identity", Status.UNIMPLEMENTED, id="800,000-messages"),
    ],
)
async def test_a_unary_call_costs_no_more_than_its_largest_message(
    body: bytes, encoding: str, status: Status
) -> None:
    """However many there are, and whatever their decompressed size; no other client waits."""
    server = build_server()
    peer = Peer(server)
    await peer.ask(call(peer, 1, BENCH, encoding))
    parts, longest = data(1, body), 0.0
    tracemalloc.start()
    try:
        for part in parts:
            start = time.process_time()
            await peer.ask(part)
            longest = max(longest, time.process_time() - start)
            if statuses(peer):
                break
        assert tracemalloc.get_traced_memory()[1] < 12 * MIB
    finally:
        tracemalloc.stop()
    assert statuses(peer) == [status]
    assert longest < 0.3
    await peer.leave()
    assert server.budget.used == 0


async def test_calls_share_the_budget() -> None:
    """A later call ends with RESOURCE_EXHAUSTED; the others are answered."""
    server = build_server(budget=200_000)
    peer = Peer(server)
    for stream_id in (1, 3, 5):
        peer.send(call(peer, stream_id, BENCH))
        for part in data(stream_id, frame(b"\x7a\xf0\xa2\x04" + bytes(70_000)), end=False):
            await peer.ask(part)
    assert statuses(peer) == [Status.RESOURCE_EXHAUSTED]
    assert server.budget.used <= 200_000
    for stream_id in (1, 3):
        await peer.ask(DataFrame(stream_id, b"", flags=END))
    assert statuses(peer) == [Status.RESOURCE_EXHAUSTED, Status.OK, Status.OK]
    await peer.leave()
    assert server.budget.used == 0


async def test_messages_of_a_stream_are_unpacked_one_by_one() -> None:
    """40 reflections of 20 messages each that expand to 60 KB, to a client that does not read."""
    server = build_server(budget=8 * MIB)
    peer = Peer(server, NO_WINDOW)
    packed = gzip.compress(b"\x22\xd4\xd4\x03" + b"x" * 60_000)
    packed = (b"\x01" + len(packed).to_bytes(4, "big") + packed) * 20
    tracemalloc.start()
    try:
        for stream_id in range(1, 81, 2):
            await peer.ask(call(peer, stream_id, REFLECTION, "gzip"), *data(stream_id, packed))
        assert tracemalloc.get_traced_memory()[1] < 16 * MIB
    finally:
        tracemalloc.stop()
    assert server.budget.used <= 8 * MIB
    assert {code for _, code in resets(await peer.wait(61))} == {CANCEL}
    await peer.leave()
    assert server.budget.used == 0


async def test_a_message_of_a_stream_is_small() -> None:
    """64 KiB; a larger announced length ends the call before anything is kept."""
    peer = Peer(build_server())
    await peer.ask(call(peer, 1, REFLECTION), DataFrame(1, b"\0\0\x01\0\x01"))
    assert statuses(peer) == [Status.RESOURCE_EXHAUSTED]


async def test_a_message_that_is_not_complete_is_charged() -> None:
    """While it is kept; without room, its stream is reset."""
    server = build_server(budget=150_000)
    peer = Peer(server)
    for stream_id in (1, 3, 5):
        await peer.ask(call(peer, stream_id, REFLECTION))
        for part in data(stream_id, frame(bytes(60_000))[:-1], end=False):
            await peer.ask(part)
    assert resets(peer.seen) == [(5, ENHANCE_YOUR_CALM)]
    assert 120_000 < server.budget.used <= 150_000
    await peer.ask(DataFrame(1, b"\0", flags=END), DataFrame(3, b"\0", flags=END))
    assert statuses(peer) == [Status.INTERNAL] * 2  # zeros are no request
    await peer.leave()
    assert server.budget.used == 0


async def test_a_stream_may_send_more_than_its_window_holds() -> None:
    """The window grows as messages are answered."""
    peer = Peer(build_server(window=64 << 10), {SettingsFrame.INITIAL_WINDOW_SIZE: 1 << 30})
    await peer.ask(WindowUpdateFrame(0, 1 << 30), call(peer, 1, REFLECTION))
    message = frame(b"\x22\xe8\x07" + b"no-such-".ljust(1000, b"x"))
    for _ in range(20):
        assert resets(await peer.ask(DataFrame(1, message * 10))) == []
    await peer.settle(500)
    assert peer.body(1).count(b"no-such-".ljust(1000, b"x") + b" is not known") == 200


async def test_a_watch_that_nobody_takes_is_given_up() -> None:
    """After the send timeout; a watch whose answers are read may last."""
    server = build_server()
    deaf, peer = Peer(server, NO_WINDOW), Peer(server)
    for client in (deaf, peer):
        await client.ask(call(client, 1, WATCH), *data(1, frame(b"")))
    assert resets(await deaf.wait(59)) == []
    assert resets(await deaf.wait(61)) == [(1, CANCEL)]
    assert resets(await peer.wait(10_000)) == []
    assert peer.body(1) == SERVING


async def test_frequent_changes_wake_no_more_watches_at_once() -> None:
    """Those of a later change come after those of the ones before."""
    state, woken = Health(), Counter[int]()

    async def watch(number: int) -> None:
        while True:
            await state.wait_for_change()
            woken[number] += 1

    watches = [asyncio.ensure_future(watch(number)) for number in range(1000)]
    await asyncio.sleep(0)
    totals = [0]
    for _ in range(30):
        state.status += 1
        await asyncio.sleep(0)
        totals.append(woken.total())
    assert len(woken) == len(watches)
    assert max(after - before for before, after in itertools.pairwise(totals)) < 100
    for task in watches:
        task.cancel()


async def test_a_change_wakes_all_watches_and_nothing_else_does() -> None:
    """200 of them, in turns with other clients; there are no timers."""
    state = Health()
    server = build_server(state)
    peer, other = Peer(server), Peer(server)
    numbers = range(1, 401, 2)
    for stream_id in numbers:
        await peer.ask(call(peer, stream_id, WATCH), *data(stream_id, frame(b"")))
    writes = peer.wire.writes
    await asyncio.sleep(0.3)
    assert peer.wire.writes == writes
    state.status = 503
    state.status = 500
    assert await other.outcome(other.headers(1)) == "answer 200"
    await peer.settle(200)
    assert {peer.body(stream_id) for stream_id in numbers} == {SERVING + NOT_SERVING}
