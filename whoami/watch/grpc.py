"""The messages of a gRPC call; imports protobuf."""

from google.protobuf.message import DecodeError

from podkit.grpc.call import RpcError
from podkit.grpc.frames import frame, read_only_message
from whoami.proto.whoami_pb2 import WhoamiReply, WhoamiRequest
from whoami.watch.outcome import Lost, LostError
from whoami.watch.peer import LIMIT


def call_message() -> bytes:
    """The request message of a call."""
    return frame(WhoamiRequest().SerializeToString())


def read_reply(body: bytes, encoding: str) -> str:
    """The host name in a reply. Raises LostError."""
    try:
        message = read_only_message(body, (encoding or "identity").encode("latin-1"), LIMIT)
        return WhoamiReply.FromString(message).hostname
    except (RpcError, DecodeError) as problem:
        raise LostError(Lost.OTHER, f"not a WhoamiReply: {problem}") from problem
