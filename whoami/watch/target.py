"""The target: a URL, its addresses, and trusted authorities."""

import asyncio
import socket
import ssl
from dataclasses import dataclass

from yarl import URL


@dataclass(frozen=True)
class Target:
    """A URL with its path; `pinned` are addresses by host and port, from ``--resolve``."""

    url: URL
    pinned: dict[tuple[str, int], str]
    cacert: str = ""
    insecure: bool = False

    @property
    def host(self) -> str:
        """The name or address, without brackets."""
        return self.url.raw_host or ""

    @property
    def port(self) -> int:
        """The port; the scheme's default if the URL has none."""
        return self.url.port or 80

    async def find_addresses(self) -> list[str]:
        """The addresses to try in order. Raises OSError if the name has none."""
        if pinned := self.pinned.get((self.host, self.port)):
            return [pinned]
        loop = asyncio.get_running_loop()
        found = await loop.getaddrinfo(self.host, self.port, type=socket.SOCK_STREAM)
        return list(dict.fromkeys(str(entry[4][0]) for entry in found))

    def tls(self, protocol: str) -> ssl.SSLContext | None:
        """A TLS context that offers one protocol by ALPN; None for http. OSError for bad authorities."""
        if self.url.scheme == "http":
            return None
        context = ssl.create_default_context(cafile=self.cacert or None)
        context.verify_flags &= ~ssl.VERIFY_X509_STRICT  # set from 3.13 on; curl accepts more
        if self.insecure:
            context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
        context.set_alpn_protocols([protocol])
        return context


def parse_url(text: str, path: str | None) -> URL:
    """Parses the URL; `path` replaces its own. ValueError with a line for people."""
    try:
        url = URL(text if "://" in text else f"http://{text}")
        usable = url.scheme in ("http", "https") and url.raw_host and url.port and not url.raw_user
    except ValueError:
        usable = False
    if not usable:
        raise ValueError(f"{text!r} is not a URL: give one such as http://whoami-service")
    if path is None:
        return url
    if not path.startswith("/"):
        raise ValueError(f"--path {path!r}: it must begin with /")
    return URL(f"{url.origin()}{path}")


def parse_pin(text: str) -> tuple[tuple[str, int], str]:
    """Parses ``HOST:PORT:ADDRESS``; an IPv6 address may have brackets. ValueError with a line for people."""
    host, _, rest = text.partition(":")
    port, _, address = rest.partition(":")
    address = address.removeprefix("[").removesuffix("]")
    try:
        socket.getaddrinfo(address, None, flags=socket.AI_NUMERICHOST)
    except (OSError, UnicodeError):
        address = ""
    if not (host and address and port.isascii() and port.isdigit() and 0 < int(port[:6]) < 65536):
        raise ValueError(f"{text!r} is not HOST:PORT:ADDRESS, such as whoami.example:443:10.0.0.7")
    return (host.lower(), int(port)), address
