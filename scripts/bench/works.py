"""The works, and the servers that do them."""

from dataclasses import dataclass
from typing import Final

from scripts.bench.peers import (
    APPLICATION,
    GRANIAN,
    GRPCIO,
    NODE,
    ORIGINAL,
    UVICORN,
    WHEREAMI,
    WHEREAMI_2,
    WHOAMI,
    WHOAMI_2,
)


@dataclass(frozen=True)
class Work:
    """A title, the target, the kind of load (see full_load), and the names of its servers."""

    title: str
    target: str
    kind: str
    names: tuple[str, ...]
    tls: bool = False
    paced: bool = False  # also at half of the bare application's load


WORKS: Final = (
    Work(
        "GET /bench",
        "/bench",
        "same",
        (WHOAMI, WHOAMI_2, APPLICATION, GRANIAN, UVICORN, ORIGINAL),
        paced=True,
    ),
    Work("GET /bench, varied heads", "/bench", "varied", (WHOAMI, APPLICATION, GRANIAN, UVICORN, ORIGINAL)),
    Work("GET /, varied heads", "/", "varied", (WHOAMI, WHOAMI_2, APPLICATION, ORIGINAL)),
    Work("GET /api, varied heads", "/api", "varied", (WHOAMI, ORIGINAL)),
    Work("GET /data, 10 MB", "/data?size=10&unit=MB", "same", (WHOAMI, ORIGINAL)),
    Work("POST / of 10 KB", "/", "post", (WHOAMI, APPLICATION, GRANIAN, UVICORN, ORIGINAL)),
    Work("WebSocket, 64 bytes", "/echo", "messages", (WHOAMI, WHOAMI_2, APPLICATION, GRANIAN, ORIGINAL)),
    Work("new connections", "/bench", "close", (WHOAMI, WHOAMI_2, APPLICATION, GRANIAN, UVICORN, ORIGINAL)),
    Work("TLS, HTTP/1.1", "/bench", "same", (WHOAMI, APPLICATION, GRANIAN, UVICORN, ORIGINAL), tls=True),
    Work("HTTP/2", "/bench", "http2", (WHOAMI, WHOAMI_2, GRANIAN, ORIGINAL)),
    Work("TLS, HTTP/2", "/bench", "http2", (WHOAMI, GRANIAN, ORIGINAL), tls=True),
    Work("gRPC Bench", "/whoami.Whoami/Bench", "rpc", (WHOAMI, WHOAMI_2, GRPCIO, ORIGINAL)),
    Work("kubia, varied heads", "/", "varied", (WHEREAMI, WHEREAMI_2, NODE)),
)
