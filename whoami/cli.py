"""The command line of whoami."""

import os
import sys
from collections.abc import Mapping, Sequence
from typing import TextIO

from podkit.errors import ListenError, TlsError
from podkit.go.strconv import parse_bool
from podkit.process.healthcheck import healthcheck
from podkit.process.settings import (
    Flags,
    Usage,
    add_tls_flags,
    check_tls_flags,
    from_environment,
    port,
    read_environment,
    seconds,
    show,
    size,
    workers,
)

_DEFAULT_PORT = 80
_DEFAULT_BODY = 16 << 20
_DESCRIPTION = "Answer with the host name, the addresses and the request as it arrived."
_EPILOG = """\
Flags take one dash or two, and = or a space before their value.

whoami healthcheck [URL] exits 0 if the server at URL (default: /health on its own port) is healthy, else 1.
whoami dns NAME tells which addresses a name has and which of them this client takes (whoami dns --help).
whoami watch URL asks again and again, and tells which pod answers (whoami watch --help).

limits: a request's head has 1 MiB and 10 s; a connection may be idle for 75 s.
"""


def _flags(environ: Mapping[str, str]) -> Flags:
    flags = Flags("whoami", _DESCRIPTION, _EPILOG)
    own_port = from_environment(environ, "WHOAMI_PORT_NUMBER", port, _DEFAULT_PORT)
    body = from_environment(environ, "WHOAMI_MAX_BODY", size, _DEFAULT_BODY)
    count = from_environment(environ, "WHOAMI_WORKERS", workers, 1)
    no_env = from_environment(environ, "WHOAMI_NO_ENV", parse_bool, False)
    flags.value("port", own_port, port, "N", "the port to listen on (WHOAMI_PORT_NUMBER; default 80)")
    flags.value("name", environ.get("WHOAMI_NAME", ""), str, "S", "a name to show first (WHOAMI_NAME)")
    flags.switch("verbose", False, "log each request")
    flags.switch("no-env", no_env, "never show the environment, whatever a client asks (WHOAMI_NO_ENV)")
    flags.value("max-body", body, size, "BYTES", "the largest body to echo (WHOAMI_MAX_BODY; default 16777216)")
    flags.value(
        "workers", count, workers, "N", "processes, or auto: one for each CPU (WHOAMI_WORKERS; default 1)"
    )
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
        if arguments[:1] == ["dns"]:
            from whoami.dns import command  # dnspython takes its time to load

            return command.run(arguments[1:], environ, stdout, "/etc/resolv.conf")
        if arguments[:1] == ["watch"]:
            from whoami.watch import cli  # a client, which no server needs

            return cli.main(arguments[1:], environ, stdout, stderr)
        options = flags.parse(arguments)
        check_tls_flags("whoami", options)
    except Usage as usage:
        show(stderr if usage.status else stdout, usage.text)
        return usage.status
    from whoami.serve import serve  # which takes its time to load: not for a health check or a bad flag

    try:
        return serve(options, () if options.no_env else read_environment(), stderr)
    except (ListenError, TlsError) as problem:
        show(stderr, f"whoami: {problem}")
        return 1


def run_console() -> None:
    """The console script."""
    sys.exit(main(sys.argv[1:], os.environ, sys.stdout, sys.stderr))
