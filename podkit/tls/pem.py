"""Certificates and private keys from PEM files. Unreadable ones raise TlsError."""

import re
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.serialization import load_pem_private_key

from podkit.errors import TlsError

_LARGEST: Final = 1 << 20  # bytes of a file
_CERTIFICATE: Final = re.compile(rb"-----BEGIN (?:X509 )?CERTIFICATE-----")
_KEY: Final = re.compile(rb"-----BEGIN ([A-Z0-9 ]*PRIVATE KEY)-----.*?-----END \1-----", re.DOTALL)


def _read(what: str, path: str) -> bytes:
    try:
        with Path(path).open("rb") as file:
            data = file.read(_LARGEST + 1)
    except (OSError, ValueError) as problem:
        reason = problem.strerror if isinstance(problem, OSError) else problem
        raise TlsError(f"the {what} {path} can't be read: {reason}") from None
    if len(data) > _LARGEST:
        raise TlsError(f"the {what} {path} is larger than {_LARGEST} bytes")
    return data


def read_chain(what: str, path: str) -> list[x509.Certificate]:
    """All certificates in a file, at least one. TlsError names the file as `what`."""
    data = _read(what, path)
    if not _CERTIFICATE.search(data):
        raise TlsError(f"the {what} {path}: the file contains no PEM certificate")
    try:
        return x509.load_pem_x509_certificates(data)
    except ValueError:
        raise TlsError(f"the {what} {path} can't be read: it is damaged") from None


def read_key(path: str) -> Any:
    """The first private key in a file, of any type."""
    found = _KEY.search(_read("key", path))
    if found is None:
        raise TlsError(f"the key {path}: the file contains no PEM private key")
    if b"ENCRYPTED" in found[0]:
        raise TlsError(f"the key {path} is encrypted: give one without a passphrase")
    try:
        # validating a large RSA key would block the server for half a second at each reload
        return load_pem_private_key(found[0], None, unsafe_skip_rsa_key_validation=True)
    except (ValueError, TypeError, UnsupportedAlgorithm):
        raise TlsError(f"the key {path} can't be read: it is damaged or of an unsupported type") from None


def check_time(leaf: x509.Certificate, path: str) -> None:
    """Raises TlsError if the certificate has expired or is not yet valid."""
    now = datetime.now(UTC)
    if leaf.not_valid_after_utc < now:
        raise TlsError(f"the certificate {path} expired at {leaf.not_valid_after_utc:%Y-%m-%d %H:%M} UTC")
    if leaf.not_valid_before_utc > now:
        moment = f"{leaf.not_valid_before_utc:%Y-%m-%d %H:%M}"
        raise TlsError(f"the certificate {path} is not valid before {moment} UTC")
