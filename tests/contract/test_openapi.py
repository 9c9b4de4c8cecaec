"""The OpenAPI document, and the server that it describes."""

from pathlib import Path
from typing import Any

import jsonschema  # type: ignore[import-untyped]  # it ships no types
import pytest
import yaml
from openapi_spec_validator import validate

from podkit.pod.pod import Pod
from tests.server import Server
from whoami.app import build_routes
from whoami.health import Health
from whoami.who import Names

PATH = Path(__file__).parents[2] / "whoami" / "openapi.yaml"
DOCUMENT: dict[str, Any] = yaml.safe_load(PATH.read_text())

REQUESTS: list[tuple[str, str, str, list[str], bytes]] = [
    ("/", "get", "/?wait=1ms&env=true", [], b""),
    ("/", "get", "/", ["Host: second.example"], b""),
    ("/", "get", "/", ["X-Big: " + "k" * 1_100_000], b""),
    ("/", "get", "/", [], b"\0\1\2"),
    ("/", "post", "/", [], b"text"),
    ("/", "post", "/", [], b"\0\1\2"),
    ("/", "post", "/", [], b"x" * (16 * 1024 * 1024 + 1)),
    ("/api", "get", "/api?env=1", [], b""),
    ("/bench", "get", "/bench", [], b""),
    ("/data", "get", "/data?size=100", [], b""),
    ("/data", "get", "/data", [], b""),
    ("/data", "get", "/data?size=100&attachment=true", ["Range: bytes=0-9"], b""),
    ("/data", "get", "/data?size=100&attachment=true", ["Range: bytes=0-9,20-29"], b""),
    ("/data", "get", "/data?size=100&attachment=true", ["Range: bytes=900-"], b""),
    ("/data", "get", "/data?size=9&attachment=true", ["If-None-Match: *"], b""),
    ("/data", "get", "/data?size=9&attachment=true", ['If-Match: "x"'], b""),
    ("/data", "get", "/data?size=0&attachment=true", [], b""),
    ("/echo", "get", "/echo", [], b""),
    (
        "/echo",
        "get",
        "/echo",
        [
            "Connection: Upgrade",
            "Upgrade: websocket",
            "Sec-WebSocket-Version: 13",
            "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==",
        ],
        b"",
    ),
    ("/health", "get", "/health", [], b""),
    ("/health", "post", "/health", [], b"200"),
    ("/health", "post", "/health", [], b"99"),
    ("/health", "post", "/health", [], b" " * 1025),
    ("/openapi.yaml", "get", "/openapi.yaml", [], b""),
    ("/.who", "get", "/prefix/.who?close=true&wait=1ms", ["X-Header: 1"], b""),
    ("/.events", "get", "/.events", [], b""),
    ("/.live", "get", "/.live", [], b""),
    ("/.answer", "get", "/.answer", [], b""),
    ("/.answer", "get", "/.answer?status=404&size=20KB", [], b""),
    ("/.answer", "get", "/.answer?status=404:x", [], b""),
    ("/.hops", "get", "/.hops", ["Forwarded: for=1.2.3.4"], b""),
    ("/.hops", "get", "/.hops", ["Forwarded: for=1.2.3.4", "Via: 1.1 a", "Accept: application/json"], b""),
    ("/.raw", "get", "/prefix/.raw", [], b""),
    ("/.raw", "post", "/.raw", [], b"text"),
    ("/.raw", "post", "/.raw", [], b"x" * (16 * 1024 * 1024 + 1)),
    ("/.live", "get", "/.live", ["Accept-Encoding: gzip"], b""),
]


def resolve(node: dict[str, Any]) -> dict[str, Any]:
    """A node, or the target of its reference."""
    while "$ref" in node:
        found: Any = DOCUMENT
        for part in node["$ref"].removeprefix("#/").split("/"):
            found = found[part]
        node = found
    return node


def responses(path: str, method: str) -> dict[str, Any]:
    """The responses that an operation documents, by status."""
    found: dict[str, Any] = DOCUMENT["paths"][path][method]["responses"]
    return found


def test_document_is_valid() -> None:
    """It is OpenAPI 3.1."""
    validate(DOCUMENT)


def test_served_as_it_lies_in_the_package(whoami: Server) -> None:
    """The server's copy is the file, byte for byte."""
    answer = whoami.get("/openapi.yaml")
    assert (answer.header("Content-Type"), answer.body) == ("application/yaml", PATH.read_bytes())


@pytest.mark.parametrize(("path", "method", "target", "headers", "body"), REQUESTS)
def test_answers_are_documented(
    whoami: Server, path: str, method: str, target: str, headers: list[str], body: bytes
) -> None:
    """Status, content type and JSON of the server's answers are documented."""
    asks = "HEAD" if path == "/.events" else method.upper()  # its body does not end
    answer = whoami.get(target, *headers, method=asks, body=body)
    documented = responses(path, method)
    response = resolve(documented.get(str(answer.status)) or documented["default"])
    kind = answer.header("Content-Type")
    if asks != "HEAD" and (not response.get("content") or not answer.body):
        assert kind is None or answer.body
        return
    assert kind is not None
    assert kind in response["content"]
    if kind == "application/json":
        schema = resolve(response["content"][kind]["schema"])
        jsonschema.validate(yaml.safe_load(answer.body), schema)


def test_documented_statuses_are_given(whoami: Server) -> None:
    """Each status in the document, and each type of content with it, is that of a request above."""
    given: set[tuple[str, str, str, str | None]] = set()
    for path, method, target, headers, body in REQUESTS:
        asks = "HEAD" if path == "/.events" else method.upper()  # its body does not end
        answer = whoami.get(target, *headers, method=asks, body=body)
        given.add((path, method, str(answer.status), answer.header("Content-Type")))
    kinds = {
        (path, method, status, kind)
        for path, methods in DOCUMENT["paths"].items()
        for method in methods
        for status, response in responses(path, method).items()
        for kind in resolve(response).get("content") or [None]
        if status != "default"
    }
    assert kinds - given == set()


def test_every_route_is_documented() -> None:
    """Nobody finds an endpoint that the document lacks."""
    routes = build_routes(Pod(), Health(), names=Names())
    calls = {b"/whoami.Whoami/"}  # of gRPC, which OpenAPI does not describe
    paths = {path.decode().removeprefix("/") for path in set(routes.paths) - calls}
    assert paths == {path.removeprefix("/") for path in DOCUMENT["paths"]}


def test_every_operation_is_tried() -> None:
    """The requests above cover all operations."""
    documented = {(path, method) for path, methods in DOCUMENT["paths"].items() for method in methods}
    assert {(path, method) for path, method, *_ in REQUESTS} == documented
