"""The results as a chart."""

from collections.abc import Sequence
from html import escape
from itertools import groupby

from scripts.bench.peers import OURS
from scripts.bench.report import Row

_BAR, _STEP, _LEFT, _FULL, _WIDTH = 14, 18, 190, 480, 760  # pixels


def render_chart(rows: Sequence[Row], caption: str) -> str:
    """An SVG with one bar per row, requests per second; each work has its own scale."""
    lines = [
        '<text x="12" y="24" font-weight="bold">requests per second</text>',
        f'<text x="150" y="24" font-size="10">{escape(caption)}</text>',
    ]
    top = 36
    for work, group in groupby(rows, lambda row: row.work):
        same = list(group)
        most = max(row.rate for row in same)
        lines.append(f'<text x="12" y="{top + 14}" font-weight="bold">{escape(work)}</text>')
        top += 20
        for row in same:
            length, middle = _FULL * row.rate / most, top + _BAR - 3
            colour = "#2a6f97" if row.name.startswith(OURS) else "#9aa5ad"
            lines += [
                f'<text x="{_LEFT - 8}" y="{middle}" text-anchor="end">{escape(row.name)}</text>',
                f'<rect x="{_LEFT}" y="{top}" width="{length:.1f}" height="{_BAR}" fill="{colour}"/>',
                f'<text x="{_LEFT + length + 6:.1f}" y="{middle}">{row.rate:,.0f}</text>',
            ]
            top += _STEP
        top += 8
    head = (
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{_WIDTH}" height="{top}" '
        'font-family="sans-serif" font-size="12">'
    )
    return "\n".join([head, f'<rect width="{_WIDTH}" height="{top}" fill="white"/>', *lines, "</svg>", ""])
