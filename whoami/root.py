"""``/``: what the server knows about itself, and the request as the original writes it."""

from collections.abc import Iterator
from functools import partial

from podkit.go.header import LACKS_BODY, TOKEN, has_element, has_token
from podkit.go.host import render_host
from podkit.go.strconv import quote
from podkit.go.url import is_on, parse_query
from podkit.message import PLAIN_TEXT, Answer, Block, Head, Headers, Request, Response, Tls
from podkit.pod.pod import Pod
from whoami.wait import wait_first

_WHOLE = 64 * 1024  # bytes of a body up to which the answer is one block
_CHUNK = 32 * 1024  # Go copies a body in pieces of this size, and writes each as a chunk
_SHOWN = 4096  # bytes of an invalid trailer name
_OWN_LINES = frozenset((b"User-Agent", b"Content-Length", b"Trailer", b"Host"))
_SENDS_LENGTH = frozenset((b"POST", b"PUT", b"PATCH"))
# bytes for which Go's content sniffing considers the first 512 bytes binary
_BINARY = bytes((*range(0x09), 0x0B, *range(0x0E, 0x1B), *range(0x1C, 0x20)))
_SNIFFED = 512  # a body of this length is sent without waiting, so HEAD does not get the answer's length
_BINARY_TYPE = (b"Content-Type", b"application/octet-stream")


def root(pod: Pod, name: str, environ: tuple[bytes, ...], request: Request) -> Answer:
    """Answers immediately, or after ``?wait=``; with ``?env=true`` also the environment."""
    if not request.head.query:
        return _answer(pod, name, (), request)
    query = parse_query(request.head.query)
    shown = environ if is_on(query, "env") else ()
    return wait_first(query, partial(_answer, pod, name, shown, request))


def _answer(pod: Pod, name: str, environ: tuple[bytes, ...], request: Request) -> Response:
    client = request.client
    blocks: list[Block] = []
    try:
        head = render_head(request)
        if request.head.length:
            blocks += _render_body(request)
    except ValueError as problem:
        head, environ = f"{problem}\n".encode(), ()
    start = b"%sRemoteAddr: %s\n%s%s" % (
        pod.rendered(render_pod, name),
        client.remote_addr.encode(),
        _render_subjects(client.tls) if client.tls is not None else b"",
        head,
    )
    blocks.insert(0, start)
    if environ and not request.body_error:
        blocks += [entry + b"\n" for entry in environ]
    seen = start if len(start) >= _SNIFFED or len(blocks) == 1 else b"".join(blocks[:7])  # two chunks
    seen = seen[:_SNIFFED]
    binary = seen.translate(None, _BINARY) != seen
    headers = (_BINARY_TYPE if binary else PLAIN_TEXT,)
    if request.head.length >= _SNIFFED and request.head.method == b"HEAD" and request.head.version < (2, 0):
        return Response(headers=headers)
    if len(request.body) <= _WHOLE:
        return Response(headers=headers, body=start if len(blocks) == 1 else b"".join(blocks))
    return Response(headers=headers, body=blocks, length=sum(map(len, blocks)))


def _render_subjects(tls: Tls) -> bytes:
    lines = [f"Certificate[{i}] Subject: {subject}\n" for i, subject in enumerate(tls.subjects)]
    return "".join(lines).encode()


def render_pod(pod: Pod, name: str) -> bytes:
    """The lines ``Name:`` (if set), ``Hostname:`` and one ``IP:`` per address."""
    lines = [f"Name: {name}\n"] if name else []
    lines.append(f"Hostname: {pod.hostname}\n")
    lines += [f"IP: {address}\n" for address in pod.addresses]
    return "".join(lines).encode("utf-8", "surrogateescape")


def render_head(request: Request) -> bytes:
    """The request head as Go's ``Request.Write`` forwards it: host and client first, the rest sorted.

    Raises ValueError, in Go's words, for a host that is not UTF-8 or a trailer name that is not a token.
    """
    head = request.head
    headers = head.headers
    host = render_host(head.host)
    for name in head.trailer_names:
        if not TOKEN.fullmatch(name):
            shown = quote(name[:_SHOWN].decode("utf-8", "surrogateescape"))
            raise ValueError(f"net/http: invalid trailer field name {shown}")
    agents = headers.get(b"User-Agent")
    # Go's default, unless the client sent an empty one
    agent = agents[0].strip(b" \t") if agents else b"Go-http-client/1.1"
    lines = [b"%s %s HTTP/1.1\r\nHost: %s\r\n" % (head.method, head.request_uri, host)]
    if agents is None or agent:
        lines.append(b"User-Agent: %s\r\n" % agent)
    if (b"Connection" in headers or head.version != (1, 1)) and _announces_close(head):
        lines.append(b"Connection: close\r\n")
    if head.length < 0:
        lines.append(b"Transfer-Encoding: chunked\r\n")
        if head.trailer_names:
            lines.append(b"Trailer: %s\r\n" % b",".join(head.trailer_names))
    elif head.length or head.method in _SENDS_LENGTH:
        lines.append(b"Content-Length: %d\r\n" % head.length)
    for name in sorted(headers):
        if name not in _OWN_LINES:
            for value in headers[name]:
                lines.append(b"%s: %s\r\n" % (name, value.strip(b" \t")))
    lines.append(b"\r\n")
    return b"".join(lines)


def _announces_close(head: Head) -> bool:
    """Whether Go adds ``Connection: close``: the connection will close, but the client did not ask for it."""
    values = head.headers.get(b"Connection")
    is_old = head.version < (1, 1)
    if values is None:
        return is_old
    if has_token(values[0], b"close"):
        return False
    return has_element(values, b"close") or (is_old and not has_element(values, b"keep-alive"))


def _render_body(request: Request) -> Iterator[Block]:
    """The body as it is forwarded, in slices without copying."""
    body, head = memoryview(request.body), request.head
    if head.length < 0:
        # over HTTP/2, Go first looks whether there is a body where it does not expect one
        first = 1 if head.version[0] == 2 and head.method in LACKS_BODY else _CHUNK
        for start in (0, *range(first, len(body), _CHUNK)) if body else ():
            piece = body[start : start + (_CHUNK if start else first)]
            yield b"%x\r\n" % len(piece)
            yield piece
            yield b"\r\n"
        if not request.body_error:
            yield b"0\r\n" + _render_trailers(request.trailers, head.trailer_names) + b"\r\n"
    elif body:
        yield body
    if request.body_error:
        yield request.body_error.encode() + b"\n"


def _render_trailers(trailers: Headers, announced: tuple[bytes, ...]) -> bytes:
    """All trailers, if the request announced any: a quirk of Go."""
    if not announced:
        return b""
    fields = [(name, value.strip(b" \t")) for name, values in sorted(trailers.items()) for value in values]
    return b"".join([b"%s: %s\r\n" % field for field in fields])
