"""The kubia server's API: one answer for every method and every path."""

from collections.abc import Callable

from podkit.message import Head, Request, Response
from podkit.pod.pod import Pod
from podkit.routes import FindRoute, Route


def build_routes(pod: Pod, log: Callable[[str], None]) -> FindRoute:
    """The route of any request. `log` gets a line for each."""

    def you_have_hit(request: Request) -> Response:
        pod.refresh()
        log(f"Received request from {request.remote_addr.rpartition(':')[0].strip('[]')}")
        return Response(body=f"You've hit {pod.hostname} on this node: {pod.node_name}\n".encode())

    route = Route(you_have_hit)

    def every(head: Head) -> Route:
        return route

    return every
