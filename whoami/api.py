"""``/api``: what ``/`` tells, as JSON in the original's keys, order and escaping."""

import json
from functools import lru_cache
from typing import Any

from podkit.go.url import is_on, parse_query
from podkit.message import Request, Response
from podkit.pod.pod import Pod
from whoami.config import Config

_JSON = (b"Content-Type", b"application/json")
# what Go's encoder writes in its own way; lone surrogates stand for bytes that are no UTF-8
_ESCAPES = str.maketrans(
    {letter: f"\\u{ord(letter):04x}" for letter in "<>&\u2028\u2029"}
    | {chr(number): "\ufffd" for number in range(0xDC80, 0xDD00)}
)
_encode = json.JSONEncoder(ensure_ascii=False, separators=(",", ":")).encode


def api(config: Config, pod: Pod, request: Request) -> Response:
    """An object of all that is not empty; the environment with ``?env=true``."""
    pod.refresh()
    head = request.head
    environ: dict[str, str] = {}
    if head.query and is_on(parse_query(head.query), "env"):
        for entry in sorted(config.environ, key=lambda entry: entry.partition(b"=")[0]):
            name, _, value = entry.partition(b"=")
            environ[_text(name)] = _text(value)
    headers = {
        name.decode(): [value.decode("utf-8", "surrogateescape") for value in head.headers[name]]
        for name in sorted(head.headers)
    }
    document = {
        "headers": headers,
        "url": _text(head.request_uri),
        "host": _text(head.host),
        "method": _text(head.method),
        "name": config.name,
        "remoteAddr": request.remote_addr,
        "environ": environ,
    }
    known = {key: value for key, value in document.items() if value}
    return Response(headers=(_JSON,), body=_render_pod(pod, pod.generation) + render_json(known)[1:])


@lru_cache(maxsize=1)
def _render_pod(pod: Pod, generation: int) -> bytes:
    """The document's start, up to the first key that differs from request to request."""
    known = {key: value for key, value in (("hostname", pod.hostname), ("ip", pod.addresses)) if value}
    return render_json(known).removesuffix(b"}\n") + b"," if known else b"{"


def _text(data: bytes) -> str:
    return data.decode("utf-8", "surrogateescape")


def render_json(document: dict[str, Any]) -> bytes:
    """A document and a newline, as Go's ``json.Encoder`` writes them."""
    text = _encode(document)
    if not text.isascii() or "<" in text or ">" in text or "&" in text:  # to look costs less than to replace
        text = text.translate(_ESCAPES)
    return text.encode() + b"\n"
