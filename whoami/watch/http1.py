"""Requests over HTTP/1.1 with aiohttp's client, on new or keep-alive connections."""

import socket

from aiohttp import (
    ClientConnectionError,
    ClientError,
    ClientHandlerType,
    ClientOSError,
    ClientPayloadError,
    ClientRequest,
    ClientResponse,
    ClientSession,
    ClientTimeout,
    CookieJar,
    DummyCookieJar,
    ServerDisconnectedError,
    TCPConnector,
    ThreadedResolver,
    TraceConfig,
)
from aiohttp.abc import AbstractCookieJar, AbstractResolver, ResolveResult
from multidict import CIMultiDict

from podkit import __version__
from whoami.watch.outcome import Lost, LostError, Reply
from whoami.watch.peer import LIMIT, read_peer
from whoami.watch.target import Target

USER_AGENT = f"whoami-watch/{__version__}"
_MOST_COOKIES = 50


class Http1:
    """Each request in flight has its own connection: a new one, or a free keep-alive one.

    Every session has at most one connection, so each answer's connection is known.
    """

    def __init__(self, target: Target, keep_alive: bool, cookies: bool) -> None:
        self.connections = 0
        self._target = target
        self._keep_alive = keep_alive
        self._tls = target.tls("http/1.1")
        self._jar = make_jar(cookies)
        self._lanes: list[_Lane] = []
        self._free: list[_Lane] = []

    async def ask(self) -> Reply:
        """Sends one request and returns the answer."""
        lane = self._free.pop() if self._free else self._open()
        try:
            return await lane.ask()
        except ClientPayloadError as problem:
            raise LostError(Lost.RESET, f"the answer is truncated: {problem}") from problem
        except ClientConnectionError as problem:
            if isinstance(problem, OSError):
                raise
            raise LostError(Lost.RESET, str(problem)) from problem
        except ClientError as problem:
            raise LostError(Lost.OTHER, str(problem)) from problem
        finally:
            tidy(self._jar)
            self._free.append(lane)

    async def close(self) -> None:
        """Closes all connections."""
        for lane in self._lanes:
            await lane.session.close()

    def _open(self) -> "_Lane":
        connector = TCPConnector(
            limit=1,
            force_close=not self._keep_alive,
            ssl=self._tls or True,
            resolver=_Resolver(self._target),
            use_dns_cache=False,  # its cache would rotate through the addresses, unlike any other client
        )
        lane = _Lane(self, connector, self._target, self._jar, self._keep_alive)
        self._lanes.append(lane)
        return lane


class _Lane:
    """A session with one connection at a time."""

    def __init__(
        self, way: Http1, connector: TCPConnector, target: Target, jar: AbstractCookieJar, keep_alive: bool
    ) -> None:
        self._way = way
        self._url = target.url
        self._connection = 0
        self._is_fresh = False  # the connection was opened for the current request
        trace = TraceConfig()
        trace.on_connection_create_end.append(self._count)
        # compressed data might expand without a bound
        headers = CIMultiDict({"User-Agent": USER_AGENT, "Accept": "*/*", "Accept-Encoding": "identity"})
        if not keep_alive:
            headers["Connection"] = "close"
        self.session = ClientSession(
            connector=connector,
            timeout=ClientTimeout(),
            cookie_jar=jar,
            headers=headers,
            trace_configs=[trace],
            auto_decompress=False,
            middlewares=[self._lose],
        )

    async def ask(self) -> Reply:
        """The answer; anything beyond the limit stays unread, and the connection is closed."""
        self._is_fresh = False
        async with self.session.get(self._url, allow_redirects=False) as response:
            body = await _read_start(response)
            return Reply(response.status, read_peer(body), self._connection)

    async def _count(self, *_: object) -> None:
        self._way.connections += 1
        self._connection = self._way.connections
        self._is_fresh = True

    async def _lose(self, request: ClientRequest, handler: ClientHandlerType) -> ClientResponse:
        """aiohttp repeats a GET whose connection ended early. On a new connection, it counts as lost."""
        try:
            return await handler(request)
        except (ClientOSError, ServerDisconnectedError) as problem:
            if not self._is_fresh:
                raise
            raise LostError(Lost.RESET, str(problem)) from problem


class _Resolver(AbstractResolver):
    """The system's resolver, with the addresses from the command line."""

    def __init__(self, target: Target) -> None:
        self._target = target
        self._system = ThreadedResolver()

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_UNSPEC
    ) -> list[ResolveResult]:
        """Addresses in the system's order."""
        pinned = self._target.pinned.get((host, port))
        found = await self._system.resolve(pinned or host, port, family)
        for entry in found:
            entry["hostname"] = host
        return found

    async def close(self) -> None:
        """There is nothing to close."""


async def _read_start(response: ClientResponse) -> bytes:
    body = bytearray()
    async for piece in response.content.iter_any():
        body += piece
        if len(body) >= LIMIT:
            break
    return bytes(body[:LIMIT])


def make_jar(cookies: bool) -> AbstractCookieJar:
    """A jar that keeps cookies (also of addresses), or one that keeps none."""
    return CookieJar(unsafe=True) if cookies else DummyCookieJar()


def tidy(jar: AbstractCookieJar) -> None:
    """Drops all cookies if a peer sets more than any browser session needs."""
    if len(jar) > _MOST_COOKIES:
        jar.clear()
