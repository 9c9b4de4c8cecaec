"""``grpc.reflection``: what a server offers, told to tools that have no .proto file of it."""

from collections.abc import AsyncIterator, Callable, Iterable, Iterator, Sequence
from functools import partial
from typing import Final

from google.protobuf.descriptor import FileDescriptor
from google.protobuf.descriptor_pool import Default

from podkit.grpc.call import Method, Methods, Status
from podkit.grpc.protobuf import parse
from podkit.proto.grpc.reflection.v1 import reflection_pb2 as v1
from podkit.proto.grpc.reflection.v1alpha import reflection_pb2 as v1alpha

# v1alpha's messages have the fields of v1's: on the wire they are the same, so v1's code answers both
_SERVICES: Final = tuple(
    file.DESCRIPTOR.services_by_name["ServerReflection"].full_name for file in (v1, v1alpha)
)


def build_reflection(methods: Iterable[bytes]) -> Methods:
    """The methods of both versions. They tell of themselves, and of the services whose paths are given."""
    offered = {path.decode().split("/")[1] for path in methods}
    method = Method(stream=partial(_reflect, sorted({*offered, *_SERVICES})))
    return {f"/{service}/ServerReflectionInfo".encode(): method for service in _SERVICES}


async def _reflect(services: Sequence[str], requests: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
    async for data in requests:
        request = parse(v1.ServerReflectionRequest, data)
        response = _answer(services, request)
        response.valid_host = request.host
        response.original_request.CopyFrom(request)
        yield response.SerializeToString()


def _answer(services: Sequence[str], request: v1.ServerReflectionRequest) -> v1.ServerReflectionResponse:
    match request.WhichOneof("message_request"):
        case "list_services":
            listed = v1.ListServiceResponse(service=[v1.ServiceResponse(name=name) for name in services])
            return v1.ServerReflectionResponse(list_services_response=listed)
        case "file_by_filename":
            return _file(Default().FindFileByName, request.file_by_filename)
        case "file_containing_symbol":
            return _file(_find_symbol, request.file_containing_symbol)
        case "file_containing_extension":  # nothing that we offer has extensions
            return _error(
                Status.NOT_FOUND, f"no extension of {request.file_containing_extension.containing_type}"
            )
        case "all_extension_numbers_of_type":
            return _extension_numbers(request.all_extension_numbers_of_type)
    return _error(Status.INVALID_ARGUMENT, "the request asks for nothing")


def _file(find: Callable[[str], FileDescriptor], name: str) -> v1.ServerReflectionResponse:
    try:
        found = find(name)
    except KeyError:
        return _error(Status.NOT_FOUND, f"{name} is not known")
    files = [file.serialized_pb for file in dict.fromkeys(_with_imports(found))]
    return v1.ServerReflectionResponse(
        file_descriptor_response=v1.FileDescriptorResponse(file_descriptor_proto=files)
    )


def _find_symbol(name: str) -> FileDescriptor:
    try:
        return Default().FindFileContainingSymbol(name)
    except KeyError:  # which knows services, and not their methods
        return Default().FindMethodByName(name).containing_service.file


def _with_imports(file: FileDescriptor) -> Iterator[FileDescriptor]:
    yield file
    for imported in file.dependencies:
        yield from _with_imports(imported)


def _extension_numbers(name: str) -> v1.ServerReflectionResponse:
    try:
        Default().FindMessageTypeByName(name)
    except KeyError:
        return _error(Status.NOT_FOUND, f"{name} is not known")
    none = v1.ExtensionNumberResponse(base_type_name=name)
    return v1.ServerReflectionResponse(all_extension_numbers_response=none)


def _error(status: Status, text: str) -> v1.ServerReflectionResponse:
    return v1.ServerReflectionResponse(error_response=v1.ErrorResponse(error_code=status, error_message=text))
