"""Measure, and print a table; JSON and a chart go to build/bench.

Every round asks each server in turn, so that a noisy machine disturbs all alike; a ratio is the median of
the rounds' ratios. Full load: 32 connections that ask again at once. Half load: all servers get the same
number of requests a second, half of what the bare application takes, since that is what changes for a
person who puts the one in the place of the other.
"""

import argparse
import json
import os
import platform
import shutil
import statistics
import sys
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import asdict
from pathlib import Path
from urllib.parse import urlsplit

from scripts.bench.chart import render_chart
from scripts.bench.load import Load, LoadError, full_load, paced_load
from scripts.bench.peers import APPLICATION, PEERS, NotStarted, Server, running
from scripts.bench.report import Sample, Samples, render_comparisons, render_table, summarise

_FOLDER = Path("build/bench")


def main() -> int:
    """0, or 1 with a line where something is missing or fails."""
    options = _options()
    if shutil.which("wrk") is None:
        print("wrk is needed (on Debian and Ubuntu: apt install wrk)", file=sys.stderr)
        return 1
    try:
        with ExitStack() as stack:
            for url in options.against:
                full_load(url, 1)  # one that does not answer is told of now, not after a round
            subjects = _start(stack, options.against)
            full, half = _measure(subjects, options.rounds, options.seconds)
    except (LoadError, NotStarted) as problem:
        print(f"bench: {problem}", file=sys.stderr)
        return 1
    rows = summarise(full, half)
    urls = {name: url for name, (_, url) in subjects.items()}
    print("\n".join([render_table(rows), "", *render_comparisons(full, urls, options.against)]))
    _FOLDER.mkdir(parents=True, exist_ok=True)
    rounds = {"full_load": _plain(full), "half_load": _plain(half)}
    machine = {"system": platform.platform(), "cpus": os.cpu_count(), "python": platform.python_version()}
    document = {"machine": machine, "summary": [asdict(row) for row in rows], "rounds": rounds}
    (_FOLDER / "bench.json").write_text(json.dumps(document, indent=1) + "\n")
    (_FOLDER / "bench.svg").write_text(render_chart(rows))
    print(f"{_FOLDER}/bench.json has every round, {_FOLDER}/bench.svg the chart")
    return 0


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="bench", description="Requests a second beside other servers.")
    parser.add_argument("--rounds", type=int, default=3, help="how often to ask each server")
    parser.add_argument("--seconds", type=int, default=2, help="how long to ask it each time")
    parser.add_argument("against", nargs="*", metavar="URL", help="a server that runs already")
    return parser.parse_args()


def _start(stack: ExitStack, against: list[str]) -> dict[str, tuple[Server, str]]:
    """Each subject's server and URL. What can't be started is left out, and said so."""
    subjects: dict[str, tuple[Server, str]] = {}
    for command, targets in PEERS.items():
        try:
            server = stack.enter_context(running(command))
        except NotStarted as problem:
            print(f"left out: {', '.join(targets)}: {problem}", file=sys.stderr)
            continue
        subjects |= {name: (server, server.address + target) for name, target in targets.items()}
    if APPLICATION not in subjects:
        raise NotStarted("nothing can be compared without the bare application")
    return subjects | {url: (Server(url), url) for url in against}


def _measure(subjects: dict[str, tuple[Server, str]], rounds: int, seconds: int) -> tuple[Samples, Samples]:
    """Samples of each subject at full load, and at half load but for those that send much."""
    full = _rounds(subjects, rounds, lambda url: full_load(url, seconds))
    rate = statistics.median(sample.load.rate for sample in full[APPLICATION]) / 2
    small = {name: subject for name, subject in subjects.items() if urlsplit(subject[1]).path != "/data"}
    half = _rounds(small, rounds, lambda url: paced_load(url, max(1, seconds // 2), rate))
    return full, half


def _rounds(subjects: dict[str, tuple[Server, str]], rounds: int, ask: Callable[[str], Load]) -> Samples:
    samples: Samples = {name: [] for name in subjects}
    for _ in range(rounds):
        for name, (server, url) in subjects.items():
            before = server.cpu_seconds()
            load = ask(url)
            samples[name].append(Sample(load, server.cpu_seconds() - before, server.memory()))
    return samples


def _plain(samples: Samples) -> dict[str, list[dict[str, object]]]:
    return {name: [asdict(sample) for sample in rounds] for name, rounds in samples.items()}


if __name__ == "__main__":
    try:
        sys.exit(main())
    except KeyboardInterrupt:
        sys.exit(130)
