"""Shutdown: the signals that start it, and its steps, which are logged."""

import asyncio
import signal
import time

from podkit.log import log_line
from podkit.pod.pod import Pod
from podkit.process.acceptor import Acceptor
from podkit.process.settings import Settings
from podkit.server import Server


def ending_signals() -> set[signal.Signals]:
    """The signals that shut a server down gracefully; not SIGHUP under nohup."""
    ending = {signal.SIGTERM, signal.SIGINT, signal.SIGHUP}
    if signal.getsignal(signal.SIGHUP) is signal.SIG_IGN:
        ending.remove(signal.SIGHUP)
    return ending


class Ending:
    """Waits for the first signal in the running event loop; a second one ends the process immediately.

    A worker has a lifeline: a file descriptor that reaches its end when the parent process exits.
    """

    def __init__(self, name: str, lifeline: int | None) -> None:
        self._name = name
        self._loop = asyncio.get_running_loop()
        self._reason: asyncio.Future[str] = self._loop.create_future()
        self.is_alone = lifeline is None  # no other process keeps the listener open
        for number in ending_signals():
            self._loop.add_signal_handler(number, self._on_signal, number)
        if lifeline is not None:
            self._loop.add_reader(lifeline, self._on_end_of_lifeline, lifeline)

    def _on_signal(self, number: signal.Signals) -> None:
        if self._reason.done():
            log_line(f"{self._name}: {number.name} again, leaving immediately")
            # a shell's exit status for a process killed by this signal
            raise SystemExit(128 + number)
        self._reason.set_result(f"{number.name}: ")

    def _on_end_of_lifeline(self, lifeline: int) -> None:
        self._loop.remove_reader(lifeline)
        self.is_alone = True
        if not self._reason.done():
            self._reason.set_result("")

    async def follow(self, server: Server, acceptor: Acceptor, pod: Pod, settings: Settings) -> None:
        """Waits for the signal, serves for the delay, closes the listener, and drains."""
        reason = await self._reason
        began = time.monotonic()
        answered, in_flight = server.answered, server.in_flight()
        requests = "request" if in_flight == 1 else "requests"
        log_line(f"{self._name}: {reason}leaving, {in_flight} {requests} in flight")
        server.draining = True
        pod.leaving.set()
        await asyncio.sleep(settings.shutdown_delay)
        await acceptor.finish(keep_open=not self.is_alone)
        newest = server.newest
        if newest is not None and newest.opened > began:
            host = newest.peer.rpartition(":")[0].strip("[]")
            self._tell(newest.opened - began, f"last new connection, from {host}")
        self._tell(time.monotonic() - began, "listener closed")
        cut = await server.drain(settings.grace_period)
        finished = server.answered - answered
        self._tell(time.monotonic() - began, f"done: {finished} answered while leaving, {cut} cut")

    def _tell(self, seconds: float, text: str) -> None:
        log_line(f"{self._name}: +{seconds:.1f} s {text}")
