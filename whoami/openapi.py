"""``/openapi.yaml``: the API's own description."""

from functools import cache
from importlib.resources import files

from podkit.message import Request, Response


@cache
def _document() -> bytes:
    return files("whoami").joinpath("openapi.yaml").read_bytes()


def openapi(request: Request) -> Response:
    """The OpenAPI document that lies beside this module."""
    return Response(headers=((b"Content-Type", b"application/yaml"),), body=_document())
