"""``/.raw``: the request byte for byte as received."""

from podkit.message import Request, Response
from whoami.who import NO_STORE

_WHOLE = 64 << 10  # bytes up to which the answer is one block
_HEADERS = (
    (b"Content-Type", b"application/octet-stream"),  # a browser must not execute it
    (b"Content-Disposition", b"inline"),
    *NO_STORE,
)


def raw(request: Request) -> Response:
    """The head and body as received; for HTTP/2, a text with the decoded fields."""
    kept = request.raw
    body = bytes(kept) if len(kept) <= _WHOLE else (kept,)
    return Response(headers=_HEADERS, body=body, length=len(kept))
