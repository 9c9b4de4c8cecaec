"""TLS for a server that asks for it; without it nothing of OpenSSL is imported."""

import argparse
import asyncio
from collections.abc import Callable
from typing import TYPE_CHECKING

from podkit.flags import Flags, Usage

if TYPE_CHECKING:
    from podkit.certificates import Certificates
    from podkit.tls_connection import TlsListener


class TlsError(Exception):
    """A certificate, key or authority can't be used; the text names the file, and says why."""


def add_tls_flags(flags: Flags) -> None:
    """The flags ``--cert``, ``--key`` and ``--cacert``."""
    flags.value("cert", "", str, "FILE", "serve TLS with this certificate (PEM, followed by its chain)")
    flags.value("key", "", str, "FILE", "the certificate's private key (PEM, not encrypted)")
    flags.value("cacert", "", str, "FILE", "refuse clients without a certificate of these authorities (PEM)")


def load_certificates(program: str, options: argparse.Namespace) -> "Certificates | None":
    """What the flags name, or None where they ask for no TLS.

    Raises Usage for a flag that lacks its companion, and TlsError for a file that can't be used.
    """
    for given, missing in (("key", "cert"), ("cacert", "cert"), ("cert", "key")):
        if getattr(options, given) and not getattr(options, missing):
            raise Usage(2, f"{program}: --{given} needs --{missing} (see {program} --help)")
    if not options.cert:
        return None
    from podkit.certificates import Certificates

    return Certificates(options.cert, options.key, options.cacert)


def secure(certificates: "Certificates", build_protocol: Callable[[], asyncio.Protocol]) -> "TlsListener":
    """A protocol factory for ``create_server`` that puts TLS below what `build_protocol` makes."""
    from podkit.tls_connection import TlsListener

    return TlsListener(certificates, build_protocol)
