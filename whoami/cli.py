"""The command line of whoami."""

from collections.abc import Mapping, Sequence
from typing import TextIO

from podkit.errors import ListenError, TlsError
from podkit.process.console import run_program
from podkit.process.flags import Usage, read_options
from podkit.process.settings import read_environment
from whoami.settings import PROGRAM, Settings

# commands import what only they need, so that a health check is cheap


def main(arguments: Sequence[str], environ: Mapping[str, str], stdout: TextIO, stderr: TextIO) -> int:
    """Runs whoami; returns the exit status: 0, 1 for a failure, 2 for a bad command line."""
    command, rest = (arguments or [""])[0], arguments[1:]
    try:
        if command == "healthcheck":
            from podkit.process.healthcheck import healthcheck

            settings = read_options(PROGRAM, Settings, (), environ)
            return healthcheck("whoami", rest, environ, f"http://127.0.0.1:{settings.port}/health", stderr)
        if command == "dns":
            from whoami.dns.command import run

            return run(rest, environ, stdout, "/etc/resolv.conf")
        if command == "watch":
            from whoami.watch import cli

            return cli.main(rest, environ, stdout, stderr)
        settings = read_options(PROGRAM, Settings, arguments, environ)
        from whoami.serve import serve

        return serve(settings, () if settings.no_env else read_environment(), stdout, stderr)
    except Usage as usage:
        print(usage.text, file=stderr if usage.status else stdout)
        return usage.status
    except (ListenError, TlsError) as problem:
        print(f"whoami: {problem}", file=stderr)
        return 1


def run_console() -> None:
    """The console script."""
    run_program(main)
