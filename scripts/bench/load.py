"""Load from wrk, with one thread: as much as the server takes, or a pace."""

import json
import subprocess
from dataclasses import dataclass
from pathlib import Path

_SCRIPT = Path(__file__).with_name("wrk.lua")
_CONNECTIONS = 32
_PAUSE = 10  # milliseconds between a paced connection's requests, in the mean; each pause is random


class LoadError(Exception):
    """The load could not be brought, or was answered with errors; the text says which."""


@dataclass(frozen=True)
class Load:
    """What one run of wrk saw. Times are in seconds."""

    requests: int
    seconds: float
    bytes: int
    p50: float
    p99: float

    @property
    def rate(self) -> float:
        """Requests a second."""
        return self.requests / self.seconds


def full_load(url: str, seconds: int) -> Load:
    """Ask again as soon as an answer is there, on 32 connections."""
    return _run(["-c", str(_CONNECTIONS)], url, seconds, [])


def paced_load(url: str, seconds: int, rate: float) -> Load:
    """Ask about `rate` times a second, on as many connections as that takes with their pauses."""
    connections = max(1, round(rate * _PAUSE / 1000))
    return _run(["-c", str(connections)], url, seconds, ["--", str(_PAUSE)])


def _run(options: list[str], url: str, seconds: int, arguments: list[str]) -> Load:
    command = ["wrk", "-t1", *options, f"-d{seconds}s", "-s", str(_SCRIPT), url, *arguments]
    run = subprocess.run(command, capture_output=True, text=True)
    if run.returncode:
        raise LoadError(f"{url}: {(run.stderr or run.stdout).strip().splitlines()[0]}")
    return parse_report(url, run.stdout)


def parse_report(url: str, text: str) -> Load:
    """What wrk.lua wrote as the last line. Raises LoadError where requests failed, or none was answered."""
    report = json.loads(text.strip().splitlines()[-1])
    errors = report.pop("errors")
    if errors or not report["requests"]:
        raise LoadError(f"{url}: {errors} of {report['requests']} requests failed")
    return Load(**report)
