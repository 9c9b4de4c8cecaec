"""The certificate files of a TLS server: checked at startup, and reloaded when they change."""

import os
import stat
import time
from typing import Any, Final, NamedTuple

from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.x509.oid import ExtendedKeyUsageOID
from OpenSSL import SSL, crypto

from podkit.errors import TlsError
from podkit.log import log_line
from podkit.tls.ciphers import TLS_1_2, TLS_1_3
from podkit.tls.pem import check_time, read_chain, read_key

_PROTOCOLS: Final = (b"h2", b"http/1.1")  # offered by ALPN, best first
_ANY_USE: Final = {ExtendedKeyUsageOID.CLIENT_AUTH, ExtendedKeyUsageOID.ANY_EXTENDED_KEY_USAGE}
_INVALID_PURPOSE: Final = 26  # X509_V_ERR_INVALID_PURPOSE
# OpenSSL constants without a name in pyOpenSSL
_MODE_NO_AUTO_CHAIN: Final = 1 << 3  # else it would send a client authority that issued our certificate
_OP_PRIORITIZE_CHACHA: Final = 1 << 21  # for clients that prefer it, as those without AES in hardware do


class _Files(NamedTuple):
    """The content of the files."""

    chain: list[x509.Certificate]  # the server's own first
    key: Any
    authorities: list[x509.Certificate]


class Certificates:
    """A certificate with its key, and optionally the authorities whose clients are accepted.

    Raises TlsError for an unusable file.
    """

    def __init__(
        self,
        cert: str,
        key: str,
        client_ca: str = "",
        recheck: float = 1.0,  # minimum seconds between two checks of the files
        ticket_keys_live: float = 3600.0,  # seconds
    ) -> None:
        self._recheck, self._ticket_keys_live = recheck, ticket_keys_live
        self._cert, self._key, self._client_ca = cert, key, client_ca
        self._seen = self._look()
        self._checked = self._built = time.monotonic()
        self._files = self._read()
        self._context = self._build(self._files)

    def context(self) -> SSL.Context:
        """The context for a new connection, from the current files.

        If the files are unusable, it keeps the old context and logs one line. Each context has its own ticket
        keys for session resumption; tickets of an older context are void.
        """
        now = time.monotonic()
        if now - self._checked >= self._recheck:
            self._checked = now
            seen = self._look()
            if seen != self._seen:
                self._seen = seen
                self._reload(now)
            elif now - self._built > self._ticket_keys_live:
                self._context, self._built = self._build(self._files), now
        return self._context

    def _reload(self, now: float) -> None:
        try:
            files = self._read()
            self._context = self._build(files)
        except TlsError as problem:
            log_line(f"tls: the old certificate stays in use: {problem}")
        else:
            self._files, self._built = files, now
            log_line(f"tls: {self._cert} has changed: new connections use it")

    def _look(self) -> list[tuple[int, ...]]:
        """A value that changes with the files; follows symbolic links."""
        looks: list[tuple[int, ...]] = []
        for path in filter(None, (self._cert, self._key, self._client_ca)):
            try:
                found = os.stat(path)
                if stat.S_ISREG(found.st_mode):  # a pipe can be read only once
                    looks.append((found.st_dev, found.st_ino, found.st_mtime_ns, found.st_size))
            except OSError:
                looks.append(())
        return looks

    def _read(self) -> _Files:
        chain = read_chain("certificate", self._cert)
        key = read_key(self._key)
        try:
            belongs = chain[0].public_key() == key.public_key()
        except (ValueError, UnsupportedAlgorithm):
            raise TlsError(f"the certificate {self._cert} has a key of an unsupported type") from None
        if not belongs:
            raise TlsError(f"the key {self._key} does not belong to the certificate {self._cert}")
        check_time(chain[0], self._cert)
        authorities = read_chain("client authority", self._client_ca) if self._client_ca else []
        return _Files(chain, key, authorities)

    def _build(self, files: _Files) -> SSL.Context:
        context = SSL.Context(SSL.TLS_SERVER_METHOD)
        context.set_min_proto_version(SSL.TLS1_2_VERSION)
        context.set_session_cache_mode(SSL.SESS_CACHE_OFF)  # clients keep their sessions, in tickets
        context.set_session_id(b"podkit")  # required by OpenSSL for resumption
        context.set_options(SSL.OP_NO_RENEGOTIATION | SSL.OP_NO_COMPRESSION)
        context.set_options(SSL.OP_CIPHER_SERVER_PREFERENCE | _OP_PRIORITIZE_CHACHA)
        context.set_mode(SSL.MODE_RELEASE_BUFFERS | _MODE_NO_AUTO_CHAIN)
        context.set_tls13_ciphersuites(":".join(TLS_1_3).encode())
        # accepting 1024-bit keys is the clients' risk
        context.set_cipher_list(":".join((*TLS_1_2, "@SECLEVEL=1")).encode())
        try:
            context.use_certificate(files.chain[0])
            for certificate in files.chain[1:]:
                context.add_extra_chain_cert(certificate)
            context.use_privatekey(files.key)
        except (SSL.Error, TypeError):  # such as a key that is too short, or of an unsupported type
            raise TlsError(f"the certificate {self._cert} and its key can't be used for TLS") from None
        context.set_alpn_select_callback(_choose_protocol)
        context.set_tlsext_servername_callback(_accept_any_name)
        _ask_for_client(context, files.authorities)
        return context


def _ask_for_client(context: SSL.Context, authorities: list[x509.Certificate]) -> None:
    if not authorities:
        context.set_verify(SSL.VERIFY_PEER, _accept_any)
        return
    store = context.get_cert_store()
    assert store is not None
    for authority in authorities:
        store.add_cert(crypto.X509.from_cryptography(authority))
        context.add_client_ca(authority)
    store.set_flags(crypto.X509StoreFlags.PARTIAL_CHAIN)  # Go trusts each of them, root or not
    context.set_verify(SSL.VERIFY_PEER | SSL.VERIFY_FAIL_IF_NO_PEER_CERT, _verify)


def _choose_protocol(connection: SSL.Connection, offered: list[bytes]) -> bytes:
    for protocol in _PROTOCOLS:
        if protocol in offered:
            return protocol
    raise ValueError("no protocol in common")  # OpenSSL sends the alert, and pyOpenSSL raises it again


def _accept_any_name(connection: SSL.Connection) -> None:
    """OpenSSL stores a name in a session only if a callback has accepted it."""


def _accept_any(connection: SSL.Connection, cert: crypto.X509, problem: int, depth: int, ok: int) -> bool:
    """Accepts any certificate: they are shown, but not trusted."""
    return True


def _verify(connection: SSL.Connection, cert: crypto.X509, problem: int, depth: int, ok: int) -> bool:
    """OpenSSL's verdict, except that only the extended key usage determines the purpose, as in Go."""
    if problem != _INVALID_PURPOSE:
        return bool(ok)
    try:
        extensions = cert.to_cryptography().extensions
        return bool(_ANY_USE & set(extensions.get_extension_for_class(x509.ExtendedKeyUsage).value))
    except x509.ExtensionNotFound:
        return True
    except ValueError:
        return False
