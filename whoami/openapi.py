"""``/openapi.yaml``: the API's description."""

from functools import cache
from pathlib import Path

from podkit.message import Request, Response


@cache
def _document() -> bytes:
    return Path(__file__).with_name("openapi.yaml").read_bytes()


def openapi(request: Request) -> Response:
    """The OpenAPI document next to this module."""
    return Response(headers=((b"Content-Type", b"application/yaml"),), body=_document())
