"""Where the training report's plots are drawn: axes in one style, and the SVG image they become.

Text may come from a stranger's table: it is shortened, stripped of what cannot be printed, and
never read as a formula. The same drawing gives the same bytes. Not thread-safe.
"""

from __future__ import annotations

import base64
import io
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Final, NamedTuple

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.axis import Axis

#: Okabe and Ito's palette (2008), which colour-blind people tell apart.
BLUE, ORANGE, GREY = "#0072b2", "#d55e00", "#8a8f98"
_STYLE: Final = {
    "text.parse_math": False,
    "svg.fonttype": "none",  # the reader's fonts: any script can be shown
    "svg.hashsalt": "aimq",  # the same ids in each run
    "font.size": 10,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "axes.axisbelow": True,
    "grid.color": "#e3e6ea",
    "savefig.dpi": 150,
}
_LABEL: Final = 28


class Plot(NamedTuple):
    """An image as a ``data:`` address, and what it shows for those who cannot see it."""

    source: str
    alt: str


class Canvas:
    """Holds a figure while it is drawn, then its image."""

    source = ""


@contextmanager
def axes_on(canvas: Canvas, height: float = 3.4) -> Iterator[Axes]:
    """Give axes to draw on; the canvas has the image afterwards."""
    import matplotlib as mpl  # noqa: PLC0415 - slow to import
    from matplotlib.figure import Figure  # noqa: PLC0415 - slow to import

    with mpl.rc_context(_STYLE), warnings.catch_warnings():  # type: ignore[arg-type] # keys as text
        warnings.filterwarnings("ignore", "Glyph")  # the browser has more fonts
        figure = Figure(figsize=(5, height), layout="constrained")
        yield figure.subplots()
        image = io.BytesIO()
        figure.savefig(image, format="svg", metadata={"Date": None, "Creator": None})
    canvas.source = f"data:image/svg+xml;base64,{base64.b64encode(image.getvalue()).decode()}"


def number_axis(axis: Axis) -> None:
    """Write the numbers along an axis as people do, and few enough for a phone."""
    from matplotlib.ticker import FuncFormatter, MaxNLocator  # noqa: PLC0415 - slow to import

    axis.set_major_locator(MaxNLocator(5))
    axis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:,.10g}"))


def label(text: str) -> str:
    """Return a name as one short line that an SVG can hold."""
    plain = "".join(sign if sign.isprintable() else " " for sign in text)
    return plain if len(plain) <= _LABEL else plain[: _LABEL - 1] + "…"
