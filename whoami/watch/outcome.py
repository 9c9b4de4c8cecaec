"""The outcome of one request."""

import asyncio
import errno
import ssl
import time
from dataclasses import dataclass
from enum import StrEnum
from typing import Protocol

from whoami.watch.peer import Peer, clean_text


class Lost(StrEnum):
    """How a request was lost."""

    REFUSED = "refused"
    RESET = "reset"
    TIMED_OUT = "timed out"
    SERVER_ERROR = "5xx"  # also any gRPC error status
    OTHER = "other"  # unknown name, no route, an untrusted certificate, not HTTP


class LostError(Exception):
    """A request got no answer."""

    def __init__(self, kind: Lost, text: str) -> None:
        super().__init__(text)
        self.kind = kind


class NotSpokenError(Exception):
    """The peer does not speak this protocol; the text says how that was detected."""


@dataclass(frozen=True, slots=True)
class Reply:
    """An answer: its status, its peer, and the number of its connection."""

    status: int
    peer: Peer
    connection: int


class Way(Protocol):
    """A way to send requests."""

    @property
    def connections(self) -> int:
        """The number of connections opened so far."""

    async def ask(self) -> Reply:
        """Sends one request and returns the answer. Raises OSError, LostError and NotSpokenError."""

    async def close(self) -> None:
        """Closes all connections."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """One request: its end (Unix time), its duration in seconds, and its answer or how it was lost."""

    at: float
    seconds: float
    reply: Reply | None
    lost: Lost | None = None
    why: str = ""


async def ask(way: Way, patience: float) -> Outcome:
    """Sends one request, for `patience` seconds at most. Raises NotSpokenError."""
    start = time.monotonic()
    reply, lost, why = None, None, ""
    try:
        async with asyncio.timeout(patience):
            reply = await way.ask()
        if reply.status >= 500:
            lost, why = Lost.SERVER_ERROR, f"status {reply.status}"
    except LostError as problem:
        lost, why = problem.kind, clean_text(str(problem))
    except OSError as problem:
        lost, why = _judge(getattr(problem, "os_error", problem))
    return Outcome(time.time(), time.monotonic() - start, reply, lost, why)


def _judge(problem: OSError) -> tuple[Lost, str]:
    """Classifies an OSError; aiohttp's errors wrap the system's."""
    text = clean_text(problem.strerror or str(problem))
    if isinstance(problem, TimeoutError) or problem.errno == errno.ETIMEDOUT:
        return Lost.TIMED_OUT, text
    if isinstance(problem, ConnectionRefusedError) or problem.errno == errno.ECONNREFUSED:
        return Lost.REFUSED, text
    if isinstance(problem, ConnectionError | ssl.SSLEOFError):
        return Lost.RESET, text
    if isinstance(problem, ssl.SSLCertVerificationError):
        return Lost.OTHER, f"{clean_text(problem.verify_message)} (give --cacert FILE, or --insecure)"
    if isinstance(problem, ssl.SSLError) and problem.reason == "WRONG_VERSION_NUMBER":
        return Lost.OTHER, "its answer is not TLS (give an http:// URL)"
    return Lost.OTHER, text
