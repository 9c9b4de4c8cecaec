"""TLS for a server that asks for it; without it nothing of OpenSSL is imported."""

import argparse
import asyncio
from collections.abc import Callable
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from podkit.tls.certificates import Certificates
    from podkit.tls.connection import TlsListener


def load_certificates(options: argparse.Namespace) -> "Certificates | None":
    """What the flags name, or None where they ask for no TLS. Raises TlsError for a file that can't be used."""
    if not options.cert:
        return None
    from podkit.tls.certificates import Certificates

    return Certificates(options.cert, options.key, options.cacert)


def secure(certificates: "Certificates", build_protocol: Callable[[], asyncio.Protocol]) -> "TlsListener":
    """A protocol factory for ``create_server`` that puts TLS below what `build_protocol` makes."""
    from podkit.tls.connection import TlsListener

    return TlsListener(certificates, build_protocol)
