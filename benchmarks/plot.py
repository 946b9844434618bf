"""Small plots as SVG text: lines and bars, with axes and a legend. Depends on nothing."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from html import escape
from typing import Final

# Size and margins, in pixels.
_WIDTH: Final = 760
_HEIGHT: Final = 420
_LEFT: Final = 80
_RIGHT: Final = 190
_TOP: Final = 50
_BOTTOM: Final = 60
#: Told apart also by people who see fewer colours (Okabe and Ito, "Color Universal Design", 2008).
_COLOURS: Final = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9", "#555555")
_STYLE: Final = (
    "<style>text{font:13px system-ui,sans-serif;fill:#222}.title{font-weight:600;font-size:15px}"
    ".grid{stroke:#ddd}.axis{stroke:#444}</style>"
)
Points = Sequence[tuple[float, float]]


@dataclass(frozen=True)
class Axis:
    """One axis: its label, and whether it is logarithmic (values must be positive then)."""

    label: str
    log: bool = False


def ticks(low: float, high: float, *, log: bool) -> list[float]:
    """Return round values that span from `low` to `high`, both included."""
    if log:
        first, last = math.floor(math.log10(low)), math.ceil(math.log10(high))
        return [10.0**n for n in range(first, max(last, first + 1) + 1)]
    raw = (high - low) / 5 or 1.0
    size = 10.0 ** math.floor(math.log10(raw))
    step = next(size * n for n in (1, 2, 5, 10) if size * n >= raw)
    first, last = math.floor(low / step), math.ceil(high / step)
    return [n * step for n in range(first, max(last, first + 1) + 1)]


def lines(title: str, x: Axis, y: Axis, series: Mapping[str, Points]) -> str:
    """Return a line plot of named series; a point with a y that is not finite is left out."""
    kept = {n: [p for p in points if math.isfinite(p[1])] for n, points in series.items()}
    xs = sorted({p[0] for points in kept.values() for p in points})
    ys = [p[1] for points in kept.values() for p in points]
    y_ticks = ticks(min(ys) if y.log else 0.0, max(ys), log=y.log)
    x_ticks = xs if len(xs) <= 8 else ticks(min(xs), max(xs), log=x.log)
    across = _scale(min(xs[0], x_ticks[0]), max(xs[-1], x_ticks[-1]), 0, _plot_width(), log=x.log)
    up = _scale(y_ticks[0], y_ticks[-1], 0, _plot_height(), log=y.log)
    parts = [_frame(title, x.label, y, y_ticks, up)]
    parts += [_x_label(_LEFT + across(tick), _number(tick)) for tick in x_ticks]
    for index, (name, points) in enumerate(kept.items()):
        colour = _COLOURS[index % len(_COLOURS)]
        places = [(_LEFT + across(px), _HEIGHT - _BOTTOM - up(py)) for px, py in sorted(points)]
        path = " ".join(f"{px:.1f},{py:.1f}" for px, py in places)
        parts.append(f'<polyline points="{path}" fill="none" stroke="{colour}" stroke-width="2"/>')
        parts += [
            f'<circle cx="{px:.1f}" cy="{py:.1f}" r="3.5" fill="{colour}"/>' for px, py in places
        ]
        parts.append(_legend(index, name, colour))
    return _svg(parts)


def bars(title: str, y: Axis, groups: Mapping[str, Mapping[str, float]]) -> str:
    """Return a bar plot: a group of bars per label, a colour per name within the groups."""
    names = list(dict.fromkeys(name for group in groups.values() for name in group))
    values = [value for group in groups.values() for value in group.values()]
    y_ticks = ticks(min(values) if y.log else 0.0, max(values), log=y.log)
    up = _scale(y_ticks[0], y_ticks[-1], 0, _plot_height(), log=y.log)
    parts = [_frame(title, "", y, y_ticks, up)]
    room = _plot_width() / len(groups)
    width = room * 0.8 / len(names)
    for place, (label, group) in enumerate(groups.items()):
        left = _LEFT + place * room + room * 0.1
        parts += _word_by_word(left + room * 0.4, label)
        for name, value in group.items():
            index = names.index(name)
            tall, colour = up(value), _COLOURS[index % len(_COLOURS)]
            at, top = left + index * width, _HEIGHT - _BOTTOM - tall
            parts.append(
                f'<rect x="{at:.1f}" y="{top:.1f}" width="{width * 0.92:.1f}" height="{tall:.1f}" '
                f'fill="{colour}"/><text x="{at + width * 0.46:.1f}" y="{top - 5:.1f}" '
                f'text-anchor="middle">{_number(value)}</text>'
            )
    if len(names) > 1:
        parts += [_legend(i, name, _COLOURS[i % len(_COLOURS)]) for i, name in enumerate(names)]
    return _svg(parts)


def _plot_width() -> float:
    return _WIDTH - _LEFT - _RIGHT


def _plot_height() -> float:
    return _HEIGHT - _TOP - _BOTTOM


def _scale(
    low: float, high: float, start: float, end: float, *, log: bool
) -> Callable[[float], float]:
    def straight(value: float) -> float:
        return math.log10(max(value, 1e-300)) if log else value

    span = straight(high) - straight(low) or 1.0
    return lambda value: start + (straight(value) - straight(low)) / span * (end - start)


def _frame(
    title: str, x_label: str, y: Axis, y_ticks: Sequence[float], up: Callable[[float], float]
) -> str:
    bottom, right = _HEIGHT - _BOTTOM, _WIDTH - _RIGHT
    middle, side = (_LEFT + right) / 2, (_TOP + bottom) / 2
    parts = [
        f'<text class="title" x="{_LEFT}" y="26">{escape(title)}</text>',
        _middle(f'x="{middle}" y="{_HEIGHT - 14}"', x_label),
        _middle(f'transform="translate(20 {side}) rotate(-90)"', y.label),
    ]
    for tick in y_ticks:
        level = bottom - up(tick)
        parts.append(
            f'<line class="grid" x1="{_LEFT}" x2="{right}" y1="{level:.1f}" y2="{level:.1f}"/>'
            f'<text x="{_LEFT - 8}" y="{level + 4:.1f}" text-anchor="end">{_number(tick)}</text>'
        )
    parts.append(f'<line class="axis" x1="{_LEFT}" x2="{right}" y1="{bottom}" y2="{bottom}"/>')
    return "".join(parts)


def _x_label(at: float, text: str) -> str:
    return _middle(f'x="{at:.1f}" y="{_HEIGHT - _BOTTOM + 20}"', text)


def _word_by_word(at: float, text: str) -> list[str]:
    """Return a label whose words stand below each other, so that neighbours do not meet."""
    top = _HEIGHT - _BOTTOM + 18
    return [
        _middle(f'x="{at:.1f}" y="{top + 15 * line}"', word)
        for line, word in enumerate(text.split())
    ]


def _middle(place: str, text: str) -> str:
    return f'<text {place} text-anchor="middle">{escape(text)}</text>'


def _legend(index: int, name: str, colour: str) -> str:
    top = _TOP + 10 + 22 * index
    left = _WIDTH - _RIGHT + 16
    return (
        f'<rect x="{left}" y="{top}" width="12" height="12" fill="{colour}"/>'
        f'<text x="{left + 18}" y="{top + 11}">{escape(name)}</text>'
    )


def _number(value: float) -> str:
    return f"{value:,.0f}" if abs(value) >= 100 else f"{value:.3g}"


def _svg(parts: Sequence[str]) -> str:
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {_WIDTH} {_HEIGHT}" '
        f'role="img">{_STYLE}<rect width="{_WIDTH}" height="{_HEIGHT}" fill="#fff"/>'
        + "\n".join(parts)
        + "</svg>\n"
    )
