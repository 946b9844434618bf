"""Bar charts as SVG, without a plotting library."""

from __future__ import annotations

import math
from pathlib import Path
from xml.sax.saxutils import escape

BAR, GAP, LABEL, WIDTH, VALUE = 22, 8, 230, 460, 110
COLOURS = ("#2f6f9f", "#c8742b", "#5b8c5a", "#8a5a8c")


def bars(path: Path, title: str, values: dict[str, float], unit: str, *, log: bool = False) -> None:
    """Write a horizontal bar chart.

    Args:
        values: label to value, in the order of the bars, above 0.
        log: bars by order of magnitude, from the power of ten below the smallest.
    """
    height = 60 + len(values) * (BAR + GAP)
    parts = [
        '<svg xmlns="http://www.w3.org/2000/svg" font-family="sans-serif" font-size="13"',
        f'viewBox="0 0 {LABEL + WIDTH + VALUE} {height}">',
        '<rect width="100%" height="100%" fill="#ffffff"/>',
        f'<text x="12" y="26" font-size="16" font-weight="bold">{escape(title)}</text>',
    ]
    for index, (label, value) in enumerate(values.items()):
        top = 46 + index * (BAR + GAP)
        length = max(1.0, WIDTH * _share(value, list(values.values()), log=log))
        colour = COLOURS[index % len(COLOURS)]
        parts += [
            f'<text x="{LABEL - 8}" y="{top + 16}" text-anchor="end">{escape(label)}</text>',
            f'<rect x="{LABEL}" y="{top}" width="{length:.1f}" height="{BAR}" fill="{colour}"/>',
            f'<text x="{LABEL + length + 6:.1f}" y="{top + 16}">{value:,.4g} {escape(unit)}</text>',
        ]
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("\n".join([*parts, "</svg>"]) + "\n", encoding="utf-8")


def _share(value: float, values: list[float], *, log: bool) -> float:
    if not log:
        return value / max(values)
    low = math.floor(math.log10(min(values)))
    high = math.log10(max(values))
    return (math.log10(value) - low) / (high - low or 1.0)
