"""Routes of HTTP/2 requests with a gRPC content type."""

import asyncio
from collections.abc import AsyncIterator, Callable
from functools import cache, lru_cache, partial
from typing import Final, cast

from podkit.go.percent import unescape
from podkit.go.strconv import quote
from podkit.grpc.call import Call, Methods, RpcError, Status, Stream, Unary, check_request, encode_text
from podkit.grpc.frames import ACCEPT_ENCODING, PREFIX_SIZE, Frames, frame, read_only_message
from podkit.limits import Limits
from podkit.message import Dialogue, Fields, Head, Inflow, Request, Response
from podkit.routes import FindRoute, Route

_HEADERS: Final = ((b"Content-Type", b"application/grpc"), (b"Grpc-Accept-Encoding", ACCEPT_ENCODING))
_OK: Final = ((b"grpc-status", b"0"),)
_MAX_STREAMED: Final = 64 << 10  # bytes per message of a streaming call
_REMEMBERED: Final = 80  # bytes; longer paths and encodings are not cached
_REFUSALS: Final = {
    408: Status.DEADLINE_EXCEEDED,
    413: Status.RESOURCE_EXHAUSTED,
    503: Status.RESOURCE_EXHAUSTED,
}


def build_find_call(build: Callable[[], Methods], limits: Limits) -> FindRoute:
    """A function that finds the route of a call; it calls `build` for the first one."""
    return _Calls(build, limits).find


class _Calls:
    def __init__(self, build: Callable[[], Methods], limits: Limits) -> None:
        self._methods = cache(build)
        self._max_message = limits.max_call_message
        self._cached = lru_cache(maxsize=64)(self._find)

    def find(self, head: Head) -> Route:
        """The route of a call, by its head."""
        call = check_request(head)
        if isinstance(call, Response):
            return _always(call)
        is_short = len(head.path) + len(call.encoding) <= _REMEMBERED
        found = (self._cached if is_short else self._find)(head.path, call.encoding)
        if isinstance(found, Route):
            return found
        dialogue = Dialogue(_HEADERS, partial(_converse, found, call), _LEAVING)
        return Route(lambda request: dialogue)

    def _find(self, path: bytes, encoding: bytes) -> Route | Stream:
        name = path if b"%2f" in path.lower() else unescape(path)  # an escaped slash is not a separator
        method = self._methods().get(name)
        if method is None:
            return _always(_failure(RpcError(Status.UNIMPLEMENTED, self._explain(name))))
        if method.stream is not None:
            return method.stream
        return Route(
            partial(_answer, cast(Unary, method.unary), encoding, self._max_message),
            reads_body=True,
            max_body=PREFIX_SIZE + self._max_message,
            refusal=_refuse,
        )

    def _explain(self, name: bytes) -> str:
        service, slash, method = name[1:].rpartition(b"/")
        if not slash:
            return f"malformed method name: {quote(_show(name))}"
        if any(known.startswith(b"/%s/" % service) for known in self._methods()):
            return f"unknown method {_show(method)} for service {_show(service)}"
        return f"unknown service {_show(service)}"


def _show(name: bytes) -> str:
    return name[:200].decode("utf-8", "replace")


def _always(response: Response) -> Route:
    return Route(lambda request: response)


def _answer(unary: Unary, encoding: bytes, max_message: int, request: Request) -> Response:
    try:
        message = unary(read_only_message(request.body, encoding, max_message))
    except RpcError as problem:
        return _failure(problem)
    return Response(headers=_HEADERS, body=frame(message), trailers=_OK)


async def _converse(stream: Stream, call: Call, inflow: Inflow) -> AsyncIterator[bytes | Fields]:
    deadline = None if call.timeout is None else asyncio.get_running_loop().time() + call.timeout
    replies = stream(_split(Frames(call.encoding, _MAX_STREAMED), inflow))
    trailers: Fields = _OK
    try:
        while True:
            async with asyncio.timeout_at(deadline):
                reply = frame(await anext(replies))
            yield reply
    except StopAsyncIteration:
        pass
    except TimeoutError:
        trailers = _trailers(RpcError(Status.DEADLINE_EXCEEDED, "the call's deadline has passed"))
    except RpcError as problem:
        trailers = _trailers(problem)
    yield trailers


async def _split(frames: Frames, inflow: Inflow) -> AsyncIterator[bytes]:
    """Yields the messages one by one; each is decompressed when it is requested."""
    async for block in inflow.blocks():
        frames.feed(block)
        del block
        while frames.has_next():
            yield frames.pop()
        inflow.kept = len(frames)
    if frames:
        raise RpcError(Status.INTERNAL, "the last message is truncated")


def _trailers(problem: RpcError) -> Fields:
    return ((b"grpc-status", b"%d" % problem.status), (b"grpc-message", encode_text(problem.text)))


def _failure(problem: RpcError) -> Response:
    return Response(headers=_HEADERS, trailers=_trailers(problem))


def _refuse(response: Response) -> Response:
    """Converts an HTTP error into the end of a call."""
    text = cast(bytes, response.body).decode("utf-8", "replace").rstrip()
    return _failure(RpcError(_REFUSALS.get(response.status, Status.UNKNOWN), text))


_LEAVING: Final = _trailers(RpcError(Status.UNAVAILABLE, "the server is shutting down"))
