"""``?wait=``: answers that come later."""

from collections.abc import Callable, Mapping

from podkit.go.duration import parse_duration
from podkit.message import Answer, Delayed, Response


def wait_first(query: Mapping[str, str], respond: Callable[[], Response]) -> Answer:
    """The answer after the query's ``wait``; at once where that is no duration of Go's, or none above zero."""
    try:
        delay = parse_duration(query.get("wait", ""))
    except ValueError:
        delay = 0.0
    return Delayed(delay, respond) if delay > 0 else respond()
