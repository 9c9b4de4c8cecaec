"""``grpc.health.v1.Health``: the protocol of gRPC's health checks, Kubernetes' ``grpc`` probes among them."""

import asyncio
from collections.abc import AsyncIterator, Callable, Container
from functools import partial
from typing import Final

from podkit.grpc.call import Method, Methods, RpcError, Status
from podkit.grpc.protobuf import parse, unary
from podkit.proto.grpc.health.v1.health_pb2 import HealthCheckRequest, HealthCheckResponse

_SERVICE: Final = b"/grpc.health.v1.Health/"
_INTERVAL: Final = 0.1  # seconds between two looks: another process may have changed what is looked at


def build_health(services: Container[str], is_serving: Callable[[], bool]) -> Methods:
    """The service's methods. All `services` are as healthy as the server; ``""`` is the server itself."""
    return {
        _SERVICE + b"Check": unary(HealthCheckRequest, partial(_check, services, is_serving)),
        _SERVICE + b"Watch": Method(stream=partial(_watch, services, is_serving)),
    }


def _check(
    services: Container[str], is_serving: Callable[[], bool], request: HealthCheckRequest
) -> HealthCheckResponse:
    if request.service not in services:
        raise RpcError(Status.NOT_FOUND, f"unknown service {request.service}")
    return _response(is_serving())


async def _watch(
    services: Container[str], is_serving: Callable[[], bool], requests: AsyncIterator[bytes]
) -> AsyncIterator[bytes]:
    data = await anext(requests, None)
    if data is None:
        raise RpcError(Status.UNIMPLEMENTED, "Watch takes one request, and got none")
    if parse(HealthCheckRequest, data).service not in services:
        yield HealthCheckResponse(status=HealthCheckResponse.SERVICE_UNKNOWN).SerializeToString()
        await asyncio.Event().wait()  # the protocol has the call stay, in case the service appears
    told = None
    while True:
        serving = is_serving()
        if serving != told:
            told = serving
            yield _response(serving).SerializeToString()
        await asyncio.sleep(_INTERVAL)


def _response(serving: bool) -> HealthCheckResponse:
    status = HealthCheckResponse.SERVING if serving else HealthCheckResponse.NOT_SERVING
    return HealthCheckResponse(status=status)
