"""gRPC: ``whoami.Whoami``, with health checks and reflection."""

from podkit.grpc.call import Methods
from podkit.pod.pod import Pod
from whoami.health import Health


def build_methods(pod: Pod, name: str, state: Health) -> Methods:
    """All methods, by path. It loads protobuf, so build them when the first call comes, and not before."""
    from podkit.grpc.health import build_health
    from podkit.grpc.protobuf import unary
    from podkit.grpc.reflection import build_reflection
    from whoami.proto.whoami_pb2 import BenchReply, BenchRequest, WhoamiReply, WhoamiRequest

    def bench(request: BenchRequest) -> BenchReply:
        return BenchReply(data=1)

    def whoami(request: WhoamiRequest) -> WhoamiReply:
        return WhoamiReply(name=_text(name), hostname=_text(pod.hostname), iface=pod.addresses)

    methods = {
        b"/whoami.Whoami/Bench": unary(BenchRequest, bench),
        b"/whoami.Whoami/Whoami": unary(WhoamiRequest, whoami),
        # a status that Kubernetes' httpGet probe takes for healthy
        **build_health({"", "whoami.Whoami"}, lambda: state.status < 400),
    }
    return {**methods, **build_reflection(methods)}


def _text(name: str) -> str:
    """A protobuf string is UTF-8; what the system gave may not be."""
    return name.encode("utf-8", "surrogateescape").decode("utf-8", "replace")
