"""Summarises samples in a table."""

import statistics
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Final

from scripts.bench.load import Load
from scripts.bench.peers import APPLICATION, GRANIAN, GRPCIO, NODE, ORIGINAL, UVICORN

REFERENCES: Final = (APPLICATION, GRANIAN, UVICORN, GRPCIO, NODE, ORIGINAL)  # ratios are relative to these


@dataclass(frozen=True)
class Sample:
    """One server's round of a work: the load's result, and the server's resource usage."""

    load: Load
    cpu_seconds: float
    memory: int  # bytes; 0 for a server that is not ours


Samples = dict[tuple[str, str], list[Sample]]  # by work and server, in the order of the rounds


@dataclass(frozen=True)
class Row:
    """Medians of the rounds. Ratios are of requests per second; None where there is no such figure."""

    work: str
    name: str
    rate: float  # requests per second
    p50: float  # seconds
    p99: float
    bytes_per_second: float
    cpu: float | None  # seconds per request
    memory: float | None  # bytes
    ratios: dict[str, float]  # to each reference that does the same work
    half_p99: float | None  # seconds, at half of the bare application's load


def summarise(full: Samples, half: Samples) -> list[Row]:
    """A row for each work and server."""
    return [_row(key, full, half) for key in full]


def _row(key: tuple[str, str], full: Samples, half: Samples) -> Row:
    work, name = key
    samples, paced = full[key], half.get(key)
    ours = samples[0].memory > 0
    return Row(
        work,
        name,
        _median(samples, lambda sample: sample.load.rate),
        _median(samples, lambda sample: sample.load.p50),
        _median(samples, lambda sample: sample.load.p99),
        _median(samples, lambda sample: sample.load.bytes / sample.load.seconds),
        _median(samples, lambda sample: sample.cpu_seconds / sample.load.requests) if ours else None,
        _median(samples, lambda sample: sample.memory) if ours else None,
        {other: ratio(samples, full[work, other]) for other in REFERENCES if (work, other) in full},
        _median(paced, lambda sample: sample.load.p99) if paced else None,
    )


def _median(samples: Sequence[Sample], figure: Callable[[Sample], float]) -> float:
    return statistics.median(figure(sample) for sample in samples)


def ratio(samples: Sequence[Sample], others: Sequence[Sample]) -> float:
    """The median of the rounds' ratios: a disturbance of the machine affects both servers."""
    return statistics.median(one.load.rate / two.load.rate for one, two in zip(samples, others, strict=True))


# a column's title, and its text for a row
_COLUMNS: tuple[tuple[str, Callable[[Row], str]], ...] = (
    ("requests/s", lambda row: f"{row.rate:,.0f}"),
    ("CPU µs", lambda row: _text(row.cpu, ".1f", 1e6)),
    ("p50 ms", lambda row: f"{row.p50 * 1000:.2f}"),
    ("p99 ms", lambda row: f"{row.p99 * 1000:.2f}"),
    ("p99 at half", lambda row: _text(row.half_p99, ".2f", 1000)),
    ("GB/s", lambda row: f"{row.bytes_per_second / 1e9:.3f}"),
    ("MB", lambda row: _text(row.memory, ".0f", 1e-6)),
)


def _text(value: float | None, form: str, factor: float = 1) -> str:
    return "–" if value is None else format(value * factor, form)


def render_table(rows: Sequence[Row]) -> str:
    """The rows below a line of titles, by work. A ratio's column is shown if any row has it."""
    lines = list(_cells(rows))
    sizes = [max(len(line[place]) for line in lines) + 2 for place in range(len(lines[0]))]
    texts = []
    work = ""
    for line in lines:
        if line[0] != work and texts:
            texts.append("")
        work = line[0]
        names = f"{line[0]:<{sizes[0]}}{line[1]:<{sizes[1]}}"
        texts.append(names + "".join(f"{text:>{size}}" for text, size in zip(line[2:], sizes[2:], strict=True)))
    return "\n".join(texts)


def render_markdown(rows: Sequence[Row]) -> str:
    """The same as a table for the README, with requests, CPU time, p99, memory and ratios."""
    lines = [[line[place] for place in (0, 1, 2, 3, 5, *range(8, len(line)))] for line in _cells(rows)]
    lines.insert(1, ["---", "---", *("---:" for _ in lines[0][2:])])
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def _cells(rows: Sequence[Row]) -> Iterator[list[str]]:
    others = [other for other in REFERENCES if any(other in row.ratios for row in rows)]
    titles = [title for title, _ in _COLUMNS]
    yield ["work", "server", *titles, *(f"x {other.removesuffix(' application')}" for other in others)]
    for row in rows:
        figures = [text(row) for _, text in _COLUMNS]
        yield [row.work, row.name, *figures, *(_text(row.ratios.get(other), ".2f") for other in others)]
