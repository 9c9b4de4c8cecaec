"""The counts of one way."""

from collections import Counter
from typing import Final

from whoami.watch.outcome import Lost, Outcome

_MOST_PODS: Final = 200  # names kept; a peer may invent more
_MOST_CONNECTIONS: Final = 1000  # latest connections whose pod is remembered
OTHERS: Final = "others"


class Tally:
    """Counts requests by pod and by kind of loss, and relates them to connections."""

    def __init__(self, way: str) -> None:
        self.way = way
        self.requests = 0
        self.pods: dict[str, int] = {}  # answers by pod, in order of their first
        self.nodes: dict[str, str] = {}
        self.unnamed = 0  # answers that name no pod
        self.lost: Counter[Lost] = Counter()
        self.problems: dict[Lost, str] = {}  # of the first request lost so, if the kind is not specific
        self.not_spoken = ""  # why no request could be sent this way
        self.connections = 0  # opened so far
        self.mixed = False  # one connection brought answers from two pods
        self.returned = False  # a pod answered again after another had answered
        self.again = 0  # answers on a connection that had brought another answer
        self._pod_of: dict[int, str] = {}  # by connection
        self._last = ""

    def add(self, outcome: Outcome) -> str:
        """Counts a request; returns the name of its pod, if any."""
        self.requests += 1
        if outcome.lost is not None or outcome.reply is None:
            lost = outcome.lost or Lost.OTHER
            self.lost[lost] += 1
            if lost in (Lost.SERVER_ERROR, Lost.OTHER):
                self.problems.setdefault(lost, outcome.why)
            return ""
        peer = outcome.reply.peer
        if not peer.pod:
            self.unnamed += 1
            return ""
        pod = peer.pod if peer.pod in self.pods or len(self.pods) < _MOST_PODS else OTHERS
        self._compare(pod, outcome.reply.connection)
        self.pods[pod] = self.pods.get(pod, 0) + 1
        if peer.node:
            self.nodes[pod] = peer.node
        return pod

    def _compare(self, pod: str, connection: int) -> None:
        self.returned = self.returned or (pod != self._last and pod in self.pods)
        self._last = pod
        if (earlier := self._pod_of.get(connection)) is not None:
            self.again += 1
            self.mixed = self.mixed or earlier != pod
            return
        self._pod_of[connection] = pod
        if len(self._pod_of) > _MOST_CONNECTIONS:
            del self._pod_of[next(iter(self._pod_of))]

    @property
    def lost_count(self) -> int:
        """Requests without an answer, or with a server error."""
        return self.lost.total()


def count(number: int, noun: str) -> str:
    """A number with its noun, such as ``1 pod`` or ``1,500 requests``."""
    return f"{number:,} {noun}{'' if number == 1 else 's'}"


def summarize(tallies: list[Tally]) -> str:
    """One line: requests, pods, and losses."""
    lost = sum((tally.lost for tally in tallies), Counter[Lost]())
    kinds = [kind for kind in Lost if kind is not Lost.OTHER or lost[kind]]
    pods = {pod for tally in tallies for pod in tally.pods}
    requests = count(sum(tally.requests for tally in tallies), "request")
    details = ", ".join(f"{kind} {lost[kind]:,}" for kind in kinds)
    return f"{requests}, {count(len(pods), 'pod')}, {lost.total():,} lost ({details})"
