"""Describes the observations in one sentence, and claims no more than the counts support."""

from typing import Final

from whoami.watch.outcome import Lost
from whoami.watch.tally import Tally, count

_ENOUGH: Final = 8  # chances to see another pod, after which its absence is not luck


def conclude(tallies: list[Tally], cookies: bool) -> str:
    """The final sentence; `cookies` were kept, separately for each way."""
    pods = {pod for tally in tallies for pod in tally.pods}
    answers = sum(sum(tally.pods.values()) for tally in tallies)
    again = sum(tally.again for tally in tallies)
    if not pods:
        if any(tally.unnamed for tally in tallies):
            return "No answer names a pod: ask for another --path, such as /.who."
        if any(tally.lost[Lost.SERVER_ERROR] for tally in tallies):
            return "Every answer was an error."
        return "Nobody answered."
    if any(tally.mixed for tally in tallies):
        return "An HTTP proxy is in between: it spreads requests of one connection."
    if len(pods) == 1:
        return _conclude_one_pod(answers - again)
    if cookies and all(len(tally.pods) < 2 for tally in tallies) and answers - again >= _ENOUGH:
        return "Sticky: with its own cookies, each way of asking stays with one pod."
    if not again:
        return "Each request had a connection of its own: --all shows whether that matters."
    if again < _ENOUGH:
        return "These are too few requests to tell why."
    if any(tally.returned for tally in tallies):
        return "A service picks a pod for each connection: the requests of one stay together."
    return "Each connection stayed with one pod; another pod came with another connection."


def _conclude_one_pod(connections: int) -> str:
    if connections == 1:
        return "One connection, one pod: new connections may reach others (--all compares)."
    if connections < _ENOUGH:
        return "One pod answers all: sticky, or only one is ready, or chance."
    return "One pod answers all: sticky, or only one is ready."


def note(tally: Tally) -> str:
    """The remark on one way, next to its counts."""
    notes = []
    if tally.not_spoken:
        notes.append("not spoken here")
    elif tally.again:
        notes.append(f"{_few(tally.connections, 'connection')}, {_few(len(tally.pods), 'pod')}")
    if tally.unnamed:
        notes.append(f"{tally.unnamed:,} without a name")
    if tally.lost_count:
        notes.append(f"{tally.lost_count:,} lost")
    return ", ".join(notes)


def _few(number: int, noun: str) -> str:
    return f"one {noun}" if number == 1 else count(number, noun)
