"""HTTP dates, parsed like Go's ``net/http.ParseTime``."""

import re
import time
from datetime import UTC, datetime
from typing import Final

_DAYS: Final = ("Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday")
_MONTHS: Final = ("jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec")
_LONGEST: Final = 200  # characters; spaces may repeat
_HOURS: Final = "0*(?:1?[0-9]|2[0-3])"
_PARTS: Final = {
    "weekday": "(?i:" + "|".join(_DAYS) + ")",
    "wkday": "(?i:" + "|".join(day[:3] for day in _DAYS) + ")",
    "month": "(?P<month>(?i:" + "|".join(_MONTHS) + "))",
    "time": r"(?P<hour>[0-9]{1,2}):(?P<minute>[0-9]{2}):(?P<second>[0-9]{2})(?:[.,][0-9]+)?",
    "year": "(?P<year>[0-9]{4})",
    # time zone names, none of which shifts the time: the original runs in UTC
    "zone": f"(?:UTC|ChST|MeST|GMT(?:[+-]{_HOURS})?|[+-](?=..){_HOURS}"
    "|(?!UTC|GMT)(?:[A-Z]{3}|[A-Z]{3}T|WITA|[A-Z]{4}T))",
}
_FORMS: Final = tuple(
    re.compile(form.format(**_PARTS).replace(" ", " +"), re.ASCII)
    for form in (
        "{wkday}, (?P<day>[0-9]{{2}}) {month} {year} {time} GMT",
        "{weekday}, (?P<day>[0-9]{{2}})-{month}-(?P<short_year>[0-9]{{2}}) {time} {zone}",
        "{wkday} {month} (?P<day>[0-9]{{1,2}}) {time} {year}",
    )
)


def parse_date(text: bytes) -> int:
    """Seconds since 1970 of a date in one of RFC 9110's three forms; ValueError for any other text."""
    if len(text) <= _LONGEST:
        for form in _FORMS:
            if found := form.fullmatch(text.decode("latin-1")):
                return _seconds(found.groupdict())
    raise ValueError("not an HTTP date")


def render_date(moment: float) -> bytes:
    """An HTTP date of a time in seconds since 1970 (RFC 9110, 5.6.7)."""
    year, month, day, hour, minute, second, weekday, *_ = time.gmtime(moment)
    names = _DAYS[weekday][:3], _MONTHS[month - 1].capitalize()
    return f"{names[0]}, {day:02} {names[1]} {year:04} {hour:02}:{minute:02}:{second:02} GMT".encode()


def _seconds(parts: dict[str, str | None]) -> int:
    month = _MONTHS.index(str(parts["month"]).lower()) + 1
    if short := parts.get("short_year"):
        year = int(short) + (1900 if int(short) >= 69 else 2000)
    else:
        year = int(str(parts["year"])) or 4  # Python has no year 0; any other year that long ago will do
    day, hour, minute, second = (int(str(parts[name])) for name in ("day", "hour", "minute", "second"))
    return int(datetime(year, month, day, hour, minute, second, tzinfo=UTC).timestamp())
