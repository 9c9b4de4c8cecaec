"""``?wait=``: delayed answers."""

from collections.abc import Callable, Mapping

from podkit.go.duration import parse_duration
from podkit.message import Answer, Delayed, Response


def wait_first(query: Mapping[str, str], respond: Callable[[], Response]) -> Answer:
    """Delays the answer by the query's ``wait``; immediate if that is not a positive Go duration."""
    try:
        delay = parse_duration(query.get("wait", ""))
    except ValueError:
        delay = 0.0
    return Delayed(delay, respond) if delay > 0 else respond()
