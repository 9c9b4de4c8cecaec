"""TLS for servers that use it; without it, nothing of OpenSSL is imported."""

import asyncio
from collections.abc import Callable
from typing import TYPE_CHECKING

from podkit.server import Server

if TYPE_CHECKING:
    from podkit.tls.certificates import Certificates
    from podkit.tls.handshake import TlsProtocolFactory


def load_certificates(cert: str, key: str, client_ca: str) -> "Certificates | None":
    """Loads these files; returns None without a certificate. Raises TlsError for an unusable file.

    All files are PEM: the server's certificate with its chain; its private key; and optionally the authorities
    whose clients are accepted.
    """
    if not cert:
        return None
    from podkit.tls.certificates import Certificates

    return Certificates(cert, key, client_ca)


def secure(
    server: Server, certificates: "Certificates", build_protocol: Callable[..., asyncio.Protocol]
) -> "TlsProtocolFactory":
    """A protocol factory for ``create_server`` that puts TLS below the protocols of `build_protocol`."""
    from podkit.tls.handshake import TlsProtocolFactory

    return TlsProtocolFactory(server, certificates, build_protocol)
