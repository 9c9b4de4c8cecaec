"""``/api``: the content of ``/`` as JSON, with the original's keys, order and escaping."""

import json
from typing import Any

from podkit.go.url import is_on, parse_query
from podkit.message import Request, Response
from podkit.pod.pod import Pod

JSON = (b"Content-Type", b"application/json")
_ESCAPES = [(letter.encode(), b"\\u%04x" % ord(letter)) for letter in "\u2028\u2029<>&"]  # as Go's encoder does
_INVALID = "\ufffd".encode()
_encode = json.JSONEncoder(ensure_ascii=False, separators=(",", ":")).encode


def api(pod: Pod, name: str, environ: tuple[bytes, ...], request: Request) -> Response:
    """All non-empty fields as a JSON object; with ``?env=true`` also the environment."""
    head = request.head
    shown: dict[str, str] = {}
    if head.query and is_on(parse_query(head.query), "env"):
        for entry in sorted(environ, key=lambda entry: entry.partition(b"=")[0]):
            variable, _, value = entry.partition(b"=")
            shown[decode(variable)] = decode(value)
    headers = {
        field.decode(): [value.decode("utf-8", "surrogateescape") for value in head.headers[field]]
        for field in sorted(head.headers)
    }
    document = {
        "headers": headers,
        "url": decode(head.request_uri),
        "host": decode(head.host),
        "method": decode(head.method),
        "name": name,
        "remoteAddr": request.remote_addr,
        "environ": shown,
    }
    known = {key: value for key, value in document.items() if value}
    body = b"".join((pod.rendered(_render_pod), memoryview(render_json(known))[1:]))
    return Response(headers=(JSON,), body=body)


def _render_pod(pod: Pod) -> bytes:
    """The start of the document, up to the first key that depends on the request."""
    known = {key: value for key, value in (("hostname", pod.hostname), ("ip", pod.addresses)) if value}
    return render_json(known).removesuffix(b"}\n") + b"," if known else b"{"


def decode(data: bytes) -> str:
    """Bytes of a request as text; those that are not UTF-8 become lone surrogates."""
    return data.decode("utf-8", "surrogateescape")


def render_json(document: dict[str, Any]) -> bytes:
    """A document and a newline, as from Go's ``json.Encoder``."""
    text = _encode(document) + "\n"
    if text.isascii():
        data = text.encode()
    else:  # a byte that is not UTF-8 is encoded as "?"; the text's own question marks are put aside as NUL
        data = text.replace("?", "\0").encode("utf-8", "replace").replace(b"?", _INVALID).replace(b"\0", b"?")
    for letter, escaped in _ESCAPES:
        data = data.replace(letter, escaped)
    return data
