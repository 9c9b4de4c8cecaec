"""``grpc.reflection``: describes the server's methods to tools without its .proto files."""

from collections.abc import AsyncIterator, Callable, Iterable, Iterator, Sequence
from functools import cache, partial
from typing import Final

from google.protobuf.descriptor import FileDescriptor
from google.protobuf.descriptor_pool import Default

from podkit.grpc.call import Method, Methods, Status
from podkit.grpc.protobuf import parse
from podkit.proto.grpc.reflection.v1 import reflection_pb2 as v1

# v1alpha's messages have v1's fields and the same encoding, so v1's code answers both
_PACKAGE: Final = v1.DESCRIPTOR.package
_SERVICES: Final = (f"{_PACKAGE}.ServerReflection", f"{_PACKAGE}alpha.ServerReflection")


def build_reflection(methods: Iterable[bytes]) -> Methods:
    """The methods of both versions. They describe themselves and the services of the given paths."""
    offered = {path.decode().split("/")[1] for path in methods}
    method = Method(stream=partial(_reflect, sorted({*offered, *_SERVICES})))
    return {f"/{service}/ServerReflectionInfo".encode(): method for service in _SERVICES}


@cache
def _add_v1alpha() -> None:
    """Registers the old version's file, which is v1's with another package."""
    from google.protobuf.descriptor_pb2 import FileDescriptorProto  # imported only on request

    file = FileDescriptorProto.FromString(v1.DESCRIPTOR.serialized_pb)
    file.name, file.package = file.name.replace("/v1/", "/v1alpha/"), f"{_PACKAGE}alpha"

    def move(name: str) -> str:
        return name.replace(f".{_PACKAGE}.", f".{file.package}.")

    for message in file.message_type:
        for field in message.field:
            if field.type_name:
                field.type_name = move(field.type_name)
    for method in file.service[0].method:
        method.input_type, method.output_type = move(method.input_type), move(method.output_type)
    Default().AddSerializedFile(file.SerializeToString())


async def _reflect(services: Sequence[str], requests: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
    _add_v1alpha()
    async for data in requests:
        response = _respond(services, data)
        del data  # released while the response waits for a client that does not read
        yield response


def _respond(services: Sequence[str], data: bytes) -> bytes:
    request = parse(v1.ServerReflectionRequest, data)
    response = _answer(services, request)
    response.valid_host = request.host
    response.original_request.CopyFrom(request)
    return response.SerializeToString()


def _answer(services: Sequence[str], request: v1.ServerReflectionRequest) -> v1.ServerReflectionResponse:
    match request.WhichOneof("message_request"):
        case "list_services":
            listed = v1.ListServiceResponse(service=[v1.ServiceResponse(name=name) for name in services])
            return v1.ServerReflectionResponse(list_services_response=listed)
        case "file_by_filename":
            return _file(Default().FindFileByName, request.file_by_filename)
        case "file_containing_symbol":
            return _file(_find_symbol, request.file_containing_symbol)
        case "file_containing_extension":  # none of our messages has extensions
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
    except KeyError:  # it knows services, but not their methods
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
