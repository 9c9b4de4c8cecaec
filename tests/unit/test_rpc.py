"""Calls without a transport: heads, timeouts, texts and frames."""

import gzip
import tracemalloc
import zlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from podkit.grpc.call import Call, RpcError, Status, check_request, encode_text, parse_timeout
from podkit.grpc.frames import Frames, frame, read_only_message
from podkit.http1.head import parse_head
from podkit.message import Head, Response

LIMIT = 4 << 20  # bytes


def compressed(message: bytes) -> bytes:
    """A gzip message as it travels."""
    data = gzip.compress(message)
    return b"\x01" + len(data).to_bytes(4, "big") + data


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        (b"2H", 7200),
        (b"3M", 180),
        (b"1S", 1),
        (b"100m", 0.1),
        (b"250000u", 0.25),
        (b"99999999n", 0.099999999),
        (b"0m", 0),
        (b"00000001S", 1),
    ],
)
def test_timeouts_have_six_units(text: bytes, seconds: float) -> None:
    """At most eight digits and a unit."""
    assert parse_timeout(text) == pytest.approx(seconds)


@pytest.mark.parametrize(
    "text", [b"", b"1", b"S", b"-1S", b"1.5S", b"123456789n", b"1s", b"1 S", b"1S\n", b"\xb9S"]
)
def test_malformed_timeouts_are_refused(text: bytes) -> None:
    """Anything else is an error that shows the value."""
    with pytest.raises(ValueError, match="8 digits"):
        parse_timeout(text)


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("", b""),
        ("no such method /a.B/C", b"no such method /a.B/C"),
        ("100%", b"100%25"),
        ("naïve\n", b"na%C3%AFve%0A"),
        ("~!\"#$&'()*+,-./:;<=>?@[\\]^_`{|}", b"~!\"#$&'()*+,-./:;<=>?@[\\]^_`{|}"),
        ("\udcff", b"?"),
        (10000 * "\U0001f600", 500 * b"%F0%9F%98%80"),
    ],
)
def test_texts_are_percent_encoded(text: str, value: bytes) -> None:
    """A header's value is printable ASCII, and a client can decode it."""
    assert encode_text(text) == value


def head(method: str = "POST", kind: str = "application/grpc", *fields: str) -> Head:
    """The head of a Bench call over HTTP/2."""
    lines = [f"{method} /whoami.Whoami/Bench HTTP/1.1", "Host: whoami", f"Content-Type: {kind}", *fields]
    return parse_head("\r\n".join(lines).encode())._replace(version=(2, 0))


@pytest.mark.parametrize(
    ("head", "call"),
    [
        pytest.param(head(), Call(None, b"identity"), id="plain"),
        pytest.param(head(kind="application/grpc+proto"), Call(None, b"identity"), id="proto"),
        pytest.param(head(kind="application/grpc+json"), Call(None, b"identity"), id="any-suffix"),
        pytest.param(head(kind="application/grpc; x=y"), Call(None, b"identity"), id="parameter"),
        pytest.param(
            head("POST", "application/grpc", "grpc-timeout: 1S", "grpc-encoding: gzip"),
            Call(1.0, b"gzip"),
            id="all",
        ),
    ],
)
def test_heads_are_read(head: Head, call: Call) -> None:
    """A call's deadline and encoding are in its head; `te` is not required."""
    assert check_request(head) == call


@pytest.mark.parametrize(
    ("head", "status", "text"),
    [
        pytest.param(head(method="GET"), 405, b'invalid gRPC request method "GET"', id="GET"),
        pytest.param(
            head(kind="application/grpc-web"),
            415,
            b'invalid gRPC request content-type "application/grpc-web"',
            id="web",
        ),
        pytest.param(
            head(kind='a/b; c="d"'), 415, b'invalid gRPC request content-type "a/b; c=\\"d\\""', id="another"
        ),
        pytest.param(head()._replace(version=(1, 1)), 505, b"gRPC requires HTTP/2", id="HTTP/1.1"),
        pytest.param(
            head("POST", "application/grpc", "grpc-timeout: soon"),
            400,
            b"malformed grpc-timeout: ",
            id="timeout",
        ),
    ],
)
def test_what_is_no_call_gets_an_http_answer(head: Head, status: int, text: bytes) -> None:
    """In the original's words, before any message is read."""
    answer = check_request(head)
    assert isinstance(answer, Response)
    assert isinstance(answer.body, bytes)
    assert (answer.status, answer.body[: len(text)]) == (status, text)


@given(st.lists(st.binary(max_size=60), max_size=6), st.integers(1, 40))
def test_frames_come_in_any_pieces(messages: list[bytes], size: int) -> None:
    """However the bytes are split, the messages are the same, and nothing is left."""
    frames, found = Frames(b"gzip"), []
    data = b"".join(
        compressed(message) if index % 2 else frame(message) for index, message in enumerate(messages)
    )
    for start in range(0, len(data), size):
        frames.feed(data[start : start + size])
        while frames.has_next():
            found.append(frames.pop())
    assert (found, len(frames)) == (messages, 0)


def test_a_message_that_is_cut_off_is_noticed() -> None:
    """An incomplete message is not returned, and known to be unfinished."""
    frames = Frames()
    frames.feed(frame(b"whole") + frame(b"half")[:-1])
    assert frames.has_next()
    assert frames.pop() == b"whole"
    assert not frames.has_next()
    assert len(frames) == len(frame(b"half")) - 1


BOMB = compressed(bytes(LIMIT + 1))


@pytest.mark.parametrize(
    ("encoding", "data", "status"),
    [
        pytest.param(b"identity", compressed(b"x"), Status.INTERNAL, id="compressed-without-encoding"),
        pytest.param(b"deflate", compressed(b"x"), Status.UNIMPLEMENTED, id="unknown-encoding"),
        pytest.param(b"gzip", b"\x02\0\0\0\0", Status.INTERNAL, id="flag-2"),
        pytest.param(b"gzip", b"\x01\0\0\0\x03abc", Status.INTERNAL, id="no-gzip"),
        pytest.param(b"gzip", b"\x01\0\0\0\0", Status.INTERNAL, id="empty-gzip"),
        pytest.param(b"gzip", b"\x01\0\0\0\x0a" + gzip.compress(b"x")[:10], Status.INTERNAL, id="cut-gzip"),
        pytest.param(
            b"gzip", b"\x01\0\0\0\x16" + gzip.compress(b"x") + b"y", Status.INTERNAL, id="more-than-gzip"
        ),
        pytest.param(b"gzip", b"\x01\0\0\0\x09" + zlib.compress(b"x"), Status.INTERNAL, id="zlib-is-no-gzip"),
        pytest.param(b"gzip", BOMB, Status.RESOURCE_EXHAUSTED, id="bomb"),
        pytest.param(b"identity", b"\0\x00\x40\0\x01", Status.RESOURCE_EXHAUSTED, id="announced-too-large"),
        pytest.param(b"identity", b"\0\xff\xff\xff\xff", Status.RESOURCE_EXHAUSTED, id="announced-4-GiB"),
    ],
)
def test_bad_messages_end_the_call(encoding: bytes, data: bytes, status: Status) -> None:
    """Each with gRPC's status, and an oversized message before it is read."""
    frames = Frames(encoding)
    frames.feed(data)
    with pytest.raises(RpcError) as caught:
        frames.has_next() and frames.pop()
    assert caught.value.status is status
    assert caught.value.text


def test_messages_may_be_as_large_as_the_limit() -> None:
    """4 MiB, uncompressed or compressed."""
    message = bytes(LIMIT)
    assert read_only_message(frame(message), b"identity", LIMIT) == message
    assert read_only_message(compressed(message), b"gzip", LIMIT) == message


def test_an_unknown_encoding_harms_only_compressed_messages() -> None:
    """An uncompressed message needs no encoding."""
    assert read_only_message(frame(b"x"), b"snappy", LIMIT) == b"x"


@pytest.mark.parametrize(
    ("body", "status"),
    [
        pytest.param(b"", Status.UNKNOWN, id="none"),
        pytest.param(b"\0\0\0\0", Status.INTERNAL, id="cut-prefix"),
        pytest.param(frame(b"x")[:-1], Status.INTERNAL, id="cut-message"),
        pytest.param(frame(b"x") * 2, Status.UNIMPLEMENTED, id="two"),
        pytest.param(bytes(16 << 20), Status.UNIMPLEMENTED, id="three-million"),
        pytest.param(BOMB * 64, Status.UNIMPLEMENTED, id="64-bombs"),
        pytest.param(frame(b"x") + b"\7", Status.UNIMPLEMENTED, id="garbage-behind"),
    ],
)
def test_what_is_not_one_message_is_refused_unread(body: bytes, status: Status) -> None:
    """Immediately, whatever its decompressed size."""
    tracemalloc.start()
    try:
        with pytest.raises(RpcError) as caught:
            read_only_message(body, b"gzip", LIMIT)
        assert tracemalloc.get_traced_memory()[1] < len(body) + LIMIT // 4
    finally:
        tracemalloc.stop()
    assert caught.value.status is status
