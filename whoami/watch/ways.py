"""The four ways to send requests, by their names in the tables."""

from typing import Final

from whoami.watch.outcome import Way
from whoami.watch.target import Target

NEW: Final = "new connections"
KEEP_ALIVE: Final = "keep-alive"
HTTP2: Final = "HTTP/2"
GRPC: Final = "gRPC"
ALL: Final = (NEW, KEEP_ALIVE, HTTP2, GRPC)


def build_way(name: str, target: Target, cookies: bool) -> Way:
    """Builds a way; imports what it needs. Raises OSError for unreadable authorities."""
    if name in (NEW, KEEP_ALIVE):
        from whoami.watch.http1 import Http1

        return Http1(target, name == KEEP_ALIVE, cookies)
    from whoami.watch.http2 import Grpc, Http2

    return Grpc(target, cookies) if name == GRPC else Http2(target, cookies)
