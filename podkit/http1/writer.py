"""Renders response heads like Go's HTTP/1.1 server."""

from functools import lru_cache
from http import HTTPStatus

from podkit.message import CLOSE, Block, Head, Response, content_length

CONTINUE = b"HTTP/1.1 100 Continue\r\n\r\n"
_WITHOUT_BODY = frozenset((b"HEAD", b"CONNECT"))  # in some answers
_KEEP_ALIVE = (b"Connection", b"keep-alive")
_GO_TEXTS = {
    413: "Request Entity Too Large",
    414: "Request URI Too Long",
    416: "Requested Range Not Satisfiable",
    418: "I'm a teapot",
    422: "Unprocessable Entity",
}
REASONS = {status.value: status.phrase for status in HTTPStatus} | _GO_TEXTS


@lru_cache(maxsize=256)
def _status_line(status: int, at_least_11: bool) -> bytes:
    reason = REASONS.get(status, f"status code {status}")
    return b"HTTP/1.%d %d %s\r\n" % (at_least_11, status, reason.encode())


def closes(head: Head, response: Response) -> bool:
    """Whether the connection closes after this answer, because of the client, the endpoint or the framing."""
    return head.close or CLOSE in response.headers or (head.version < (1, 1) and _has_unknown_length(response))


def is_chunked(head: Head, response: Response) -> bool:
    """Whether the body is sent in chunks, because its length is unknown."""
    return head.version >= (1, 1) and head.method != b"CONNECT" and _has_unknown_length(response)


def _has_unknown_length(response: Response) -> bool:
    return response.length is None and not isinstance(response.body, bytes)


def render_answer(head: Head, response: Response, close: bool, date_line: bytes) -> bytes:
    """Renders a complete answer."""
    body = response.body
    assert isinstance(body, bytes)
    if head.version != (1, 1) or response.status != 200 or head.method in _WITHOUT_BODY:
        start = render_head(head, response, close, date_line)
        return start if head.method == b"HEAD" else start + body
    fields = b""
    for header in response.headers:
        if not close or header[0] != b"Connection":
            fields += b"%s: %s\r\n" % header
    if close:
        fields += b"%s: %s\r\n" % CLOSE
    return b"HTTP/1.1 200 OK\r\n%s%sContent-Length: %d\r\n\r\n%s" % (fields, date_line, len(body), body)


def render_head(head: Head, response: Response, close: bool, date_line: bytes) -> bytes:
    """Status line and headers with the empty line. `close`: the connection closes after the answer."""
    headers = response.headers
    at_least_11 = head.version >= (1, 1)
    is_tunnel = head.method == b"CONNECT" and 200 <= response.status < 300
    if close and CLOSE not in headers:
        headers = tuple(header for header in headers if header[0] != b"Connection")
        if at_least_11 and not is_tunnel:
            headers += (CLOSE,)
    elif not at_least_11 and not any(header[0] == b"Connection" for header in headers):
        headers += (_KEEP_ALIVE,)
    # headers may contain the client's text (Location), so only the status line is cached
    fields = b"".join([b"%s: %s\r\n" % header for header in headers])
    start = _status_line(response.status, at_least_11)
    length = content_length(head, response)
    if length is not None and not is_tunnel:
        return b"%s%s%sContent-Length: %d\r\n\r\n" % (start, fields, date_line, length)
    if is_chunked(head, response):
        return b"%s%s%sTransfer-Encoding: chunked\r\n\r\n" % (start, fields, date_line)
    return b"%s%s%s\r\n" % (start, fields, date_line)


def render_chunk(block: Block) -> bytes:
    """A chunk of a body of unknown length."""
    return b"".join((b"%x\r\n" % len(block), block, b"\r\n"))


LAST_CHUNK = b"0\r\n\r\n"
