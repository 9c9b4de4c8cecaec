"""The messages of a gRPC call; loads protobuf."""

from google.protobuf.message import DecodeError

from podkit.grpc.call import RpcError
from podkit.grpc.frames import Frames, frame
from whoami.proto.whoami_pb2 import WhoamiReply, WhoamiRequest
from whoami.watch.outcome import Lost, LostError
from whoami.watch.peer import LIMIT


def call_message() -> bytes:
    """What a call sends."""
    return frame(WhoamiRequest().SerializeToString())


def read_reply(body: bytes, encoding: str) -> str:
    """The host name that a reply tells. Raises LostError."""
    try:
        messages = Frames((encoding or "identity").encode("latin-1"), LIMIT).feed(body)
        return WhoamiReply.FromString(messages[0]).hostname
    except (RpcError, DecodeError, IndexError) as problem:
        raise LostError(Lost.OTHER, f"not a WhoamiReply: {problem}") from problem
