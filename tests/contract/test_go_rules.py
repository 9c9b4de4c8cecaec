"""Requests beyond the recorded ones, answered by the same rules of Go's libraries."""

import pytest

from tests.server import PATIENCE, Server, request


def echoed(body: bytes) -> bytes:
    """The text after the line with the client's address."""
    return body.partition(b"RemoteAddr: ")[2].partition(b"\n")[2]


@pytest.mark.parametrize("method", ["FOO", "get", "BREW", "M-SEARCH", "X!"])
def test_any_token_is_a_method(whoami: Server, method: str) -> None:
    """As in the original, and shown as received."""
    answer = whoami.get("/", method=method)
    assert (answer.status, echoed(answer.body).split(b" ")[0]) == (200, method.encode())


@pytest.mark.parametrize(
    ("target", "shown"),
    [
        ("/é", "/%C3%A9"),
        ("/a#b", "/a%23b"),
        ("/a!b", "/a!b"),
        ("/a!b<c", "/a%21b%3Cc"),
        ("/a%2fb", "/a%2fb"),
        ("/?", "/?"),
        ("/a?b?c", "/a?b?c"),
        ("/x?é<>", "/x?é<>"),
        ("http://user:pw@h.example:81/p?q", "/p?q"),
        ("x://h/p", "/p"),
        ("/*", "/*"),
        ("/%2a", "/%2a"),
        ("/trailing/", "/trailing/"),
        ("/" + "a" * 100_000, "/" + "a" * 100_000),
    ],
)
def test_targets_are_written_as_go_writes_them(whoami: Server, target: str, shown: str) -> None:
    """Escaped again only if necessary."""
    answer = whoami.get(target)
    assert (answer.status, echoed(answer.body).split(b" ")[1]) == (200, shown.encode())


@pytest.mark.parametrize(
    ("target", "location"),
    [
        ("//", "/"),
        ("http://h.example", "/"),
        ("http://h.example?q=1", "/?q=1"),
        ("mailto:someone", "/"),
        ("x:*?q", "/?q"),
        ("/a//b", "/a/b"),
        ("/a//b?", "/a/b"),
        ("//whoami.Whoami", "/whoami.Whoami/"),
        ("/a/./b/", "/a/b/"),
        ("/..", "/"),
        ("/a/b/../../c?x=1", "/c?x=1"),
        ("//a%20b", "/a%20b"),
    ],
)
def test_paths_that_are_not_clean_redirect(whoami: Server, target: str, location: str) -> None:
    """307, with a body only for GET."""
    answer = whoami.get(target)
    assert (answer.status, answer.header("Location")) == (307, location)
    assert answer.body == f'<a href="{location}">Temporary Redirect</a>.\n\n'.encode()
    posted = whoami.get(target, method="POST", body=b"x")
    assert (posted.status, posted.header("Content-Type"), posted.body) == (307, None, b"")


def test_redirects_escape_what_is_not_ascii(whoami: Server) -> None:
    """In the Location header; the page links to the target as received."""
    answer = whoami.get('//a?é\\x"&')
    assert (answer.status, answer.header("Location")) == (307, '/a?%c3%a9\\x"&')
    assert answer.body.decode() == '<a href="/a?é\\x&#34;&amp;">Temporary Redirect</a>.\n\n'


@pytest.mark.parametrize(
    ("authority", "shown"),
    [
        ("u:p@h", "h"),
        ("a@b@c:8080", "c:8080"),
        ("h:", "h:"),
        ("[::1]:80", "[::1]:80"),
        ("[fe80::1%25eth0]", "[fe80::1]"),
        ("%C3%A9.example:81", "xn--9ca.example:81"),
        ("a%25b", "a%b"),
        ('a"b', ""),
        ("", "whoami.example"),
    ],
)
def test_an_absolute_target_names_the_host(whoami: Server, authority: str, shown: str) -> None:
    """Instead of the Host header, as Go writes it."""
    answer = whoami.get(f"http://{authority}/p")
    assert echoed(answer.body).startswith(f"GET /p HTTP/1.1\r\nHost: {shown}\r\n".encode())


def test_what_go_cannot_send_on_is_said(whoami: Server) -> None:
    """In Go's words, instead of the request; the environment is not shown either."""
    host = whoami.ask(b"GET http://%c3/?env=1 HTTP/1.1\r\nHost: a\r\n\r\n")
    assert echoed(host.body) == b'idna: invalid label "\\xc3"\n'
    trailer = request("/?env=1", "Transfer-Encoding: chunked", 'Trailer: ok, a"b', method="POST")
    assert echoed(whoami.ask(trailer + b"0\r\n\r\n").body) == b'net/http: invalid trailer field name "a\\"b"\n'


@pytest.mark.parametrize(
    ("target", "status", "start"),
    [
        ("a.example:443", 404, b"404 page not found\n"),
        ("/bench", 200, b"1"),
        ("//a//b", 200, b"CONNECT //a//b HTTP/1.1\r\nHost: whoami.example\r\n"),
        ("http://a.example/x", 200, b"CONNECT //a.example/x HTTP/1.1\r\nHost: http:\r\n"),
        ("/whoami.Whoami", 307, b""),
    ],
)
def test_connect_ends_the_connection(whoami: Server, target: str, status: int, start: bytes) -> None:
    """There is no tunnel; paths are not redirected."""
    with whoami.connect() as client:
        client.send(request(target, method="CONNECT"))
        answer = client.read()
        assert answer is not None
        assert answer.status == status
        assert (echoed(answer.body) or answer.body).startswith(start)
        assert answer.header("Connection") == ("close" if status != 200 else None)
        assert client.closes()


@pytest.mark.parametrize(
    ("version", "sent", "shown", "closes"),
    [
        ("1.1", [], [], False),
        ("1.1", ["CLOSE"], ["CLOSE"], True),
        ("1.1", ["close x"], ["close x"], True),
        ("1.1", ["x", "close"], ["close", "x", "close"], True),
        ("1.1", ["close;x"], ["close;x"], False),
        ("1.0", [], ["close"], True),
        ("1.0", ["x"], ["close", "x"], True),
        ("1.0", ["close"], ["close"], True),
        ("1.0", ["x, Keep-Alive"], ["x, Keep-Alive"], False),
        ("1.0", ["keep-alive x"], ["close", "keep-alive x"], False),
        ("1.0", ["close, keep-alive"], ["close, keep-alive"], False),
    ],
)
def test_connection_is_read_as_go_reads_it(
    whoami: Server, version: str, sent: list[str], shown: list[str], closes: bool
) -> None:
    """Go searches for tokens in two ways: one decides whether it adds a line, the other when to close."""
    lines = [f"GET / HTTP/{version}", "Host: a", *(f"Connection: {value}" for value in sent), "", ""]
    with whoami.connect() as client:
        client.send("\r\n".join(lines).encode())
        answer = client.read()
        assert answer is not None
        found = [line.partition(": ") for line in echoed(answer.body).decode().split("\r\n")]
        assert [value for name, _, value in found if name == "Connection"] == shown
        assert client.closes(PATIENCE if closes else 0.05) == closes


@pytest.mark.parametrize(
    "expectation", ["100-Continue", "100-continue, x", "x 100-continue", "100-continue\r\nExpect: x", ""]
)
def test_an_expectation_that_names_100_continue_is_met(whoami: Server, expectation: str) -> None:
    """Even among other expectations; HTTP/1.0 gets no interim answer."""
    for raw in (
        f"GET /bench HTTP/1.1\r\nHost: a\r\nExpect: {expectation}\r\n\r\n",
        f"POST /bench HTTP/1.0\r\nContent-Length: 1\r\nExpect: {expectation}\r\n\r\nx",
    ):
        assert (whoami.ask(raw.encode()).status, whoami.ask(raw.encode()).body) == (200, b"1")


@pytest.mark.parametrize("version", ["1.0", "1.1"])
def test_any_other_expectation_fails(whoami: Server, version: str) -> None:
    """417 without a body, and the connection closes."""
    with whoami.connect() as client:
        client.send(f"GET /bench HTTP/{version}\r\nHost: a\r\nExpect: 100-continued\r\n\r\n".encode())
        answer = client.read()
        assert answer is not None
        assert (answer.status, answer.header("Content-Length"), answer.header("Content-Type")) == (
            417,
            "0",
            None,
        )
        assert answer.header("Connection") == "close"
        assert client.closes()


@pytest.mark.parametrize(
    ("method", "headers", "status"),
    [
        ("GET", {"Origin": "https://elsewhere.example"}, 101),
        ("GET", {"Connection": "x, UPGRADE", "Upgrade": "foo, WebSocket"}, 101),
        ("GET", {"Sec-WebSocket-Version": "8, 13"}, 101),
        ("GET", {"Upgrade": "websocket, foo/1"}, 101),
        ("GET", {"Upgrade": "foo/1, websocket"}, 400),
        ("GET", {"Connection": ",Upgrade"}, 400),
        ("GET", {"Sec-WebSocket-Version": "12"}, 400),
        ("GET", {"Sec-WebSocket-Key": "dGhlIHNhbXBsZSBub25jZQ"}, 400),
        ("GET", {"Content-Length": "1"}, 400),
        ("POST", {"Content-Length": "1"}, 405),
        ("POST", {"Sec-WebSocket-Version": "12"}, 405),
        ("POST", {"Upgrade": "foo"}, 400),
    ],
)
def test_handshakes_are_taken_as_the_original_takes_them(
    whoami: Server, method: str, headers: dict[str, str], status: int
) -> None:
    """From any page, with tokens in any case and in lists; and no answer has a banner."""
    usual = {
        "Connection": "Upgrade",
        "Upgrade": "websocket",
        "Sec-WebSocket-Version": "13",
        "Sec-WebSocket-Key": "dGhlIHNhbXBsZSBub25jZQ==",
    }
    lines = [f"{name}: {value}" for name, value in (usual | headers).items()]
    body = b"x" * int(headers.get("Content-Length", "0"))
    answer = whoami.ask(request("/echo", *lines, method=method) + body)
    assert (answer.status, answer.header("Server")) == (status, None)


@pytest.mark.parametrize(
    ("target", "kind"),
    [("/%61pi", "application/json"), ("/api/", "text/plain; charset=utf-8"), ("/benc%68", "text/plain")],
)
def test_routes_match_the_unescaped_path(whoami: Server, target: str, kind: str) -> None:
    """As Go's mux does."""
    assert whoami.get(target).header("Content-Type") == kind


@pytest.mark.parametrize(
    ("headers", "shown"),
    [
        (["Pragma: no-cache"], ["Cache-Control: no-cache", "Pragma: no-cache"]),
        (["Pragma: no-cache", "Cache-Control: x"], ["Cache-Control: x", "Pragma: no-cache"]),
        (["X-Folded: a", "  b", "\tc"], ["X-Folded: a b c"]),
        (["X-Folded: a ", "  ", "\tc", " "], ["X-Folded: a  c"]),
        (["X-Folded:", " b: c"], ["X-Folded: b: c"]),
        (["x-ORIGINAL-uri: \t/a\t "], ["X-Original-Uri: /a"]),
        (["Content-Length: 0", "Content-Length: 0"], []),
        (["3d: x", "a.b_c~: y"], ["3d: x", "A.b_c~: y"]),
    ],
)
def test_headers_are_read_as_go_reads_them(whoami: Server, headers: list[str], shown: list[str]) -> None:
    """Canonical, sorted, folded lines joined."""
    lines = echoed(whoami.get("/", *headers).body).decode().split("\r\n")
    assert lines[3:-2] == shown


def test_a_line_of_blanks_leaves_one_at_a_values_end(whoami: Server) -> None:
    """If it continues a header; the echo removes the space again."""
    raw = b"GET %s HTTP/1.1\r\nHost: a\r\nX: b\r\n\t\r\n\r\n"
    assert b'"X":["b "]' in whoami.ask(raw % b"/api").body
    assert b"\r\nX: b\r\n" in whoami.ask(raw % b"/").body


def test_a_trailer_whose_name_has_a_blank_is_dropped(whoami: Server) -> None:
    """And the others are echoed."""
    raw = request("/", "Transfer-Encoding: chunked", "Trailer: a", method="POST")
    answer = whoami.ask(raw + b"0\r\nx : 1\r\na: \r\n 2\r\n \r\nx y: 3\r\n\r\n")
    assert echoed(answer.body).endswith(b"\r\n\r\n0\r\nA: 2\r\n\r\n")


def test_bare_line_feeds_end_lines(whoami: Server) -> None:
    """As for the original, a line needs no carriage return."""
    answer = whoami.ask(b"GET /lf HTTP/1.1\nHost: a\nUser-Agent: b\n\n")
    assert echoed(answer.body) == b"GET /lf HTTP/1.1\r\nHost: a\r\nUser-Agent: b\r\n\r\n"


def test_500_header_lines_and_a_megabyte(whoami: Server) -> None:
    """All of them are echoed in order; one more is refused, as in Go 1.27."""
    many = [f"X-H{number:03}: {number}" for number in range(498)]  # in addition to Host and User-Agent
    body = whoami.get("/", *many).body
    assert all(line.encode() in body for line in many)
    assert whoami.get("/", *many, "X-Last: 1").status == 431
    assert whoami.ask(request("/", "malformed", *many, "X-Last: 1")).status == 400
    assert whoami.get("/", *many, "X-Last", " in: two lines").status == 400
    big = "X-Big: " + "k" * 1_040_000
    assert big.encode() in whoami.get("/", big).body


@pytest.mark.parametrize(
    ("raw", "status"),
    [
        (b"GET / HTTP/1.1\r\nHost: a\r\nX: a\x01b\r\n\r\n", 400),
        (b"GET / HTTP/1.1\r\nHost: a\r\nX: a\rb\r\n\r\n", 400),
        (b"GET / HTTP/1.1\r\nHost: a/b\r\n\r\n", 400),
        (b"GET / HTTP/1.1\r\nHost: a\r\nX : b\r\n\r\n", 400),
        (b"GET / HTTP/1.1\r\n Host: a\r\n\r\n", 400),
        (b"GET /\x7f HTTP/1.1\r\nHost: a\r\n\r\n", 400),
        (b"GET / x HTTP/1.1\r\nHost: a\r\n\r\n", 400),
        (b"G(T / HTTP/1.1\r\nHost: a\r\n\r\n", 400),
        (b"GET a HTTP/1.1\r\nHost: a\r\n\r\n", 400),
        (b"GET http://[::1/ HTTP/1.1\r\nHost: a\r\n\r\n", 400),
        (b"GET http://a:b/ HTTP/1.1\r\nHost: a\r\n\r\n", 400),
        (b"GET /\ta HTTP/1.1\r\nHost: a\r\n\r\n", 400),
        (b"GET ?x HTTP/1.1\r\nHost: a\r\n\r\n", 400),
        (b"GET http://[1.2.3.4]/ HTTP/1.1\r\nHost: a\r\n\r\n", 400),
        (b"GET http://a[::1]/ HTTP/1.1\r\nHost: a\r\n\r\n", 400),
        (b"GET http://a%41/ HTTP/1.1\r\nHost: a\r\n\r\n", 400),
        (b"GET http://u<@a/ HTTP/1.1\r\nHost: a\r\n\r\n", 400),
        (b"GET http://u%@a/ HTTP/1.1\r\nHost: a\r\n\r\n", 400),
        (b"GET * HTTP/1.1\r\nHost: a\r\n\r\n", 400),
        (b"CONNECT * HTTP/1.1\r\nHost: a\r\n\r\n", 400),
        (b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\nContent-Length: x\r\n\r\n", 400),
        (
            b"GET / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\nTrailer:%s\r\n\r\n" % (b"," * 500),
            431,
        ),
        (b"GET / HTTP/1.1\r\nHost: a\r\nContent-Length: +5\r\n\r\nhello", 400),
        (b"GET / HTTP/1.1\r\nHost: a\r\nContent-Length: -1\r\n\r\n", 400),
        (b"GET / HTTP/1.1\r\nHost: a\r\nContent-Length: \r\n\r\n", 400),
        (b"GET / HTTP/1.1\r\nHost: a\r\nContent-Length: 9223372036854775808\r\n\r\n", 400),
        (b"GET / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked, chunked\r\n\r\n", 501),
        (b"GET / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n", 501),
        (b"GET / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\nTrailer: Content-Length\r\n\r\n", 400),
        (b"GET / HTTP/2.0\r\nHost: a\r\n\r\n", 505),
        (b"PRI * HTTP/2.0\r\nHost: a\r\n\r\n", 400),
        (b"PRI * HTTP/2.0\r\nX: a\r\n\r\n", 400),
        (b"PRI / HTTP/2.0\r\nHost: a\r\n\r\n", 505),
        (b"GET / HTTP/0.9\r\nHost: a\r\n\r\n", 505),
        (b"GET / HTTP/2.0\r\nHost: a\r\nX : b\r\n\r\n", 505),
        (b"GET / HTTP/1.1\r\nHost: a\r\nX : b\r\nTransfer-Encoding: gzip\r\n\r\n", 501),
        (b"GET / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n \r\n\r\n", 501),
        (b"GET / HTTP/1.1\r\nHost: a\r\n \r\n\r\n", 400),
        (b"GET / HTTP/1.1\r\nHost: a\r\nX Y: b\r\n c\r\n\r\n", 400),
        (b"GET / HTTP/1.10\r\nHost: a\r\n\r\n", 400),
        (b"GET /\r\n\r\n", 400),
        (b"\r\nGET / HTTP/1.1\r\nHost: a\r\n\r\n", 400),
        (b"GET /bench HTTP/1.1\r\nHost: a\r\nExpect: a-miracle\r\n\r\n", 417),
        (b"POST / HTTP/1.1\r\nHost: a\r\nExpect: a-miracle\r\nContent-Length: 1\r\n\r\nx", 417),
        (b"GET /bench HTTP/1.1\r\nHost: a\r\nExpect: x\r\nExpect: 100-continue\r\n\r\n", 417),
    ],
)
def test_malformed_requests_are_refused_and_end_the_connection(whoami: Server, raw: bytes, status: int) -> None:
    """With the original's status, even after a good request on the same connection."""
    with whoami.connect() as client:
        client.send(request("/bench") + raw)
        first, second = client.read(), client.read()
        assert first is not None
        assert second is not None
        assert (first.body, second.status) == (b"1", status)
        assert second.header("Server") is None
        assert client.closes()


def test_http_1_7_counts_as_1_1_and_1_0_ignores_transfer_encoding(whoami: Server) -> None:
    """Only the major version counts; HTTP/1.0 knows no chunks."""
    assert whoami.ask(b"GET /bench HTTP/1.7\r\nHost: a\r\n\r\n").version == "HTTP/1.1"
    answer = whoami.ask(b"GET / HTTP/1.0\r\nTransfer-Encoding: gzip\r\n\r\n")
    assert (answer.version, answer.status, b"Transfer-Encoding" in answer.body) == ("HTTP/1.0", 200, False)


def test_chunked_bodies_with_extensions_and_trailers(whoami: Server) -> None:
    """Extensions are dropped; announced trailers follow the last chunk."""
    raw = request("/", "Trailer: X-Sum, a", "Transfer-Encoding: chunked", method="POST")
    answer = whoami.ask(raw + b'5;x="y"\r\nhello\r\n0003\r\nabc\r\n0\r\nx-sum: 8\r\n\r\n')
    assert echoed(answer.body) == (
        b"POST / HTTP/1.1\r\nHost: whoami.example\r\nUser-Agent: test\r\nTransfer-Encoding: chunked\r\n"
        b"Trailer: A,X-Sum\r\n\r\n8\r\nhelloabc\r\n0\r\nX-Sum: 8\r\n\r\n"
    )


@pytest.mark.parametrize(
    ("body", "shown"),
    [
        (b"xyz\r\n", b"invalid byte in chunk length\n"),
        (b"2\r\nabc\r\n", b"2\r\nab\r\nmalformed chunked encoding\n"),
        (b"1 ;x\r\na\r\n", b"invalid byte in chunk length\n"),
        (b"abcxyzabcxyzabcxyz\r\n", b"invalid byte in chunk length\n"),
        (b"\r\n", b"empty hex number for chunk length\n"),
        (b"12345678901234567\r\n", b"http chunk length too large\n"),
        (b"1\na\r\n", b"chunked line ends with bare LF\n"),
        (b"\n", b"chunked line ends with bare LF\n"),
        (b"0\r\n x: 1\r\n\r\n", b'malformed MIME header initial line: " x: 1"\n'),
        (b"0\r\nx\r\n\r\n", b'malformed MIME header: missing colon: "x"\n'),
        (b"0\r\nx: \x01\r\n\r\n", b'malformed MIME header line: "x: \\x01"\n'),
        (b"1;" + b"x" * 5000, b"header line too long\n"),
        (b"1;%s\r\na\r\n" % (b"x" * 3000) * 6, b"chunked encoding contains too much non-data\n"),
    ],
)
def test_malformed_chunks_end_the_echo_with_the_reason(whoami: Server, body: bytes, shown: bytes) -> None:
    """In the original's words, and the connection closes; also if no endpoint reads the body."""
    for target, answered in (("/", shown), ("/bench", b"1")):
        raw = request(target, "Transfer-Encoding: chunked", method="POST") + body + request("/bench")
        with whoami.connect() as client:
            client.send(raw)
            answer = client.read()
            assert answer is not None
            assert answer.status == 200
            assert answer.body.endswith(answered)
            assert client.closes()


@pytest.mark.parametrize("ending", [b"0\r\n\n", b"0\r\nx: 1\n\n", b"0\r\nx: 1\n\r\n"])
def test_bare_line_feeds_may_end_trailers(whoami: Server, ending: bytes) -> None:
    """As in the original, if an empty line with a carriage return follows eventually."""
    raw = request("/bench", "Transfer-Encoding: chunked", method="POST") + ending
    with whoami.connect() as client:
        client.send(raw + request("/bench"))
        first, second = client.read(), client.read()
        assert first is not None
        assert second is not None
        assert (first.body, second.body) == (b"1", b"1")


def test_chunks_that_arrive_byte_by_byte(whoami: Server) -> None:
    """Segmentation has no effect."""
    raw = request("/", "Transfer-Encoding: chunked", method="POST") + b"5\r\nhello\r\n1\r\n!\r\n0\r\n\r\n"
    with whoami.connect() as client:
        for byte in raw:
            client.send(bytes((byte,)))
        client.send(request("/bench"))
        answer, after = client.read(), client.read()
        assert answer is not None
        assert answer.body.endswith(b"6\r\nhello!\r\n0\r\n\r\n")
        assert after is not None
        assert after.body == b"1"


def test_large_bodies_come_back_whole(whoami: Server) -> None:
    """A body of known length is echoed as it is, a chunked one in chunks of 32 KiB."""
    body = bytes(range(256)) * 4000
    assert whoami.get("/", method="PUT", body=body).body.endswith(b"\r\n\r\n" + body)
    raw = request("/", "Transfer-Encoding: chunked", method="POST")
    answer = whoami.ask(raw + b"11170\r\n" + b"x" * 70_000 + b"\r\n0\r\n\r\n")
    pieces = [b"8000\r\n" + b"x" * 32768, b"8000\r\n" + b"x" * 32768, b"1170\r\n" + b"x" * 4464, b"0\r\n\r\n"]
    assert answer.body.endswith(b"\r\n\r\n" + b"\r\n".join(pieces))


def test_api_escapes_as_go(whoami: Server) -> None:
    """HTML characters, line separators and bytes that are not UTF-8."""
    raw = b"GET /api HTTP/1.1\r\nHost: a\r\nUser-Agent: b\r\nX: <\xe2\x80\xa8\xff\xe2\x82>\t\x7e\r\n\r\n"
    assert '"X":["\\u003c\\u2028\ufffd\ufffd\ufffd\\u003e\\t~"]'.encode() in whoami.ask(raw).body


def test_half_closed_clients_get_their_answers(whoami: Server) -> None:
    """Also for delayed and pipelined requests; truncated ones are reported.

    The connection closes without saying so, unless a chunk may be missing.
    """
    answer = whoami.ask(request("/?wait=50ms"), half_close=True)
    assert (answer.status, answer.header("Connection")) == (200, None)
    cut = whoami.ask(request("/", "Content-Length: 10", method="POST") + b"half", half_close=True)
    assert (cut.status, cut.body[-22:]) == (200, b"\r\n\r\nhalfunexpected EOF\n"[-22:])
    assert cut.header("Connection") is None
    cut = whoami.ask(request("/", "Transfer-Encoding: chunked", method="POST") + b"4\r\nha", half_close=True)
    assert cut.header("Connection") == "close"


def test_fifty_pipelined_requests_come_in_order(whoami: Server) -> None:
    """Including delayed ones and those with a body."""
    with whoami.connect() as client:
        for number in range(50):
            kinds = [
                request(f"/{number}"),
                request(f"/{number}?wait=1ms"),
                request(f"/{number}", method="PUT", body=b"b"),
            ]
            client.send(kinds[number % 3])
        for number in range(50):
            answer = client.read()
            assert answer is not None
            assert echoed(answer.body).split(b" ")[1].split(b"?")[0] == b"/%d" % number
