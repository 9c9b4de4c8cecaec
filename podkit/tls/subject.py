"""A certificate's subject as text, by the rules of Go's ``pkix.Name.String``.

Go parses the attributes that it knows into fields and writes them in a fixed order; all other attributes
follow, named by their numbers. So the order in the certificate is deliberately lost.
"""

from collections.abc import Iterator
from typing import Final, NamedTuple

_NAMES: Final = {  # object identifiers and their names, in output order
    "2.5.4.5": "SERIALNUMBER",
    "2.5.4.3": "CN",
    "2.5.4.11": "OU",
    "2.5.4.10": "O",
    "2.5.4.17": "POSTALCODE",
    "2.5.4.9": "STREET",
    "2.5.4.7": "L",
    "2.5.4.8": "ST",
    "2.5.4.6": "C",
}
_SINGLE: Final = frozenset(("SERIALNUMBER", "CN"))  # the last value counts, and an empty one is omitted
_ESCAPED: Final = frozenset(',+"\\<>;')
_LATIN_1: Final = "latin-1"
_ENCODINGS: Final = {  # by tag of ASN.1 string types
    0x0C: "utf-8",
    0x12: _LATIN_1,  # NumericString
    0x13: _LATIN_1,  # PrintableString
    0x14: _LATIN_1,  # TeletexString; Go decodes it as Latin-1 too
    0x16: _LATIN_1,  # IA5String
    0x1E: "utf-16-be",  # BMPString
}
_VERSION: Final = 0xA0  # a context-specific tag; omitted for version 1
_NULL: Final = 0x05
_BMP_STRING: Final = 0x1E
_LARGEST: Final = 2**31 - 1
_PADDING: Final = 0x80


class Element(NamedTuple):
    """A DER element: its first byte, its content, and all its bytes."""

    tag: int
    content: bytes
    encoding: bytes


def read_subject(certificate: bytes) -> bytes:
    """The subject of a DER-encoded certificate (RFC 5280, 4.1), DER-encoded. ValueError if it is invalid."""
    (whole,) = elements(certificate)
    signed, *_ = elements(whole.content)
    fields = list(elements(signed.content))
    if fields[:1] and fields[0].tag == _VERSION:
        del fields[0]
    _serial, _algorithm, _issuer, _validity, subject, *_ = fields
    return subject.encoding


def render_subject(name: bytes) -> str:
    """The text of a DER-encoded Name (RFC 5280, 4.1.2.4). ValueError if it is invalid."""
    known: dict[str, list[str]] = {label: [] for label in _NAMES.values()}
    others: list[str] = []
    for kind, value in _attributes(name):
        label, text = _NAMES.get(kind), _decode(value)
        if label is None:
            others.append(f"{kind}={_render_other(value, text)}")
        elif text is not None:  # a known attribute that is not a string is in none of Go's fields
            known[label].append(text)
    for label in _SINGLE:
        known[label] = [text for text in known[label][-1:] if text]
    parts = ["+".join(f"{label}={_escape(text)}" for text in texts) for label, texts in known.items() if texts]
    return ",".join(parts + others[::-1])


def _attributes(name: bytes) -> Iterator[tuple[str, Element]]:
    """Yields the type and value of each attribute, in order."""
    (sequence,) = elements(name)
    for relative in elements(sequence.content):
        for attribute in elements(relative.content):
            kind, value = list(elements(attribute.content))[:2]
            yield _render_identifier(kind.content), value


def elements(data: bytes) -> Iterator[Element]:
    """Yields the consecutive DER elements in `data`; ValueError if one is truncated."""
    position = 0
    while position < len(data):
        start = position
        tag, length, position = data[start], int.from_bytes(data[start + 1 : start + 2]), start + 2
        if length & 0x80:
            size = length & 0x7F
            length, position = int.from_bytes(data[position : position + size]), position + size
        if position + length > len(data):
            raise ValueError("an element is cut short")
        position += length
        yield Element(tag, data[position - length : position], data[start:position])


def _render_identifier(content: bytes) -> str:
    """An object identifier as Go parses it: no number is padded or larger than 31 bits."""
    numbers, number = [], 0
    for byte in content:
        if number > _LARGEST >> 7 or (number == 0 and byte == _PADDING):
            raise ValueError("a number of an object identifier is too large, or padded")
        number = number << 7 | byte & 0x7F
        if not byte & 0x80:
            numbers.append(number)
            number = 0
    if number or not numbers:
        raise ValueError("an object identifier is cut short")
    joined, *rest = numbers  # the first two numbers; the first is 0, 1 or 2
    first = min(joined // 40, 2)
    return ".".join(map(str, [first, joined - 40 * first, *rest]))


def _decode(value: Element) -> str | None:
    """Decodes a string; None for other types. What Go would refuse is shown as far as possible."""
    if value.tag not in _ENCODINGS:
        return None
    content = value.content
    if value.tag == _BMP_STRING and content.endswith(b"\0\0") and not len(content) % 2:
        content = content[:-2]
    return content.decode(_ENCODINGS[value.tag], "replace")


def _render_other(value: Element, text: str | None) -> str:
    if text is not None:
        return _escape(text)
    return r"\<nil\>" if value.tag == _NULL else "#" + value.encoding.hex()  # Go has no encoding of its nil


def _escape(text: str) -> str:
    escaped = [f"\\{letter}" if letter in _ESCAPED else letter for letter in text]
    if text[-1:] == " ":
        escaped[-1] = "\\ "
    if text[:1] in (" ", "#"):
        escaped[0] = f"\\{text[0]}"
    return "".join(escaped)
