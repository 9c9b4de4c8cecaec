"""The kubia server's recorded answers."""

import json
import socket
from pathlib import Path

import pytest

from tests.server import Server, request, started, wait_for

RECORDED = json.loads((Path(__file__).parent / "whereami-kubia.json").read_text())


def expected(key: str) -> bytes:
    """A recorded body, with this machine's name."""
    text: str = RECORDED[key]
    return text.replace(RECORDED["server"]["hostname"], socket.gethostname()).encode()


@pytest.mark.parametrize("target", ["/", "/any/path?x=1", "//a/../b", "*", "/api", "/%C3%A9"])
@pytest.mark.parametrize("method", ["GET", "POST", "DELETE", "OPTIONS", "BREW"])
def test_every_method_and_path_gets_the_same(whereami: Server, method: str, target: str) -> None:
    """Status 200, the recorded body, and no Content-Type."""
    answer = whereami.get(target, method=method)
    assert (answer.status, answer.body, answer.header("Content-Type")) == (200, expected("body"), None)


def test_head_has_no_body(whereami: Server) -> None:
    """HEAD gets the length without the body, and the connection stays open."""
    with whereami.connect() as client:
        for _ in range(2):
            client.send(request("/", method="HEAD"))
            answer = client.read(b"HEAD")
            assert answer is not None
            assert (answer.status, answer.header("Content-Length")) == (200, str(len(expected("body"))))


def test_a_body_is_passed_over(whereami: Server) -> None:
    """A request with a body is answered, and so is the next one on the connection."""
    with whereami.connect() as client:
        client.send(request("/", method="POST", body=b"x" * 100_000) + request("/"))
        answers = [client.read(), client.read()]
        assert [answer and answer.body for answer in answers] == [expected("body")] * 2


@pytest.mark.parametrize(
    ("env", "node"),
    [
        ({}, "undefined"),
        ({"NODE_NAME": "b"}, "b"),
        ({"nodename": "a", "NODE_NAME": "b"}, "a"),
    ],
)
def test_node_comes_from_the_environment(env: dict[str, str], node: str) -> None:
    """`nodename`, else `NODE_NAME`, else "undefined"."""
    with started("whereami", env=env) as server:
        assert server.get("/").body == expected("body_without_nodename").replace(b"undefined", node.encode())


def test_logs_each_request_line_by_line_and_no_environment() -> None:
    """The start and each client on standard output, immediately; never the environment."""
    with started("whereami", env={"SECRET": "tell-nobody"}) as server:
        for count in range(1, 4):
            server.get("/")
            wait_for(lambda count=count: len(server.out) == count + 1)  # type: ignore[misc]
        assert server.out[0] == RECORDED["log_at_start"] + "\n"
        line = RECORDED["log_per_request"].replace("{client address}", "127.0.0.1")
        assert set(server.out[1:]) == {f"{line}\n"}
    assert "tell-nobody" not in "".join(server.out + server.err)
