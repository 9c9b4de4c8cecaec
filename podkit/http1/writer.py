"""Response heads as bytes, as Go's HTTP/1.1 server writes them."""

import time
from email.utils import formatdate
from functools import lru_cache
from http import HTTPStatus
from typing import Any

from podkit.message import Head, Response

_GO_TEXTS = {
    413: "Request Entity Too Large",
    414: "Request URI Too Long",
    416: "Requested Range Not Satisfiable",
    418: "I'm a teapot",
    422: "Unprocessable Entity",
}
REASONS = {status.value: status.phrase for status in HTTPStatus} | _GO_TEXTS


class Clock:
    """The Date header, rendered once a second."""

    def __init__(self) -> None:
        self._second = -1
        self._line = b""

    def date_line(self) -> bytes:
        """``Date: ...`` with its line end."""
        now = int(time.time())
        if now != self._second:
            self._second = now
            self._line = b"Date: %s\r\n" % formatdate(now, usegmt=True).encode()
        return self._line

    def date(self) -> bytes:
        """The value alone."""
        return self.date_line()[6:-2]


@lru_cache(maxsize=256)
def _status_line(status: int, at_least_11: bool) -> bytes:
    reason = REASONS.get(status, f"status code {status}")
    return b"HTTP/1.%d %d %s\r\n" % (at_least_11, status, reason.encode())


def body_length(head: Head, response: Response) -> int | None:
    """The Content-Length to announce: none where the status has no body, or where HEAD can't know it."""
    status = response.status
    if status in (204, 304) or status < 200:
        return None
    length = len(response.body) if isinstance(response.body, bytes) else response.length
    return length if length or head.method != b"HEAD" else None


def render_head(head: Head, response: Response, close: bool, date_line: bytes) -> bytes:
    """Status line and headers, with the empty line behind them. `close`: the connection ends after it."""
    headers = response.headers
    at_least_11 = head.version >= (1, 1)
    if close:
        headers = tuple(header for header in headers if header[0] != b"Connection")
        if at_least_11:
            headers += ((b"Connection", b"close"),)
    elif not at_least_11 and not any(header[0] == b"Connection" for header in headers):
        headers += ((b"Connection", b"keep-alive"),)
    length = body_length(head, response)
    # headers may hold what a client sent (Location), so only the status line is worth remembering
    fields = b"".join([b"%s: %s\r\n" % header for header in headers])
    start = _status_line(response.status, at_least_11)
    if length is None:
        return b"%s%s%s\r\n" % (start, fields, date_line)
    return b"%s%s%sContent-Length: %d\r\n\r\n" % (start, fields, date_line, length)


def render_address(peer: Any) -> str:
    """A socket's peer as ``address:port``; IPv6 in brackets, an IPv4 client of an IPv6 socket as IPv4."""
    if not isinstance(peer, tuple):
        return ""
    host, port = str(peer[0]), peer[1]
    if host.startswith("::ffff:") and "." in host:
        host = host[7:]
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
