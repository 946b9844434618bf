"""HTML by function calls: whatever is not markup made here is escaped."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from html import escape

from etl.canvas import Plot

_VOID = frozenset({"meta", "img"})


class Html(str):
    """Markup, as opposed to text. Made by the functions of this module alone."""

    __slots__ = ()


def tag(name: str, /, *content: str, **attributes: str) -> Html:
    """Return an element. Content that is not `Html` is text and is escaped, as attributes are.

    Args:
        attributes: without those that are empty; ``class_`` is class, ``aria_label`` aria-label.
    """
    words = "".join(
        f' {key.rstrip("_").replace("_", "-")}="{escape(value)}"'
        for key, value in attributes.items()
        if value
    )
    if name in _VOID:
        return Html(f"<{name}{words}>")
    inner = "".join(part if isinstance(part, Html) else escape(part) for part in content)
    return Html(f"<{name}{words}>{inner}</{name}>\n")


def table(
    caption: str, headings: Sequence[str], rows: Iterable[Sequence[str]], kind: str = "figures"
) -> Html:
    """Return a table that scrolls by itself where it is too wide; each row begins with its name.

    Args:
        kind: ``figures``, aligned to the right, or ``words``.
    """
    head = tag("tr", *(tag("th", heading, scope="col") for heading in headings))
    body = [
        tag("tr", tag("th", name, scope="row"), *(tag("td", cell) for cell in cells))
        for name, *cells in rows
    ]
    content = tag("caption", caption), tag("thead", head), tag("tbody", *body)
    inner = tag("table", *content, class_=kind)
    return tag("div", inner, class_="wide", tabindex="0", role="region", aria_label=caption)


def items(texts: Iterable[str]) -> Html:
    """Return a list."""
    return tag("ul", *(tag("li", text) for text in texts))


def plot_figure(plot: Plot, title: str, words: str) -> Html:
    """Return a plot with what it shows below it."""
    caption = tag("figcaption", tag("strong", title), words)
    return tag("figure", tag("img", src=plot.source, alt=plot.alt), caption)


def side_by_side(*content: Html) -> Html:
    """Return figures and tables in as many columns as there is room for."""
    return tag("div", *content, class_="plots")
