"""Which pods currently answer: who joined, and who left."""

from dataclasses import dataclass
from datetime import datetime
from typing import Final

_SILENT: Final = 2.0  # minimum seconds of silence after which a pod has left
_EXPECTED: Final = 12.0  # answers that it would have given meanwhile, by its share, so that it is not chance
_FAMILIAR: Final = 8  # requests per pod, after which a new one counts as joined


@dataclass
class _Seen:
    first: int  # numbers of the first and last request that it answered
    last: int
    at: float  # Unix time of its last answer
    answers: int = 0
    left: bool = False


class Presence:
    """Uses the answers only; `present` are the pods that answer, in order of their first answer."""

    def __init__(self) -> None:
        self._requests = 0
        self._pods: dict[str, _Seen] = {}

    @property
    def present(self) -> list[str]:
        """Pods that have not left."""
        return [pod for pod, seen in self._pods.items() if not seen.left]

    def add(self, pod: str, at: float) -> str:
        """Records a finished request (lost ones have no `pod`); returns what is new about it."""
        self._requests += 1
        if not pod:
            return ""
        seen = self._pods.get(pod)
        news = ""
        if seen is None:
            if self._pods and self._requests > _FAMILIAR * len(self._pods):
                news = "joined"
            seen = self._pods[pod] = _Seen(self._requests, self._requests, at)
        elif seen.left:
            news, seen.left = "is back", False
        seen.last, seen.at = self._requests, max(at, seen.at)
        seen.answers += 1
        return news

    def find_left(self, now: float) -> dict[str, float]:
        """Pods that have left since the last call, and the time of their last answers."""
        gone = {}
        for pod, seen in self._pods.items():
            # of the requests since its first answer, plus some, so that one answer is not a large share
            share = seen.answers / (seen.last - seen.first + _FAMILIAR * len(self._pods))
            missed = share * (self._requests - seen.last)
            if not seen.left and now - seen.at >= _SILENT and missed >= _EXPECTED:
                seen.left = True
                gone[pod] = seen.at
        return gone


def clock(at: float, digits: int = 0) -> str:
    """The local time of day, with `digits` decimals of a second."""
    moment = datetime.fromtimestamp(at)
    return f"{moment:%H:%M:%S}" + (f".{moment.microsecond // 100_000}" if digits else "")
