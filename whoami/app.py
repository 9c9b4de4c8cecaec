"""All endpoints of whoami, also as an aiohttp application."""

from collections.abc import Callable, Sequence
from functools import partial
from random import SystemRandom
from typing import TYPE_CHECKING

from podkit.grpc.call import check_request
from podkit.limits import Limits
from podkit.log import log_line
from podkit.message import Request, Response
from podkit.pod.pod import Pod
from podkit.routes import Route, Routes
from podkit.server import Server
from whoami.api import api
from whoami.bench import bench
from whoami.data import data
from whoami.echo import echo
from whoami.events import Events
from whoami.faults import Faults
from whoami.health import Health, set_health, tell_health
from whoami.hops import hops
from whoami.live.page import Live
from whoami.openapi import openapi
from whoami.raw import raw
from whoami.root import root
from whoami.who import Names, Who, read_names

if TYPE_CHECKING:
    from aiohttp import web


def build_app(
    argv: Sequence[str] = (),
    *,
    name: str = "",
    environ: Sequence[bytes] = (),
    max_body: int = Limits().max_body,
) -> "web.Application":
    """Builds whoami as an aiohttp application, for any server and for tests.

    `name` is shown first, `environ` (``NAME=value`` entries) to clients that ask for it, and bodies of up to
    `max_body` bytes are echoed. `argv` is what ``python -m aiohttp.web`` passes; it is ignored.
    """
    from podkit.application import build_application  # the program does not use aiohttp's server

    pod = Pod()
    routes = build_routes(pod, Health(), name, tuple(environ), read_names(name, environ))
    return build_application(Server(routes.find, limits=Limits(max_body=max_body)), pod)


def build_routes(
    pod: Pod,
    state: Health,
    name: str = "",
    environ: tuple[bytes, ...] = (),
    names: Names | None = None,
    log: Callable[[str], None] = log_line,
) -> Routes:
    """Builds the route table; ``/`` also answers every path without a route.

    With `names`, it includes the endpoints whose names begin with a dot, with any prefix. `log` gets
    a line for each change of the health status.
    """
    below: dict[bytes, Route] = {}
    if names is not None:
        who = Who(names, pod, state)
        below = {
            b".answer": Route(Faults(pod, SystemRandom())),  # independent in each worker
            b".events": Route(Events(who, pod)),
            b".hops": Route(partial(hops, pod, names.node)),
            b".live": Route(Live()),
            b".raw": Route(raw, reads_body=True, keeps_raw=True),
            b".who": Route(who),
        }
    return Routes(
        {
            b"/": Route(partial(root, pod, name, environ), reads_body=True, answers_first=True),
            b"/api": Route(partial(api, pod, name, environ)),
            b"/bench": Route(bench),
            b"/data": Route(data),
            b"/echo": Route(echo),
            b"/health": Route(
                partial(set_health, state, log),
                reads_body=True,
                max_body=1024,
                otherwise=Route(partial(tell_health, state)),
            ),
            b"/openapi.yaml": Route(openapi),
            b"/whoami.Whoami/": Route(_no_call),
        },
        below,
    )


def _no_call(request: Request) -> Response:
    """Answers non-gRPC requests on gRPC paths."""
    answer = check_request(request.head)
    assert isinstance(answer, Response)
    return answer
