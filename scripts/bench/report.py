"""From samples to a table."""

import statistics
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from urllib.parse import urlsplit

from scripts.bench.load import Load
from scripts.bench.peers import APPLICATION, LOW_LEVEL, NODE, OURS


@dataclass(frozen=True)
class Sample:
    """One subject in one round: what wrk saw, and what the server used up meanwhile."""

    load: Load
    cpu_seconds: float
    memory: int  # bytes; 0 for a server that is not ours


Samples = dict[str, list[Sample]]  # by subject, in the order of the rounds


@dataclass(frozen=True)
class Row:
    """Medians of a subject's rounds. Ratios are of requests a second; None where there is no such figure."""

    name: str
    rate: float  # requests a second
    p50: float  # seconds
    p99: float
    bytes_per_second: float
    cpu_per_1000: float | None  # seconds for 1000 requests
    memory: float | None  # bytes
    to_application: float | None
    to_low_level: float | None
    to_node: float | None
    half_rate: float | None  # requests a second at half load
    half_p99: float | None  # seconds, at half load


def summarise(full: Samples, half: Samples) -> list[Row]:
    """A row for each subject."""
    return [_row(name, full, half) for name in full]


def _row(name: str, full: Samples, half: Samples) -> Row:
    samples, paced = full[name], half.get(name, [])
    ours = samples[0].memory > 0
    return Row(
        name,
        _median(samples, lambda sample: sample.load.rate),
        _median(samples, lambda sample: sample.load.p50),
        _median(samples, lambda sample: sample.load.p99),
        _median(samples, lambda sample: sample.load.bytes / sample.load.seconds),
        _median(samples, lambda sample: 1000 * sample.cpu_seconds / sample.load.requests) if ours else None,
        _median(samples, lambda sample: sample.memory) if ours else None,
        _ratio(samples, full.get(APPLICATION)),
        _ratio(samples, full.get(LOW_LEVEL)),
        _ratio(samples, full.get(NODE)),
        _median(paced, lambda sample: sample.load.rate) if paced else None,
        _median(paced, lambda sample: sample.load.p99) if paced else None,
    )


def _median(samples: Sequence[Sample], figure: Callable[[Sample], float]) -> float:
    return statistics.median(figure(sample) for sample in samples)


def _ratio(samples: Sequence[Sample], others: Sequence[Sample] | None) -> float | None:
    """Of rates, round by round: what disturbs the machine for a while disturbs both."""
    if others is None:
        return None
    return statistics.median(one.load.rate / two.load.rate for one, two in zip(samples, others, strict=True))


# a column's title, its width, and its text for a row
_COLUMNS: tuple[tuple[str, int, Callable[[Row], str]], ...] = (
    ("requests/s", 11, lambda row: f"{row.rate:,.0f}"),
    ("p50 ms", 8, lambda row: f"{row.p50 * 1000:.2f}"),
    ("p99 ms", 8, lambda row: f"{row.p99 * 1000:.2f}"),
    ("GB/s", 7, lambda row: f"{row.bytes_per_second / 1e9:.3f}"),
    ("CPU s/1000", 11, lambda row: _text(row.cpu_per_1000, ".4f")),
    ("MB", 5, lambda row: _text(row.memory, ".0f", 1e-6)),
    ("x appl.", 8, lambda row: _text(row.to_application, ".2f")),
    ("x low-l.", 9, lambda row: _text(row.to_low_level, ".2f")),
    ("x Node", 7, lambda row: _text(row.to_node, ".2f")),
    ("half: req/s", 12, lambda row: _text(row.half_rate, ",.0f")),
    ("p99 ms", 7, lambda row: _text(row.half_p99, ".2f", 1000)),
)


def _text(value: float | None, form: str, factor: float = 1) -> str:
    return "-" if value is None else format(value * factor, form)


def render_table(rows: Sequence[Row]) -> str:
    """The rows under a line of titles."""
    width = max(len(row.name) for row in rows)
    lines = [" " * width + "".join(f"{title:>{size}}" for title, size, _ in _COLUMNS)]
    for row in rows:
        lines.append(f"{row.name:<{width}}" + "".join(f"{text(row):>{size}}" for _, size, text in _COLUMNS))
    return "\n".join(lines)


def render_comparisons(full: Samples, urls: Mapping[str, str], against: Sequence[str]) -> list[str]:
    """A line for each of our subjects and each given URL that ask for the same; `urls` has a subject's own."""
    return [
        f"{name} is {_ratio(samples, full[other]):.2f} times {other}"
        for other in against
        for name, samples in full.items()
        if name not in against and _asks(urls[name]) == _asks(other) and name.startswith(OURS)
    ]


def _asks(url: str) -> tuple[str, str]:
    parts = urlsplit(url)
    return parts.path or "/", parts.query
