"""gRPC: ``whoami.Whoami``, with health checks and reflection."""

from podkit.grpc.call import Methods
from podkit.pod.pod import Pod
from whoami.health import Health


def build_methods(pod: Pod, name: str, state: Health) -> Methods:
    """All methods, by path. This imports protobuf, so call it for the first request, not before."""
    from podkit.grpc.health import build_health
    from podkit.grpc.protobuf import replying
    from podkit.grpc.reflection import build_reflection
    from whoami.proto.whoami_pb2 import BenchReply, BenchRequest, WhoamiReply, WhoamiRequest

    one = BenchReply(data=1).SerializeToString()

    def render(pod: Pod) -> bytes:
        reply = WhoamiReply(name=_text(name), hostname=_text(pod.hostname), iface=pod.addresses)
        return reply.SerializeToString()

    def is_serving() -> bool:
        return state.status < 400  # which Kubernetes' httpGet probe considers healthy

    methods = {
        b"/whoami.Whoami/Bench": replying(BenchRequest, lambda: one),
        b"/whoami.Whoami/Whoami": replying(WhoamiRequest, lambda: pod.rendered(render)),
        **build_health({"", "whoami.Whoami"}, is_serving, state.wait_for_change),
    }
    return {**methods, **build_reflection(methods)}


def _text(name: str) -> str:
    """Replaces bytes that are not UTF-8, which a protobuf string must be."""
    return name.encode("utf-8", "surrogateescape").decode("utf-8", "replace")
