"""whoami, put together: its routes, its log, and what serves them."""

import argparse
from functools import partial
from typing import TextIO

from podkit.grpc.routes import build_find_call
from podkit.limits import Limits
from podkit.log import AccessLog
from podkit.pod.pod import Pod
from podkit.process.serve import Service, run
from podkit.server import Server
from podkit.tls.secure import load_certificates
from whoami.app import build_routes
from whoami.health import Health
from whoami.rpc import build_methods


def serve(options: argparse.Namespace, environment: tuple[bytes, ...], stderr: TextIO) -> int:
    """Serve as the flags say until a signal ends it; the exit status. Raises ListenError and TlsError."""
    certificates = load_certificates(options.cert, options.key, options.cacert)
    pod, state = Pod(), Health()
    routes = build_routes(pod, state, options.name, environment)
    find_call = build_find_call(partial(build_methods, pod, options.name, state))
    access_log = AccessLog(stderr) if options.verbose else None
    build = partial(
        Server,
        routes.find,
        find_call=find_call,
        limits=Limits(max_body=options.max_body),
        access_log=access_log,
    )
    service = Service("whoami", pod, build, options.grace_period, certificates)
    return run(service, options.port, options.workers)
