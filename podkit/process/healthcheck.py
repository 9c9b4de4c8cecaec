"""``healthcheck [URL]``: a server checks itself, for images without a shell."""

import socket
import time
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from functools import partial
from typing import TextIO
from urllib.parse import SplitResult, urlsplit

from podkit.process.flags import Program, read_options, switch, word

_PATIENCE = 3.0  # seconds
_MOST = 1 << 12  # bytes of a status line


@dataclass(frozen=True, slots=True, kw_only=True)
class Options:
    """The command line."""

    url: str = word("URL", "an http:// or https:// URL of the server")
    proxy_protocol: bool = switch("send a PROXY header first", "WHOAMI_PROXY_PROTOCOL")


def healthcheck(
    program: str, arguments: Sequence[str], environ: Mapping[str, str], default_url: str, stderr: TextIO
) -> int:
    """Returns 0 if a GET of the URL gets a status under 400, else 1 with the reason on standard error.

    The default URL is retried over TLS if the server requires it. Raises Usage.
    """
    about = Program(
        f"{program} healthcheck",
        "[--proxy-protocol] [URL]",
        "Ask a server whether it is healthy.",
        f"""\
Without a URL it asks {default_url}, with or without TLS.
The exit status is 0 if the server is healthy, 1 if not, 2 for a bad command line.""",
    )
    options = read_options(about, Options, arguments, environ)
    ask = partial(_ask, options.proxy_protocol)
    url = options.url or default_url
    try:
        status = ask(url)
        if status == 400 and not options.url:
            url = url.replace("http:", "https:", 1)
            status = ask(url)
        if status < 400:
            return 0
        reason = f"status {status}"
    except (OSError, ValueError) as problem:
        reason = getattr(problem, "strerror", None) or str(problem)
    print(f"{program} healthcheck: {url}: {reason}", file=stderr)
    return 1


def _ask(is_proxied: bool, url: str) -> int:
    parts = urlsplit(url)
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise ValueError("not an http:// or https:// URL")
    target = (parts.path or "/") + ("?" + parts.query if parts.query else "")
    request = f"GET {target} HTTP/1.1\r\nHost: {parts.netloc.rpartition('@')[2]}\r\nConnection: close\r\n\r\n"
    with ExitStack() as end:
        connection = end.enter_context(_connect(parts, is_proxied))
        connection.sendall(request.encode())
        line = _read_line(connection, time.monotonic() + _PATIENCE)
    version, _, status = line.partition(b" ")
    if not version.startswith(b"HTTP/1.") or not status[:3].isdigit():
        raise ValueError("the answer is not HTTP")
    return int(status[:3])


def _read_line(connection: socket.socket, deadline: float) -> bytes:
    line = b""
    while b"\n" not in line and len(line) < _MOST:
        left = deadline - time.monotonic()
        if left <= 0:  # although there was progress
            raise TimeoutError("timed out")
        connection.settimeout(left)
        received = connection.recv(_MOST)
        if not received:
            break
        line += received
    return line


def _connect(parts: SplitResult, is_proxied: bool) -> socket.socket:
    port = parts.port or (443 if parts.scheme == "https" else 80)
    connection = socket.create_connection((parts.hostname, port), _PATIENCE)
    if is_proxied:
        from podkit.proxy_protocol.header import LOCAL

        connection.sendall(LOCAL)
    if parts.scheme == "http":
        return connection
    import ssl  # slow to import

    # a server need not verify itself, and its certificate may be for another host
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    try:
        return context.wrap_socket(connection, server_hostname=parts.hostname)
    except BaseException:
        connection.close()
        raise
