"""The certificate files of a TLS server: checked at the start, and read again when they change."""

import os
import stat
import time
from typing import Any, Final

from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.x509.oid import ExtendedKeyUsageOID
from OpenSSL import SSL, crypto

from podkit.errors import TlsError
from podkit.log import log_line
from podkit.tls.pem import check_time, read_chain, read_key

_PROTOCOLS: Final = (b"h2", b"http/1.1")  # to offer by ALPN, the best first
_RECHECK: Final = 1.0  # seconds between two looks at the files, at least
_ANY_USE: Final = {ExtendedKeyUsageOID.CLIENT_AUTH, ExtendedKeyUsageOID.ANY_EXTENDED_KEY_USAGE}
# what Go offers for TLS 1.2; clients choose by their order, and keys of 1024 bits are theirs to risk
_CIPHERS: Final = b"ECDHE+AESGCM:ECDHE+CHACHA20:ECDHE+AES+SHA1:@SECLEVEL=1"
_INVALID_PURPOSE: Final = 26  # X509_V_ERR_INVALID_PURPOSE


class Certificates:
    """A certificate with its key, and the authorities whose clients alone are let in, if any.

    Raises TlsError where a file can't be used.
    """

    def __init__(self, cert: str, key: str, client_ca: str = "") -> None:
        self._cert, self._key, self._client_ca = cert, key, client_ca
        self._seen = self._look()
        self._checked = time.monotonic()
        self._context = self._build()

    def context(self) -> SSL.Context:
        """The context for a new connection, of the files as they are now.

        Files that can't be used leave the context as it was, with one line in the log.
        """
        now = time.monotonic()
        if now - self._checked >= _RECHECK:
            self._checked = now
            seen = self._look()
            if seen != self._seen:
                self._seen = seen
                try:
                    self._context = self._build()
                    log_line(f"tls: {self._cert} has changed, and serves new connections")
                except TlsError as problem:
                    log_line(f"tls: the old certificate stays in use: {problem}")
        return self._context

    def _look(self) -> list[tuple[int, ...]]:
        """What tells one version of the files from another; symbolic links are followed."""
        looks: list[tuple[int, ...]] = []
        for path in filter(None, (self._cert, self._key, self._client_ca)):
            try:
                found = os.stat(path)
                if stat.S_ISREG(found.st_mode):  # a pipe can be read once only
                    looks.append((found.st_dev, found.st_ino, found.st_mtime_ns, found.st_size))
            except OSError:
                looks.append(())
        return looks

    def _build(self) -> SSL.Context:
        leaf, *chain = read_chain("certificate", self._cert)
        key = read_key(self._key)
        try:
            belongs = leaf.public_key() == key.public_key()
        except (ValueError, UnsupportedAlgorithm):
            raise TlsError(f"the certificate {self._cert} has a key of an unknown kind") from None
        if not belongs:
            raise TlsError(f"the key {self._key} does not belong to the certificate {self._cert}")
        check_time(leaf, self._cert)
        context = SSL.Context(SSL.TLS_SERVER_METHOD)
        context.set_min_proto_version(SSL.TLS1_2_VERSION)
        # a resumed session would carry neither the client's whole chain nor what has changed since
        context.set_session_cache_mode(SSL.SESS_CACHE_OFF)
        context.set_options(SSL.OP_NO_TICKET | SSL.OP_NO_RENEGOTIATION | SSL.OP_NO_COMPRESSION)
        context.set_mode(SSL.MODE_RELEASE_BUFFERS)
        context.set_cipher_list(_CIPHERS)
        try:
            context.use_certificate(leaf)
            for certificate in chain:
                context.add_extra_chain_cert(certificate)
            context.use_privatekey(key)
        except (SSL.Error, TypeError):  # such as a key that is too short, or of a kind that TLS does not know
            raise TlsError(f"the certificate {self._cert} and its key can't be used for TLS") from None
        context.set_alpn_select_callback(self._choose_protocol)
        self._ask_for_client(context)
        return context

    def _ask_for_client(self, context: SSL.Context) -> None:
        if not self._client_ca:
            context.set_verify(SSL.VERIFY_PEER, _accept_any)
            return
        store = context.get_cert_store()
        assert store is not None
        for authority in read_chain("authorities of clients", self._client_ca):
            store.add_cert(crypto.X509.from_cryptography(authority))
            context.add_client_ca(authority)
        store.set_flags(crypto.X509StoreFlags.PARTIAL_CHAIN)  # Go trusts each of them, root or not
        context.set_verify(SSL.VERIFY_PEER | SSL.VERIFY_FAIL_IF_NO_PEER_CERT, _verify)

    def _choose_protocol(self, connection: SSL.Connection, offered: list[bytes]) -> Any:
        for protocol in _PROTOCOLS:
            if protocol in offered:
                return protocol
        return SSL.NO_OVERLAPPING_PROTOCOLS


def _accept_any(connection: SSL.Connection, cert: crypto.X509, problem: int, depth: int, ok: int) -> bool:
    """Certificates are shown, not believed."""
    return True


def _verify(connection: SSL.Connection, cert: crypto.X509, problem: int, depth: int, ok: int) -> bool:
    """OpenSSL's verdict, but the purpose is told by the extended key usage alone, as in Go."""
    if problem != _INVALID_PURPOSE:
        return bool(ok)
    try:
        extensions = cert.to_cryptography().extensions
        return bool(_ANY_USE & set(extensions.get_extension_for_class(x509.ExtendedKeyUsage).value))
    except x509.ExtensionNotFound:
        return True
    except ValueError:
        return False
