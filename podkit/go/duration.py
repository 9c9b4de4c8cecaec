"""Durations, parsed like Go's ``time.ParseDuration``."""

import re
from typing import Final

_INT64: Final = 1 << 63
_UNITS: Final = {  # nanoseconds
    "ns": 1,
    "us": 1_000,
    "\u00b5s": 1_000,  # micro sign
    "\u03bcs": 1_000,  # Greek mu
    "ms": 1_000_000,
    "s": 1_000_000_000,
    "m": 60_000_000_000,
    "h": 3_600_000_000_000,
}
_PART: Final = re.compile(r"([0-9]*)(\.([0-9]*))?([^0-9.]+)")


def parse_duration(text: str) -> float:
    """Seconds of a duration such as ``300ms``, ``-1.5h`` or ``1m2s`` (``time.ParseDuration``).

    Raises ValueError for any other text, and if the duration exceeds 64 bits of nanoseconds.
    """
    problem = f"{text[:40]!r} is not a duration: write 300ms, 1.5s or 1m2s"
    rest = text[1:] if text[:1] in ("+", "-") else text
    if rest == "0":
        return 0.0
    if not rest or len(rest) > 1000:
        raise ValueError(problem)
    nanoseconds, position = 0, 0
    while position < len(rest):
        part = _PART.match(rest, position)
        if part is None or part[4] not in _UNITS or not (part[1] or part[3]):
            raise ValueError(problem)
        unit = _UNITS[part[4]]
        fraction = part[3] or ""
        nanoseconds += int(part[1] or "0") * unit + int("0" + fraction) * unit // 10 ** len(fraction)
        if nanoseconds > _INT64 - (text[:1] != "-"):
            raise ValueError(problem)
        position = part.end()
    return (-nanoseconds if text[:1] == "-" else nanoseconds) / 1e9
