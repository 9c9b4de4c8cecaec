"""whereami, put together: its answer, its log, and what serves them."""

import argparse
from functools import partial
from typing import TextIO

from podkit.log import BatchedLog
from podkit.pod.pod import Pod
from podkit.process.serve import Service, run
from podkit.server import Server
from podkit.tls.secure import load_certificates
from whereami.app import build_routes


def serve(options: argparse.Namespace, node_name: str, stdout: TextIO) -> int:
    """Serve as the flags say until a signal ends it; the exit status. Raises ListenError and TlsError."""
    certificates = load_certificates(options.cert, options.key, options.cacert)
    pod, log = Pod(node_name), BatchedLog(stdout)
    log.write("Kubia server starting...")
    build = partial(Server, build_routes(pod, log.write))
    service = Service("whereami", pod, build, options.grace_period, certificates, log.flush)
    return run(service, options.port, options.workers)
