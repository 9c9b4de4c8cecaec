"""The whole API of whoami."""

from functools import partial

from podkit.grpc.call import check_request
from podkit.message import Request, Response
from podkit.pod.pod import Pod
from podkit.routes import Route, Routes
from whoami.api import api
from whoami.bench import bench
from whoami.config import Config
from whoami.data import data
from whoami.echo import echo
from whoami.health import Health, health
from whoami.openapi import openapi
from whoami.root import root


def build_routes(config: Config, pod: Pod, state: Health) -> Routes:
    """The route table; ``/`` also answers every path without a route."""
    return Routes(
        {
            b"/": Route(partial(root, config, pod), reads_body=True),
            b"/api": Route(partial(api, config, pod)),
            b"/bench": Route(bench),
            b"/data": Route(data),
            b"/echo": Route(echo),
            b"/health": Route(partial(health, state), reads_body=True),
            b"/openapi.yaml": Route(openapi),
            b"/whoami.Whoami/": Route(_no_call),
        }
    )


def _no_call(request: Request) -> Response:
    """What comes to the paths of gRPC and is no call of it."""
    answer = check_request(request.head)
    assert isinstance(answer, Response)
    return answer
