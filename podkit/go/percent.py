"""``%XX`` in URLs, decoded at C speed."""

import re
from binascii import a2b_qp
from typing import Final

_BAD_PERCENT: Final = re.compile(rb"%(?![0-9A-Fa-f]{2})")


def unescape(text: bytes) -> bytes:
    """Replaces each ``%XX`` by its byte; ValueError for a malformed escape."""
    if b"%" not in text:
        return text
    if _BAD_PERCENT.search(text):
        raise ValueError("invalid URL escape")
    # quoted-printable uses another sign for the same encoding, and the standard library decodes it in C
    return a2b_qp(text.replace(b"=", b"=3D").replace(b"%", b"="))
