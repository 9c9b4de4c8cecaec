"""Throw-away certificates, and TLS clients that show them."""

import socket
import ssl
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import cached_property
from pathlib import Path
from tempfile import NamedTemporaryFile

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID, ObjectIdentifier

from tests.server import PATIENCE, Client, Server

NOW = datetime.now(UTC)
DAY = timedelta(days=1)
CLIENT_AUTH, SERVER_AUTH = ExtendedKeyUsageOID.CLIENT_AUTH, ExtendedKeyUsageOID.SERVER_AUTH
ANY_USE = ExtendedKeyUsageOID.ANY_EXTENDED_KEY_USAGE


@dataclass(frozen=True)
class Identity:
    """A certificate and its private key, with the chain of its issuers."""

    certificate: x509.Certificate
    key: ec.EllipticCurvePrivateKey
    issuers: tuple["Identity", ...] = ()

    @cached_property
    def pem(self) -> bytes:
        """The certificate alone."""
        return self.certificate.public_bytes(Encoding.PEM)

    @cached_property
    def key_pem(self) -> bytes:
        """The private key, not encrypted."""
        return self.key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())

    def write(self, folder: Path) -> list[str]:
        """Writes ``tls.crt`` and ``tls.key`` into a folder; returns the flags for them."""
        (folder / "tls.crt").write_bytes(self.pem)
        (folder / "tls.key").write_bytes(self.key_pem)
        return ["--cert", str(folder / "tls.crt"), "--key", str(folder / "tls.key")]


def issue(
    name: str,
    issuer: Identity | None = None,
    *,
    is_authority: bool = False,
    begin: datetime = NOW - DAY,
    end: datetime = NOW + DAY,
    uses: tuple[ObjectIdentifier, ...] = (),
    signs: bool = True,
    send_issuer: bool = False,
    hosts: tuple[str, ...] = (),
    units: int = 0,
    padding: int = 0,
) -> Identity:
    """Issues a certificate for ``CN=name``, valid for `hosts`; self-signed without an issuer.

    For a long subject, it may have many organizational units of 64 bytes; for a long certificate, many bytes in
    an unknown extension.
    """
    key = ec.generate_private_key(ec.SECP256R1())
    unit = x509.NameAttribute(NameOID.ORGANIZATIONAL_UNIT_NAME, "u" * 64)
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name), *[unit] * units])
    builder = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer.certificate.subject if issuer else subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(begin)
        .not_valid_after(end)
        .add_extension(x509.BasicConstraints(is_authority, None), critical=True)
    )
    if uses:
        builder = builder.add_extension(x509.ExtendedKeyUsage(uses), critical=False)
    if hosts:
        names = x509.SubjectAlternativeName([x509.DNSName(host) for host in hosts])
        builder = builder.add_extension(names, critical=False)
    if not signs:  # a usage that Go ignores
        flags = [False, False, False, False, True, False, False, False, False]
        builder = builder.add_extension(x509.KeyUsage(*flags), critical=True)
    if padding:
        unknown = x509.UnrecognizedExtension(ObjectIdentifier("1.2.3.4"), bytes(padding))
        builder = builder.add_extension(unknown, critical=False)
    certificate = builder.sign(issuer.key if issuer else key, hashes.SHA256())
    return Identity(certificate, key, (issuer,) if issuer and send_issuer else ())


def client_context(
    identity: Identity | None = None, version: ssl.TLSVersion | None = None, alpn: tuple[str, ...] = ()
) -> ssl.SSLContext:
    """A client context that presents an identity and trusts any server."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    if version:
        context.minimum_version = context.maximum_version = version
    if alpn:
        context.set_alpn_protocols(list(alpn))
    if identity:
        with NamedTemporaryFile() as file:
            chain = [identity, *identity.issuers]
            file.write(identity.key_pem + b"".join(each.pem for each in chain))
            file.flush()
            context.load_cert_chain(file.name)
    return context


def connect(server: Server, context: ssl.SSLContext | None = None) -> Client:
    """Opens a TLS connection on which an end without close_notify is an error."""
    plain = socket.create_connection(("127.0.0.1", server.port), PATIENCE)
    return Client((context or client_context()).wrap_socket(plain, suppress_ragged_eofs=False))
