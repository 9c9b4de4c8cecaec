"""Tables with the pods in columns, or in rows if there are many."""

from whoami.watch.peer import shorten
from whoami.watch.sentence import note
from whoami.watch.tally import Tally

_GAP = "   "


def render_table(title: str, tallies: list[Tally], width: int) -> list[str]:
    """Lines of at most `width` characters, if possible: answers by way and pod, and connections."""
    pods = sorted({pod for tally in tallies for pod in tally.pods})
    nodes = {pod: node for tally in tallies for pod, node in tally.nodes.items()}
    short = shorten(pods)
    heads = [f"{short[pod]} {nodes.get(pod, '')}".rstrip() for pod in pods]
    counts = [[_show(tally.pods.get(pod, 0)) for pod in pods] for tally in tallies]
    connections = [_show(tally.connections) for tally in tallies]
    ways, notes = [tally.way for tally in tallies], [note(tally) for tally in tallies]
    across = [[*row, total] for row, total in zip(counts, connections, strict=True)]
    lines = _align(title, [*heads, "connections"], ways, across)
    noted = [f"{line}{_GAP}{text}".rstrip() for line, text in zip(lines, ["", *notes], strict=True)]
    if all(len(line) <= width for line in noted):
        return noted
    if any(len(line) > width for line in lines):
        down = [list(column) for column in zip(*across, strict=True)]
        lines = _align(title, ways, [*heads, "connections"], down)
    return [*lines, *_gather(ways, notes)]


def _show(number: int) -> str:
    return f"{number:,}" if number else "\N{EN DASH}"


def _align(title: str, heads: list[str], labels: list[str], rows: list[list[str]]) -> list[str]:
    """Right-aligns the numbers of a column, centred below its title."""
    start = max(len(text) for text in (title, *labels))
    columns = [[text.ljust(start) for text in (title, *labels)]]
    for head, cells in zip(heads, zip(*rows, strict=True), strict=True):
        block = max(len(cell) for cell in cells)
        width = max(block, len(head))
        end = (width - block) // 2 + block
        columns.append([text.ljust(width) for text in (head, *(cell.rjust(end) for cell in cells))])
    return [_GAP.join(line).rstrip() for line in zip(*columns, strict=True)]


def _gather(ways: list[str], notes: list[str]) -> list[str]:
    """The remarks as lines, each with its ways."""
    return [
        f"{', '.join(way for way, text in zip(ways, notes, strict=True) if text == each)}: {each}"
        for each in dict.fromkeys(notes)
        if each
    ]
