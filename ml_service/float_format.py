"""A float32 prediction as the number that is answered: the same in JSON, Arrow and spreadsheets."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray


def shortest(value: np.float32) -> str:
    """Return the shortest decimal that reads back as this float32, as JSON writes numbers."""
    return str(value)


def shortest_double(value: np.float32) -> float:
    """Return ``float(shortest(value))``."""
    return float(str(value))


def shortest_doubles(values: NDArray[np.float32]) -> NDArray[np.float64]:
    """Return ``float(shortest(v))`` of every value: float32 (n,) to float64 (n,).

    Arrow formats and parses whole columns, about thirty times faster than Python one by one.
    """
    import pyarrow as pa  # noqa: PLC0415 # not needed for single predictions
    import pyarrow.compute as pc  # noqa: PLC0415 # same

    texts = pc.cast(pa.array(values), pa.string())
    return np.asarray(pc.cast(texts, pa.float64()), dtype=np.float64)
