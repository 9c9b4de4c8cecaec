"""Protobuf messages as the requests and replies of calls."""

from collections.abc import Callable
from typing import TypeVar

from google.protobuf.message import DecodeError, Message

from podkit.grpc.call import Method, RpcError, Status

Received = TypeVar("Received", bound=Message)


def replying(kind: type[Message], render: Callable[[], bytes]) -> Method:
    """The unary method that answers every request, a message of that kind, by what `render` gives."""

    def answer(data: bytes) -> bytes:
        if data:
            parse(kind, data)
        return render()

    return Method(unary=answer)


def parse(kind: type[Received], data: bytes) -> Received:
    """A request; RpcError where the bytes are none."""
    try:
        return kind.FromString(data)
    except DecodeError:
        raise RpcError(Status.INTERNAL, f"the request is not a {kind.DESCRIPTOR.full_name}") from None
