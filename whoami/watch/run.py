"""Runs the requests, counts them, and shows the result."""

import asyncio
import json
import signal
import time
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Final, TextIO

from whoami.watch.outcome import Lost, NotSpokenError, Outcome, Way, ask
from whoami.watch.peer import clean_text
from whoami.watch.rate import RateView
from whoami.watch.screen import Screen
from whoami.watch.sentence import conclude
from whoami.watch.table import render_table
from whoami.watch.tally import Tally, count, summarize
from whoami.watch.target import Target
from whoami.watch.ways import build_way

_IN_FLIGHT: Final = 500  # concurrent requests, at most
_GLANCE: Final = 0.1  # seconds from a signal to the last request
_REDRAW: Final = 0.1  # seconds between two redraws of a growing table


@dataclass(frozen=True)
class Options:
    """The parsed command line; `count` requests per way, None for no limit; `rate` per second."""

    target: Target
    ways: tuple[str, ...]
    count: int | None
    rate: float | None
    cookies: bool
    json: bool
    timeout: float  # seconds


class Watch:
    """Runs until all requests are done or a signal arrives; a second signal cancels those in flight."""

    def __init__(self, options: Options, screen: Screen, stderr: TextIO) -> None:
        self._options = options
        self._screen = screen
        self._stderr = stderr
        self._stop = asyncio.Event()
        self._tallies: list[Tally] = []
        self._drawn = 0.0

    async def run(self) -> int:
        """The exit status: 1 if a request was lost, or none could be sent. OSError for bad authorities."""
        loop, task = asyncio.get_running_loop(), asyncio.current_task()
        assert task is not None

        def interrupt() -> None:
            if self._stop.is_set():
                task.cancel()
            self._stop.set()

        signals = (signal.SIGINT, signal.SIGTERM)
        for number in signals:
            loop.add_signal_handler(number, interrupt)
        try:
            for name in self._options.ways:
                if not self._stop.is_set():
                    await self._ask_by(name)
        except asyncio.CancelledError:
            pass
        finally:
            for number in signals:
                loop.remove_signal_handler(number)
        return self._end()

    async def _ask_by(self, name: str) -> None:
        tally = Tally(name)
        self._tallies.append(tally)
        way = build_way(name, self._options.target, self._options.cookies)
        try:
            if self._options.rate is None:
                await self._ask_in_turn(way, tally)
            else:
                await self._ask_at_rate(way, tally, self._options.rate)
        finally:
            await way.close()

    async def _ask_in_turn(self, way: Way, tally: Tally) -> None:
        while self._goes_on(tally, tally.requests):
            await self._ask(way, tally, None)
            if time.monotonic() - self._drawn > _REDRAW and not self._options.json:
                self._screen.draw(self._table())
                self._drawn = time.monotonic()

    async def _ask_at_rate(self, way: Way, tally: Tally, rate: float) -> None:
        """Starts requests at even intervals, independent of earlier ones."""
        loop, started, pending = asyncio.get_running_loop(), 0, set[asyncio.Task[None]]()
        view = None if self._options.json else RateView(self._screen, tally)
        due = loop.time()
        try:
            async with asyncio.TaskGroup() as group:
                ticker = group.create_task(_tick(view))
                while self._goes_on(tally, started):
                    if (pause := due - loop.time()) > 0:
                        await asyncio.sleep(min(pause, _GLANCE))
                    elif len(pending) >= _IN_FLIGHT:
                        await asyncio.wait(pending, return_when=asyncio.FIRST_COMPLETED)
                    else:
                        task = group.create_task(self._ask(way, tally, view))
                        pending.add(task)
                        task.add_done_callback(pending.discard)
                        started += 1
                        due = max(due + 1 / rate, loop.time() - 1)  # a long pause's requests are skipped
                if pending:
                    await asyncio.wait(pending)
                ticker.cancel()
        finally:
            if view is not None:
                view.finish(time.time())

    def _goes_on(self, tally: Tally, started: int) -> bool:
        most = self._options.count
        return not self._stop.is_set() and not tally.not_spoken and (most is None or started < most)

    async def _ask(self, way: Way, tally: Tally, view: RateView | None) -> None:
        try:
            outcome = await ask(way, self._options.timeout)
        except NotSpokenError as problem:
            if not tally.pods and not tally.unnamed:
                tally.not_spoken = clean_text(str(problem))
                return
            outcome = Outcome(time.time(), 0.0, None, Lost.OTHER, clean_text(str(problem)))
        pod = tally.add(outcome)
        tally.connections = way.connections
        if view is not None:
            view.add(outcome, pod)
        if self._options.json:
            self._screen.add(_render_json(tally.way, outcome))

    def _table(self) -> list[str]:
        title = count(max(tally.requests for tally in self._tallies), "request")
        ways = ", four ways" if len(self._options.ways) > 1 else ""
        return render_table(title + ways, self._tallies, self._screen.width)

    def _end(self) -> int:
        """Shows the summary; returns the exit status."""
        lost = sum(tally.lost_count for tally in self._tallies)
        if all(tally.not_spoken for tally in self._tallies):
            for tally in self._tallies:
                print(f"whoami watch: no {tally.way} here: {tally.not_spoken}", file=self._stderr, flush=True)
            return 1
        lines = [summarize(self._tallies)] if lost or self._options.rate or self._options.json else []
        told = [f"{kind}: {why}" for tally in self._tallies for kind, why in tally.problems.items()]
        lines += [*dict.fromkeys(told), conclude(self._tallies, self._options.cookies)]
        if self._options.json:
            print(*lines, sep="\n", file=self._stderr, flush=True)
        else:
            if self._options.rate:
                self._screen.keep()
            self._screen.add(*self._table(), *lines)
        return 1 if lost else 0


async def _tick(view: RateView | None) -> None:
    """Shows each second when it is over."""
    loop = asyncio.get_running_loop()
    due = loop.time()
    while view is not None:
        due = max(due + 1, loop.time())
        await asyncio.sleep(due - loop.time())
        view.tick(time.time())


def _render_json(way: str, outcome: Outcome) -> str:
    reply = outcome.reply
    fields = {
        "time": datetime.fromtimestamp(outcome.at, UTC).isoformat(timespec="milliseconds"),
        "way": way,
        "pod": reply.peer.pod or None if reply else None,
        "node": reply.peer.node or None if reply else None,
        "status": reply.status if reply else None,
        "connection": reply.connection if reply else None,
        "seconds": round(outcome.seconds, 6),
        "lost": outcome.lost,
        "why": outcome.why or None,
    }
    return json.dumps(fields)
