"""Back-pressure: detects clients that stop reading, and pauses reading from them."""

import asyncio
from functools import partial

from podkit.kernel import unsent_bytes
from podkit.turns import Turns


class Progress:
    """Detects a client that makes no progress reading what was sent."""

    __slots__ = ("_since", "_unsent")

    def __init__(self) -> None:
        self._unsent = 0  # bytes, at the last check
        self._since = 0.0  # when they last decreased

    def restart(self) -> None:
        """Forgets the last check."""
        self._unsent = 0

    def is_stuck(self, transport: asyncio.Transport, now: float, patience: float) -> bool:
        """Whether the client has read nothing for more than `patience` seconds. Call it regularly."""
        unsent = unsent_bytes(transport)
        if not self._unsent or unsent < self._unsent:
            self._unsent, self._since = unsent, now
        return now - self._since > patience


class Reading:
    """Pauses and resumes reading of a transport, and ignores calls that change nothing."""

    __slots__ = ("_transport", "is_on")

    def __init__(self, transport: asyncio.Transport) -> None:
        self._transport = transport
        self.is_on = True

    def switch(self, on: bool) -> None:
        """Resumes or pauses reading."""
        if on != self.is_on and not self._transport.is_closing():
            self.is_on = on
            if on:
                self._transport.resume_reading()
            else:
                self._transport.pause_reading()

    def rest(self, turns: Turns) -> None:
        """Pauses reading until it is this connection's turn."""
        self.switch(False)
        turns.put_off(partial(self.switch, True))
