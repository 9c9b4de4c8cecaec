"""``grpc.health.v1.Health``: gRPC health checks, as used by Kubernetes' ``grpc`` probes."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Collection
from typing import Final

from podkit.grpc.call import Method, Methods, RpcError, Status
from podkit.grpc.protobuf import parse
from podkit.proto.grpc.health.v1.health_pb2 import HealthCheckRequest, HealthCheckResponse

_SERVICE: Final = b"/grpc.health.v1.Health/"
_SERVING: Final = HealthCheckResponse(status=HealthCheckResponse.SERVING).SerializeToString()
_NOT_SERVING: Final = HealthCheckResponse(status=HealthCheckResponse.NOT_SERVING).SerializeToString()
_UNKNOWN: Final = HealthCheckResponse(status=HealthCheckResponse.SERVICE_UNKNOWN).SerializeToString()


def build_health(
    services: Collection[str], is_serving: Callable[[], bool], wait_for_change: Callable[[], Awaitable[None]]
) -> Methods:
    """The service's methods. All `services` are as healthy as the server; ``""`` is the server itself.

    `wait_for_change` returns when the result of `is_serving` may have changed since the call.
    """
    known = {HealthCheckRequest(service=name).SerializeToString() for name in services}

    def answer() -> bytes:
        return _SERVING if is_serving() else _NOT_SERVING

    def check(data: bytes) -> bytes:
        if data not in known:  # it may be encoded differently
            name = parse(HealthCheckRequest, data).service
            if name not in services:
                raise RpcError(Status.NOT_FOUND, f"unknown service {name}")
        return answer()

    async def watch(requests: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
        data = await anext(requests, None)
        if data is None:
            raise RpcError(Status.UNIMPLEMENTED, "Watch takes one request, but got none")
        if data not in known and parse(HealthCheckRequest, data).service not in services:
            yield _UNKNOWN
            await asyncio.Event().wait()  # the protocol keeps the call open, in case the service appears
        del data
        told = b""
        while True:
            if told == (news := answer()):
                await wait_for_change()
            else:
                told = news
                yield news

    return {_SERVICE + b"Check": Method(unary=check), _SERVICE + b"Watch": Method(stream=watch)}
