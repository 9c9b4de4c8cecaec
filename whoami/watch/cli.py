"""The command line of ``whoami watch``."""

import argparse
import asyncio
import os
import re
import sys
from collections.abc import Mapping, Sequence
from typing import NoReturn, TextIO

from podkit.go.duration import parse_duration
from whoami.watch.run import Options, Watch
from whoami.watch.screen import Screen
from whoami.watch.target import Target, parse_pin, parse_url
from whoami.watch.ways import ALL, GRPC, HTTP2, KEEP_ALIVE, NEW

_COUNT = 30
_MOST = 1_000_000
_MOST_RATE = 1000.0
_DESCRIPTION = "Send requests to a URL and show which pod answers each."
_EPILOG = """\
The pod's name is read from the answer: JSON with pod, pod_name or hostname, a line "Hostname: NAME", or
"You've hit NAME on this node: NODE". Each request opens a new connection unless a flag says otherwise.
Ctrl-C prints a summary. The exit status is 1 if a request was lost, 2 for a bad command line.
"""


class UsageError(Exception):
    """A bad command line; the text says what is wrong."""


class HelpWanted(Exception):
    """The help was requested; the text is the help."""


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        raise UsageError(message.removeprefix("argument "))


def _parse_count(text: str) -> int:
    if not (text.isascii() and text.isdigit()) or not 1 <= int(text[:8]) <= _MOST:
        raise argparse.ArgumentTypeError(f"{text!r} is not a number of requests: give 1 to {_MOST}")
    return int(text)


def _parse_rate(text: str) -> float:
    if not re.fullmatch(r"\d{1,6}(\.\d{1,6})?", text, re.ASCII) or not 0 < float(text) <= _MOST_RATE:
        raise argparse.ArgumentTypeError(f"{text!r} is not a rate: give up to {_MOST_RATE:g} requests a second")
    return float(text)


def _parse_timeout(text: str) -> float:
    try:
        duration = parse_duration(text)
    except ValueError as problem:
        raise argparse.ArgumentTypeError(str(problem)) from None
    if not 0 < duration <= 3600:
        raise argparse.ArgumentTypeError(f"{text!r} is not a timeout: give up to an hour, such as 5s")
    return duration


def _parse_pin(text: str) -> tuple[tuple[str, int], str]:
    try:
        return parse_pin(text)
    except ValueError as problem:
        raise argparse.ArgumentTypeError(str(problem)) from None


def _build_parser() -> _Parser:
    parser = _Parser(
        prog="whoami watch",
        usage="whoami watch [flags] URL",
        description=_DESCRIPTION,
        epilog=_EPILOG,
        allow_abbrev=False,
        add_help=False,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add = parser.add_argument
    add("url", metavar="URL", help="server to ask, such as http://whoami-service")
    add(
        "-n",
        dest="count",
        type=_parse_count,
        metavar="N",
        help="number of requests (30; unlimited with --rate)",
    )
    add(
        "--rate",
        type=_parse_rate,
        metavar="N",
        help="requests per second, until Ctrl-C; a slow one does not delay the others",
    )
    ways = parser.add_mutually_exclusive_group()
    for flag, way, text in (
        ("--keep-alive", KEEP_ALIVE, "send all requests over one connection"),
        ("--http2", HTTP2, "send all requests over HTTP/2"),
        ("--grpc", GRPC, "call whoami.Whoami/Whoami over gRPC"),
    ):
        ways.add_argument(flag, dest="ways", action="store_const", const=(way,), help=text)
    ways.add_argument(
        "--all", dest="ways", action="store_const", const=ALL, help="try all four, one after the other"
    )
    add("--path", metavar="PATH", help="path to request instead of the URL's (/)")
    add("--cookies", action="store_true", help="keep cookies, for sticky sessions")
    add(
        "--json",
        action="store_true",
        help="print a line of JSON per request, and the summary to standard error",
    )
    add(
        "--timeout",
        type=_parse_timeout,
        default=5.0,
        metavar="DURATION",
        help="maximum duration of a request (5s)",
    )
    add("--cacert", default="", metavar="FILE", help="trust these authorities (PEM)")
    add("--insecure", action="store_true", help="trust any certificate")
    add(
        "--resolve",
        type=_parse_pin,
        action="append",
        default=[],
        metavar="HOST:PORT:ADDRESS",
        help="connect to this address for this host and port; may be repeated",
    )
    add("--help", action="store_true", help="show this text")
    return parser


def parse_options(arguments: Sequence[str]) -> Options:
    """Parses a command line without the word watch. Raises UsageError and HelpWanted."""
    long = re.compile("-[a-z][a-z-]")  # one dash is enough, as for the server's flags
    words = [f"-{word}" if long.match(word) else word for word in arguments]
    parser = _build_parser()
    if {"--help", "-h"} & set(words):
        raise HelpWanted(parser.format_help())
    given = parser.parse_args(words)
    try:
        url = parse_url(given.url, given.path)
    except ValueError as problem:
        raise UsageError(str(problem)) from None
    if given.rate and given.ways == ALL:
        raise UsageError("--rate: not allowed with --all: choose one kind of connection")
    target = Target(url, dict(given.resolve), given.cacert, given.insecure)
    try:
        target.tls("http/1.1")
    except OSError as problem:
        raise UsageError(f"--cacert {given.cacert}: {problem.strerror or problem}") from None
    count = given.count if given.count or given.rate else _COUNT
    ways = given.ways or (NEW,)
    return Options(target, ways, count, given.rate, given.cookies, given.json, given.timeout)


def main(arguments: Sequence[str], environ: Mapping[str, str], stdout: TextIO, stderr: TextIO) -> int:
    """Runs ``whoami watch``; returns the exit status: 0, 1 if a request was lost, 2 for a bad command line."""
    try:
        options = parse_options(arguments)
    except UsageError as problem:
        print(f"whoami watch: {problem} (see whoami watch --help)", file=stderr, flush=True)
        return 2
    except HelpWanted as wanted:
        print(wanted, end="", file=stdout, flush=True)
        return 0

    async def run() -> int:
        return await Watch(options, Screen(stdout, environ), stderr).run()

    status = 1
    try:
        status = asyncio.run(run())
    except* BrokenPipeError:  # the reader is gone; keep Python from flushing at exit
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    return status
