"""``/.raw``: the request as it came over the wire, byte for byte."""

from podkit.message import Request, Response
from whoami.who import NO_STORE

_WHOLE = 64 << 10  # bytes up to which the answer is made in one piece
_HEADERS = (
    (b"Content-Type", b"application/octet-stream"),  # nothing of it is for a browser to run
    (b"Content-Disposition", b"inline"),
    *NO_STORE,
)


def raw(request: Request) -> Response:
    """Head and body as the transport kept them: over HTTP/1.1 the bytes, over HTTP/2 a text that says so."""
    kept = request.raw
    body = bytes(kept) if len(kept) <= _WHOLE else (kept,)
    return Response(headers=_HEADERS, body=body, length=len(kept))
