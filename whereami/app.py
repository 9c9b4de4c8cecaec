"""The kubia server's API: one answer for every method and path, also as an aiohttp application."""

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from podkit.message import Head, Request, Response
from podkit.pod.pod import Pod
from podkit.routes import FindRoute, Route
from podkit.server import Server

if TYPE_CHECKING:
    from aiohttp import web


def build_app(
    argv: Sequence[str] = (), *, node_name: str = "undefined", log: Callable[[str], None] = lambda line: None
) -> "web.Application":
    """Builds whereami as an aiohttp application, for any server and for tests.

    `log` gets a line for each request. `argv` is what ``python -m aiohttp.web`` passes; it is ignored.
    """
    from podkit.application import build_application  # the program does not use aiohttp's server

    pod = Pod(node_name)
    return build_application(Server(build_routes(pod, log)), pod)


def build_routes(pod: Pod, log: Callable[[str], None]) -> FindRoute:
    """Builds the only route. `log` gets a line for each request."""

    def you_have_hit(request: Request) -> Response:
        log(f"Received request from {request.remote_addr.rpartition(':')[0].strip('[]')}")
        return pod.rendered(_render)

    route = Route(you_have_hit)

    def every(head: Head) -> Route:
        return route

    return every


def _render(pod: Pod) -> Response:
    return Response(body=f"You've hit {pod.hostname} on this node: {pod.node_name}\n".encode(), is_kept=True)
