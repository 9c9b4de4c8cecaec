"""The boundaries of TLS records (RFC 8446, 5.1)."""

from typing import Final

MOST_CONTENT: Final = 16 << 10  # bytes in a record
LONGEST: Final = 5 + MOST_CONTENT + 2048  # bytes of a record with its header, as in TLS 1.2
_HEADER: Final = 5
CHANGE_CIPHER_SPEC: Final = 20  # the first byte of such a record
_TYPES: Final = range(CHANGE_CIPHER_SPEC, 25)
_MAJOR_VERSION: Final = 3


def record_end(data: bytes, start: int) -> int:
    """The end of the record at `start`; beyond `data` if the record is incomplete.

    For an invalid record this is the end of `data`, so that OpenSSL sees and refuses it immediately.
    """
    if start + _HEADER > len(data):
        return start + _HEADER
    length = _HEADER + (data[start + 3] << 8 | data[start + 4])
    if length > LONGEST or data[start] not in _TYPES or data[start + 1] != _MAJOR_VERSION:
        return len(data)
    return start + length
