"""The command line of whereami."""

import os
import sys
from collections.abc import Mapping, Sequence
from typing import TextIO

from podkit.errors import ListenError, TlsError
from podkit.process.healthcheck import healthcheck
from podkit.process.settings import Flags, Usage, add_tls_flags, check_tls_flags, port, seconds, show, workers

_DEFAULT_PORT = 8080
_DESCRIPTION = "Answer every request with the pod's host name and node."
_EPILOG = """\
environment:
  nodename, NODE_NAME   the node's name to tell; the first that is set, else "undefined"

whereami healthcheck [URL] exits 0 if the server answers, else 1.
"""


def main(arguments: Sequence[str], environ: Mapping[str, str], stdout: TextIO, stderr: TextIO) -> int:
    """Run whereami; the exit status: 0, 1 for a failure, 2 for a bad command line."""
    flags = Flags("whereami", _DESCRIPTION, _EPILOG)
    flags.value("port", _DEFAULT_PORT, port, "N", f"the port to listen on (default {_DEFAULT_PORT})")
    flags.value("workers", 1, workers, "N", "processes, or auto: one for each CPU (default 1)")
    flags.value("grace-period", 10.0, seconds, "DURATION", "time for requests in flight at the end (10s)")
    add_tls_flags(flags)
    if arguments[:1] == ["healthcheck"]:
        return healthcheck("whereami", list(arguments[1:]), f"http://127.0.0.1:{_DEFAULT_PORT}/")
    try:
        options = flags.parse(arguments)
        check_tls_flags("whereami", options)
    except Usage as usage:
        show(stderr if usage.status else stdout, usage.text)
        return usage.status
    from whereami.serve import serve  # which takes its time to load: not for a health check or a bad flag

    try:
        return serve(options, environ.get("nodename") or environ.get("NODE_NAME") or "undefined", stdout)
    except (ListenError, TlsError) as problem:
        show(stderr, f"whereami: {problem}")
        return 1


def run_console() -> None:
    """The console script."""
    sys.exit(main(sys.argv[1:], os.environ, sys.stdout, sys.stderr))
