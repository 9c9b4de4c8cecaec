"""What ``make bench`` makes of its figures, and what it says where something is missing."""

import subprocess
import sys
from pathlib import Path
from urllib.request import urlopen
from xml.etree import ElementTree

import pytest

from scripts.bench.chart import render_chart
from scripts.bench.load import Load, LoadError, parse_report
from scripts.bench.peers import APPLICATION, NODE, PEERS, NotStarted, running
from scripts.bench.report import Sample, render_comparisons, render_table, summarise

ROOT = Path(__file__).parents[2]


def sample(rate: int, p99: float = 0.002) -> Sample:
    """A round of two seconds."""
    return Sample(Load(2 * rate, 2.0, 300 * rate, 0.001, p99), 1.0, 30_000_000)


def test_ratios_are_of_the_same_round() -> None:
    """A machine that was slow for a round was slow for both, so their ratio stands."""
    full = {APPLICATION: [sample(100), sample(10), sample(100)], "ours": [sample(200), sample(20), sample(150)]}
    half = {APPLICATION: [sample(50, 0.004)], "ours": [sample(49, 0.003)]}
    bare, ours = summarise(full, half)
    assert (bare.rate, bare.to_application, bare.half_p99) == (100, 1, 0.004)
    assert (ours.rate, ours.to_application, ours.half_rate, ours.half_p99) == (150, 2, 49, 0.003)
    assert ours.cpu_per_1000 == pytest.approx(1000 / 300)
    assert (ours.to_low_level, ours.to_node) == (None, None)


def test_a_given_url_is_compared_with_what_asks_the_same() -> None:
    """Path and query must be alike."""
    ours = {"whoami /": "http://a:1/", "whoami /bench": "http://a:1/bench", APPLICATION: "http://b:2/"}
    full = {name: [sample(300)] for name in ours} | {"http://c:3": [sample(200)]}
    assert render_comparisons(full, ours, ["http://c:3"]) == ["whoami / is 1.50 times http://c:3"]


def test_the_table_has_a_line_for_each_subject() -> None:
    """With a dash where there is no figure: here, all about Node."""
    full = {APPLICATION: [sample(1000)], "ours": [sample(54321)]}
    titles, bare, ours = render_table(summarise(full, {})).splitlines()
    assert "x Node" in titles
    assert bare.startswith(APPLICATION)
    assert ours.split()[:4] == ["ours", "54,321", "1.00", "2.00"]
    assert "-" in ours.split()


def test_the_chart_has_a_bar_for_each_subject() -> None:
    """Well-formed, whatever is in a URL; the fastest has the longest bar."""
    full = {APPLICATION: [sample(1000)], "http://a/?b&c<d": [sample(4000)]}
    picture = ElementTree.fromstring(render_chart(summarise(full, {})))
    texts = [text.text for text in picture.iter("{http://www.w3.org/2000/svg}text")]
    bars = [float(bar.attrib["width"]) for bar in picture.iter("{http://www.w3.org/2000/svg}rect")][1:]
    assert "http://a/?b&c<d" in texts
    assert bars[1] == 4 * bars[0]


def test_failed_requests_are_no_figures() -> None:
    """A server that answers errors fast must not win."""
    report = 'Running\n{"requests": 9, "seconds": 2, "bytes": 90, "p50": 0.1, "p99": 0.2, "errors": %d}\n'
    assert parse_report("http://a", report % 0) == Load(9, 2, 90, 0.1, 0.2)
    with pytest.raises(LoadError, match=r"http://a: 3 of 9 requests failed"):
        parse_report("http://a", report % 3)


def test_a_peer_is_measured_with_its_memory_and_its_work() -> None:
    """The bare application, as a process."""
    command = next(command for command, targets in PEERS.items() if APPLICATION in targets)
    with running(command) as server:
        before = server.cpu_seconds()
        while server.cpu_seconds() == before:
            with urlopen(f"{server.address}/bench", timeout=5) as answer:
                assert answer.read() == b"1"
        assert 5 << 20 < server.memory() < 200 << 20


def test_a_peer_that_is_not_there_is_named() -> None:
    """A program that is not installed, and one that refuses its command line."""
    with pytest.raises(NotStarted, match="no-such-program is not installed"), running(["no-such-program"]):
        pass
    command = [sys.executable, "-m", "whoami", "--no-such-flag"]
    with pytest.raises(NotStarted, match="unknown flag --no-such-flag"), running(command):
        pass
    assert any(NODE in targets for targets in PEERS.values())


def test_without_wrk_it_says_how_to_get_it(tmp_path: Path) -> None:
    """One line, and exit status 1."""
    command = [sys.executable, "-m", "scripts.bench"]
    run = subprocess.run(command, env={"PATH": str(tmp_path)}, cwd=ROOT, capture_output=True, text=True)
    assert (run.returncode, run.stdout) == (1, "")
    assert run.stderr == "wrk is needed (on Debian and Ubuntu: apt install wrk)\n"
