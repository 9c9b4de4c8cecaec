"""Protobuf messages as requests and replies of calls."""

from collections.abc import Callable
from typing import TypeVar

from google.protobuf.message import DecodeError, Message

from podkit.grpc.call import Method, RpcError, Status

Received = TypeVar("Received", bound=Message)


def replying(kind: type[Message], render: Callable[[], bytes]) -> Method:
    """A unary method that answers every request, a message of type `kind`, with the result of `render`."""

    def answer(data: bytes) -> bytes:
        if data:
            parse(kind, data)
        return render()

    return Method(unary=answer)


def parse(kind: type[Received], data: bytes) -> Received:
    """Parses a request; RpcError if the bytes are invalid."""
    try:
        return kind.FromString(data)
    except DecodeError:
        raise RpcError(Status.INTERNAL, f"the request is not a {kind.DESCRIPTOR.full_name}") from None
