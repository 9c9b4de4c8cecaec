"""Calls an endpoint exactly once per request, for every transport; errors, limits and the access log."""

import time

from podkit.limits import Limits
from podkit.log import log_line
from podkit.message import Abort, Answer, Delayed, HttpError, Request, Response, error
from podkit.routes import Route
from podkit.server import Server

_RETRY = (b"Retry-After", b"1")


def call(request: Request, route: Route) -> Answer:
    """Returns the endpoint's answer, or an error answer if it fails."""
    try:
        return route.endpoint(request)
    except HttpError as problem:
        return error(problem.status, problem.reason)
    except Exception as mistake:
        return own_mistake(request, mistake)


def respond(request: Request, delayed: Delayed) -> Response | Abort:
    """Returns the response of a delayed answer whose time has come."""
    try:
        return delayed.respond()
    except Exception as mistake:
        return own_mistake(request, mistake)


def own_mistake(request: Request, mistake: BaseException) -> Response:
    """Logs an unexpected exception in one line and returns a 500 that reveals nothing about it."""
    log_line(f"error: {request.head.request_uri[:200]!r} of {request.remote_addr}: {mistake!r}")
    return error(500, "Internal Server Error")


def max_body(limits: Limits, route: Route) -> int:
    """The largest body, in bytes, that the endpoint may read."""
    return limits.max_body if route.max_body is None else min(route.max_body, limits.max_body)


def too_large(limit: int) -> HttpError:
    """The error for a body over the limit."""
    return HttpError(413, f"the body is larger than {limit} bytes")


def too_busy() -> Response:
    """The 503 response to a request that the memory budget cannot hold."""
    return error(503, "the server holds as much as it may for its clients: try again", _RETRY)


def log_answer(server: Server, request: Request, response: Response, start: float) -> None:
    """Writes a request that began at `start` (monotonic seconds) to the access log, if there is one."""
    if server.access_log is not None:
        server.access_log.write(request, response, start, time.monotonic())
