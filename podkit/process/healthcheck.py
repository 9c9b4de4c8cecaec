"""``healthcheck [URL]``: a server asks itself how it is, for images without a shell."""

import http.client
import ssl
import sys
from urllib.parse import SplitResult, urlsplit

_PATIENCE = 3.0  # seconds


def healthcheck(program: str, arguments: list[str], default_url: str) -> int:
    """0 if a GET of the URL is answered with a status under 400, else 1 with the reason on standard error.

    The default URL is asked by TLS too, where the server says that it speaks nothing else.
    """
    if len(arguments) > 1 or (arguments and arguments[0].startswith("-")):
        print(f"usage: {program} healthcheck [URL]   (default {default_url})", file=sys.stderr)
        return 2
    url = arguments[0] if arguments else default_url
    try:
        status = _ask(url)
        if status == 400 and not arguments:
            url = url.replace("http:", "https:", 1)
            status = _ask(url)
    except (OSError, ValueError, http.client.HTTPException) as problem:
        print(f"{program} healthcheck: {url}: {problem}", file=sys.stderr)
        return 1
    if status >= 400:
        print(f"{program} healthcheck: {url}: status {status}", file=sys.stderr)
        return 1
    return 0


def _ask(url: str) -> int:
    parts = urlsplit(url)
    connection = _connection(parts)
    connection.request("GET", (parts.path or "/") + ("?" + parts.query if parts.query else ""))
    return connection.getresponse().status


def _connection(parts: SplitResult) -> http.client.HTTPConnection:
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise ValueError("not an http:// or https:// URL")
    if parts.scheme == "http":
        return http.client.HTTPConnection(parts.hostname, parts.port or 80, timeout=_PATIENCE)
    # a server that asks itself need not be convinced who it is, and its certificate may name another host
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    return http.client.HTTPSConnection(parts.hostname, parts.port or 443, timeout=_PATIENCE, context=context)
