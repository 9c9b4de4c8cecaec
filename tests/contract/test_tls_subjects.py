"""Certificate subjects as the original shows them: recorded ones, and Go's rules for others."""

import json
import time
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding

from podkit.tls.subject import read_subject, render_subject

RECORDED = json.loads(Path(__file__).with_name("whoami-tls-subjects.json").read_text())
UTF8, NUMERIC, PRINTABLE, TELETEX, IA5, BMP = 0x0C, 0x12, 0x13, 0x14, 0x16, 0x1E
INTEGER, BIT_STRING, OCTET_STRING, NULL, SEQUENCE, SET = 0x02, 0x03, 0x04, 0x05, 0x30, 0x31
C, ST, L, STREET = "2.5.4.6", "2.5.4.8", "2.5.4.7", "2.5.4.9"
ORG, OU, CN, SERIAL = "2.5.4.10", "2.5.4.11", "2.5.4.3", "2.5.4.5"
POSTAL_CODE, TITLE, GIVEN_NAME, SURNAME = "2.5.4.17", "2.5.4.12", "2.5.4.42", "2.5.4.4"
DC, UID, EMAIL = "0.9.2342.19200300.100.1.25", "0.9.2342.19200300.100.1.1", "1.2.840.113549.1.9.1"

Attribute = tuple[str, int, bytes]


def der(tag: int, content: bytes) -> bytes:
    """An element."""
    length = len(content)
    size = (length.bit_length() + 7) // 8
    return bytes((tag, length) if length < 128 else (tag, 128 + size, *length.to_bytes(size))) + content


def identifier(text: str) -> bytes:
    """The content of an object identifier."""
    first, second, *rest = map(int, text.split("."))
    encoded = b""
    for number in (40 * first + second, *rest):
        groups = [number & 0x7F]
        while number := number >> 7:
            groups.append(number & 0x7F | 0x80)
        encoded += bytes(reversed(groups))
    return encoded


def name(*relatives: list[Attribute] | Attribute) -> bytes:
    """A Name of attributes, each single or, in a list, grouped with others."""
    sets = b""
    for relative in relatives:
        attributes = relative if isinstance(relative, list) else [relative]
        pairs = [der(6, identifier(kind)) + der(tag, value) for kind, tag, value in attributes]
        sets += der(SET, b"".join(der(SEQUENCE, pair) for pair in pairs))
    return der(SEQUENCE, sets)


def cn(text: str) -> bytes:
    """A Name of one CN."""
    return name((CN, UTF8, text.encode()))


@pytest.mark.parametrize("case", RECORDED, ids=lambda case: case["openssl_subject"])
def test_recorded_subjects(case: dict[str, str]) -> None:
    """Each recorded certificate gets the recorded line."""
    certificate = x509.load_pem_x509_certificate(case["pem"].encode()).public_bytes(Encoding.DER)
    assert f"Certificate[0] Subject: {render_subject(read_subject(certificate))}" == case["line"]


CASES = {
    "nothing": (name(), ""),
    "Go's order, whatever the certificate's": (
        name(
            (SERIAL, PRINTABLE, b"7"),
            (CN, UTF8, b"n"),
            (POSTAL_CODE, UTF8, b"69"),
            (STREET, UTF8, b"s"),
            (OU, UTF8, b"u"),
            (L, UTF8, b"l"),
            (ORG, UTF8, b"o"),
            (ST, UTF8, b"st"),
            (C, PRINTABLE, b"FR"),
        ),
        "SERIALNUMBER=7,CN=n,OU=u,O=o,POSTALCODE=69,STREET=s,L=l,ST=st,C=FR",
    ),
    "several values": (
        name((OU, UTF8, b"a"), (ORG, UTF8, b"x"), (OU, UTF8, b"b"), (C, UTF8, b"DE"), (C, UTF8, b"CH")),
        "OU=a+OU=b,O=x,C=DE+C=CH",
    ),
    "the last CN and serial number": (
        name((CN, UTF8, b"1"), (SERIAL, UTF8, b"8"), (CN, UTF8, b"2"), (SERIAL, UTF8, b"9")),
        "SERIALNUMBER=9,CN=2",
    ),
    "an empty CN hides the one before": (name((CN, UTF8, b"1"), (CN, UTF8, b""), (ORG, UTF8, b"x")), "O=x"),
    "an empty O stays": (name((ORG, UTF8, b""), (CN, UTF8, b"x")), "CN=x,O="),
    "unknown types come last, and backwards": (
        name((DC, IA5, b"example"), (DC, IA5, b"org"), (UID, UTF8, b"jo"), (CN, UTF8, b"x")),
        f"CN=x,{UID}=jo,{DC}=org,{DC}=example",
    ),
    "only unknown types": (name((EMAIL, IA5, b"a@b.example")), f"{EMAIL}=a@b.example"),
    "title and names": (
        name((TITLE, UTF8, b"Dr"), (GIVEN_NAME, UTF8, b"A"), (SURNAME, UTF8, b"B")),
        "2.5.4.4=B,2.5.4.42=A,2.5.4.12=Dr",
    ),
    "a part of several attributes is taken apart": (
        name([(CN, UTF8, b"x"), (UID, UTF8, b"y"), (OU, UTF8, b"z")], (OU, UTF8, b"w")),
        f"CN=x,OU=z+OU=w,{UID}=y",
    ),
    "specials": (cn('a,b+c"d\\e<f>g;h=i#j/k'), 'CN=a\\,b\\+c\\"d\\\\e\\<f\\>g\\;h=i#j/k'),
    "specials of an unknown type": (name((UID, UTF8, b" #,")), f"{UID}=\\ #\\,"),
    "a space": (cn(" "), "CN=\\ "),
    "two spaces": (cn("  "), "CN=\\ \\ "),
    "three spaces": (cn("   "), "CN=\\  \\ "),
    "a leading hash": (cn("#1#"), "CN=\\#1#"),
    "control characters as they are": (cn("a\nb\0c"), "CN=a\nb\0c"),
    "beyond ASCII": (cn("Žlutý 🐎 "), "CN=Žlutý 🐎\\ "),
    "Latin-1 in a TeletexString": (name((CN, TELETEX, b"M\xfcnchen")), "CN=München"),
    "a BMPString": (name((CN, BMP, "Łódź".encode("utf-16-be"))), "CN=Łódź"),
    "a BMPString's end mark": (name((CN, BMP, "x".encode("utf-16-be") + b"\0\0")), "CN=x"),
    "a NumericString": (name((SERIAL, NUMERIC, b"12 34")), "SERIALNUMBER=12 34"),
    "a known type that is no string is left out": (name((CN, INTEGER, b"\x05"), (ORG, UTF8, b"x")), "O=x"),
    "an unknown type that is no string": (name((TITLE, INTEGER, b"\x05")), "2.5.4.12=#020105"),
    "a unique identifier": (
        name(("2.5.4.45", BIT_STRING, b"\0\x7f"), (CN, UTF8, b"x")),
        "CN=x,2.5.4.45=#0302007f",
    ),
    "bytes": (name((TITLE, OCTET_STRING, b"\xff")), "2.5.4.12=#0401ff"),
    "a sequence": (name((TITLE, SEQUENCE, der(INTEGER, b"\x01"))), "2.5.4.12=#3003020101"),
    "null is Go's nil": (name((TITLE, NULL, b"")), "2.5.4.12=\\<nil\\>"),
    "large numbers in a type": (name(("2.999.1234567", UTF8, b"x")), "2.999.1234567=x"),
    "the largest number in a type": (name(("2.5.4.2147483647", UTF8, b"x")), "2.5.4.2147483647=x"),
    "long texts": (cn("x" * 70_000), "CN=" + "x" * 70_000),
}


@pytest.mark.parametrize(("subject", "text"), CASES.values(), ids=CASES)
def test_rules(subject: bytes, text: str) -> None:
    """The result of Go's ``pkix.Name.String`` for a Name."""
    assert render_subject(subject) == text


@pytest.mark.parametrize(
    "data", [b"", cn("x")[:-1], der(SEQUENCE, b"\x31\x05"), der(SEQUENCE, der(SET, der(SEQUENCE, b"")))]
)
def test_what_is_no_name_is_an_error(data: bytes) -> None:
    """A truncated Name has no text."""
    with pytest.raises(ValueError, match=r"."):
        render_subject(data)


def typed(kind: bytes) -> bytes:
    """A Name of one attribute, whose type has this content."""
    return der(SEQUENCE, der(SET, der(SEQUENCE, der(6, kind) + der(UTF8, b"x"))))


@pytest.mark.parametrize(
    "kind",
    [
        b"",
        b"\x55\x04\x88\x80\x80\x80\x00",
        b"\x55\x04\x80\x01",
        b"\x55\x04\x81",
        b"\x55\x04" + b"\xff" * 90_000 + b"\x7f",
    ],
    ids=["nothing", "a number of 32 bits", "a padded number", "cut short", "a number of 90 KB"],
)
def test_a_type_that_go_does_not_read_is_an_error(kind: bytes) -> None:
    """It is rejected immediately, however long it is."""
    start = time.process_time()
    with pytest.raises(ValueError, match="object identifier"):
        render_subject(typed(kind))
    assert time.process_time() - start < 0.1


def test_long_names_take_time_in_proportion() -> None:
    """For a type of many numbers, and a Name of many attributes."""
    start = time.process_time()
    assert render_subject(typed(b"\x55" + b"\x04" * 30_000)).count(".4") == 30_000
    assert render_subject(name(*[(TITLE, UTF8, b"x")] * 3000)).count("2.5.4.12=x") == 3000
    assert time.process_time() - start < 0.5
