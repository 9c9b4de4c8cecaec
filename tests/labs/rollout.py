"""A service, load, and a rolling update, like kube-proxy and the deployment controller."""

import asyncio
import random
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field

from tests.labs.kubelet import Pod, Spec, until
from tests.server import PATIENCE

LAG = 2.0  # seconds until a node's rules reflect a new or removed pod


@dataclass
class Service:
    """One address for the ready pods: each new connection goes to a random one.

    An existing connection is kept, whatever happens to the pod, as with connection tracking.
    """

    host: str = "127.0.0.1"
    port: int = 0  # set when it serves
    pods: list[Pod] = field(default_factory=list)
    _rules: list[Pod] = field(default_factory=list)

    def __post_init__(self) -> None:
        self._random = random.Random(0)

    @property
    def settled(self) -> bool:
        """Whether every pod that should stay is ready."""
        return all(pod.ready or pod.terminating for pod in self.pods)

    @asynccontextmanager
    async def serve(self) -> AsyncIterator["Service"]:
        """Listens, and learns of changes `LAG` seconds late."""
        server = await asyncio.start_server(self._forward, self.host)
        self.port = server.sockets[0].getsockname()[1]
        self._rules = [pod for pod in self.pods if pod.ready]
        learn = asyncio.create_task(self._learn())
        try:
            yield self
        finally:
            learn.cancel()
            server.close()

    async def _learn(self) -> None:
        while True:
            ready = [pod for pod in self.pods if pod.ready]
            asyncio.get_running_loop().call_later(LAG, setattr, self, "_rules", ready)
            await asyncio.sleep(0.1)

    async def _forward(self, client: asyncio.StreamReader, back: asyncio.StreamWriter) -> None:
        try:
            pod = self._random.choice(self._rules)
            async with asyncio.timeout(PATIENCE):  # after 3 s, the kernel gives up a removed pod
                server, to_server = await asyncio.open_connection(pod.address, pod.port)
        except (OSError, IndexError):
            back.transport.abort()
            return
        await asyncio.gather(_copy(client, to_server), _copy(server, back))
        to_server.close()
        back.close()


async def _copy(source: asyncio.StreamReader, sink: asyncio.StreamWriter) -> None:
    with suppress(OSError):
        while data := await source.read(65536):
            sink.write(data)
            await sink.drain()
    with suppress(OSError):
        sink.write_eof()


@dataclass
class Load:
    """Clients that send requests almost without pause, and count the answers."""

    port: int
    answered: Counter[str] = field(default_factory=Counter)  # by the last word of the first line
    lost: Counter[str] = field(default_factory=Counter)  # by kind of error

    @asynccontextmanager
    async def run(self, one_each: int, kept: int) -> AsyncIterator["Load"]:
        """Runs clients with a connection per request, and clients with keep-alive."""
        stop = asyncio.Event()
        clients = [self._client(stop, number >= one_each) for number in range(one_each + kept)]
        tasks = [asyncio.create_task(client) for client in clients]
        try:
            yield self
        finally:
            stop.set()
            await asyncio.gather(*tasks)

    async def _client(self, stop: asyncio.Event, keep: bool) -> None:
        while not stop.is_set():
            try:
                reader, writer = await asyncio.open_connection("127.0.0.1", self.port)
                open_ = True
                while open_ and not stop.is_set():
                    open_ = await self._ask(reader, writer, keep)
                    await asyncio.sleep(0.005)
                writer.close()
            except (OSError, EOFError, ValueError) as problem:
                self.lost[type(problem).__name__] += 1

    async def _ask(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, keep: bool) -> bool:
        close = "" if keep else "Connection: close\r\n"
        writer.write(f"GET /load HTTP/1.1\r\nHost: whoami-service\r\n{close}\r\n".encode())
        head = (await reader.readuntil(b"\r\n\r\n")).decode().lower()
        length = int(head.partition("content-length: ")[2].partition("\r\n")[0])
        body = (await reader.readexactly(length)).decode()
        if not head.startswith("http/1.1 200 "):
            raise ValueError(head)
        self.answered[body.split("\n")[0].split()[-1]] += 1
        return keep and "connection: close" not in head


async def roll_out(service: Service, spec: Spec, images: dict[str, str]) -> list[tuple[int, float]]:
    """Replaces every pod by one of a new spec on the node "new", one by one (maxSurge 1, maxUnavailable 0).

    Returns the exit status and shutdown duration of the old ones.
    """
    ends = []
    for old in list(service.pods):
        new = await Pod.start(spec, images, node="new")
        service.pods.append(new)
        await until("all pods but the terminating ones are ready", lambda: service.settled)
        ends.append(asyncio.create_task(old.terminate()))
    return await asyncio.gather(*ends)
