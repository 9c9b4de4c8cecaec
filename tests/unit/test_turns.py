"""Deferred work runs in order, and leaves the event loop to others in between."""

import asyncio
import time

from podkit.turns import Turns
from tests.inprocess import turn


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
