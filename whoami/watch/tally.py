"""What was counted on one way of asking."""

from collections import Counter
from typing import Final

from whoami.watch.outcome import Lost, Outcome

_MOST_PODS: Final = 200  # names that are kept; a peer may make up more
_MOST_CONNECTIONS: Final = 1000  # whose pod is remembered, the latest ones
OTHERS: Final = "others"


class Tally:
    """Counts of requests, by pod and by kind of loss, and what they say of connections."""

    def __init__(self, way: str) -> None:
        self.way = way
        self.requests = 0
        self.pods: dict[str, int] = {}  # answers, by pod in the order of the first
        self.nodes: dict[str, str] = {}
        self.unnamed = 0  # answers that name no pod
        self.lost: Counter[Lost] = Counter()
        self.problems: dict[Lost, str] = {}  # of the first request that was lost so, where the kind says little
        self.not_spoken = ""  # why nothing could be asked this way
        self.connections = 0  # that were opened
        self.mixed = False  # one connection brought answers of two pods
        self.returned = False  # a pod answered again after another had answered
        self.again = 0  # answers that came on a connection after another answer
        self._pod_of: dict[int, str] = {}  # by connection
        self._last = ""

    def add(self, outcome: Outcome) -> str:
        """Count a request; the name of the pod that it counts for, if any."""
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
        """Requests without an answer, or with one that tells of an error of the server."""
        return self.lost.total()


def count(number: int, noun: str) -> str:
    """Such as ``1 pod`` or ``1,500 requests``."""
    return f"{number:,} {noun}{'' if number == 1 else 's'}"


def summarize(tallies: list[Tally]) -> str:
    """One line: requests, pods, and what was lost."""
    lost = sum((tally.lost for tally in tallies), Counter[Lost]())
    kinds = [kind for kind in Lost if kind is not Lost.OTHER or lost[kind]]
    pods = {pod for tally in tallies for pod in tally.pods}
    requests = count(sum(tally.requests for tally in tallies), "request")
    details = ", ".join(f"{kind} {lost[kind]:,}" for kind in kinds)
    return f"{requests}, {count(len(pods), 'pod')}, {lost.total():,} lost ({details})"
