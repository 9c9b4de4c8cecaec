"""Deferred work runs in order, and leaves the event loop to others in between."""

import asyncio
import itertools
import time
from collections import Counter
from collections.abc import AsyncIterator
from typing import Any

import pytest
from hyperframe.frame import SettingsFrame

from podkit.limits import Limits
from podkit.message import Answer, Client, Request, Response, Upgrade
from podkit.pod.pod import Pod
from podkit.routes import Route
from podkit.turns import Turns
from tests.http2 import PREFACE, Speaker, get, serialize
from tests.inprocess import running, turn
from whoami import events
from whoami.health import Health
from whoami.who import Names, Who


async def test_others_come_between() -> None:
    """However much there is, few pieces run per turn; eventually all of them do."""
    turns, done = Turns(0.005), list[int]()

    def work(number: int) -> None:
        time.sleep(0.003)
        done.append(number)

    for number in range(20):
        turns.put_off(lambda number=number: work(number))  # type: ignore[misc]
    looks = []
    while len(done) < 20:
        await asyncio.sleep(0)
        looks.append(len(done))
    assert done == list(range(20))
    assert max(after - before for before, after in zip([0, *looks], looks, strict=False)) <= 2


async def test_what_is_cancelled_is_not_done() -> None:
    """A closed connection has no turn any more."""
    turns, done = Turns(1.0), list[str]()
    turns.put_off(lambda: done.append("first"))
    turns.put_off(lambda: done.append("gone")).cancel()
    turns.put_off(lambda: done.append("last"))
    await asyncio.sleep(0)
    assert done == ["first", "last"]


async def test_work_may_put_off_more() -> None:
    """And an error in one piece does not affect the others."""
    turns, done = Turns(1.0), list[int]()
    mistakes = list[object]()

    def put_off_another() -> None:
        turns.put_off(lambda: done.append(2))

    asyncio.get_running_loop().set_exception_handler(
        lambda loop, context: mistakes.append(context["exception"])
    )
    turns.put_off(put_off_another)
    turns.put_off(lambda: done.append(1 // 0))
    turns.put_off(lambda: done.append(1))
    await turn(lambda: len(done) == 2)
    assert done == [1, 2]
    assert isinstance(mistakes[0], ZeroDivisionError)


async def test_new_connections_come_before_more_long_work() -> None:
    """The loop has a few iterations for them, which take hardly any time."""
    turns, done = Turns(0.001), list[float]()
    turns.put_off(lambda: time.sleep(0.01))
    turns.put_off(lambda: done.append(time.monotonic()))
    turns.spend(0.01)  # immediate work counts as well
    assert turns.is_full
    for _ in range(8):
        await asyncio.sleep(0)
        assert not done
    for _ in range(4):
        await asyncio.sleep(0)
    assert done
    await turn(lambda: not turns.is_full)


async def test_few_tasks_go_on_at_once() -> None:
    """Thousands of them may wait, or be cancelled."""
    turns, done = Turns(1.0), list[int]()

    async def wait(number: int) -> None:
        try:
            await turns.wait()
        finally:
            done.append(number)

    tasks = [asyncio.create_task(wait(number)) for number in range(200)]
    await asyncio.sleep(0)
    for task in tasks[100:]:
        turns.cancel(task)
    looks = [0]
    while len(done) < len(tasks):
        await asyncio.sleep(0)
        looks.append(len(done))
    assert max(after - before for before, after in itertools.pairwise(looks)) <= 16


async def test_deferred_work_is_done_however_much_comes_immediately() -> None:
    """The rest for new connections ends."""
    turns, done = Turns(0.001), list[int]()
    for number in range(3):
        turns.put_off(lambda number=number: done.append(number))  # type: ignore[misc]
    for _ in range(20):
        turns.spend(0.01)
        await asyncio.sleep(0)
    assert done == [0, 1, 2]


async def test_many_small_requests_at_once_let_others_come_between() -> None:
    """Even those of a short read, once other connections have worked for long."""
    asked = list[Client]()

    def note(request: Request) -> Response:
        asked.append(request.client)
        return Response()

    one, speaker = b"GET / HTTP/1.1\r\nHost:\r\n\r\n", Speaker()
    start = serialize(PREFACE, SettingsFrame(0), speaker.headers(1, *get("/")))
    streams = serialize(*[speaker.headers(number, *get("/")) for number in range(3, 33, 2)])
    async with running(lambda head: Route(note), Limits(turn_time=60.0)) as here:
        clients = [(await here.connect())[1] for _ in range(3)]
        for client, first in zip(clients, (one, start, one), strict=True):
            client.write(first)
        await turn(lambda: len(asked) == 3)
        by_port = {each.peer.rpartition(":")[2]: each for each in asked}
        last = by_port[str(clients[2].get_extra_info("sockname")[1])]
        here.server.turns.spend(100.0)
        for client, more in zip(clients, (15 * one, streams, one), strict=True):
            client.write(more)
        await turn(lambda: len(asked) == 3 + 15 + 15 + 1)
        assert asked.index(last, 3) < 3 + 15
        for client in clients:
            client.close()


async def test_many_small_messages_at_once_let_others_come_between() -> None:
    """A WebSocket's short read of many is put off, once other connections have worked for long."""
    done = list[str]()

    def reply(message: bytes | bytearray) -> bytes | bytearray:
        done.append("message")
        return message

    def answer(request: Request) -> Answer:
        if request.head.upgrade:
            return Upgrade(reply)
        done.append("request")
        return Response()

    asks = b"Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Key: MDEyMzQ1Njc4OWFiY2RlZg==\r\n"
    one, empty = b"GET / HTTP/1.1\r\nHost:\r\n\r\n", b"\x82\x80\0\0\0\0"
    async with running(lambda head: Route(answer), Limits(turn_time=60.0)) as here:
        clients = [(await here.connect())[1] for _ in range(2)]
        clients[0].write(one[:-2] + asks + b"\r\n" + empty)
        clients[1].write(one)
        await turn(lambda: len(done) == 2)
        done.clear()
        here.server.turns.spend(100.0)
        clients[0].write(50 * empty)
        clients[1].write(one)
        await turn(lambda: len(done) == 51)
        assert done[0] == "request"
        for client in clients:
            client.close()


class Looks:
    """Counts what happens in each iteration of the loop."""

    def __init__(self) -> None:
        self.seen = Counter[int]()
        self._iteration = 0
        self._loop = asyncio.get_running_loop()
        self._loop.call_soon(self._next)

    def _next(self) -> None:
        self._iteration += 1
        self._loop.call_soon(self._next)

    def note(self) -> None:
        """Something happens."""
        self.seen[self._iteration] += 1


@pytest.mark.parametrize("protocol", ["HTTP/1.1", "HTTP/2"])
async def test_streams_with_more_to_send_go_on_a_few_at_a_time(protocol: str) -> None:
    """Thousands of them may have more at once."""
    looks = Looks()

    async def blocks() -> AsyncIterator[bytes]:
        yield b"x"
        for _ in range(5):
            looks.note()
            yield b"x"

    route, speaker = Route(lambda request: Response(body=blocks())), Speaker()
    start = serialize(PREFACE, SettingsFrame(0))
    streams = serialize(*[speaker.headers(number, *get("/")) for number in range(1, 201, 2)])
    async with running(lambda head: route) as here:
        if protocol == "HTTP/2":
            clients = [(await here.connect())[1]]
            clients[0].write(start + streams)
        else:
            clients = [(await here.connect())[1] for _ in range(100)]
            for client in clients:
                client.write(b"GET / HTTP/1.1\r\nHost:\r\n\r\n")
        await turn(lambda: looks.seen.total() == 500)
        assert max(looks.seen.values()) <= 16
        for client in clients:
            client.close()


async def test_event_streams_go_on_a_few_at_a_time(monkeypatch: pytest.MonkeyPatch) -> None:
    """Those that opened together are due together."""
    monkeypatch.setattr(events, "_INTERVAL", 0.05)
    looks, pod = Looks(), Pod()
    who = Who(Names(), pod, Health())

    def describe() -> dict[str, Any]:
        looks.note()
        return {}

    monkeypatch.setattr(who, "describe", describe)
    route, speaker = Route(events.Events(who, pod)), Speaker()
    async with running(lambda head: route) as here:
        _, client = await here.connect()
        streams = [speaker.headers(number, *get("/")) for number in range(1, 201, 2)]
        client.write(serialize(PREFACE, SettingsFrame(0), *streams))
        await turn(lambda: looks.seen.total() >= 100)
        looks.seen.clear()
        await turn(lambda: looks.seen.total() >= 200)
        assert max(looks.seen.values()) <= 32  # newly due, and sent before
        client.close()
