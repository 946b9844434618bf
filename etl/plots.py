"""Plots of the training report: each an image and the words that stand for it. Not thread-safe."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Final

import numpy as np
from numpy.typing import NDArray

from etl.canvas import BLUE, GREY, ORANGE, Canvas, Plot, axes_on, label, number_axis

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    from etl.compare import Compared
    from etl.importance import Importance

Floats = NDArray[np.float64]
Codes = NDArray[np.intp]

#: Points of a scatter plot at most; more hide each other.
_POINTS: Final = 3_000
_BARS: Final = 15
_SHOWN_CLASSES: Final = 12
_BINS: Final = 10


def comparison(compared: Mapping[str, Compared], chosen: str, metric: str) -> Plot:
    """Draw each candidate's score with its standard error; what was chosen stands out."""
    scored = {name: each for name, each in compared.items() if np.isfinite(each.score)}
    colours = [BLUE if name == chosen else GREY for name in scored]
    canvas = Canvas()
    with axes_on(canvas, 0.9 + 0.45 * len(scored)) as axes:
        axes.barh(
            [label(name) for name in scored],
            [each.score for each in scored.values()],
            xerr=[each.error for each in scored.values()],
            color=colours,
            height=0.6,
            capsize=3,
        )
        axes.invert_yaxis()
        axes.grid(visible=False, axis="y")
        number_axis(axes.xaxis)
        axes.set_xlabel(f"{metric}: shorter is better")
    return Plot(canvas.source, f"Bars of the candidates' errors; {chosen} was chosen.")


def predicted_against_actual(truth: Floats, predicted: Floats, target: str) -> Plot:
    """Draw predictions over true values, with the line of perfect ones."""
    places = _sample(len(truth))
    low, high = min(truth.min(), predicted.min()), max(truth.max(), predicted.max())
    canvas = Canvas()
    with axes_on(canvas) as axes:
        axes.plot([low, high], [low, high], color=ORANGE, linewidth=1.2)
        _points(axes, truth[places], predicted[places])
        number_axis(axes.xaxis)
        number_axis(axes.yaxis)
        axes.set_xlabel(f"actual {label(target)}")
        axes.set_ylabel("predicted")
    correlation = _correlation(truth, predicted)
    return Plot(canvas.source, f"Predicted over actual values; their correlation is {correlation}.")


def residuals(truth: Floats, predicted: Floats) -> Plot:
    """Draw the errors of predictions over the predictions."""
    error, places = truth - predicted, _sample(len(truth))
    canvas = Canvas()
    with axes_on(canvas) as axes:
        axes.axhline(0, color=ORANGE, linewidth=1.2)
        _points(axes, predicted[places], error[places])
        number_axis(axes.xaxis)
        number_axis(axes.yaxis)
        axes.set_xlabel("predicted")
        axes.set_ylabel("actual minus predicted")
    return Plot(canvas.source, "Errors over predictions; good ones scatter evenly around 0.")


def residual_histogram(truth: Floats, predicted: Floats) -> Plot:
    """Draw how often errors of each size occur; the largest 2 % are cut off."""
    error = truth - predicted
    reach = float(np.quantile(np.abs(error), 0.98)) or 1.0
    canvas = Canvas()
    with axes_on(canvas) as axes:
        axes.hist(error, bins=40, range=(-reach, reach), color=BLUE)
        axes.axvline(0, color=ORANGE, linewidth=1.2)
        number_axis(axes.xaxis)
        axes.set_xlabel("actual minus predicted")
        axes.set_ylabel("held-out rows")
    middle = float(np.median(error))
    return Plot(canvas.source, f"Histogram of errors; the middle one is {middle:,.3g}.")


def _points(axes: Axes, x: Floats, y: Floats) -> None:
    """Draw points as pixels: thousands of shapes would make the file large and slow."""
    axes.scatter(x, y, s=9, alpha=0.35, color=BLUE, linewidths=0, rasterized=True)


def _sample(rows: int) -> Codes:
    """Return the places of at most `_POINTS` rows, evenly spread."""
    return np.unique(np.linspace(0, rows - 1, min(rows, _POINTS)).astype(np.intp))


def _correlation(a: Floats, b: Floats) -> str:
    varied = len(a) > 1 and a.std() > 0 and b.std() > 0
    return f"{np.corrcoef(a, b)[0, 1]:.3f}" if varied else "not defined"


def confusion(truth: Codes, answered: Codes, classes: Sequence[str]) -> Plot:
    """Draw how often each class (rows) was answered as each (columns), of the most frequent."""
    rows = np.bincount(truth, minlength=len(classes))
    shown = np.sort(np.argsort(-rows, kind="stable")[:_SHOWN_CLASSES])
    counts = np.zeros((len(classes), len(classes)), dtype=np.intp)
    np.add.at(counts, (truth, answered), 1)
    shares = counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)
    labels = [label(classes[code]) for code in shown]
    canvas = Canvas()
    with axes_on(canvas, 1.8 + 0.32 * len(shown)) as axes:
        axes.imshow(shares[np.ix_(shown, shown)], cmap="Blues", vmin=0, vmax=1, aspect="auto")
        for y, x in np.ndindex(len(shown), len(shown)):
            count, share = counts[shown[y], shown[x]], shares[shown[y], shown[x]]
            colour = "white" if share > 0.5 else "black"  # noqa: PLR2004 - readable on dark blue
            axes.text(x, y, f"{count:,}", ha="center", va="center", color=colour, fontsize=9)
        axes.grid(visible=False)
        axes.set_xticks(range(len(shown)), labels, rotation=45, ha="right")
        axes.set_yticks(range(len(shown)), labels)
        axes.set_xlabel("answered")
        axes.set_ylabel("actual")
    right = float((truth == answered).mean())
    return Plot(canvas.source, f"Confusion matrix; {right:.1%} of the rows were answered right.")


def calibration(probability: Floats, right: NDArray[np.bool_]) -> Plot:
    """Draw how often answers of each stated probability were right (a reliability diagram).

    Niculescu-Mizil and Caruana, "Predicting good probabilities with supervised learning" (2005).
    """
    places = np.minimum((probability * _BINS).astype(np.intp), _BINS - 1)
    rows = np.bincount(places, minlength=_BINS)
    used = np.flatnonzero(rows)
    stated = np.bincount(places, probability, _BINS)[used] / rows[used]
    observed = np.bincount(places, right, _BINS)[used] / rows[used]
    error = np.sqrt(observed * (1 - observed) / rows[used])
    canvas = Canvas()
    with axes_on(canvas) as axes:
        axes.plot([0, 1], [0, 1], color=ORANGE, linewidth=1.2)
        axes.errorbar(stated, observed, yerr=error, color=BLUE, marker="o", capsize=3)
        axes.set_xlabel("probability answered")
        axes.set_ylabel("share that was right")
    gap = float(np.average(np.abs(stated - observed), weights=rows[used]))
    return Plot(canvas.source, f"Reliability diagram; on average {gap:.1%} off the diagonal.")


def importance(found: Sequence[Importance], metric: str) -> Plot:
    """Draw by how much shuffling each feature makes the predictions worse."""
    shown = found[:_BARS]
    canvas = Canvas()
    with axes_on(canvas, 0.9 + 0.3 * len(shown)) as axes:
        axes.barh(
            range(len(shown)),
            [each.mean for each in shown],
            xerr=[each.deviation for each in shown],
            color=BLUE,
            height=0.6,
            capsize=3,
        )
        axes.set_yticks(range(len(shown)), [label(each.feature) for each in shown])
        axes.invert_yaxis()
        axes.grid(visible=False, axis="y")
        number_axis(axes.xaxis)
        axes.set_xlabel(f"{metric} added")
    return Plot(canvas.source, f"Bars of the features' importance; {shown[0].feature} has most.")


def coverage(measured: Mapping[int, float]) -> Plot:
    """Draw the share of held-out values within intervals over the share that was asked for."""
    asked = np.array(sorted(measured)) / 100
    canvas = Canvas()
    with axes_on(canvas) as axes:
        axes.plot([0, 1], [0, 1], color=ORANGE, linewidth=1.2)
        axes.plot(asked, [measured[level] for level in sorted(measured)], "o-", color=BLUE)
        axes.set_xlabel("interval asked for")
        axes.set_ylabel("held-out rows within it")
    return Plot(canvas.source, "Measured coverage of the intervals over what was asked for.")
