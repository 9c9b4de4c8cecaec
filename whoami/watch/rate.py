"""The output of ``--rate``: each second, how many answers each pod gave."""

from collections import Counter
from collections.abc import Mapping
from typing import Final

from whoami.watch.outcome import Lost, Outcome
from whoami.watch.peer import shorten
from whoami.watch.presence import Presence, clock
from whoami.watch.screen import Colour, Screen
from whoami.watch.tally import Tally, count

_BARS: Final = 60  # characters for all bars of a line
_WIDEST: Final = 40  # for one bar
_PARTS: Final = " ▏▎▍▌▋▊▉"


class RateView:
    """Follows a tally; `tick` shows the difference since the last second."""

    def __init__(self, screen: Screen, tally: Tally) -> None:
        self._screen = screen
        self._tally = tally
        self._presence = Presence()
        self._answers: Counter[str] = Counter()
        self._lost: Counter[Lost] = Counter()
        self._unnamed = 0
        self._news: list[str] = []

    def add(self, outcome: Outcome, pod: str) -> None:
        """Counts a request for a pod."""
        if outcome.lost is not None:
            self._lost[outcome.lost] += 1
        elif pod:
            self._answers[pod] += 1
        else:
            self._unnamed += 1
        if news := self._presence.add(pod, outcome.at):
            self._news.append(self._screen.paint(f"+ {self._short[pod]} {news}", Colour.GREEN))

    def tick(self, now: float) -> None:
        """Shows who joined or left, and the second that ended at `now` (Unix time)."""
        short = self._short
        gone = self._presence.find_left(now)
        left = [f"- {short[pod]} left, last answer {clock(at, 1)}" for pod, at in gone.items()]
        news = [*self._news, *(self._screen.paint(line, Colour.YELLOW) for line in left)]
        if self._screen.is_live:
            if news:
                self._screen.add(*news)
            self._screen.draw(self._block(now, short))
        else:
            self._screen.add(*news, self._line(now, short))
        self._answers, self._lost, self._unnamed, self._news = Counter(), Counter(), 0, []

    def finish(self, now: float) -> None:
        """Shows the rest of a second."""
        if self._answers or self._lost or self._unnamed or self._news:
            self.tick(now)

    @property
    def _short(self) -> Mapping[str, str]:
        return shorten(self._tally.pods)

    def _shown(self) -> list[str]:
        """Pods that currently answer, and those that answered in this second and left."""
        present = self._presence.present
        return [*present, *(pod for pod in self._answers if pod not in present)]

    def _line(self, now: float, short: Mapping[str, str]) -> str:
        pods = self._shown()
        width = max(2, min(20, _BARS // max(1, len(pods))))
        most = max(self._answers.values(), default=0)
        cells = [
            f"{short[pod]} {_bar(self._answers[pod], most, width).ljust(width)} {self._answers[pod]:>3}"
            for pod in pods
        ]
        return "  ".join([clock(now), f"{self._done:>4}", *cells, *self._losses()])

    @property
    def _done(self) -> int:
        return self._answers.total() + self._lost.total() + self._unnamed

    def _losses(self) -> list[str]:
        lost = [f"{self._unnamed} without a name"] if self._unnamed else []
        if self._lost:
            kinds = ", ".join(f"{kind} {number}" for kind, number in self._lost.items())
            lost.append(f"{self._lost.total()} lost ({kinds})")
        return lost

    def _block(self, now: float, short: Mapping[str, str]) -> list[str]:
        screen, tally = self._screen, self._tally
        pods = self._shown()
        hidden = pods[screen.rows - 3 :] if len(pods) > screen.rows - 2 else []
        pods = pods[: len(pods) - len(hidden)]
        names = max((len(short[pod]) for pod in pods), default=0)
        nodes = max((len(tally.nodes.get(pod, "")) for pod in pods), default=0)
        most = max(self._answers.values(), default=0)
        width = min(_WIDEST, screen.width - names - nodes - 24)
        totals = f"{tally.requests:,} in all, {count(len(tally.pods), 'pod')}, {tally.lost_count:,} lost"
        lines = [f"{clock(now)}   {count(self._done, 'request')}, {totals}"[: screen.width]]
        for pod in pods:
            bar = _bar(self._answers[pod], most, max(0, width))
            title = f"{short[pod]:<{names}} {tally.nodes.get(pod, ''):<{nodes}}".rstrip().ljust(
                names + nodes + 1
            )
            bar = screen.paint(bar, Colour.CYAN) + " " * (width - len(bar))
            lines.append(f"{title} {bar} {self._answers[pod]:>5} {tally.pods[pod]:>11,}")
        lines += [f"and {len(hidden)} more"] if hidden else []
        return [*lines, *(screen.paint(text[: screen.width], Colour.RED) for text in self._losses())]


def _bar(value: int, most: int, width: int) -> str:
    """A bar in eighths of a character, at full width for `most`."""
    full, part = divmod(round(8 * width * value / most), 8) if most else (0, 0)
    return "█" * full + _PARTS[part].strip()
