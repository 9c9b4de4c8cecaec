"""Back-pressure: whether a client takes what is sent to it, and when to read on from it."""

import asyncio

from podkit.kernel import unsent_bytes


class Progress:
    """Of a client that has not taken all yet."""

    __slots__ = ("_since", "_unsent")

    def __init__(self) -> None:
        self._unsent = 0  # bytes, at the last look
        self._since = 0.0  # when they were last seen to shrink

    def restart(self) -> None:
        """The next look is the first."""
        self._unsent = 0

    def is_stuck(self, transport: asyncio.Transport, now: float, patience: float) -> bool:
        """Whether nothing was taken for longer than `patience` seconds; to be asked now and then."""
        unsent = unsent_bytes(transport)
        if not self._unsent or unsent < self._unsent:
            self._unsent, self._since = unsent, now
        return now - self._since > patience


class Reading:
    """Whether a transport reads, switched only where that changes something."""

    __slots__ = ("_transport", "is_on")

    def __init__(self, transport: asyncio.Transport) -> None:
        self._transport = transport
        self.is_on = True

    def switch(self, on: bool) -> None:
        """Read on, or leave what comes to the kernel."""
        if on != self.is_on and not self._transport.is_closing():
            self.is_on = on
            if on:
                self._transport.resume_reading()
            else:
                self._transport.pause_reading()
