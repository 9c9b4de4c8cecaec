"""TLS for a server that asks for it; without it nothing of OpenSSL is imported."""

import asyncio
from collections.abc import Callable
from typing import TYPE_CHECKING

from podkit.server import Server

if TYPE_CHECKING:
    from podkit.tls.certificates import Certificates
    from podkit.tls.handshake import TlsProtocolFactory


def load_certificates(cert: str, key: str, client_ca: str) -> "Certificates | None":
    """What these files hold, or None without a certificate. Raises TlsError for a file that can't be used.

    All files are in PEM: the server's certificate, followed by its chain; its private key; and the authorities
    whose clients alone are let in, if any.
    """
    if not cert:
        return None
    from podkit.tls.certificates import Certificates

    return Certificates(cert, key, client_ca)


def secure(
    server: Server, certificates: "Certificates", build_protocol: Callable[..., asyncio.Protocol]
) -> "TlsProtocolFactory":
    """A protocol factory for ``create_server`` that puts TLS below what `build_protocol` makes."""
    from podkit.tls.handshake import TlsProtocolFactory

    return TlsProtocolFactory(server, certificates, build_protocol)
