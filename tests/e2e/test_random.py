"""Random requests are echoed as sent; random bytes do no harm."""

import string

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.server import Server

TOKEN = st.text(string.ascii_letters + string.digits + "!#$%&'*+-.^_`|~", min_size=1, max_size=20)
VALUE = st.text(st.characters(min_codepoint=33, max_codepoint=0x2FFF, exclude_characters="\x7f"), max_size=40)
PATH = st.text(string.ascii_letters + string.digits + "-_~$&+,:;=@/", max_size=60)
OURS = {
    "host",
    "user-agent",
    "content-length",
    "transfer-encoding",
    "connection",
    "trailer",
    "expect",
    "upgrade",
    "pragma",
}
SHORT = settings(
    max_examples=100,
    deadline=None,
    derandomize=True,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)


def canonical(name: str) -> str:
    """The name as Go writes it."""
    return "-".join(part.capitalize() for part in name.split("-"))


@SHORT
@given(
    method=TOKEN.filter(lambda method: method not in ("HEAD", "CONNECT")),
    path=PATH.filter(lambda path: "//" not in f"/{path}"),
    headers=st.lists(st.tuples(TOKEN.filter(lambda name: name.lower() not in OURS), VALUE), max_size=20),
    body=st.binary(max_size=3000),
)
def test_the_answer_says_what_was_sent(
    whoami: Server, method: str, path: str, headers: list[tuple[str, str]], body: bytes
) -> None:
    """Method, target, headers and body, sorted and canonical."""
    if path in ("api", "bench", "data", "echo", "health"):
        path += "_"
    lines = [f"{method} /{path} HTTP/1.1", "Host: h", "User-Agent: u", f"Content-Length: {len(body)}"]
    lines += [f"{name}: {value}" for name, value in headers]
    answer = whoami.ask("\r\n".join([*lines, "", ""]).encode() + body)
    assert answer.status == 200
    head, _, echoed = answer.body.partition(b"\r\n\r\n")
    shown = head.partition(b"RemoteAddr: ")[2].decode().split("\n", 1)[1].split("\r\n")
    assert shown[0] == f"{method} /{path} HTTP/1.1"
    names = sorted({canonical(name) for name, _ in headers}, key=str.encode)
    values = [f"{name}: {value}" for name in names for key, value in headers if canonical(key) == name]
    assert [line for line in shown[3:] if not line.startswith("Content-Length: ")] == values
    assert echoed == body


@SHORT
@given(
    data=st.one_of(
        st.binary(max_size=2000),
        st.lists(
            st.sampled_from(
                [
                    b"GET / HTTP/1.1",
                    b"\r\n",
                    b"\n",
                    b"Host: a",
                    b"\r\n\r\n",
                    b":",
                    b" ",
                    b"\0",
                    b"\xff",
                    b"Content-Length: 5",
                    b"Transfer-Encoding: chunked",
                    b"5\r\nhello\r\n",
                    b"0\r\n\r\n",
                    b"Upgrade: websocket",
                    b"Connection: upgrade",
                    b"POST /health HTTP/1.1",
                    b"PRI * HTTP/2.0",
                    b"/echo",
                    b"Expect: 100-continue",
                ]
            ),
            max_size=30,
        ).map(b"".join),
    )
)
def test_random_bytes_do_no_harm(whoami: Server, data: bytes) -> None:
    """The server answers or closes, reveals no internals, and keeps serving."""
    with whoami.connect() as client:
        client.send(data)
        client.socket.shutdown(1)
        try:
            answer = client.reader.read()
        except ConnectionResetError:
            answer = b""
    assert not answer or answer.startswith(b"HTTP/1.")
    assert b" 500 " not in answer.partition(b"\r\n")[0]
    assert whoami.get("/bench").body == b"1"
    assert "error:" not in "".join(whoami.err)
