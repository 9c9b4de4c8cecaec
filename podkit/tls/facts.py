"""The facts of a handshake, for endpoints."""

from datetime import UTC, datetime
from typing import Final

from OpenSSL import SSL, crypto

from podkit.message import Tls
from podkit.tls.ciphers import iana_name
from podkit.tls.subject import read_subject, render_subject

_SUBJECTS: Final = 16 << 10  # bytes, which take 10 ms to parse
_REMEMBERED: Final = 256 << 10  # bytes of chains


class Chains:
    """A bounded cache of the clients' certificate chains.

    A resumed session contains the client's own certificate, but not its chain.
    """

    def __init__(self) -> None:
        self._chains: dict[bytes, tuple[bytes, ...]] = {}  # by the client's own certificate, all in DER
        self._size = 0

    def remember(self, certificates: tuple[bytes, ...]) -> None:
        """Stores a client's chain; the oldest is dropped if necessary."""
        self._drop(certificates[0])
        if len(certificates) > 1:
            self._chains[certificates[0]] = certificates
            self._size += sum(map(len, certificates))
            while self._size > _REMEMBERED:
                self._drop(next(iter(self._chains)))

    def recall(self, certificate: bytes) -> tuple[bytes, ...]:
        """A client's certificate with its chain, if known."""
        return self._chains.get(certificate, (certificate,))

    def _drop(self, certificate: bytes) -> None:
        self._size -= sum(map(len, self._chains.pop(certificate, ())))


def read_facts(tls: SSL.Connection, chains: Chains) -> Tls:
    """The facts of a finished handshake.

    Raises ValueError for a subject that is malformed or too long, and for a resumed session whose certificate
    must be valid but has expired.
    """
    certificates = _read_certificates(tls, chains)
    subjects = [read_subject(certificate) for certificate in certificates]
    if sum(map(len, subjects)) > _SUBJECTS:
        raise ValueError("the subjects of the client's certificates are too long")
    return Tls(
        version=tls.get_protocol_version_name(),
        cipher=iana_name(tls.get_cipher_name() or ""),
        alpn=tls.get_alpn_proto_negotiated().decode("latin-1"),
        server_name=(tls.get_servername() or b"").decode("latin-1"),
        subjects=tuple(map(render_subject, subjects)),
        certificates=certificates,
    )


def _read_certificates(tls: SSL.Connection, chains: Chains) -> tuple[bytes, ...]:
    leaf = tls.get_peer_certificate()
    if leaf is None:
        return ()
    chain: list[crypto.X509] | None = tls.get_peer_cert_chain()  # without the leaf, on a server
    certificate = _encode(leaf)
    if chain is not None:
        certificates = (certificate, *map(_encode, chain))
        chains.remember(certificates)
        return certificates
    must_be_valid = tls.get_verify_mode() & SSL.VERIFY_FAIL_IF_NO_PEER_CERT
    if must_be_valid and leaf.to_cryptography().not_valid_after_utc < datetime.now(UTC):
        raise ValueError("the client's certificate has expired")
    return chains.recall(certificate)


def _encode(certificate: crypto.X509) -> bytes:
    return crypto.dump_certificate(crypto.FILETYPE_ASN1, certificate)
