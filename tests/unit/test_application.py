"""Both servers as aiohttp applications, under aiohttp's own server."""

import re
import textwrap
from pathlib import Path
from typing import Any

import pytest
from aiohttp import WSMsgType, web
from pytest_aiohttp.plugin import AiohttpClient

from podkit.application import build_application
from podkit.limits import Limits
from podkit.pod.pod import Pod
from podkit.server import Server
from whereami.app import build_app as build_whereami
from whoami.app import build_app as build_whoami
from whoami.app import build_routes
from whoami.health import Health

README = (Path(__file__).parents[2] / "README.md").read_text()


async def test_the_example_of_the_readme(aiohttp_client: AiohttpClient) -> None:
    """It runs unchanged."""
    found = re.search(r"```python\n(.*?)```", README, re.DOTALL)
    assert found is not None
    names: dict[str, Any] = {}
    exec(textwrap.dedent(found[1]), names)
    await names["test_my_client"](aiohttp_client)


async def test_whoami_can_be_mounted(aiohttp_client: AiohttpClient) -> None:
    """It routes by the rest of the path, and shows the request as received."""
    app = web.Application()
    app.add_subapp("/who", build_whoami(name="inner"))
    client = await aiohttp_client(app)
    answer = await (await client.get("/who/api?x=1")).json()
    assert (answer["name"], answer["url"]) == ("inner", "/who/api?x=1")
    assert "GET /who/other HTTP/1.1" in await (await client.get("/who/other")).text()
    assert (await client.get("/elsewhere")).status == 404


async def test_whereami_answers_everything(aiohttp_client: AiohttpClient) -> None:
    """With a log line for each request."""
    lines: list[str] = []
    client = await aiohttp_client(build_whereami(node_name="node1", log=lines.append))
    for method, path in (("GET", "/"), ("POST", "/any/path"), ("DELETE", "/x?y")):
        text = await (await client.request(method, path)).text()
        assert text.endswith(" on this node: node1\n")
    assert lines == ["Received request from 127.0.0.1"] * 3


@pytest.mark.parametrize(
    ("method", "path"),
    [
        *(("GET", "/"), ("GET", "/api"), ("GET", "/bench"), ("HEAD", "/"), ("GET", "/data?size=100000")),
        *(("POST", "/health"), ("GET", "/health"), ("GET", "/echo"), ("GET", "/?wait=5ms"), ("GET", "//")),
        *(("GET", "/.who"), ("GET", "/.live"), ("GET", "/openapi.yaml")),
    ],
)
async def test_no_answer_carries_a_banner(aiohttp_client: AiohttpClient, method: str, path: str) -> None:
    """Nothing reveals the server software."""
    client = await aiohttp_client(build_whoami())
    answer = await client.request(method, path, allow_redirects=False)
    assert "Server" not in answer.headers


async def test_messages_come_back(aiohttp_client: AiohttpClient) -> None:
    """The echo works there too."""
    client = await aiohttp_client(build_whoami())
    async with client.ws_connect("/echo") as websocket:
        await websocket.send_str("Lukša")
        assert (await websocket.receive()).data == "Lukša"
        await websocket.send_bytes(b"\x00\xff")
        message = await websocket.receive()
        assert (message.type, message.data) == (WSMsgType.BINARY, b"\x00\xff")


async def test_bodies_are_bounded(aiohttp_client: AiohttpClient) -> None:
    """As in the programs, announced or not."""
    client = await aiohttp_client(build_whoami(max_body=1000))
    assert (await client.post("/", data=b"x" * 1000)).status == 200
    assert (await client.post("/", data=b"x" * 1001)).status == 413


async def test_the_memory_for_bodies_is_bounded(aiohttp_client: AiohttpClient) -> None:
    """Beyond it, clients are asked to try again, as in the programs."""
    pod = Pod()
    server = Server(build_routes(pod, Health()).find, limits=Limits(budget=1000))
    client = await aiohttp_client(build_application(server, pod))
    answer = await client.post("/", data=b"x" * 1001)
    assert (answer.status, answer.headers["Retry-After"]) == (503, "1")
    assert server.budget.used == 0
    assert (await client.post("/", data=b"x" * 1000)).status == 200
