"""How much a client may ask for that is work and nothing else."""

from podkit.http2.frames import Code, ConnectionFault
from podkit.limits import Limits

_FOR_ANSWER = 4.0  # frames that a client may well send about an answer: windows, a ping, an acknowledgement
_BYTES = 512  # of a body that it may send a frame about


class Allowance:
    """A number of frames that grows with time and with what is sent in answer."""

    def __init__(self, limits: Limits) -> None:
        self._limits = limits
        self._left = float(limits.flood_burst)
        self._now = 0.0

    def refill(self, now: float) -> None:
        """Time has passed; `now` is in seconds of any clock."""
        if self._now:
            self._add(self._limits.flood_refill * (now - self._now))
        self._now = now

    def earn(self, size: int) -> None:
        """So many bytes of bodies were sent."""
        self._add(size / _BYTES)

    def earn_answer(self) -> None:
        """A request was answered."""
        self._add(_FOR_ANSWER)

    def _add(self, count: float) -> None:
        self._left = min(self._limits.flood_burst, self._left + count)

    def spend(self) -> None:
        """A frame asks for work. Raises ConnectionFault where it is one too many."""
        self._left -= 1
        if self._left < 0:
            raise ConnectionFault(Code.ENHANCE_YOUR_CALM)
