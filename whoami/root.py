"""``/``: what the server knows of itself, and the request as the original writes it."""

import asyncio
from collections.abc import Awaitable
from functools import lru_cache

from podkit.go.duration import parse_duration
from podkit.go.url import is_on, parse_query
from podkit.message import PLAIN_TEXT, Headers, Request, Response
from podkit.pod.pod import Pod
from whoami.config import Config

_CHUNK = 32 * 1024  # Go copies a body in pieces of this size, and writes each as a chunk
_OWN_LINES = frozenset((b"User-Agent", b"Content-Length", b"Trailer"))
_SENDS_LENGTH = frozenset((b"POST", b"PUT", b"PATCH"))
# bytes that make Go's content sniffing call the first 512 bytes of a text binary
_BINARY = bytes((*range(0x09), 0x0B, *range(0x0E, 0x1B), *range(0x1C, 0x20)))
_SNIFFED = 512
_BINARY_TYPE = (b"Content-Type", b"application/octet-stream")


def root(config: Config, pod: Pod, request: Request) -> Response | Awaitable[Response]:
    """Answer at once, or with ``?wait=`` after that time; with the environment for ``?env=true``."""
    if not request.head.query:
        return _answer(config, pod, request, ())
    query = parse_query(request.head.query)
    environ = config.environ if is_on(query, "env") else ()
    try:
        delay = parse_duration(query.get("wait", ""))
    except ValueError:
        delay = 0.0
    if delay > 0:
        return _later(delay, config, pod, request, environ)
    return _answer(config, pod, request, environ)


async def _later(
    delay: float, config: Config, pod: Pod, request: Request, environ: tuple[bytes, ...]
) -> Response:
    await asyncio.sleep(delay)
    return _answer(config, pod, request, environ)


def _answer(config: Config, pod: Pod, request: Request, environ: tuple[bytes, ...]) -> Response:
    body = b"%sRemoteAddr: %s\n%s%s" % (
        render_pod(config, pod),
        request.remote_addr.encode(),
        _render_subjects(request) if request.peer_subjects else b"",
        render_request(request),
    )
    if environ and not request.body_error:
        body += b"".join([entry + b"\n" for entry in environ])
    start = body[:_SNIFFED]
    binary = start.translate(None, _BINARY) != start
    return Response(headers=(_BINARY_TYPE if binary else PLAIN_TEXT,), body=body)


def _render_subjects(request: Request) -> bytes:
    lines = [f"Certificate[{i}] Subject: {subject}\n" for i, subject in enumerate(request.peer_subjects)]
    return "".join(lines).encode()


def render_pod(config: Config, pod: Pod) -> bytes:
    """The lines ``Name:`` (when set), ``Hostname:`` and one ``IP:`` an address."""
    pod.refresh()
    return _render_pod(config.name, pod, pod.generation)


@lru_cache(maxsize=1)
def _render_pod(name: str, pod: Pod, generation: int) -> bytes:
    lines = [f"Name: {name}\n"] if name else []
    lines.append(f"Hostname: {pod.hostname}\n")
    lines += [f"IP: {address}\n" for address in pod.addresses]
    return "".join(lines).encode("utf-8", "surrogateescape")


def render_request(request: Request) -> bytes:
    """The request as Go's ``Request.Write`` sends it on: host and client first, the rest sorted."""
    head = request.head
    headers = head.headers
    agents = headers.get(b"User-Agent")
    agent = agents[0] if agents else b"Go-http-client/1.1"  # Go's own, unless the client sent an empty one
    lines = [b"%s %s HTTP/1.1\r\nHost: %s\r\n" % (head.method, head.request_uri, _without_zone(head.host))]
    if agents is None or agent:
        lines.append(b"User-Agent: %s\r\n" % agent)
    if head.close and b"Connection" not in headers:
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
                lines.append(b"%s: %s\r\n" % (name, value))
    lines.append(b"\r\n")
    lines.append(_render_chunks(request) if head.length < 0 else request.body)
    if request.body_error:
        lines.append(request.body_error.encode() + b"\n")
    return b"".join(lines)


def _render_chunks(request: Request) -> bytes:
    body = request.body
    pieces = [body[start : start + _CHUNK] for start in range(0, len(body), _CHUNK)]
    chunks = b"".join([b"%x\r\n%s\r\n" % (len(piece), piece) for piece in pieces])
    if request.body_error:
        return chunks
    return chunks + b"0\r\n" + _render_trailers(request.trailers, request.head.trailer_names) + b"\r\n"


def _render_trailers(trailers: Headers, announced: tuple[bytes, ...]) -> bytes:
    """All trailers, if the request announced any: Go's quirk."""
    if not announced:
        return b""
    return b"".join([b"%s: %s\r\n" % (name, value) for name, vs in sorted(trailers.items()) for value in vs])


def _without_zone(host: bytes) -> bytes:
    """Go leaves the zone out of an IPv6 host: ``[fe80::1%25eth0]`` is ``[fe80::1]``."""
    if not host.startswith(b"["):
        return host
    address, bracket, port = host.rpartition(b"]")
    return address.rpartition(b"%")[0] + bracket + port if b"%" in address else host
