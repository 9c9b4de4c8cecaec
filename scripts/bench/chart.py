"""The table as a picture."""

from collections.abc import Sequence
from html import escape

from scripts.bench.peers import OURS
from scripts.bench.report import Row

_BAR, _STEP, _LEFT, _FULL, _WIDTH = 20, 28, 250, 480, 880  # pixels


def render_chart(rows: Sequence[Row]) -> str:
    """An SVG with one bar a row: requests a second, and the ratio to the bare application."""
    most = max(row.rate for row in rows)
    height = 48 + _STEP * len(rows)
    lines = [
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{_WIDTH}" height="{height}" '
        'font-family="sans-serif" font-size="13">',
        f'<rect width="{_WIDTH}" height="{height}" fill="white"/>',
        f'<text x="{_LEFT}" y="24">requests a second, and times the bare aiohttp application</text>',
    ]
    for place, row in enumerate(rows):
        top, length = 36 + _STEP * place, _FULL * row.rate / most
        middle = top + _BAR - 6
        ratio = "" if row.to_application is None else f" ({row.to_application:.2f})"
        colour = "#2a6f97" if row.name.startswith(OURS) else "#9aa5ad"
        lines += [
            f'<text x="{_LEFT - 8}" y="{middle}" text-anchor="end">{escape(row.name)}</text>',
            f'<rect x="{_LEFT}" y="{top}" width="{length:.1f}" height="{_BAR}" fill="{colour}"/>',
            f'<text x="{_LEFT + length + 6:.1f}" y="{middle}">{row.rate:,.0f}{ratio}</text>',
        ]
    return "\n".join([*lines, "</svg>", ""])
