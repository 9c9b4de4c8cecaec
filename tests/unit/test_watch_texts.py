"""The texts of whoami watch: names, tables, sentences, who joined and left."""

import io
import json
import re
from collections.abc import Iterable
from datetime import datetime

import pytest

from tests.readme import shown
from whoami.watch.outcome import Lost, Outcome, Reply
from whoami.watch.peer import Peer, read_peer, shorten
from whoami.watch.presence import Presence, clock
from whoami.watch.rate import RateView
from whoami.watch.screen import Screen
from whoami.watch.sentence import conclude
from whoami.watch.table import render_table
from whoami.watch.tally import Tally, summarize


@pytest.mark.parametrize(
    ("body", "pod", "node"),
    [
        (json.dumps({"pod": "a-4wzkx", "hostname": "h", "node": "worker1"}), "a-4wzkx", "worker1"),
        (json.dumps({"pod": "", "hostname": "h", "node": ""}), "h", ""),
        (json.dumps({"pod_name": "p", "node_name": "n", "cluster_name": "c"}), "p", "n"),
        (json.dumps({"hostname": "podinfo-1", "version": "6"}), "podinfo-1", ""),
        ("Name: blue\nHostname: web-4wzkx\nIP: 10.0.0.1\nGET / HTTP/1.1\nHostname: forged\n", "web-4wzkx", ""),
        ("Hello, world!\nVersion: 1.0.0\nHostname: hello-4wzkx\n", "hello-4wzkx", ""),
        ("You've hit kubia-0 on this node: worker2\n", "kubia-0", "worker2"),
        ("You've hit kubia-0 on this node: undefined\n", "kubia-0", ""),
        ("You've hit kubia-0\n", "kubia-0", ""),
        ('{"pod": 7, "hostname": ["x"]}', "", ""),
        ('{"pod": "cut o', "", ""),
        ("[" * 100_000, "", ""),
        ('{"a":' * 50_000, "", ""),
        ("<html>404</html>", "", ""),
        ("", "", ""),
    ],
)
def test_the_pod_is_read_from_any_peer(body: str, pod: str, node: str) -> None:
    """Ours, the original, kubia, and JSON; anything else names nobody."""
    assert read_peer(body.encode()) == Peer(pod, node)


def test_names_cannot_move_the_cursor() -> None:
    """Control characters, spaces and non-ASCII characters are removed, and the length is bounded."""
    peer = read_peer(json.dumps({"pod": "\x1b[31m\u202e\u4e2d x" + "y" * 500, "node": "a\nb"}).encode())
    assert peer == Peer("y" * 63, "a?b")
    assert read_peer(b"Hostname: \x1b[2Jx\n").pod == "?[2Jx"


def test_names_are_shown_by_their_last_five_letters() -> None:
    """If that is unambiguous; short names are shown whole."""
    names = ["web-6c4f-4wzkx", "api-6c4f-4wzkx", "web-6c4f-n8jtd", "kubia-0"]
    assert list(shorten(names).values()) == ["web-6c4f-4wzkx", "api-6c4f-4wzkx", "n8jtd", "kubia-0"]


def tally(way: str, answers: Iterable[tuple[str, int]]) -> Tally:
    """The counts for these pods on these connections."""
    made, connections = Tally(way), set[int]()
    for pod, connection in answers:
        made.add(Outcome(0.0, 0.001, Reply(200, Peer(pod, NODES.get(pod, "")), connection)))
        connections.add(connection)
    made.connections = len(connections)
    return made


NODES = {"web-x-4wzkx": "worker1", "web-x-n8jtd": "worker2"}
NEW = [
    ("web-x-4wzkx" if number % 30 < 17 else "web-x-n8jtd", number)
    for number in (*range(0, 30, 2), *range(1, 30, 2))
]


def test_the_table_of_four_ways() -> None:
    """Columns align; a remark explains a keep-alive connection."""
    ways = [
        tally("new connections", NEW),
        tally("keep-alive", [("web-x-4wzkx", 0)] * 30),
        tally("HTTP/2", [("web-x-n8jtd", 0)] * 30),
        tally("gRPC", [("web-x-n8jtd", 0)] * 30),
    ]
    assert render_table("30 requests, four ways", ways, 132) == [
        "30 requests, four ways   4wzkx worker1   n8jtd worker2   connections",
        "new connections               17              13             30",
        "keep-alive                    30               –              1   one connection, one pod",
        "HTTP/2                         –              30              1   one connection, one pod",
        "gRPC                           –              30              1   one connection, one pod",
    ]
    assert conclude(ways, False).startswith("A service picks a pod for each connection")


def test_a_narrow_terminal_has_the_notes_below() -> None:
    """Equal ones together."""
    ways = [tally(way, [("web-x-4wzkx", 0)] * 3) for way in ("keep-alive", "HTTP/2")]
    lines = render_table("3 requests", ways, 45)
    assert lines[0] == "3 requests   4wzkx worker1   connections"
    assert lines[-1] == "keep-alive, HTTP/2: one connection, one pod"


def test_many_pods_stand_below_each_other() -> None:
    """Twenty of them fit an ordinary terminal."""
    answers = [(f"w-6c4f-aaa{number:02}", number) for number in range(20) for _ in range(number + 1)]
    lines = render_table("210 requests", [tally("new connections", answers)], 79)
    assert max(map(len, lines)) < 60
    assert [line.split() for line in lines[1:21]] == [
        [f"aaa{number:02}", str(number + 1)] for number in range(20)
    ]
    assert lines[21].split() == ["connections", "20"]


@pytest.mark.parametrize(
    ("ways", "sentence"),
    [
        ([tally("new connections", NEW)], "Each request had a connection of its own"),
        ([tally("keep-alive", [("a", 1), ("b", 1)])], "An HTTP proxy is in between: it spreads requests"),
        ([tally("HTTP/2", [("a", 1), ("b", 2), ("a", 2)])], "An HTTP proxy is in between"),
        (
            [tally("new connections", [("a", each) for each in range(30)])],
            "One pod answers all: sticky, or only",
        ),
        (
            [tally("new connections", [("a", 1), ("a", 2)])],
            "One pod answers all: sticky, or only one is ready, or",
        ),
        ([tally("keep-alive", [("a", 1)] * 30)], "One connection, one pod"),
        ([tally("keep-alive", [("a", 1)] * 30 + [("b", 2)] * 9)], "Each connection stayed with one pod"),
        (
            [tally("new connections", NEW), tally("keep-alive", [("web-x-4wzkx", 1)] * 2)],
            "These are too few requests",
        ),
        ([tally("new connections", [])], "Nobody answered."),
        ([tally("new connections", [("", 1)])], "No answer names a pod"),
    ],
)
def test_the_sentence_says_what_was_seen(ways: list[Tally], sentence: str) -> None:
    """And no more than that."""
    assert conclude(ways, False).startswith(sentence)


def test_cookies_explain_a_pod_for_each_way() -> None:
    """Each way has its own jar, so each may stay with another pod."""
    ways = [
        tally("new connections", [("a", each) for each in range(30)]),
        tally("keep-alive", [("b", 1)] * 30),
    ]
    assert conclude(ways, True).startswith("Sticky")
    assert not conclude(ways, False).startswith("Sticky")


def test_the_summary_counts_by_kind() -> None:
    """Main kinds always, others if there were any."""
    made = tally("new connections", [("a", 1), ("b", 2)] * 750)
    assert summarize([made]) == "1,500 requests, 2 pods, 0 lost (refused 0, reset 0, timed out 0, 5xx 0)"
    for lost in (Lost.RESET, Lost.RESET, Lost.OTHER, Lost.SERVER_ERROR):
        made.add(Outcome(0, 0, None, lost, "why"))
    assert summarize([made]) == (
        "1,504 requests, 2 pods, 4 lost (refused 0, reset 2, timed out 0, 5xx 1, other 1)"
    )


def test_a_peer_that_makes_up_names_is_bounded() -> None:
    """Beyond some hundred names they are counted together."""
    made = tally("new connections", [(f"pod-{number}", number) for number in range(5000)])
    assert sum(made.pods.values()) == 5000
    assert len(made.pods) < 300


def test_pods_join_leave_and_are_back() -> None:
    """The first ones were there; one has left if its silence is too long for chance."""
    presence, second = Presence(), 0.02
    news = [presence.add("ab"[number % 2], number * second) for number in range(100)]
    assert set(news) == {""}
    news = [presence.add("bc"[number % 2], number * second) for number in range(100, 250)]
    assert [text for text in news if text] == ["joined"]
    assert presence.find_left(249 * second) == {"a": 98 * second}
    assert presence.find_left(250 * second) == {}
    assert presence.present == ["b", "c"]
    assert presence.add("a", 251 * second) == "is back"


def test_a_rare_pod_has_not_left() -> None:
    """One with a fiftieth of the requests is often silent, but still there."""
    presence = Presence()
    for number in range(5000):
        presence.add("canary" if number % 50 == 0 else "main", number * 0.1)
        assert presence.find_left(number * 0.1) == {}


def test_lines_of_a_second() -> None:
    """A line has the time, the requests, a bar for each pod, and the losses."""
    out, made = io.StringIO(), Tally("new connections")
    view = RateView(Screen(out, {}), made)
    for number in range(50):
        outcome = Outcome(
            100.0, 0.001, Reply(200, Peer("web-x-4wzkx" if number % 5 else "web-x-n8jtd"), number)
        )
        view.add(outcome, made.add(outcome))
    lost = Outcome(100.0, 0.001, None, Lost.REFUSED)
    view.add(lost, made.add(lost))
    view.tick(101.0)
    bars = f"n8jtd {'█████':<20}  10  4wzkx {'█' * 20}  40"
    assert out.getvalue() == f"{clock(101.0)}    51  {bars}  1 lost (refused 1)\n"


def test_the_readmes_example_of_a_rollout() -> None:
    """Each of its lines is what its numbers make, and the table has their sums."""
    lines = shown("whoami watch --rate")[1].splitlines()
    out, made = io.StringIO(), Tally("new connections")
    screen = Screen(out, {})
    view = RateView(screen, made)
    for line in lines:
        if (second := re.match(r"\d\d:\d\d:\d\d ", line)) is None:
            continue
        end = datetime.strptime(f"2026-01-01 {second[0].strip()}", "%Y-%m-%d %H:%M:%S").timestamp()
        answers = re.findall(r"([a-z0-9]{5}) [^0-9]*([0-9]+)(?:  |$)", line)
        for turn in range(max(int(number) for _, number in answers)):
            for pod in [pod for pod, number in answers if turn < int(number)]:
                outcome = Outcome(end, 0.001, Reply(200, Peer(f"whoami-{pod}"), made.requests))
                view.add(outcome, made.add(outcome))
        view.tick(end)
    made.connections = made.requests
    screen.add(
        *render_table(f"{made.requests} requests", [made], 80), summarize([made]), conclude([made], False)
    )
    assert out.getvalue().splitlines() == [line for line in lines if line != "^C"]
