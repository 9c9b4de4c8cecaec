"""Dates, JSON, names and URLs as Go's libraries parse them."""

import json
import re
from urllib.parse import quote_from_bytes

import pytest
from hypothesis import given
from hypothesis import strategies as st

from podkit.go.date import parse_date, render_date
from podkit.go.header import canonical, has_element, leads_to
from podkit.go.host import render_host
from podkit.go.json import decode_int
from podkit.go.url import clean_path, escape_path, parse_query
from whoami.api import render_json


@pytest.mark.parametrize(
    "text",
    [
        "Sun, 06 Nov 1994 08:49:37 GMT",
        "sun, 06 NOV 1994 08:49:37 GMT",
        "Mon, 06 Nov 1994 08:49:37 GMT",  # the day of the week is not checked
        "Sun,  06  Nov 1994  8:49:37  GMT",
        "Sun, 06 Nov 1994 08:49:37.999 GMT",
        "Sunday, 06-Nov-94 08:49:37 GMT",
        "Sunday, 06-Nov-94 08:49:37 UTC",
        "Sunday, 06-Nov-94 08:49:37 CET",
        "Sunday, 06-Nov-94 08:49:37 GMT+3",
        "Sunday, 06-Nov-94 08:49:37 -07",
        "Sun Nov  6 08:49:37 1994",
        "Sun Nov 06 08:49:37 1994",
    ],
)
def test_dates_are_read_in_three_forms(text: str) -> None:
    """Like net/http.ParseTime; a time zone name does not shift the time."""
    assert parse_date(text.encode()) == 784111777


@pytest.mark.parametrize(
    "text",
    [
        "",
        "1994-11-06",
        "Sun, 06 Nov 1994 08:49:37 gmt",
        "Sun, 06 Nov 1994 08:49:37 UTC",
        "Sun, 06 Nov 1994 08:49:37",
        "Sun, 06 Nov 1994 08:49:37 GMT+1",
        "Sun, 6 Nov 1994 08:49:37 GMT",
        "Sun,06 Nov 1994 08:49:37 GMT",
        "Xun, 06 Nov 1994 08:49:37 GMT",
        "Sun, 31 Feb 1994 08:49:37 GMT",
        "Sun, 06 Nov 1994 24:49:37 GMT",
        "Sun, 06 Nov 1994 08:49:60 GMT",
        "Sun, 06 Nov 1994 08:49:7 GMT",
        "Sunday, 06-Nov-94 08:49:37 XYZW",
        "Sunday, 06-Nov-94 08:49:37 GMT+30",
        "Sunday, 06 Nov 1994 08:49:37 GMT",
        "Sun Nov 6 08:49:37 94",
    ],
)
def test_any_other_text_is_no_date(text: str) -> None:
    """Go is strict about everything else."""
    with pytest.raises(ValueError, match=r"."):
        parse_date(text.encode())


@pytest.mark.parametrize(("year", "seconds"), [("68", 3119417377), ("69", -4806623)])
def test_years_of_two_digits_are_near_2000(year: str, seconds: int) -> None:
    """From 1969 to 2068."""
    assert parse_date(f"Sunday, 06-Nov-{year} 08:49:37 GMT".encode()) == seconds


@pytest.mark.parametrize(
    ("text", "number"), [(b"200", 200), (b" \t\r\n-1 x", -1), (b"0123", 0), (b"200garbage", 200), (b"-0", 0)]
)
def test_the_first_number_counts(text: bytes, number: int) -> None:
    """The rest is ignored."""
    assert decode_int(text) == number


@pytest.mark.parametrize(
    ("text", "error"),
    [
        (b"", "EOF"),
        (b"\x00", "invalid character '\\x00' looking for beginning of value"),
        (b"\x0c1", "invalid character '\\f' looking for beginning of value"),
        (b"\xff", "invalid character '\\xff' looking for beginning of value"),
        (b"\xc3\xa9", "invalid character 'é' looking for beginning of value"),
        (b"\xe2\x80\xa8", "invalid character '\\u2028' looking for beginning of value"),
        (b"\xef\xbb\xbf200", "invalid character '\\ufeff' looking for beginning of value"),
        (b"'5'", "invalid character '\\'' looking for beginning of value"),
        (b"+5", "invalid character '+' looking for beginning of value"),
        (b"-", "unexpected EOF"),
        (b"-x", "invalid character 'x' in numeric literal"),
        (b"1.", "unexpected EOF"),
        (b"1.x", "invalid character 'x' in numeric literal"),
        (b"1e+x", "invalid character 'x' in numeric literal"),
        (b"1.5.5", "json: cannot unmarshal number 1.5 into Go value of type int"),
        (b"1e400", "json: cannot unmarshal number 1e400 into Go value of type int"),
        (b"9223372036854775808", "json: cannot unmarshal number 9223372036854775808 into Go value of type int"),
        (b"tru", "unexpected EOF"),
        (b"t\x01", "invalid character '\\x01' in literal true (expecting 'r')"),
        (b"false", "json: cannot unmarshal bool into Go value of type int"),
        (b'"', "unexpected EOF"),
        (b'"\\n\xff"', "json: cannot unmarshal string into Go value of type int"),
        (b'"\t"', "invalid character '\\t' in string"),
        (b'"\\x"', "invalid escape sequence `\\x` in string"),
        (b'"\\ "', 'invalid escape sequence "\\\\ " in string'),
        (b'"\\u12"', 'invalid escape sequence `\\u12"` in string'),
        (b'"\\u12', "unexpected EOF"),
        (b"[1", "unexpected EOF"),
        (b"[1 2]", "invalid character '2' after array element"),
        (b"[1,]", "invalid character ']' looking for beginning of value"),
        (b"[[[]]]", "json: cannot unmarshal array into Go value of type int"),
        (b"{1", "invalid character '1' looking for beginning of object key string"),
        (b'{"a" 1', "invalid character '1' after object key"),
        (b'{"a":1 "', "invalid character '\"' after object key:value pair"),
        (b'{"a":[{}]}x', "json: cannot unmarshal object into Go value of type int"),
    ],
)
def test_what_is_no_number_is_refused_in_go_s_words(text: bytes, error: str) -> None:
    """whoami passes them on."""
    with pytest.raises(ValueError, match=re.escape(error) + "$"):
        decode_int(text)


@pytest.mark.parametrize(
    ("host", "shown"),
    [
        (b"a.example:80", b"a.example:80"),
        (b"[fe80::1%eth0]:80", b"[fe80::1]:80"),
        ("é.example:80".encode(), b"xn--9ca.example:80"),
        ("日本.jp".encode(), b"xn--wgv71a.jp"),
        (b"a<b", b""),
        ("é".encode() * 1000, b""),
    ],
)
def test_hosts_are_written_as_go_sends_them(host: bytes, shown: bytes) -> None:
    """In Punycode, without zones; empty if malformed or far too long."""
    assert render_host(host) == shown


def test_a_query_of_too_many_pairs_is_passed_over() -> None:
    """Over 10,000 of them."""
    assert parse_query(b"a&" * 9_999 + b"b=1") == {"a": "", "b": "1"}
    assert parse_query(b"a&" * 10_000 + b"b=1") == {}


@pytest.mark.parametrize("moment", [0, 784111777, 951782400, 1e9 + 0.9, 4102444799])
def test_dates_are_written_as_they_are_read(moment: float) -> None:
    """In HTTP's own form, to the second."""
    assert parse_date(render_date(moment)) == int(moment)
    assert render_date(784111777) == b"Sun, 06 Nov 1994 08:49:37 GMT"


PARTS = st.lists(st.text("aZ19_.!", max_size=3), min_size=1, max_size=6)


@given(parts=PARTS.filter(any))
def test_names_have_capitals_after_dashes(parts: list[str]) -> None:
    """And nowhere else."""
    name = "-".join(parts)
    assert canonical(name.encode()) == "-".join(part.capitalize() for part in parts).encode()


@given(path=st.binary(max_size=30).map(lambda rest: b"/" + rest.replace(b"%", b"")))
def test_paths_are_escaped_if_they_need_it(path: bytes) -> None:
    """Completely, with what Go's Path leaves unescaped."""
    if re.fullmatch(rb"[A-Za-z0-9\-_.~$&+,/:;=@!'()*\[\]]*", path):
        assert escape_path(path) == path
    else:
        assert escape_path(path) == quote_from_bytes(path, "$&+,/:;=@").encode()


@given(segments=st.lists(st.sampled_from([b"", b".", b"..", b"a", b".a", b"..a", b"a."]), max_size=8))
def test_a_clean_path_has_no_empty_or_dotted_segments(segments: list[bytes]) -> None:
    """It leads to the same place."""
    path = b"/" + b"/".join(segments)
    kept: list[bytes] = []
    for segment in segments:
        if segment == b"..":
            del kept[-1:]
        elif segment not in (b"", b"."):
            kept.append(segment)
    slash = b"/" if path.endswith(b"/") and kept else b""
    assert clean_path(path) == b"/" + b"/".join(kept) + slash


BYTES = [bytes((byte,)) for byte in b'a<>&"\\\n\xff\xc3\xa4\xe2\x82\xac\x80\xa8\xf0\x9f\x98\xed\xf4']


@given(pieces=st.lists(st.sampled_from(BYTES), max_size=20))
def test_json_is_escaped_like_go_s(pieces: list[bytes]) -> None:
    """Markup and line separators as numbers; each byte that is not UTF-8 as U+FFFD."""
    text = b"".join(pieces).decode("utf-8", "surrogateescape")
    rendered = render_json({"a": text})
    assert not re.search("[<>&\u2028\u2029]", rendered.decode())
    assert json.loads(rendered)["a"] == re.sub("[\udc80-\udcff]", "\ufffd", text)


def test_lists_are_searched_up_to_a_bound() -> None:
    """For all lines of a header together; far beyond what clients send."""
    lines = [b"a, " * 1000] * 9
    assert has_element([*lines[:2], b"close"], b"close")
    assert not has_element([*lines, b"close"], b"close")
    assert leads_to([*lines[:2], b"upgrade"], b"upgrade")
    assert not leads_to([*lines, b"upgrade"], b"upgrade")
