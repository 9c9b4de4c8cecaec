"""The command line of whoami."""

import logging
import os
import sys
from collections.abc import Mapping, Sequence
from functools import partial
from typing import TextIO

from podkit.flags import Flags, Usage, from_environment, port, read_environment, seconds, show, size
from podkit.healthcheck import healthcheck
from podkit.http1 import Server
from podkit.listen import ListenError, bind, run, serve
from podkit.log import AccessLog
from podkit.pod import Pod
from podkit.rpc_routes import build_find_call
from podkit.scalars import parse_bool
from podkit.tls import TlsError, add_tls_flags, load_certificates
from whoami.app import build_routes
from whoami.config import Config
from whoami.health import Health
from whoami.rpc import build_methods

_DEFAULT_PORT = 80
_DEFAULT_BODY = 16 << 20
_DESCRIPTION = "Answer with the host name, the addresses and the request as it arrived."
_EPILOG = """\
Flags take one dash or two, and = or a space before their value.

whoami healthcheck [URL] exits 0 if the server at URL (default: /health on its own port) is healthy, else 1.

limits: a request's head has 1 MiB and 10 s; a connection may be idle for 75 s.
"""


def _flags(environ: Mapping[str, str]) -> Flags:
    flags = Flags("whoami", _DESCRIPTION, _EPILOG)
    own_port = from_environment(environ, "WHOAMI_PORT_NUMBER", port, _DEFAULT_PORT)
    body = from_environment(environ, "WHOAMI_MAX_BODY", size, _DEFAULT_BODY)
    no_env = from_environment(environ, "WHOAMI_NO_ENV", parse_bool, False)
    flags.value("port", own_port, port, "N", "the port to listen on (WHOAMI_PORT_NUMBER; default 80)")
    flags.value("name", environ.get("WHOAMI_NAME", ""), str, "S", "a name to show first (WHOAMI_NAME)")
    flags.switch("verbose", False, "log each request")
    flags.switch("no-env", no_env, "never show the environment, whatever a client asks (WHOAMI_NO_ENV)")
    flags.value("max-body", body, size, "BYTES", "the largest body to echo (WHOAMI_MAX_BODY; default 16777216)")
    flags.value("grace-period", 10.0, seconds, "DURATION", "time for requests in flight at the end (10s)")
    add_tls_flags(flags)
    return flags


def main(arguments: Sequence[str], environ: Mapping[str, str], stdout: TextIO, stderr: TextIO) -> int:
    """Run whoami; the exit status: 0, 1 for a failure, 2 for a bad command line."""
    try:
        flags = _flags(environ)
        if arguments[:1] == ["healthcheck"]:
            own_port = flags.get_default("port")
            return healthcheck("whoami", list(arguments[1:]), f"http://127.0.0.1:{own_port}/health")
        options = flags.parse(arguments)
        certificates = load_certificates("whoami", options)
    except Usage as usage:
        show(stderr if usage.status else stdout, usage.text)
        return usage.status
    except TlsError as problem:
        show(stderr, f"whoami: {problem}")
        return 1
    environment = () if options.no_env else read_environment()
    pod = Pod()
    try:
        listener = bind(options.port)
    except ListenError as problem:
        show(stderr, f"whoami: {problem}")
        return 1
    config, state = Config(options.name, environment), Health()
    routes = build_routes(config, pod, state)
    find_call = build_find_call(partial(build_methods, config, pod, state))
    access_log = AccessLog(stderr) if options.verbose else None
    build = partial(Server, routes.find, find_call=find_call, max_body=options.max_body, access_log=access_log)
    run(serve("whoami", listener, pod, build, options.grace_period, certificates))
    return 0


def run_console() -> None:
    """The console script."""
    logging.getLogger("aiohttp").setLevel(logging.CRITICAL)  # what matters is said in one line of ours
    sys.exit(main(sys.argv[1:], os.environ, sys.stdout, sys.stderr))
