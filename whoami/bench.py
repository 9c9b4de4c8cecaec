"""``/bench``: the smallest answer, for benchmarks of proxies."""

from podkit.message import Request, Response

_ANSWER = Response(
    headers=((b"Connection", b"keep-alive"), (b"Content-Type", b"text/plain")), body=b"1", is_kept=True
)


def bench(request: Request) -> Response:
    """Always answers ``1``."""
    return _ANSWER
