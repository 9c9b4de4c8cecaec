"""The command line of whereami."""

from collections.abc import Mapping, Sequence
from typing import TextIO

from podkit.errors import ListenError, TlsError
from podkit.process.console import run_program
from podkit.process.flags import Program, Usage, read_options
from podkit.process.settings import Settings

PROGRAM = Program(
    "whereami",
    "[flags]\nhealthcheck [--proxy-protocol] [URL]",
    "Answer every request with the pod's host name and node.",
    """\
The node name comes from the environment: nodename, else NODE_NAME, else "undefined".
whereami healthcheck exits with 0 if the server at URL answers, else with 1. By default it asks port 8080.""",
)


def main(arguments: Sequence[str], environ: Mapping[str, str], stdout: TextIO, stderr: TextIO) -> int:
    """Runs whereami; returns the exit status: 0, 1 for a failure, 2 for a bad command line."""
    try:
        if arguments and arguments[0] == "healthcheck":
            from podkit.process.healthcheck import healthcheck

            return healthcheck("whereami", arguments[1:], environ, "http://127.0.0.1:8080/", stderr)
        settings = read_options(PROGRAM, Settings, arguments, environ)
        from whereami.serve import serve  # slow to import: not for a health check or a bad flag

        node_name = environ.get("nodename") or environ.get("NODE_NAME") or "undefined"
        return serve(settings, node_name, stdout, stderr)
    except Usage as usage:
        print(usage.text, file=stderr if usage.status else stdout)
        return usage.status
    except (ListenError, TlsError) as problem:
        print(f"whereami: {problem}", file=stderr)
        return 1


def run_console() -> None:
    """The console script."""
    run_program(main)
