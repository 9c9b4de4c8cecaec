"""The fast path for request lines, compared with the general path."""

from hypothesis import example, given
from hypothesis import strategies as st

from podkit.go.url import parse_target
from podkit.http1.head import parse_request_line, parse_start
from podkit.message import HttpError

targets = st.one_of(
    st.from_regex(rb"/[!-~]{0,12}", fullmatch=True),
    st.from_regex(rb"(/|//|http://a|\?|\*|[a-z:%]){1,6}", fullmatch=True),
    st.binary(max_size=12),
)


@given(
    st.sampled_from([b"GET", b"OPTIONS", b"CONNECT", b"get", b"M-SEARCH", b""]), targets, st.binary(max_size=2)
)
@example(b"GET", b"//a/../b?c=d?e#f", b"")
@example(b"CONNECT", b"/?", b"")
@example(b"GET", b"/a%2Fb?%zz", b"")
def test_a_plain_request_line_is_read_like_any_other(method: bytes, target: bytes, after: bytes) -> None:
    """The same method, target and protocol, or the same refusal, for any input."""
    line = method + b" " + target + b" HTTP/1.1" + after
    try:
        found = parse_start(line)
    except HttpError:
        found = None
    try:
        name, text, protocol = parse_request_line(line)
        expected = name, parse_target(name, text), protocol
    except (HttpError, ValueError):
        expected = None
    assert found == expected
