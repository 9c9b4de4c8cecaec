"""Protobuf messages as the requests and replies of calls."""

from collections.abc import Callable
from typing import TypeVar

from google.protobuf.message import DecodeError, Message

from podkit.grpc.call import Method, RpcError, Status

Received = TypeVar("Received", bound=Message)


def unary(kind: type[Received], answer: Callable[[Received], Message]) -> Method:
    """The method that answers each request, a message of that kind, by calling `answer`."""
    return Method(unary=lambda data: answer(parse(kind, data)).SerializeToString())


def parse(kind: type[Received], data: bytes) -> Received:
    """A request; RpcError where the bytes are none."""
    try:
        return kind.FromString(data)
    except DecodeError:
        raise RpcError(Status.INTERNAL, f"the request is no {kind.DESCRIPTOR.full_name}") from None
