"""``make bench``: its figures, and its messages if something is missing."""

import subprocess
import sys
from pathlib import Path
from urllib.request import urlopen
from xml.etree import ElementTree

import pytest

from scripts.bench.chart import render_chart
from scripts.bench.idle import measure_idle
from scripts.bench.load import Load, LoadError, full_load, parse_h2load, parse_report
from scripts.bench.peers import APPLICATION, GRANIAN, WHOAMI, NotStarted, Peer, build_peers, running
from scripts.bench.report import Sample, render_markdown, render_table, summarise
from scripts.bench.works import WORKS
from tests.server import PATIENCE

ROOT = Path(__file__).parents[2]
WORK = "GET /"


def sample(rate: int, p99: float = 0.002) -> Sample:
    """A round of two seconds."""
    return Sample(Load(2 * rate, 2.0, 300 * rate, 0.001, p99), 1.0, 30_000_000)


def test_ratios_are_of_the_same_round() -> None:
    """A slow round of the machine affects both servers, so their ratio stands."""
    bare, ours = (WORK, APPLICATION), (WORK, "ours")
    full = {bare: [sample(100), sample(10), sample(100)], ours: [sample(200), sample(20), sample(150)]}
    half = {bare: [sample(50, 0.004)], ours: [sample(49, 0.003)]}
    first, second = summarise(full, half)
    assert (first.rate, first.ratios, first.half_p99) == (100, {APPLICATION: 1}, 0.004)
    assert (second.rate, second.ratios, second.half_p99) == (150, {APPLICATION: 2}, 0.003)
    assert second.cpu == pytest.approx(1 / 300)


def test_ratios_are_of_the_same_work() -> None:
    """Servers that answer something else, or do not do the work, are not compared."""
    full = {(WORK, APPLICATION): [sample(10)], (WORK, "ours"): [sample(30)], ("POST /", "ours"): [sample(20)]}
    assert [row.ratios for row in summarise(full, {})] == [{APPLICATION: 1}, {APPLICATION: 3}, {}]


def test_the_table_has_a_line_for_each_row() -> None:
    """With a dash where there is no figure: here, the latency at half load."""
    full = {(WORK, APPLICATION): [sample(1000)], (WORK, "ours"): [sample(54321)]}
    titles, bare, ours = [line for line in render_table(summarise(full, {})).splitlines() if line.strip()]
    assert "x aiohttp" in titles
    assert "x Granian" not in titles
    assert bare.startswith(f"{WORK}  {APPLICATION}")
    assert ours.split()[2:8] == ["ours", "54,321", "9.2", "1.00", "2.00", "–"]
    assert render_markdown(summarise(full, {})).splitlines()[-1] == (
        "| GET / | ours | 54,321 | 9.2 | 2.00 | 30 | 54.32 |"
    )


def test_the_chart_has_a_bar_for_each_row() -> None:
    """Well-formed, whatever a URL contains; the fastest of a work has the longest bar."""
    full = {(WORK, APPLICATION): [sample(1000)], (WORK, "http://a/?b&c<d"): [sample(4000)]}
    full |= {("POST /", APPLICATION): [sample(10)]}
    picture = ElementTree.fromstring(render_chart(summarise(full, {}), "today & here"))
    texts = [text.text for text in picture.iter("{http://www.w3.org/2000/svg}text")]
    bars = [float(bar.attrib["width"]) for bar in picture.iter("{http://www.w3.org/2000/svg}rect")][1:]
    assert {"http://a/?b&c<d", "today & here", WORK, "POST /"} <= set(texts)
    assert bars == [bars[1] / 4, bars[1], bars[1]]


def test_failed_requests_are_no_figures() -> None:
    """A server that quickly answers with errors must not win."""
    report = 'Running\n{"requests": 9, "seconds": 2, "bytes": 90, "p50": 0.1, "p99": 0.2, "errors": %d}\n'
    assert parse_report("http://a", report % 0) == Load(9, 2, 90, 0.1, 0.2)
    with pytest.raises(LoadError, match=r"http://a: 3 of 9 requests failed"):
        parse_report("http://a", report % 3)


def test_what_h2load_tells_is_read() -> None:
    """Its rate, and from its log the latencies; failed answers are errors."""
    report = (
        "finished in 1.01s, 200.00 req/s, 3.77MB/s\n"
        "requests: 100 total, 110 started, 100 done, %d succeeded, 0 failed, 0 errored, 0 timeout\n"
        "traffic: 3.77MB (3956016) total, 24.12KB (24702) headers (space savings 95.90%%), 50B (52038) data\n"
    )
    log = [f"1795571005693448\t200\t{microseconds}" for microseconds in range(100, 0, -1)]
    load = parse_h2load("http://a", report % 100, log)
    assert load == Load(100, 0.5, 3956016, 51e-6, 100e-6)
    with pytest.raises(LoadError, match=r"http://a: 100 done, 98 succeeded"):
        parse_h2load("http://a", report % 98, log)
    with pytest.raises(LoadError, match=r"http://a: no request was answered"):
        parse_h2load("http://a", "", [])


@pytest.mark.parametrize("name", [WHOAMI, APPLICATION, GRANIAN])
def test_messages_come_back(name: str) -> None:
    """One on each connection, if there is no time for more."""
    with running(build_peers(None)[name]) as server:
        load = full_load(f"{server.address}/echo", 0, "messages")
    assert (load.requests, load.bytes) == (32, 32 * 66)


def test_what_is_no_websocket_is_no_peer() -> None:
    """An ordinary answer to the handshake is an error."""
    with running(build_peers(None)[WHOAMI]) as server, pytest.raises(LoadError, match="no WebSocket there"):
        full_load(f"{server.address}/bench", 0, "messages")


def test_a_peer_is_measured_with_its_memory_and_its_work() -> None:
    """The bare application, as a process."""
    with running(build_peers(None)[APPLICATION]) as server:
        before = server.cpu_seconds()
        while server.cpu_seconds() == before:
            with urlopen(f"{server.address}/bench", timeout=PATIENCE) as answer:
                assert answer.read() == b"1"
        assert 5 << 20 < server.memory() < 200 << 20


def test_idle_connections_are_counted_in_memory() -> None:
    """With Granian, so that its memory per connection is a figure."""
    idle = measure_idle(GRANIAN, build_peers(None)[GRANIAN], 1100)  # from two source addresses
    assert idle.first_answer > 0
    assert 5 << 20 < idle.memory < idle.memory_with < 500 << 20


def test_a_peer_that_is_not_there_is_named() -> None:
    """A program that is not installed, and one that refuses its command line."""
    nobody, refusing = Peer(("no-such-program",)), Peer((sys.executable, "-m", "whoami", "--no-such-flag"))
    with pytest.raises(NotStarted, match="no-such-program is not installed"), running(nobody):
        pass
    with pytest.raises(NotStarted, match="unknown flag --no-such-flag"), running(refusing):
        pass


def test_every_work_has_someone_to_do_it() -> None:
    """And the original is included if its path is given."""
    peers = build_peers("/opt/whoami")
    assert {name for work in WORKS for name in work.names} == set(peers)
    assert set(peers) - set(build_peers(None)) == {"original"}
    assert all(peers[name].tls for work in WORKS if work.tls for name in work.names)


def test_without_its_tools_it_says_how_to_get_them(tmp_path: Path) -> None:
    """One line, and exit status 1."""
    command = [sys.executable, "-m", "scripts.bench"]
    run = subprocess.run(command, env={"PATH": str(tmp_path)}, cwd=ROOT, capture_output=True, text=True)
    assert (run.returncode, run.stdout) == (1, "")
    assert run.stderr == "wrk and h2load are needed (on Debian and Ubuntu: apt install wrk nghttp2-client)\n"
