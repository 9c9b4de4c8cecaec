"""``/bench``: the smallest answer, for measuring proxies."""

from podkit.message import Request, Response

_ANSWER = Response(headers=((b"Connection", b"keep-alive"), (b"Content-Type", b"text/plain")), body=b"1")


def bench(request: Request) -> Response:
    """Always ``1``."""
    return _ANSWER
