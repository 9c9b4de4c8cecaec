"""Call an endpoint, once for a request, whatever the transport: errors, limits and the access log."""

import time

from podkit.limits import Limits
from podkit.log import log_line
from podkit.message import Abort, Answer, Delayed, HttpError, Request, Response, error
from podkit.routes import Route
from podkit.server import Server

_RETRY = (b"Retry-After", b"1")


def call(request: Request, route: Route) -> Answer:
    """The endpoint's answer, or an error in its place."""
    try:
        return route.endpoint(request)
    except HttpError as problem:
        return error(problem.status, problem.reason)
    except Exception as mistake:
        return own_mistake(request, mistake)


def respond(request: Request, delayed: Delayed) -> Response | Abort:
    """What a delayed answer has become."""
    try:
        return delayed.respond()
    except Exception as mistake:
        return own_mistake(request, mistake)


def own_mistake(request: Request, mistake: BaseException) -> Response:
    """A mistake of ours: one line in the log, and nothing of it to the client."""
    log_line(f"error: {request.head.request_uri[:200]!r} of {request.remote_addr}: {mistake!r}")
    return error(500, "Internal Server Error")


def max_body(limits: Limits, route: Route) -> int:
    """The largest body, in bytes, that an endpoint gets to read."""
    return limits.max_body if route.max_body is None else min(route.max_body, limits.max_body)


def too_large(limit: int) -> HttpError:
    """The refusal of a body over the limit."""
    return HttpError(413, f"the body is larger than {limit} bytes")


def too_busy() -> Response:
    """The refusal of a request for which the process's budget has no room."""
    return error(503, "the server holds as much as it may for its clients: try again", _RETRY)


def log_answer(server: Server, request: Request, response: Response, start: float) -> None:
    """Tell the access log, if there is one, of a request that began at `start` (monotonic seconds)."""
    if server.access_log is not None:
        server.access_log.write(request, response, start, time.monotonic())
