"""The answers of whoami's methods, without a transport."""

import asyncio
import re
import subprocess
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any, TypeVar

import pytest
from google.protobuf import api_pb2
from google.protobuf.descriptor_pb2 import FileDescriptorProto
from google.protobuf.message import Message

from podkit.grpc.call import Methods, RpcError, Status
from podkit.pod.pod import Pod
from podkit.proto.grpc.health.v1.health_pb2 import HealthCheckRequest, HealthCheckResponse
from podkit.proto.grpc.reflection.v1 import reflection_pb2 as v1
from tests.server import PATIENCE
from whoami.health import Health
from whoami.proto.whoami_pb2 import BenchReply, WhoamiReply
from whoami.rpc import build_methods

ROOT = Path(__file__).parents[2]
SERVICES = [
    "grpc.health.v1.Health",
    "grpc.reflection.v1.ServerReflection",
    "grpc.reflection.v1alpha.ServerReflection",
    "whoami.Whoami",
]
Reply = TypeVar("Reply", bound=Message)


@pytest.fixture
def state() -> Health:
    """The state of ``/health``."""
    return Health()


@pytest.fixture
def methods(state: Health) -> Methods:
    """All methods of a whoami with a name."""
    return build_methods(Pod(), "blue", state)


def ask(methods: Methods, path: bytes, kind: type[Reply], request: bytes = b"") -> Reply:
    """The reply to a unary call."""
    unary = methods[path].unary
    assert unary
    return kind.FromString(unary(request))


def talk(methods: Methods, path: bytes, *requests: bytes) -> AsyncIterator[bytes]:
    """The replies to a streaming call."""
    stream = methods[path].stream
    assert stream

    async def send() -> AsyncIterator[bytes]:
        for request in requests:
            yield request

    return stream(send())


def test_bench_is_one(methods: Methods) -> None:
    """Like ``/bench``."""
    assert ask(methods, b"/whoami.Whoami/Bench", BenchReply) == BenchReply(data=1)


def test_whoami_tells_what_root_tells(methods: Methods) -> None:
    """Name, host name and addresses."""
    pod = Pod()
    reply = ask(methods, b"/whoami.Whoami/Whoami", WhoamiReply)
    assert reply == WhoamiReply(name="blue", hostname=pod.hostname, iface=pod.addresses)


def test_a_name_may_be_any_bytes(state: Health) -> None:
    """The environment may contain bytes that are not UTF-8; a protobuf string may not."""
    methods = build_methods(Pod(), "a\udcff", state)
    assert ask(methods, b"/whoami.Whoami/Whoami", WhoamiReply).name == "a\ufffd"


@pytest.mark.parametrize(
    "path", [b"/whoami.Whoami/Bench", b"/whoami.Whoami/Whoami", b"/grpc.health.v1.Health/Check"]
)
def test_garbage_is_internal(methods: Methods, path: bytes) -> None:
    """Invalid bytes get that status, with the name of the expected message."""
    with pytest.raises(RpcError, match=r"the request is not a .*Request") as caught:
        ask(methods, path, BenchReply, b"\xff\xff")
    assert caught.value.status is Status.INTERNAL


@pytest.mark.parametrize("service", ["", "whoami.Whoami"])
@pytest.mark.parametrize(
    ("status", "answer"), [(200, "SERVING"), (399, "SERVING"), (400, "NOT_SERVING"), (503, "NOT_SERVING")]
)
def test_check_follows_health(methods: Methods, state: Health, service: str, status: int, answer: str) -> None:
    """SERVING for whatever an HTTP probe considers healthy."""
    state.status = status
    request = HealthCheckRequest(service=service).SerializeToString()
    reply = ask(methods, b"/grpc.health.v1.Health/Check", HealthCheckResponse, request)
    assert HealthCheckResponse.ServingStatus.Name(reply.status) == answer


def test_check_knows_its_services(methods: Methods) -> None:
    """Another service is NOT_FOUND."""
    request = HealthCheckRequest(service="whoami.Nobody").SerializeToString()
    with pytest.raises(RpcError, match=r"whoami\.Nobody") as caught:
        ask(methods, b"/grpc.health.v1.Health/Check", HealthCheckResponse, request)
    assert caught.value.status is Status.NOT_FOUND


async def test_watch_tells_every_change_once(methods: Methods, state: Health) -> None:
    """Immediately, and on changes, but not if another status means the same."""
    watch = talk(methods, b"/grpc.health.v1.Health/Watch", b"")
    for status, answer in [(200, HealthCheckResponse.SERVING), (503, HealthCheckResponse.NOT_SERVING)]:
        state.status = status
        reply = await asyncio.wait_for(anext(watch), PATIENCE)
        assert HealthCheckResponse.FromString(reply) == HealthCheckResponse(status=answer)
    state.status = 500
    with pytest.raises(TimeoutError):
        await asyncio.wait_for(anext(watch), 0.5)


async def test_watching_an_unknown_service_stays(methods: Methods) -> None:
    """SERVICE_UNKNOWN, and the call stays open."""
    request = HealthCheckRequest(service="whoami.Nobody").SerializeToString()
    watch = talk(methods, b"/grpc.health.v1.Health/Watch", request)
    reply = HealthCheckResponse.FromString(await anext(watch))
    assert reply.status == HealthCheckResponse.SERVICE_UNKNOWN
    with pytest.raises(TimeoutError):
        await asyncio.wait_for(anext(watch), 0.3)


async def test_watch_needs_a_request(methods: Methods) -> None:
    """Without one, it is UNIMPLEMENTED, as in gRPC."""
    with pytest.raises(RpcError) as caught:
        await anext(talk(methods, b"/grpc.health.v1.Health/Watch"))
    assert caught.value.status is Status.UNIMPLEMENTED


@pytest.fixture(params=["v1", "v1alpha"])
def version(request: pytest.FixtureRequest) -> str:
    """Each version of reflection; their encodings are the same."""
    return str(request.param)


async def reflect(
    methods: Methods, version: str, *requests: v1.ServerReflectionRequest
) -> list[v1.ServerReflectionResponse]:
    """The responses to reflection requests."""
    path = f"/grpc.reflection.{version}.ServerReflection/ServerReflectionInfo".encode()
    sent = [request.SerializeToString() for request in requests]
    return [v1.ServerReflectionResponse.FromString(data) async for data in talk(methods, path, *sent)]


def file_names(response: Any) -> list[str]:
    """The files in a response."""
    files = response.file_descriptor_response.file_descriptor_proto
    return [FileDescriptorProto.FromString(data).name for data in files]


async def test_reflection_lists_the_services(methods: Methods, version: str) -> None:
    """All of them, including itself; the response repeats the request."""
    request = v1.ServerReflectionRequest(host="h", list_services="*")
    (response,) = await reflect(methods, version, request)
    assert [service.name for service in response.list_services_response.service] == SERVICES
    assert response.original_request == request
    assert response.valid_host == "h"


@pytest.mark.parametrize(
    ("symbol", "name"),
    [
        ("whoami.Whoami", "whoami.proto"),
        ("whoami.Whoami.Bench", "whoami.proto"),
        ("whoami.WhoamiReply", "whoami.proto"),
        ("whoami.WhoamiReply.iface", "whoami.proto"),
        ("grpc.health.v1.HealthCheckResponse.ServingStatus", "grpc/health/v1/health.proto"),
        ("grpc.reflection.v1.ServerReflection", "grpc/reflection/v1/reflection.proto"),
        ("grpc.reflection.v1alpha.ServerReflection", "grpc/reflection/v1alpha/reflection.proto"),
    ],
)
async def test_reflection_finds_symbols_and_files(
    methods: Methods, version: str, symbol: str, name: str
) -> None:
    """By the name of a declaration, and by the file's own name, in one call."""
    by_symbol, by_name = await reflect(
        methods,
        version,
        v1.ServerReflectionRequest(file_containing_symbol=symbol),
        v1.ServerReflectionRequest(file_by_filename=name),
    )
    assert file_names(by_symbol) == file_names(by_name) == [name]


async def test_reflection_sends_imports_along(methods: Methods, version: str) -> None:
    """A file comes with all its direct and indirect imports, each once."""
    request = v1.ServerReflectionRequest(file_by_filename=api_pb2.DESCRIPTOR.name)
    (response,) = await reflect(methods, version, request)
    names = file_names(response)
    assert names[0] == "google/protobuf/api.proto"
    assert sorted(names[1:]) == [f"google/protobuf/{name}.proto" for name in ("any", "source_context", "type")]


@pytest.mark.parametrize(
    ("request_fields", "status"),
    [
        pytest.param({"file_by_filename": "nothing.proto"}, Status.NOT_FOUND, id="file"),
        pytest.param({"file_containing_symbol": "whoami.Nobody"}, Status.NOT_FOUND, id="symbol"),
        pytest.param({"file_containing_symbol": ""}, Status.NOT_FOUND, id="no-symbol"),
        pytest.param({"all_extension_numbers_of_type": "whoami.Nobody"}, Status.NOT_FOUND, id="type"),
        pytest.param(
            {"file_containing_extension": {"containing_type": "whoami.BenchReply", "extension_number": 9}},
            Status.NOT_FOUND,
            id="extension",
        ),
        pytest.param({}, Status.INVALID_ARGUMENT, id="nothing-asked"),
    ],
)
async def test_reflection_says_what_it_does_not_know(
    methods: Methods, version: str, request_fields: dict[str, Any], status: Status
) -> None:
    """In an error response, after which the call continues."""
    first, second = await reflect(
        methods,
        version,
        v1.ServerReflectionRequest(**request_fields),
        v1.ServerReflectionRequest(file_by_filename="whoami.proto"),
    )
    assert first.error_response.error_code == status
    assert file_names(second) == ["whoami.proto"]


async def test_a_type_without_extensions_has_none(methods: Methods, version: str) -> None:
    """That is not an error."""
    request = v1.ServerReflectionRequest(all_extension_numbers_of_type="whoami.BenchReply")
    (response,) = await reflect(methods, version, request)
    expected = v1.ExtensionNumberResponse(base_type_name="whoami.BenchReply")
    assert response.WhichOneof("message_response") == "all_extension_numbers_response"
    assert response.all_extension_numbers_response == expected


def test_the_readme_lists_the_methods(methods: Methods) -> None:
    """All of them, and no other."""
    readme = (ROOT / "README.md").read_text()
    assert {path.encode() for path in re.findall(r"`(/[a-z0-9.]+\.[A-Z]\w+/\w+)`", readme)} == set(methods)


def test_generated_code_is_that_of_the_proto_files(tmp_path: Path) -> None:
    """`make proto` would change nothing."""
    subprocess.run(["make", "--silent", "proto", f"PROTO_OUT={tmp_path}"], cwd=ROOT, check=True)
    made = {path.relative_to(tmp_path): path.read_text() for path in tmp_path.rglob("*_pb2.py*")}
    kept = {
        path.relative_to(ROOT): path.read_text()
        for package in ("podkit", "whoami")
        for path in (ROOT / package / "proto").rglob("*_pb2.py*")
        if path.suffix != ".pyc"
    }
    assert len(kept) == 2 * len(list((ROOT / "proto").rglob("*.proto")))
    assert made == kept
