"""Assembles whereami: its answer, its log, and its server."""

from functools import partial
from typing import TextIO

from podkit.limits import Limits
from podkit.log import Log
from podkit.pod.pod import Pod
from podkit.process.serve import Service, run
from podkit.process.settings import Settings
from podkit.server import Server
from podkit.tls.secure import load_certificates
from whereami.app import build_routes


def serve(settings: Settings, node_name: str, stdout: TextIO, stderr: TextIO) -> int:
    """Serves as configured until a signal; returns the exit status. Raises ListenError and TlsError."""
    certificates = load_certificates(settings.cert, settings.key, settings.cacert)
    pod, log = Pod(node_name), Log(stdout)
    log.line("Kubia server starting...")
    limits = Limits(idle_timeout=settings.idle_timeout)
    build = partial(Server, build_routes(pod, log.line), limits=limits)
    return run(Service("whereami", settings, pod, build, certificates, (Log(stderr), log)))
