"""The page behind ``/.live``, from the file next to this module: 7 kB with gzip."""

import base64
import gzip
import hashlib
import re
from functools import cached_property
from pathlib import Path

from podkit.message import Fields, Request, Response


class Live:
    """The endpoint. It reads the page on the first request."""

    def __call__(self, request: Request) -> Response:
        """The page, compressed if the client accepts gzip."""
        if accepts_gzip(request.head.header(b"Accept-Encoding")):
            return Response(headers=(*self._headers, (b"Content-Encoding", b"gzip")), body=self._gzipped)
        return Response(headers=self._headers, body=self._page)

    @cached_property
    def _page(self) -> bytes:
        return Path(__file__).with_name("page.html").read_bytes()

    @cached_property
    def _gzipped(self) -> bytes:
        return gzip.compress(self._page, mtime=0)

    @cached_property
    def _headers(self) -> Fields:
        return (
            (b"Content-Type", b"text/html; charset=utf-8"),
            (b"Content-Security-Policy", _policy(self._page)),
            (b"Cache-Control", b"no-store"),
            (b"Vary", b"Accept-Encoding"),
            (b"X-Content-Type-Options", b"nosniff"),
            (b"Referrer-Policy", b"no-referrer"),
        )


def accepts_gzip(accepted: bytes) -> bool:
    """Whether Accept-Encoding contains gzip with a weight other than 0 (RFC 9110, 12.5.3)."""
    for entry in accepted.decode("latin-1").lower().split(","):
        coding, _, weight = entry.replace(" ", "").partition(";q=")
        if coding == "gzip":
            return weight.strip("0.") != "" or not weight
    return False


def _policy(page: bytes) -> bytes:
    """A Content-Security-Policy that allows only the page's own script and style, by their hashes."""
    script, style = (_hash(page, tag) for tag in (b"script", b"style"))
    return (
        b"default-src 'none'; script-src %s; style-src %s; connect-src 'self'; img-src data:; "
        b"base-uri 'none'; form-action 'none'; frame-ancestors 'none'" % (script, style)
    )


def _hash(page: bytes, tag: bytes) -> bytes:
    (text,) = re.findall(b"<%s>(.*?)</%s>" % (tag, tag), page, re.DOTALL)
    return b"'sha256-%s'" % base64.b64encode(hashlib.sha256(text).digest())
