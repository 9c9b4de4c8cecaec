"""The log: it never blocks a client."""

import asyncio
import os
import re
import socket
import threading
import time
from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from typing import TextIO

import pytest

from podkit.log import AccessLog, Log
from podkit.message import UNREADABLE, Client, Request, Response
from tests.inprocess import until
from tests.server import PATIENCE

DROPPED = re.compile(r"\.\.\. (\d+) lines dropped because nobody read them in time")


class Pipe:
    """A pipe that only `read` reads."""

    def __init__(self) -> None:
        self._out, end = os.pipe()
        os.set_blocking(self._out, False)
        self.stream: TextIO = os.fdopen(end, "w")

    def read(self) -> bytes:
        """Its content."""
        pieces = []
        try:
            while piece := os.read(self._out, 1 << 16):
                pieces.append(piece)
        except BlockingIOError:
            pass
        return b"".join(pieces)

    def lines(self) -> list[str]:
        """The same as complete lines."""
        data = self.read()
        assert data[-1:] in (b"", b"\n")
        return data.decode().splitlines()

    def close(self) -> None:
        """Both ends."""
        self.stream.close()
        os.close(self._out)


@pytest.fixture
def pipe() -> Iterator[Pipe]:
    """An empty one."""
    pipe = Pipe()
    yield pipe
    pipe.close()


@pytest.fixture(params=[True, False], ids=["opened anew", "as it is"])
def any_pipe(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch, pipe: Pipe) -> Pipe:
    """A pipe that a process may reopen by its path in /proc, or may not, if another user made it."""

    def refuse(path: str, flags: int) -> int:
        raise PermissionError(path)

    if not request.param:
        monkeypatch.setattr(os, "open", refuse)
    return pipe


async def write(log: Log, count: int) -> None:
    """Writes numbered lines, some in each turn of the loop."""
    for number in range(count):
        log.line(f"line {number:07}")
        if number % 100 == 99:
            await asyncio.sleep(0)


async def test_lines_that_nobody_reads_are_dropped_and_counted(any_pipe: Pipe) -> None:
    """The writer never waits. A late reader gets the first lines in order, then the number of missing ones."""
    log = Log(any_pipe.stream)
    await write(log, 200_000)
    read: list[str] = []

    def read_on() -> bool:
        read.extend(any_pipe.lines())
        return DROPPED.fullmatch(read[-1]) is not None

    await until(read_on)
    *lines, last = read
    assert lines == [f"line {number:07}" for number in range(len(lines))]
    found = DROPPED.fullmatch(last)
    assert found is not None
    assert len(lines) + int(found[1]) == 200_000
    assert len(lines) > 80_000  # a MiB is buffered for a slow reader
    log.line("and on")
    await until(lambda: any_pipe.lines() == ["and on"])


async def test_a_slow_reader_gets_every_line(any_pipe: Pipe) -> None:
    """In order, although the pipe is full most of the time."""
    log = Log(any_pipe.stream)
    await write(log, 20_000)
    read: list[str] = []

    def read_on() -> bool:
        read.extend(any_pipe.lines())
        return len(read) >= 20_000

    await until(read_on)
    assert read == [f"line {number:07}" for number in range(20_000)]


def test_the_pipe_stays_as_it_is_for_others(pipe: Pipe) -> None:
    """Other users of a terminal or pipe must keep their blocking mode."""
    Log(pipe.stream).line("hello")
    assert os.get_blocking(pipe.stream.fileno())
    assert pipe.lines() == ["hello"]


async def test_the_lines_of_a_turn_are_written_together(pipe: Pipe) -> None:
    """Before the loop's next turn; outside the loop immediately."""
    log = Log(pipe.stream)
    log.line("one")
    log.line("two")
    assert pipe.lines() == []
    await asyncio.sleep(0)
    assert pipe.lines() == ["one", "two"]


@pytest.mark.parametrize(
    "text", ["a" * 10_000, "é" * 10_000, "\udcff" * 10_000], ids=["ASCII", "UTF-8", "none"]
)
def test_a_line_is_bounded(pipe: Pipe, text: str) -> None:
    """A pipe takes it atomically, so that lines of several processes never mix."""
    log = Log(pipe.stream)
    log.line(text)
    log.line("next")
    long, following = pipe.read().splitlines()
    assert 4000 < len(long) < 4096
    assert long.endswith(b"...")
    assert long[:2] in (b"aa", "é".encode(), b"\\u")
    assert following == b"next"


def test_it_is_a_stream_too(pipe: Pipe) -> None:
    """Partial writes, as in a traceback, form complete lines."""
    log = Log(pipe.stream)
    print("one", 2, file=log)
    print("three\nfour\nfi", end="", file=log)
    assert pipe.lines() == ["one 2", "three", "four"]
    print("ve", file=log)
    assert pipe.lines() == ["five"]


def test_a_file_is_appended_to(tmp_path: Path) -> None:
    """However it was opened."""
    path = tmp_path / "log"
    with path.open("w") as stream:
        stream.write("before\n")
        stream.flush()
        Log(stream).line("after")
    assert path.read_text() == "before\nafter\n"


def test_a_socket_that_nobody_reads() -> None:
    """Some supervisors use one for a process's output."""
    ours, theirs = socket.socketpair()
    with ours, theirs, theirs.makefile("w") as stream:
        log = Log(stream)
        for _ in range(100_000):
            log.line("a line of some length, so that it takes the socket's buffer")
        assert ours.recv(7) == b"a line "


def test_a_reader_that_has_gone(pipe: Pipe) -> None:
    """It is ignored."""
    os.close(pipe._out)
    log = Log(pipe.stream)
    log.line("hello")
    log.finish()
    pipe._out = os.open(os.devnull, os.O_RDONLY)


def test_the_end_waits_for_a_reader_that_reads(pipe: Pipe) -> None:
    """Everything is written, as long as the reader makes progress."""
    log = Log(pipe.stream)
    for number in range(10_000):
        log.line(f"line {number:07}")
    os.set_blocking(pipe._out, True)
    read: list[str] = []

    def read_on() -> None:
        with os.fdopen(os.dup(pipe._out)) as lines:
            read.extend(islice(lines, 10_000))

    reader = threading.Thread(target=read_on)
    reader.start()
    log.finish()
    reader.join()
    assert read == [f"line {number:07}\n" for number in range(10_000)]


def test_the_end_waits_for_nobody_else(any_pipe: Pipe) -> None:
    """Only briefly."""
    log = Log(any_pipe.stream)
    for _ in range(10_000):
        log.line("a line of some length")
    start = time.monotonic()
    log.finish()
    assert 0.4 < time.monotonic() - start < PATIENCE


def logged(pipe: Pipe, uri: bytes, method: bytes = b"GET") -> str:
    """The line of the access log for a request that took 12.3456789 ms."""
    request = Request(UNREADABLE._replace(method=method, request_uri=uri), Client("1", "192.0.2.1:1", 0.0))
    AccessLog(Log(pipe.stream)).write(request, Response(404, body=b"abc"), 5.0, 5.0123456789)
    return pipe.lines()[0]


def test_a_request_is_logged_to_the_microsecond(pipe: Pipe) -> None:
    """With client, time, request line, status and length of the body."""
    line = re.sub(r"\[[^]]+\]", "[time]", logged(pipe, b'/a"\n\xff?b'))
    assert line == r'192.0.2.1:1 - - [time] "GET /a\"\n\\xff?b HTTP/1.1" 404 3 0.012346s'


@pytest.mark.parametrize("letter", [b"a", b"\x01", b"\xff", "\U0001f600".encode()], ids=repr)
def test_a_long_request_line_is_cut(pipe: Pipe, letter: bytes) -> None:
    """Inside the quotes, so that the rest of the line is complete."""
    for line in (logged(pipe, b"/" + letter * 250_000), logged(pipe, b"/", method=letter * 250_000)):
        assert len(line) < 4096
        assert line.endswith('... HTTP/1.1" 404 3 0.012346s')
