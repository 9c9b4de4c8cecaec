"""The command line of whereami."""

import logging
import os
import sys
from collections.abc import Mapping, Sequence
from functools import partial
from typing import TextIO

from podkit.flags import Flags, Usage, port, seconds, show
from podkit.healthcheck import healthcheck
from podkit.http1 import Server
from podkit.listen import ListenError, bind, run, serve
from podkit.log import TickLog
from podkit.pod import Pod
from podkit.tls import TlsError, add_tls_flags, load_certificates
from whereami.app import build_routes

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
    flags.value("grace-period", 10.0, seconds, "DURATION", "time for requests in flight at the end (10s)")
    add_tls_flags(flags)
    if arguments[:1] == ["healthcheck"]:
        return healthcheck("whereami", list(arguments[1:]), f"http://127.0.0.1:{_DEFAULT_PORT}/")
    try:
        options = flags.parse(arguments)
        certificates = load_certificates("whereami", options)
    except Usage as usage:
        show(stderr if usage.status else stdout, usage.text)
        return usage.status
    except TlsError as problem:
        show(stderr, f"whereami: {problem}")
        return 1
    pod = Pod(environ.get("nodename") or environ.get("NODE_NAME") or "undefined")
    try:
        listener = bind(options.port)
    except ListenError as problem:
        show(stderr, f"whereami: {problem}")
        return 1
    with TickLog(stdout) as log:
        log.write("Kubia server starting...")
        build = partial(Server, build_routes(pod, log.write), max_body=0)
        run(serve("whereami", listener, pod, build, options.grace_period, certificates))
    return 0


def run_console() -> None:
    """The console script."""
    logging.getLogger("aiohttp").setLevel(logging.CRITICAL)  # what matters is said in one line of ours
    sys.exit(main(sys.argv[1:], os.environ, sys.stdout, sys.stderr))
