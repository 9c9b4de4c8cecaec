"""Requests beyond the recorded ones, answered by the same rules of Go's libraries."""

import json

import pytest

from podkit.pod.netlink import read_addresses
from tests.server import Server, request, started


def echoed(body: bytes) -> bytes:
    """What stands behind the line with the client's address."""
    return body.partition(b"RemoteAddr: ")[2].partition(b"\n")[2]


@pytest.mark.parametrize("method", ["FOO", "get", "BREW", "M-SEARCH", "X!"])
def test_any_token_is_a_method(whoami: Server, method: str) -> None:
    """As in the original, and shown as it came."""
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
        ("mailto:someone", "someone"),
        ("/trailing/", "/trailing/"),
        ("/" + "a" * 100_000, "/" + "a" * 100_000),
    ],
)
def test_targets_are_written_as_go_writes_them(whoami: Server, target: str, shown: str) -> None:
    """Escaped anew only where they had to be."""
    answer = whoami.get(target)
    assert (answer.status, echoed(answer.body).split(b" ")[1]) == (200, shown.encode())


@pytest.mark.parametrize(
    ("target", "location"),
    [
        ("//", "/"),
        ("http://h.example", "/"),
        ("/a//b", "/a/b"),
        ("/a/./b/", "/a/b/"),
        ("/..", "/"),
        ("/a/b/../../c?x=1", "/c?x=1"),
        ("//a%20b", "/a%20b"),
        ("//a?é", "/a?%c3%a9"),
    ],
)
def test_paths_that_are_not_clean_redirect(whoami: Server, target: str, location: str) -> None:
    """307, with a body for GET alone."""
    answer = whoami.get(target)
    assert (answer.status, answer.header("Location")) == (307, location)
    assert answer.body == f'<a href="{location}">Temporary Redirect</a>.\n\n'.encode()
    posted = whoami.get(target, method="POST", body=b"x")
    assert (posted.status, posted.header("Content-Type"), posted.body) == (307, None, b"")


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
        (["x-ORIGINAL-uri: \t/a\t "], ["X-Original-Uri: /a"]),
        (["Content-Length: 0", "Content-Length: 0"], []),
        (["3d: x", "a.b_c~: y"], ["3d: x", "A.b_c~: y"]),
    ],
)
def test_headers_are_read_as_go_reads_them(whoami: Server, headers: list[str], shown: list[str]) -> None:
    """Canonical, sorted, folded lines joined."""
    lines = echoed(whoami.get("/", *headers).body).decode().split("\r\n")
    assert lines[3:-2] == shown


def test_bare_line_feeds_end_lines(whoami: Server) -> None:
    """As for the original, a line needs no carriage return."""
    answer = whoami.ask(b"GET /lf HTTP/1.1\nHost: a\nUser-Agent: b\n\n")
    assert echoed(answer.body) == b"GET /lf HTTP/1.1\r\nHost: a\r\nUser-Agent: b\r\n\r\n"


def test_a_thousand_header_lines_and_a_megabyte(whoami: Server) -> None:
    """All of them come back, in order."""
    many = [f"X-H{number:04}: {number}" for number in range(1000)]
    body = whoami.get("/", *many).body
    assert all(line.encode() in body for line in many)
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
        (b"GET * HTTP/1.1\r\nHost: a\r\n\r\n", 400),
        (b"GET / HTTP/1.1\r\nHost: a\r\nContent-Length: +5\r\n\r\nhello", 400),
        (b"GET / HTTP/1.1\r\nHost: a\r\nContent-Length: -1\r\n\r\n", 400),
        (b"GET / HTTP/1.1\r\nHost: a\r\nContent-Length: \r\n\r\n", 400),
        (b"GET / HTTP/1.1\r\nHost: a\r\nContent-Length: 9223372036854775808\r\n\r\n", 400),
        (b"GET / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked, chunked\r\n\r\n", 501),
        (b"GET / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n", 501),
        (b"GET / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\nTrailer: Content-Length\r\n\r\n", 400),
        (b"GET / HTTP/2.0\r\nHost: a\r\n\r\n", 505),
        (b"GET / HTTP/0.9\r\nHost: a\r\n\r\n", 505),
        (b"GET / HTTP/1.10\r\nHost: a\r\n\r\n", 400),
        (b"GET /\r\n\r\n", 400),
        (b"\r\nGET / HTTP/1.1\r\nHost: a\r\n\r\n", 400),
        (b"GET /bench HTTP/1.1\r\nHost: a\r\nExpect: a-miracle\r\n\r\n", 417),
        (b"POST / HTTP/1.1\r\nHost: a\r\nExpect: a-miracle\r\nContent-Length: 1\r\n\r\nx", 417),
    ],
)
def test_malformed_requests_are_refused_and_end_the_connection(whoami: Server, raw: bytes, status: int) -> None:
    """With the original's status, even behind a good request on the same connection."""
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
    """Extensions go, announced trailers come behind the last chunk."""
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
        (b"\r\n", b"empty hex number for chunk length\n"),
        (b"12345678901234567\r\n", b"http chunk length too large\n"),
        (b"1\na\r\n", b"chunked line ends with bare LF\n"),
        (b"1;" + b"x" * 5000, b"header line too long\n"),
        (b"1;%s\r\na\r\n" % (b"x" * 3000) * 6, b"chunked encoding contains too much non-data\n"),
    ],
)
def test_malformed_chunks_end_the_echo_with_the_reason(whoami: Server, body: bytes, shown: bytes) -> None:
    """In the original's words, and the connection ends; so it does where nobody reads the body."""
    for target, answered in (("/", shown), ("/bench", b"1")):
        raw = request(target, "Transfer-Encoding: chunked", method="POST") + body + request("/bench")
        with whoami.connect() as client:
            client.send(raw)
            answer = client.read()
            assert answer is not None
            assert answer.status == 200
            assert answer.body.endswith(answered)
            assert client.closes()


def test_chunks_that_arrive_byte_by_byte(whoami: Server) -> None:
    """The way a body is cut up on its way does not show."""
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
    """A body of known length as it is, a chunked one in chunks of 32 KiB."""
    body = bytes(range(256)) * 4000
    assert whoami.get("/", method="PUT", body=body).body.endswith(b"\r\n\r\n" + body)
    raw = request("/", "Transfer-Encoding: chunked", method="POST")
    answer = whoami.ask(raw + b"11170\r\n" + b"x" * 70_000 + b"\r\n0\r\n\r\n")
    pieces = [b"8000\r\n" + b"x" * 32768, b"8000\r\n" + b"x" * 32768, b"1170\r\n" + b"x" * 4464, b"0\r\n\r\n"]
    assert answer.body.endswith(b"\r\n\r\n" + b"\r\n".join(pieces))


@pytest.mark.parametrize(
    ("query", "shown"),
    [
        ("env=t", True),
        ("env=TRUE", True),
        ("env=tRUE", False),
        ("env=+1", False),
        ("env", False),
        ("%65nv=1", True),
        ("env=%31", True),
        ("env=1;x", False),
        ("x=%zz&env=1", True),
        ("env=%zz&env=1", True),
        ("env=0&env=1", False),
        ("&&env=1&", True),
    ],
)
def test_queries_are_read_as_go_reads_them(query: str, shown: bool) -> None:
    """Pairs with a semicolon or a bad escape drop out; the first value counts."""
    with started("whoami", env={"SECRET": "s3"}) as server:
        assert (b"SECRET=s3\n" in server.get(f"/?{query}").body) is shown
        assert ("environ" in json.loads(server.get(f"/api?{query}").body)) is shown


@pytest.mark.parametrize(
    ("query", "length"),
    [
        ("size=513", 513),
        ("size=33281", 33281),
        ("size=0007", 7),
        ("size=1_000", 0),
        ("size=0x10", 0),
        ("size= 7", 0),
        ("size=9223372036854775807&unit=KB", 0),
        ("size=3&unit=mB", 3 << 20),
        ("size=5&unit=%20KB", 5),
    ],
)
def test_sizes_are_read_as_go_reads_them(whoami: Server, query: str, length: int) -> None:
    """Decimal, 64 bits that wrap around, and the bars at both ends."""
    body = whoami.get(f"/data?{query.replace(' ', '+')}").body
    assert len(body) == length
    assert not body or (body[:1], body[-1:]) == (b"|", b"|")


@pytest.mark.parametrize("wait", ["1h-1m", "1", "s", "1e3s", "-1h", "0", "", "5µs", "5%C2%B5s", ".5ms", "1.ms"])
def test_durations_that_are_none_or_short_do_not_hold_up(whoami: Server, wait: str) -> None:
    """What Go can't parse is passed over."""
    assert whoami.get(f"/?wait={wait}").status == 200


@pytest.mark.parametrize(
    ("headers", "status", "body"),
    [
        (["Range: bytes=0-0"], 206, b"|"),
        (["Range: bytes=-1000"], 206, b"|ABCDEFGHIJKLMNOPQRSTUVWXYZ-|"),
        (["Range: bytes=5-2"], 416, b"invalid range\n"),
        (["Range: bytes=0-0,2-2,x"], 416, b"invalid range\n"),
        (["Range: bytes=0-20,0-20"], 200, b"|ABCDEFGHIJKLMNOPQRSTUVWXYZ-|"),
        (["Range: bytes="], 200, b"|ABCDEFGHIJKLMNOPQRSTUVWXYZ-|"),
        (
            ["Range: bytes=0-1", "If-Range: Mon, 02 Jan 2006 15:04:05 GMT"],
            200,
            b"|ABCDEFGHIJKLMNOPQRSTUVWXYZ-|",
        ),
        (["Range: bytes=0-1", 'If-Range: "tag"'], 200, b"|ABCDEFGHIJKLMNOPQRSTUVWXYZ-|"),
        (["If-Modified-Since: Fri, 01 Jan 2100 00:00:00 GMT"], 304, b""),
        (["If-Modified-Since: Mon, 02 Jan 2006 15:04:05 GMT"], 200, b"|ABCDEFGHIJKLMNOPQRSTUVWXYZ-|"),
        (["If-Unmodified-Since: Mon, 02 Jan 2006 15:04:05 GMT"], 412, b""),
        (["If-Match: *"], 200, b"|ABCDEFGHIJKLMNOPQRSTUVWXYZ-|"),
        (['If-Match: "tag"'], 412, b""),
        (["If-None-Match: *"], 304, b""),
        (['If-None-Match: "tag"'], 200, b"|ABCDEFGHIJKLMNOPQRSTUVWXYZ-|"),
    ],
)
def test_attachments_take_conditions_and_ranges(
    whoami: Server, headers: list[str], status: int, body: bytes
) -> None:
    """As Go serves a file that was changed just now."""
    answer = whoami.get("/data?size=30&attachment=1", *headers)
    assert (answer.status, answer.body) == (status, body)
    assert answer.header("Content-Disposition") == "Attachment"


def test_several_ranges_come_as_parts(whoami: Server) -> None:
    """multipart/byteranges, with its length announced."""
    answer = whoami.get("/data?size=100&attachment=1", "Range: bytes=0-2,-2")
    kind = answer.header("Content-Type") or ""
    boundary = kind.removeprefix("multipart/byteranges; boundary=").encode()
    part = b"--%s\r\nContent-Range: bytes %s/99\r\nContent-Type: text/plain; charset=utf-8\r\n\r\n%s\r\n"
    expected = part % (boundary, b"0-2", b"|AB") + part % (boundary, b"97-98", b"P|") + b"--%s--\r\n" % boundary
    assert (answer.status, answer.body) == (206, expected)


@pytest.mark.parametrize(
    ("body", "message"),
    [
        (b"null", "json: cannot unmarshal null into Go value of type int"),
        (b"true", "json: cannot unmarshal bool into Go value of type int"),
        (b"[500]", "json: cannot unmarshal array into Go value of type int"),
        (
            b"99999999999999999999",
            "json: cannot unmarshal number 99999999999999999999 into Go value of type int",
        ),
        (b"5e2", "json: cannot unmarshal number 5e2 into Go value of type int"),
        (b"  ", "EOF"),
        (b"-", "unexpected EOF"),
        (b"[500", "unexpected EOF"),
        (b"tru3", "invalid character '3' in literal true (expecting 'e')"),
        (b"'5'", "invalid character '\\'' looking for beginning of value"),
        (b"199", "health status 199 is not from 200 to 599"),
        (b"600", "health status 600 is not from 200 to 599"),
        (b"01", "health status 0 is not from 200 to 599"),
    ],
)
def test_what_is_no_status_is_refused_and_the_old_one_stays(whoami: Server, body: bytes, message: str) -> None:
    """400 with the decoder's words."""
    answer = whoami.get("/health", method="POST", body=body)
    assert (answer.status, answer.body.decode()) == (400, message + "\n")
    assert whoami.get("/health").status == 200


@pytest.mark.parametrize(
    ("body", "status"), [(b"404 and more", 404), (b"500abc", 500), (b"599", 599), (b"200", 200)]
)
def test_the_first_value_is_the_status(body: bytes, status: int) -> None:
    """Go's decoder reads one value and leaves the rest."""
    with started("whoami") as server:
        assert server.get("/health", method="POST", body=body).status == 200
        assert server.get("/health").status == status


def test_api_escapes_as_go(whoami: Server) -> None:
    """HTML characters, line separators and bytes that are no UTF-8."""
    raw = b"GET /api HTTP/1.1\r\nHost: a\r\nUser-Agent: b\r\nX: <\xe2\x80\xa8\xff\xe2\x82>\t\x7e\r\n\r\n"
    assert b'"X":["\\u003c\\u2028\\ufffd\\ufffd\\ufffd\\u003e\\t~"]' in whoami.ask(raw).body


def test_half_closed_clients_get_their_answers(whoami: Server) -> None:
    """Also to requests that wait, and to several at once; what was cut off is said."""
    answer = whoami.ask(request("/?wait=50ms"), half_close=True)
    assert answer.status == 200
    cut = whoami.ask(request("/", "Content-Length: 10", method="POST") + b"half", half_close=True)
    assert (cut.status, cut.body[-22:]) == (200, b"\r\n\r\nhalfunexpected EOF\n"[-22:])


def test_fifty_pipelined_requests_come_in_order(whoami: Server) -> None:
    """Those that wait and those with a body among them."""
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


def test_the_addresses_are_the_kernels(whoami: Server) -> None:
    """One line an address, in the kernel's order."""
    lines = whoami.get("/").body.decode().split("\n")
    assert [line[4:] for line in lines if line.startswith("IP: ")] == read_addresses()
