"""Calls as routes: what HTTP/2 does with a request whose content type is gRPC's."""

import asyncio
from collections.abc import AsyncIterator, Callable
from functools import cache, partial
from typing import Final

from podkit.grpc.call import Call, Methods, RpcError, Status, Stream, Unary, check_request, encode_text
from podkit.grpc.frames import ACCEPT_ENCODING, Frames, frame
from podkit.message import Dialogue, Fields, Head, Request, Response
from podkit.routes import FindRoute, Route

_HEADERS: Final = ((b"Content-Type", b"application/grpc"), (b"Grpc-Accept-Encoding", ACCEPT_ENCODING))
_LEAVING: Final = (
    (b"grpc-status", b"%d" % Status.UNAVAILABLE),
    (b"grpc-message", b"the server is shutting down"),
)
_OK: Final = ((b"grpc-status", b"0"),)


def build_find_call(build: Callable[[], Methods]) -> FindRoute:
    """The route of each call; `build` is called with the first."""
    return partial(_find, cache(build))


def _find(methods: Callable[[], Methods], head: Head) -> Route:
    call = check_request(head)
    if isinstance(call, Response):
        refusal = call
        return Route(lambda request: refusal)
    method = methods().get(head.path)
    if method is None:
        unknown = RpcError(Status.UNIMPLEMENTED, f"unknown method {head.path[:200].decode('latin-1')}")
        return Route(lambda request: _failure(unknown))
    if method.unary is not None:
        return Route(partial(_answer, method.unary, call), reads_body=True)
    assert method.stream is not None
    dialogue = Dialogue(_HEADERS, partial(_converse, method.stream, call), _LEAVING)
    return Route(lambda request: dialogue)


def _answer(unary: Unary, call: Call, request: Request) -> Response:
    frames = Frames(call.encoding)
    try:
        messages = frames.feed(bytes(request.body))
        if frames.unfinished:
            raise RpcError(Status.INTERNAL, "the request's message is cut off")
        if len(messages) != 1:
            raise RpcError(Status.UNIMPLEMENTED, f"the method takes one request, and got {len(messages)}")
        return Response(headers=_HEADERS, body=frame(unary(messages[0])), trailers=_OK)
    except RpcError as problem:
        return _failure(problem)


async def _converse(stream: Stream, call: Call, blocks: AsyncIterator[bytes]) -> AsyncIterator[bytes | Fields]:
    deadline = None if call.timeout is None else asyncio.get_running_loop().time() + call.timeout
    replies = stream(_split(Frames(call.encoding), blocks))
    trailers: Fields = _OK
    try:
        while True:
            async with asyncio.timeout_at(deadline):
                message = await anext(replies)
            yield frame(message)
    except StopAsyncIteration:
        pass
    except TimeoutError:
        trailers = _trailers(RpcError(Status.DEADLINE_EXCEEDED, "the call's time is over"))
    except RpcError as problem:
        trailers = _trailers(problem)
    yield trailers


async def _split(frames: Frames, blocks: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
    async for block in blocks:
        for message in frames.feed(block):
            yield message
    if frames.unfinished:
        raise RpcError(Status.INTERNAL, "the last message is cut off")


def _trailers(problem: RpcError) -> Fields:
    return ((b"grpc-status", b"%d" % problem.status), (b"grpc-message", encode_text(problem.text)))


def _failure(problem: RpcError) -> Response:
    return Response(headers=_HEADERS, trailers=_trailers(problem))
