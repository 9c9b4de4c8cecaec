"""``/health``: POST sets the status that all other methods return."""

from collections.abc import Callable

from podkit.go.json import decode_int
from podkit.message import Request, Response, error
from podkit.process.shared import SharedNumber


class Health(SharedNumber):
    """The status of ``/health``, shared by all processes."""

    status = SharedNumber.value  # HTTP status

    def __init__(self, processes: int = 1) -> None:
        super().__init__(200, processes)


def tell_health(state: Health, request: Request) -> Response:
    """An empty answer with the status."""
    return Response(state.status)


def set_health(state: Health, log: Callable[[str], None], request: Request) -> Response:
    """Sets the status to a JSON number from 200 to 599. `log` gets a line for each change."""
    if request.body_error:
        return error(400, request.body_error)
    try:
        status = decode_int(request.body)
    except ValueError as problem:
        return error(400, str(problem))
    if not 200 <= status <= 599:  # the original accepts it, and then sends invalid answers or fails
        return error(400, f"health status {status} is not from 200 to 599")
    state.status = status
    log(f"Update health check status code [{status}]")  # the original's words
    return Response()
