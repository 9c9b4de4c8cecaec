"""Measures, and prints tables; JSON, Markdown and a chart go to build/bench.

Every round measures each server in turn, so that a noisy machine disturbs all alike; a ratio is the median of
the rounds' ratios. Full load: 32 connections that send the next request immediately, over HTTP/2 four requests
on each. Half load: all servers get the same number of requests per second, half of what the bare aiohttp
application handles, since that is what changes for someone swapping one server for the other.
"""

import argparse
import datetime
import json
import os
import platform
import shutil
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterable
from contextlib import ExitStack
from dataclasses import asdict
from importlib.metadata import version
from pathlib import Path
from urllib.parse import urlsplit

from scripts.bench.chart import render_chart
from scripts.bench.idle import healthcheck_cpu, measure_idle, render_idle
from scripts.bench.load import PACKAGES, Load, LoadError, full_load, paced_load
from scripts.bench.peers import (
    APPLICATION,
    GRANIAN,
    ORIGINAL,
    OURS,
    UVICORN,
    WHOAMI,
    NotStarted,
    Peer,
    Server,
    build_peers,
    make_certificate,
    running,
)
from scripts.bench.report import Sample, Samples, ratio, render_markdown, render_table, summarise
from scripts.bench.works import WORKS, Work

_FOLDER = Path("build/bench")
_IDLE = (WHOAMI, APPLICATION, GRANIAN, UVICORN, ORIGINAL)  # measure startup and memory

Subject = tuple[Work, str, Server]  # a work, and the server that does it


def main() -> int:
    """Returns 0, or 1 with a line if something is missing or fails."""
    options = _options()
    missing = [program for program in PACKAGES if shutil.which(program) is None]
    if missing:
        packages = " ".join(PACKAGES[program] for program in missing)
        needed = f"{' and '.join(missing)} {'are' if missing[1:] else 'is'} needed"
        print(f"{needed} (on Debian and Ubuntu: apt install {packages})", file=sys.stderr)
        return 1
    peers = build_peers(options.original)
    try:
        with ExitStack() as stack:
            subjects = _start(stack, peers) + [_given(url) for url in options.against]
            seconds = options.seconds
            full = _rounds(subjects, options.rounds, lambda work, url: full_load(url, seconds, work.kind))
            half = _half(subjects, full, max(1, options.rounds // 2), seconds)
        rows = summarise(full, half)
        print("\n".join([render_table(rows), "", *_comparisons(full, options.against)]), flush=True)
        idle = [measure_idle(name, peers[name], options.idle) for name in _IDLE if name in peers]
        print(render_idle(idle, healthcheck_cpu(peers[WHOAMI])))
    except (LoadError, NotStarted, OSError, ValueError) as problem:
        print(f"bench: {problem}", file=sys.stderr)
        return 1
    caption = _caption()
    document = {
        "machine": caption,
        "summary": [asdict(row) for row in rows],
        "idle": [asdict(each) for each in idle],
        "rounds": {"full_load": _plain(full), "half_load": _plain(half)},
    }
    _FOLDER.mkdir(parents=True, exist_ok=True)
    (_FOLDER / "bench.json").write_text(json.dumps(document, indent=1) + "\n")
    (_FOLDER / "bench.svg").write_text(render_chart(rows, caption))
    (_FOLDER / "bench.md").write_text(f"{render_markdown(rows)}\n\n{caption}\n")
    print(f"{caption}\n{_FOLDER}/bench.json has every round, bench.svg the chart, bench.md the table")
    return 0


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="bench", description="Requests a second beside other servers.")
    parser.add_argument("--rounds", type=int, default=3, help="how often to ask each server")
    parser.add_argument("--seconds", type=int, default=1, help="how long to ask it each time")
    parser.add_argument("--idle", type=int, default=10_000, help="idle connections to hold")
    parser.add_argument("--original", metavar="PATH", help="the original whoami, to measure beside")
    parser.add_argument("against", nargs="*", metavar="URL", help="a server that runs already")
    return parser.parse_args()


def _caption() -> str:
    versions = ", ".join(f"{name} {version(name)}" for name in ("aiohttp", "granian", "uvicorn", "grpcio"))
    if node := shutil.which("node"):
        told = subprocess.run([node, "--version"], stdout=subprocess.PIPE, text=True).stdout.strip()
        versions += f", Node.js {told.removeprefix('v')}"
    machine = f"{os.cpu_count()} CPUs ({platform.machine()})"
    return f"{datetime.date.today()}, {machine}, Python {platform.python_version()}, {versions}"


def _start(stack: ExitStack, peers: dict[str, Peer]) -> list[Subject]:
    """Starts all servers of a work: each program once, and once for TLS. Reports those that do not start."""
    certificate = make_certificate(Path(stack.enter_context(tempfile.TemporaryDirectory())))
    servers: dict[tuple[str, bool], Server] = {}
    for name, tls in dict.fromkeys((name, work.tls) for work in WORKS for name in work.names if name in peers):
        try:
            servers[name, tls] = stack.enter_context(running(peers[name], certificate if tls else None))
        except NotStarted as problem:
            print(f"left out: {name}: {problem}", file=sys.stderr)
    if (APPLICATION, False) not in servers:
        raise NotStarted("nothing can be compared without the bare application")
    return [
        (work, name, servers[name, work.tls])
        for work in WORKS
        for name in work.names
        if (name, work.tls) in servers
    ]


def _given(url: str) -> Subject:
    """A server that is already running. Raises LoadError if it does not answer."""
    full_load(url, 1)
    parts = urlsplit(url)
    target = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
    return Work(f"GET {target}", target, "same", (url,)), url, Server(f"{parts.scheme}://{parts.netloc}")


def _half(subjects: list[Subject], full: Samples, rounds: int, seconds: int) -> Samples:
    paced = [subject for subject in subjects if subject[0].paced]
    rate = statistics.median(sample.load.rate for sample in full[paced[0][0].title, APPLICATION]) / 2
    return _rounds(paced, rounds, lambda work, url: paced_load(url, seconds, rate))


def _rounds(subjects: Iterable[Subject], rounds: int, ask: Callable[[Work, str], Load]) -> Samples:
    samples: Samples = {}
    for _ in range(rounds):
        for work, name, server in subjects:
            before = server.cpu_seconds()
            load = ask(work, server.address + work.target)
            sample = Sample(load, server.cpu_seconds() - before, server.memory())
            samples.setdefault((work.title, name), []).append(sample)
    return samples


def _comparisons(full: Samples, against: list[str]) -> list[str]:
    """A line for each of our servers that does the same work as a given URL."""
    return [
        f"{name} is {ratio(samples, given):.2f} times {url}"
        for (title, url), given in full.items()
        if url in against
        for (work, name), samples in full.items()
        if work == title and name.startswith(OURS)
    ]


def _plain(samples: Samples) -> dict[str, list[dict[str, object]]]:
    return {" by ".join(key): [asdict(sample) for sample in rounds] for key, rounds in samples.items()}


if __name__ == "__main__":
    try:
        sys.exit(main())
    except KeyboardInterrupt:
        sys.exit(130)
