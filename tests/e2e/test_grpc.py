"""gRPC against the started program, with two independent clients, and by hand with h2."""

import asyncio
import os
import signal
import socket
import ssl
import threading
import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import grpc
import pytest
import trustme
from google.protobuf.descriptor_pb2 import FileDescriptorProto
from google.protobuf.descriptor_pool import DescriptorPool
from google.protobuf.message import Message
from google.protobuf.message_factory import GetMessageClass
from grpclib import GRPCError
from grpclib.client import Channel as GrpclibChannel
from grpclib.client import StreamStreamMethod, UnaryStreamMethod, UnaryUnaryMethod
from h2.config import H2Configuration
from h2.connection import H2Connection
from h2.events import (
    DataReceived,
    Event,
    ResponseReceived,
    StreamEnded,
    StreamReset,
    TrailersReceived,
)

from podkit.proto.grpc.health.v1.health_pb2 import HealthCheckRequest, HealthCheckResponse
from podkit.proto.grpc.reflection.v1 import reflection_pb2 as v1
from tests.server import PATIENCE, Server, started, wait_for
from whoami.proto.whoami_pb2 import BenchReply, BenchRequest, WhoamiReply, WhoamiRequest

BENCH = "/whoami.Whoami/Bench"
WHOAMI = "/whoami.Whoami/Whoami"
CHECK = "/grpc.health.v1.Health/Check"
WATCH = "/grpc.health.v1.Health/Watch"
SERVING, NOT_SERVING = HealthCheckResponse.SERVING, HealthCheckResponse.NOT_SERVING
LIMIT = 4 << 20  # bytes of a message


@pytest.fixture
def channel(whoami: Server) -> Iterator[grpc.Channel]:
    """grpcio's connection to the shared whoami."""
    with connect(whoami) as channel:
        yield channel


@pytest.fixture
async def grpclib(whoami: Server) -> AsyncIterator[GrpclibChannel]:
    """grpclib's connection to the shared whoami."""
    async with GrpclibChannel("127.0.0.1", whoami.port) as channel:
        yield channel


def connect(server: Server) -> grpc.Channel:
    """A grpcio connection that no other test uses."""
    options = [("grpc.use_local_subchannel_pool", 1)]
    return grpc.insecure_channel(f"127.0.0.1:{server.port}", options)


def unary(channel: grpc.Channel, path: str, request: Any, reply: type[Message], **options: Any) -> Any:
    """A call's reply by grpcio; grpc.RpcError if it fails."""
    method = channel.unary_unary(
        path, request_serializer=type(request).SerializeToString, response_deserializer=reply.FromString
    )
    return method(request, timeout=PATIENCE, **options)


def watch(channel: grpc.Channel, service: str = "", timeout: float = PATIENCE) -> Any:
    """A call of Watch by grpcio."""
    method = channel.unary_stream(
        WATCH,
        request_serializer=HealthCheckRequest.SerializeToString,
        response_deserializer=HealthCheckResponse.FromString,
    )
    return method(HealthCheckRequest(service=service), timeout=timeout)


def code(call: Callable[[], object]) -> str:
    """The status name of a failed grpcio call."""
    try:
        call()
    except grpc.RpcError as problem:
        name: str = problem.code().name
        return name
    return "OK"


def post_health(server: Server, status: int) -> None:
    """Sets the status of ``/health``."""
    assert server.get("/health", method="POST", body=str(status).encode()).status == 200


# normal calls


def facts(server: Server) -> WhoamiReply:
    """The content of ``/``, as gRPC should return it."""
    lines = [line.partition(": ") for line in server.get("/").body.decode().splitlines()]
    (hostname,) = [value for name, _, value in lines if name == "Hostname"]
    names = [value for name, _, value in lines if name == "Name"]
    return WhoamiReply(
        name="".join(names), hostname=hostname, iface=[value for name, _, value in lines if name == "IP"]
    )


def test_grpcio_gets_what_root_tells() -> None:
    """Name, host name and addresses; Bench is one."""
    with started("whoami", "--name", "blue") as server, connect(server) as channel:
        known = facts(server)
        assert unary(channel, WHOAMI, WhoamiRequest(), WhoamiReply) in (known, facts(server))
        assert facts(server).name == "blue"
        assert unary(channel, BENCH, BenchRequest(), BenchReply) == BenchReply(data=1)


async def test_grpclib_gets_what_root_tells(whoami: Server, grpclib: GrpclibChannel) -> None:
    """The same with another client."""
    ask = UnaryUnaryMethod(grpclib, WHOAMI, WhoamiRequest, WhoamiReply)
    known = facts(whoami)  # the machine's addresses may change
    assert await ask(WhoamiRequest(), timeout=PATIENCE) in (known, facts(whoami))
    bench = UnaryUnaryMethod(grpclib, BENCH, BenchRequest, BenchReply)
    assert await bench(BenchRequest(), timeout=PATIENCE) == BenchReply(data=1)


@pytest.mark.parametrize("path", ["/whoami.Whoami/Nothing", "/whoami.Nobody/Bench", "/", "/bench"])
async def test_unknown_methods_are_unimplemented(
    channel: grpc.Channel, grpclib: GrpclibChannel, path: str
) -> None:
    """Whether or not the service is known, and even if HTTP serves that path."""
    assert code(lambda: unary(channel, path, BenchRequest(), BenchReply)) == "UNIMPLEMENTED"
    with pytest.raises(GRPCError, match="UNIMPLEMENTED"):
        await UnaryUnaryMethod(grpclib, path, BenchRequest, BenchReply)(BenchRequest(), timeout=PATIENCE)


@pytest.mark.parametrize(
    ("path", "text"),
    [
        ("/whoami.Whoami/Nothing", "unknown method Nothing for service whoami.Whoami"),
        ("/whoami.Nobody/Bench", "unknown service whoami.Nobody"),
        ("/whoami.Whoami%2FBench", 'malformed method name: "/whoami.Whoami%252FBench"'),
    ],
)
def test_an_unknown_method_is_named(whoami: Server, path: str, text: str) -> None:
    """In the original's words."""
    with ByHand(whoami) as client:
        stream_id = client.begin(path=path)
        client.send(stream_id, EMPTY)
        assert client.finish(stream_id)["grpc-message"] == text


@pytest.mark.parametrize("path", ["/whoami.Whoami/%42ench", "/%77hoami.Whoami/Ben%63h"])
def test_escaped_paths_are_those_that_they_mean(channel: grpc.Channel, path: str) -> None:
    """As in the original."""
    assert unary(channel, path, BenchRequest(), BenchReply) == BenchReply(data=1)


@pytest.mark.parametrize(
    ("method", "kind", "status", "text"),
    [
        ("GET", "application/grpc", 405, 'invalid gRPC request method "GET"\n'),
        ("POST", "text/plain", 415, 'invalid gRPC request content-type "text/plain"\n'),
        ("POST", "application/grpc", 505, "gRPC requires HTTP/2\n"),
    ],
)
def test_the_paths_of_whoami_are_no_echo(
    whoami: Server, method: str, kind: str, status: int, text: str
) -> None:
    """Over HTTP/1.1 they explain why they do not answer, like the original's."""
    for path in (BENCH, "/whoami.Whoami/", "/whoami.Whoami/a/b"):
        answer = whoami.get(path, f"Content-Type: {kind}", method=method)
        assert (answer.status, answer.body.decode()) == (status, text)
    redirect = whoami.get("/whoami.Whoami")
    assert (redirect.status, redirect.header("Location")) == (307, "/whoami.Whoami/")


def test_compressed_requests_are_taken(channel: grpc.Channel) -> None:
    """With gzip; an unsupported encoding is named."""
    gzip, deflate = grpc.Compression.Gzip, grpc.Compression.Deflate
    request = HealthCheckRequest(service="whoami.Whoami")
    reply = unary(channel, CHECK, request, HealthCheckResponse, compression=gzip)
    assert reply == HealthCheckResponse(status=SERVING)
    large = HealthCheckRequest(service="x" * 10000)
    assert code(lambda: unary(channel, CHECK, large, HealthCheckResponse, compression=gzip)) == "NOT_FOUND"
    assert (
        code(lambda: unary(channel, CHECK, large, HealthCheckResponse, compression=deflate)) == "UNIMPLEMENTED"
    )


def test_large_messages(channel: grpc.Channel) -> None:
    """Up to 4 MiB are read, in many frames; a larger message is refused."""
    largest = HealthCheckResponse()  # any message accepts unknown fields
    largest.MergeFromString(b"\x7a\xfb\xff\xff\x01" + bytes(LIMIT - 5))
    assert largest.ByteSize() == LIMIT
    assert unary(channel, BENCH, largest, BenchReply) == BenchReply(data=1)
    too_large = HealthCheckRequest(service="x" * LIMIT)
    assert code(lambda: unary(channel, CHECK, too_large, HealthCheckResponse)) == "RESOURCE_EXHAUSTED"


def test_many_calls_at_once(channel: grpc.Channel) -> None:
    """More than a connection allows concurrently."""
    method = channel.unary_unary(
        BENCH, request_serializer=BenchRequest.SerializeToString, response_deserializer=BenchReply.FromString
    )
    calls = [method.future(BenchRequest(), timeout=6 * PATIENCE) for _ in range(2000)]
    assert all(call.result().data == 1 for call in calls)


async def test_many_calls_at_once_by_grpclib(grpclib: GrpclibChannel) -> None:
    """The same with the other client."""
    bench = UnaryUnaryMethod(grpclib, BENCH, BenchRequest, BenchReply)
    replies = await asyncio.gather(*(bench(BenchRequest(), timeout=6 * PATIENCE) for _ in range(1000)))
    assert {reply.data for reply in replies} == {1}


# health


def test_check_follows_health() -> None:
    """As Kubernetes' gRPC probe does."""
    with started("whoami") as server, connect(server) as channel:
        for status, expected in [(200, SERVING), (503, NOT_SERVING), (204, SERVING)]:
            post_health(server, status)
            for service in ("", "whoami.Whoami"):
                reply = unary(channel, CHECK, HealthCheckRequest(service=service), HealthCheckResponse)
                assert reply.status == expected
        unknown = HealthCheckRequest(service="whoami.Nobody")
        assert code(lambda: unary(channel, CHECK, unknown, HealthCheckResponse)) == "NOT_FOUND"


def test_watch_follows_health() -> None:
    """A message immediately, and one for each change."""
    with started("whoami") as server, connect(server) as channel:
        changes = watch(channel)
        assert next(changes).status == SERVING
        post_health(server, 503)
        assert next(changes).status == NOT_SERVING
        post_health(server, 200)
        assert next(changes).status == SERVING
        changes.cancel()
        assert next(watch(channel, "whoami.Nobody")).status == HealthCheckResponse.SERVICE_UNKNOWN


async def test_watch_follows_health_for_grpclib() -> None:
    """The same with another client."""
    with started("whoami") as server:
        async with GrpclibChannel("127.0.0.1", server.port) as channel:
            method = UnaryStreamMethod(channel, WATCH, HealthCheckRequest, HealthCheckResponse)
            async with method.open(timeout=PATIENCE) as call:
                await call.send_message(HealthCheckRequest(), end=True)
                assert await call.recv_message() == HealthCheckResponse(status=SERVING)
                await asyncio.to_thread(post_health, server, 503)
                assert await call.recv_message() == HealthCheckResponse(status=NOT_SERVING)
                await call.cancel()


def test_a_deadline_ends_a_watch(channel: grpc.Channel) -> None:
    """And not before."""
    start = time.monotonic()
    changes = watch(channel, timeout=0.4)
    assert code(lambda: list(changes)) == "DEADLINE_EXCEEDED"
    assert time.monotonic() - start > 0.3


def wakeups(server: Server, seconds: float) -> int:
    """The number of wakeups of the server's process in some time."""

    def count() -> int:
        lines = Path(f"/proc/{server.process.pid}/status").read_text().splitlines()
        return next(int(line.split()[1]) for line in lines if line.startswith("voluntary_ctxt_switches"))

    before = count()
    time.sleep(seconds)
    return count() - before


@pytest.mark.parametrize("ending", ["cancel", "close"])
def test_watches_wake_for_a_change_alone(ending: str) -> None:
    """The process sleeps while nothing changes, whether clients are connected or gone."""
    with started("whoami") as server, connect(server) as channel:
        calls = [watch(channel) for _ in range(200)]
        assert all(next(call).status == SERVING for call in calls)
        wait_for(lambda: wakeups(server, 0.5) < 3)
        post_health(server, 503)
        assert all(next(call).status == NOT_SERVING for call in calls)
        if ending == "cancel":
            for call in calls:
                call.cancel()
        else:
            channel.close()
        wait_for(lambda: wakeups(server, 0.5) < 3)
        if ending == "cancel":
            assert next(watch(channel)).status == NOT_SERVING


@pytest.mark.parametrize("workers", [2, 3])
def test_watches_follow_a_change_in_another_process(workers: int) -> None:
    """Whichever worker received the POST, and also after one was replaced."""
    with started("whoami", "--workers", str(workers)) as server, ExitStack() as stack:
        channels = [stack.enter_context(connect(server)) for _ in range(8)]
        changes = [watch(channel) for channel in channels]
        assert {next(change).status for change in changes} == {SERVING}
        for status, expected in ((503, NOT_SERVING), (200, SERVING)):
            post_health(server, status)
            assert {next(change).status for change in changes} == {expected}
        for child in Path(f"/proc/{server.process.pid}/task/{server.process.pid}/children").read_text().split():
            os.kill(int(child), signal.SIGKILL)
        wait_for(lambda: code(lambda: unary(channels[0], BENCH, BenchRequest(), BenchReply)) == "OK")
        changes = [watch(channel, timeout=2 * PATIENCE) for channel in channels]
        assert {next(change).status for change in changes} == {SERVING}
        post_health(server, 503)
        assert {next(change).status for change in changes} == {NOT_SERVING}


# reflection, as grpcurl uses it


class Reflection:
    """A client that knows no .proto file except reflection's."""

    def __init__(self, channel: grpc.Channel, version: str) -> None:
        self._method = channel.stream_stream(
            f"/grpc.reflection.{version}.ServerReflection/ServerReflectionInfo",
            request_serializer=v1.ServerReflectionRequest.SerializeToString,
            response_deserializer=v1.ServerReflectionResponse.FromString,
        )

    def ask(self, *requests: dict[str, Any]) -> list[Any]:
        """The responses to requests on one call."""
        messages = [v1.ServerReflectionRequest(**request) for request in requests]
        return list(self._method(iter(messages), timeout=PATIENCE))

    def list(self) -> list[str]:
        """The names of the services."""
        (response,) = self.ask({"list_services": ""})
        return [service.name for service in response.list_services_response.service]

    def describe(self, symbol: str) -> DescriptorPool:
        """All files that are needed to use a symbol."""
        (response,) = self.ask({"file_containing_symbol": symbol})
        pool = DescriptorPool()
        for data in response.file_descriptor_response.file_descriptor_proto:
            pool.Add(FileDescriptorProto.FromString(data))
        return pool


@pytest.mark.parametrize("version", ["v1", "v1alpha"])
def test_a_tool_needs_no_proto_file(channel: grpc.Channel, version: str) -> None:
    """It lists the services, and calls a method with the messages that reflection describes."""
    reflection = Reflection(channel, version)
    assert "whoami.Whoami" in reflection.list()
    for service in reflection.list():
        described = reflection.describe(service).FindServiceByName(service)
        assert described.methods, service
    method = reflection.describe("whoami.Whoami.Whoami").FindMethodByName("whoami.Whoami.Whoami")
    request, reply = GetMessageClass(method.input_type), GetMessageClass(method.output_type)
    answer = unary(channel, WHOAMI, request(), reply)
    assert (
        answer.SerializeToString() == unary(channel, WHOAMI, WhoamiRequest(), WhoamiReply).SerializeToString()
    )


@pytest.mark.parametrize("version", ["v1", "v1alpha"])
def test_reflection_answers_one_by_one(channel: grpc.Channel, version: str) -> None:
    """Unknown names get an error, and the call continues."""
    first, second = Reflection(channel, version).ask(
        {"file_containing_symbol": "whoami.Nobody"}, {"file_by_filename": "whoami.proto"}
    )
    assert first.error_response.error_code == grpc.StatusCode.NOT_FOUND.value[0]
    (file,) = second.file_descriptor_response.file_descriptor_proto
    assert FileDescriptorProto.FromString(file).package == "whoami"


async def test_reflection_holds_a_conversation(grpclib: GrpclibChannel) -> None:
    """Each response arrives before the next request is sent."""
    path = "/grpc.reflection.v1.ServerReflection/ServerReflectionInfo"
    method = StreamStreamMethod(grpclib, path, v1.ServerReflectionRequest, v1.ServerReflectionResponse)
    async with method.open(timeout=PATIENCE) as call:
        for name in ("whoami.proto", "grpc/health/v1/health.proto"):
            await call.send_message(v1.ServerReflectionRequest(file_by_filename=name))
            response = await call.recv_message()
            assert response is not None
            (file,) = response.file_descriptor_response.file_descriptor_proto
            assert FileDescriptorProto.FromString(file).name == name
        await call.end()
        assert await call.recv_message() is None


# misbehaving clients


class ByHand:
    """An h2 connection on which a test can send anything."""

    def __init__(self, server: Server) -> None:
        self.socket = socket.create_connection(("127.0.0.1", server.port), PATIENCE)
        self.http2 = H2Connection(H2Configuration(header_encoding="utf-8"))
        self.http2.initiate_connection()
        self.headers: dict[int, dict[str, str]] = {}
        self.data: dict[int, bytes] = {}
        self.ended: set[int] = set()

    def __enter__(self) -> "ByHand":
        return self

    def __exit__(self, *details: object) -> None:
        self.socket.close()

    def begin(self, path: str = BENCH, method: str = "POST", **fields: str) -> int:
        """Sends a call's head; returns the stream's number. ``content_type`` is Content-Type, and so on."""
        stream_id = self.http2.get_next_available_stream_id()
        head = {":method": method, ":scheme": "http", ":authority": "whoami", ":path": path, "te": "trailers"}
        fields = {"content_type": "application/grpc", **fields}
        head |= {name.replace("_", "-"): value for name, value in fields.items()}
        self.http2.send_headers(stream_id, list(head.items()))
        self.flush()
        return stream_id

    def send(self, stream_id: int, data: bytes, end: bool = True) -> None:
        """Sends a part of the call's messages, by default the last."""
        self.http2.send_data(stream_id, data, end_stream=end)
        self.flush()

    def flush(self) -> None:
        """Sends h2's output."""
        self.socket.sendall(self.http2.data_to_send())

    def read(self, until: Callable[[], bool]) -> None:
        """Reads until a condition holds; fails if the connection closes first."""
        while not until():
            data = self.socket.recv(65536)
            assert data, "the connection ended"
            for event in self.http2.receive_data(data):
                self._take(event)
            self.flush()

    def _take(self, event: Event) -> None:
        if isinstance(event, ResponseReceived | TrailersReceived):
            named = {str(name): str(value) for name, value in event.headers}
            self.headers.setdefault(event.stream_id, {}).update(named)
        elif isinstance(event, DataReceived):
            self.data[event.stream_id] = self.data.get(event.stream_id, b"") + event.data
            self.http2.acknowledge_received_data(event.flow_controlled_length, event.stream_id)
        elif isinstance(event, StreamEnded | StreamReset):
            self.ended.add(event.stream_id)

    def finish(self, stream_id: int) -> dict[str, str]:
        """The head and the trailers of the answer."""
        self.read(lambda: stream_id in self.ended)
        return self.headers[stream_id]


EMPTY = b"\0\0\0\0\0"


@pytest.mark.parametrize(
    ("data", "status"),
    [
        pytest.param(EMPTY, 0, id="in-order"),
        pytest.param(b"", 2, id="no-message"),
        pytest.param(2 * EMPTY, 12, id="two-messages"),
        pytest.param(EMPTY[:3], 13, id="cut-off"),
        pytest.param(b"\0\0\0\0\x05abc", 13, id="cut-off-message"),
        pytest.param(b"\0\0\0\0\x02\xff\xff", 13, id="garbage"),
        pytest.param(b"\x01\0\0\0\0", 13, id="compressed-without-encoding"),
        pytest.param(b"\x07\0\0\0\0", 13, id="flag-7"),
        pytest.param(b"\0\xff\xff\xff\xff", 8, id="announces-4-GiB"),
    ],
)
def test_requests_are_one_whole_message(whoami: Server, data: bytes, status: int) -> None:
    """Anything else ends the call with gRPC's status for it, and the connection stays open."""
    with ByHand(whoami) as client:
        stream_id = client.begin()
        client.send(stream_id, data)
        answer = client.finish(stream_id)
        assert (answer[":status"], answer["grpc-status"]) == ("200", str(status))
        assert answer["content-type"] == "application/grpc"
        assert "server" not in answer
        again = client.begin()
        client.send(again, EMPTY)
        assert client.finish(again)["grpc-status"] == "0"
        assert client.data[again] == b"\0\0\0\0\x02\x08\x01"


@pytest.mark.parametrize(
    ("fields", "status"),
    [
        pytest.param({"content_type": "application/grpc+proto"}, "200", id="proto"),
        pytest.param({"content_type": "application/grpc+json"}, "200", id="any-suffix"),
        pytest.param({"content_type": "application/grpc-web"}, "415", id="web"),
        pytest.param({"method": "PUT"}, "405", id="PUT"),
        pytest.param({"grpc_timeout": "soon"}, "400", id="timeout"),
    ],
)
def test_what_is_no_call_gets_an_http_status(whoami: Server, fields: dict[str, str], status: str) -> None:
    """As in the original, without any gRPC."""
    with ByHand(whoami) as client:
        stream_id = client.begin(**fields)
        client.send(stream_id, EMPTY)
        answer = client.finish(stream_id)
        assert answer[":status"] == status
        assert ("grpc-status" in answer) == (status == "200")


def test_an_encoding_that_is_not_served_is_answered_with_those_that_are(whoami: Server) -> None:
    """So that a client can choose again."""
    with ByHand(whoami) as client:
        stream_id = client.begin(grpc_encoding="snappy")
        client.send(stream_id, b"\x01\0\0\0\x01x")
        answer = client.finish(stream_id)
        assert answer["grpc-status"] == "12"
        assert answer["grpc-accept-encoding"] == "identity,gzip"


def test_the_server_keeps_the_deadline_itself(whoami: Server) -> None:
    """Whether or not the client does."""
    with ByHand(whoami) as client:
        stream_id = client.begin(WATCH, grpc_timeout="300m")
        client.send(stream_id, EMPTY)
        answer = client.finish(stream_id)
        assert (answer["grpc-status"], client.data[stream_id]) == ("4", b"\0\0\0\0\x02\x08\x01")


def test_a_deadline_may_be_far(whoami: Server) -> None:
    """11,000 years, the longest possible."""
    with ByHand(whoami) as client:
        stream_id = client.begin(WATCH, grpc_timeout="99999999H")
        client.send(stream_id, EMPTY)
        client.read(lambda: stream_id in client.data)


def test_a_watch_starts_with_its_request(whoami: Server) -> None:
    """Without waiting for the client to half-close; a watch without a request is refused."""
    with ByHand(whoami) as client:
        stream_id = client.begin(WATCH)
        client.send(stream_id, EMPTY, end=False)
        client.read(lambda: stream_id in client.data)
        without = client.begin(WATCH)
        client.send(without, b"")
        assert client.finish(without)["grpc-status"] == "12"


# the end


def test_calls_in_flight_survive_the_end() -> None:
    """Calls that began before SIGTERM are answered, even if their messages arrive after it."""
    stopping = threading.Event()

    def late() -> Iterator[BenchRequest]:
        stopping.wait(PATIENCE)
        yield BenchRequest()

    with started("whoami") as server, connect(server) as channel:
        method = channel.stream_unary(
            BENCH,
            request_serializer=BenchRequest.SerializeToString,
            response_deserializer=BenchReply.FromString,
        )
        calls = [method.future(late(), timeout=2 * PATIENCE) for _ in range(20)]
        assert unary(channel, BENCH, BenchRequest(), BenchReply).data == 1  # the server reads it after those
        server.process.send_signal(signal.SIGTERM)
        wait_for(lambda: any("leaving" in line for line in server.err))
        stopping.set()
        assert [call.result().data for call in calls] == [1] * 20
        assert server.process.wait(PATIENCE) == 0


def test_a_watch_does_not_hold_up_the_end() -> None:
    """It ends with UNAVAILABLE, so that a client switches to another pod."""
    with started("whoami", "--grace-period", "1h") as server, connect(server) as channel:
        changes = watch(channel)
        assert next(changes).status == SERVING
        server.process.send_signal(signal.SIGTERM)
        assert code(lambda: list(changes)) == "UNAVAILABLE"
        assert server.process.wait(PATIENCE) == 0


def test_no_call_is_lost_at_the_end() -> None:
    """Under load, each call is answered or never reached the server, so that it may be retried."""
    with started("whoami") as server, connect(server) as channel:
        replies: list[BenchReply] = []
        failures: list[str] = []

        def load() -> None:
            try:
                while True:
                    replies.append(unary(channel, BENCH, BenchRequest(), BenchReply))
            except grpc.RpcError as problem:
                failures.append(str(problem.details()))

        threads = [threading.Thread(target=load) for _ in range(4)]
        for thread in threads:
            thread.start()
        wait_for(lambda: len(replies) > 100)
        assert not failures
        server.process.send_signal(signal.SIGTERM)
        for thread in threads:
            thread.join(PATIENCE)
        assert len(failures) == len(threads)
        assert all("connect" in failure.lower() for failure in failures), failures
        assert server.process.wait(PATIENCE) == 0


# TLS


@pytest.fixture(scope="module")
def secure(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Server, bytes]]:
    """A whoami with a certificate, and the authority that signed it."""
    folder = tmp_path_factory.mktemp("tls")
    authority = trustme.CA()
    certificate = authority.issue_cert("localhost")
    certificate.private_key_pem.write_to_path(str(folder / "tls.key"))
    (folder / "tls.crt").write_bytes(b"".join(blob.bytes() for blob in certificate.cert_chain_pems))
    with started("whoami", "--cert", str(folder / "tls.crt"), "--key", str(folder / "tls.key")) as server:
        yield server, authority.cert_pem.bytes()


def test_grpcio_calls_over_tls(secure: tuple[Server, bytes]) -> None:
    """Unary and streaming."""
    server, authority = secure
    with grpc.secure_channel(f"localhost:{server.port}", grpc.ssl_channel_credentials(authority)) as channel:
        assert unary(channel, BENCH, BenchRequest(), BenchReply).data == 1
        assert next(watch(channel)).status == SERVING


async def test_grpclib_calls_over_tls(secure: tuple[Server, bytes]) -> None:
    """The same with the other client."""
    server, authority = secure
    context = ssl.create_default_context(cadata=authority.decode())
    context.set_alpn_protocols(["h2"])
    async with GrpclibChannel("localhost", server.port, ssl=context) as channel:
        bench = UnaryUnaryMethod(channel, BENCH, BenchRequest, BenchReply)
        assert (await bench(BenchRequest(), timeout=PATIENCE)).data == 1
