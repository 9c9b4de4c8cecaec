"""Limits the frames with which a client only causes work."""

from podkit.http2.frames import Code, ConnectionFault
from podkit.limits import Limits

_FOR_ANSWER = 4.0  # frames that a client may send per answer: window updates, a ping, an acknowledgement
_BYTES = 512  # bytes of a body per frame that the client may send about it


class Allowance:
    """A token bucket, refilled by time and by answers that were sent."""

    def __init__(self, limits: Limits) -> None:
        self._limits = limits
        self._left = float(limits.flood_burst)
        self._now = 0.0

    def refill(self, now: float) -> None:
        """Adds tokens for the elapsed time; `now` is in seconds of any clock."""
        if self._now:
            self._add(self._limits.flood_refill * (now - self._now))
        self._now = now

    def earn(self, size: int) -> None:
        """Adds tokens for bytes of bodies that were sent."""
        self._add(size / _BYTES)

    def earn_answer(self) -> None:
        """Adds tokens for an answered request."""
        self._add(_FOR_ANSWER)

    def _add(self, count: float) -> None:
        self._left = min(self._limits.flood_burst, self._left + count)

    def spend(self) -> None:
        """Takes a token for a frame. Raises ConnectionFault if there is none."""
        self._left -= 1
        if self._left < 0:
            raise ConnectionFault(Code.ENHANCE_YOUR_CALM)
