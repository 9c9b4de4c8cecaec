"""Assembles whoami: its routes, its log, and its server."""

from functools import partial
from typing import TextIO

from podkit.grpc.routes import build_find_call
from podkit.limits import Limits
from podkit.log import AccessLog, Log
from podkit.pod.pod import Pod
from podkit.process.serve import Service, run
from podkit.process.settings import read_environment
from podkit.server import Server
from podkit.tls.secure import load_certificates
from whoami.app import build_routes
from whoami.health import Health
from whoami.rpc import build_methods
from whoami.settings import Settings
from whoami.who import read_names


def serve(settings: Settings, environ: tuple[bytes, ...], stdout: TextIO, stderr: TextIO) -> int:
    """Serves as configured until a signal; returns the exit status. Raises ListenError and TlsError."""
    certificates = load_certificates(settings.cert, settings.key, settings.cacert)
    pod, state, log, out = Pod(), Health(settings.workers), Log(stderr), Log(stdout)
    limits = Limits(max_body=settings.max_body, idle_timeout=settings.idle_timeout)
    names = None if settings.plain else read_names(settings.name, read_environment())
    build = partial(
        Server,
        build_routes(pod, state, settings.name, environ, names, out.line).find,
        find_call=build_find_call(partial(build_methods, pod, settings.name, state), limits),
        limits=limits,
        access_log=AccessLog(log) if settings.verbose else None,
    )
    return run(Service("whoami", settings, pod, build, certificates, (log, out)))
