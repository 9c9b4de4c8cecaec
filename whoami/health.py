"""``/health``: a switch. POST sets the status that every other method then gets."""

import mmap

from podkit.go.json import decode_int
from podkit.message import Request, Response, error


class Health:
    """The status that ``/health`` answers. Processes that were forked from this one share it."""

    def __init__(self) -> None:
        self._shared = memoryview(mmap.mmap(-1, mmap.PAGESIZE)).cast("i")
        self.status = 200

    @property
    def status(self) -> int:
        """An HTTP status."""
        return self._shared[0]

    @status.setter
    def status(self, status: int) -> None:
        self._shared[0] = status


def health(state: Health, request: Request) -> Response:
    """GET and others: an empty answer with the status. POST: set it to a JSON number from 200 to 599."""
    if request.head.method != b"POST":
        return Response(state.status)
    if request.body_error:
        return error(400, request.body_error)
    try:
        status = decode_int(request.body)
    except ValueError as problem:
        return error(400, str(problem))
    if not 200 <= status <= 599:  # the original takes it, and answers nonsense or breaks
        return error(400, f"health status {status} is not from 200 to 599")
    state.status = status
    return Response()
