"""One column of a raw table, for inference: its distinct texts and how often each occurs."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Final

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from aimq.schema.model import LARGEST, FeatureType, category_key, fold
from etl.dates import Dates, read_dates
from etl.numbers import Floats, Numbers, read_numbers
from etl.tidy_column import BLANKS

#: Share of the filled cells that must read as a type; rows of the others are dropped in training.
_READABLE: Final = 0.95
_TRUTHS: Final = frozenset({"true", "false", "yes", "no", "1", "0"})
#: Digits that begin with 0 are a code, such as a postcode.
_CODE: Final = r"0\d+"
_ID: Final = re.compile(
    r"(^|[_\W])(id|ids|uuid|guid|key|index|no|nr|number|row|record|__index_level_\d+__)$|^id[_\W]",
    re.IGNORECASE,
)
_CAMEL: Final = re.compile(r"(?<=[a-z])(?=I[Dd]$|N[or]$|Number$|Key$|Index$)")
#: Of the texts that mean nothing, those that may be a category of a column.
_WORDS: Final = frozenset({"none", "unknown", "nil"})


@dataclass(frozen=True)
class RawColumn:
    """A column of text; n distinct texts, in the order of their spelling.

    Attributes:
        texts: str (n,), without outer spaces and blanks.
        counts: int (n,), rows of each.
        words: of the blanks, those that may be a category, to their rows.
    """

    name: str
    rows: int
    texts: pd.Series[str]
    counts: NDArray[np.integer[Any]]
    words: dict[str, int]

    @classmethod
    def of(cls, name: str, cells: pd.Series[str]) -> RawColumn:
        """Count the texts of a column."""
        found = cells.str.strip().value_counts().sort_index()
        folded = pd.Index([fold(text) for text in found.index])
        filled = ~folded.isin(BLANKS)
        words = found[folded.isin(_WORDS)]
        texts = pd.Series(found.index[filled], dtype=str)
        counts = found.to_numpy(dtype=np.int64)[filled]
        return cls(name, len(cells), texts, counts, {str(k): int(n) for k, n in words.items()})

    @property
    def filled(self) -> int:
        """Rows that are not blank."""
        return int(self.counts.sum())

    @property
    def mostly_blank(self) -> bool:
        """True if more than half of the rows are blank."""
        return self.filled < self.rows / 2

    @cached_property
    def numbers(self) -> Numbers:
        """The texts as numbers; NaN where the float32 matrix cannot hold one."""
        read = read_numbers(self.texts)
        too_large = np.abs(read.values) > LARGEST
        read.values[too_large] = np.nan
        read.meant[too_large] = False
        return read

    @cached_property
    def dates(self) -> Dates:
        """The texts as dates."""
        return read_dates(self.texts)

    @cached_property
    def type(self) -> FeatureType:
        """What the texts are: all of them for booleans, else nearly all."""
        truths = {fold(text) for text in self.texts}
        if truths and truths <= _TRUTHS and not truths <= {"0", "1"}:
            return FeatureType.BOOLEAN
        if self._most(self.numbers.meant) and not self.texts.str.fullmatch(_CODE).any():
            values = self.values()
            return FeatureType.INTEGER if (values == np.floor(values)).all() else FeatureType.NUMBER
        dated = self.dates.dated if self.dates.fault else ~np.isnat(self.dates.days)
        return FeatureType.DATE if self._most(dated) else FeatureType.CATEGORY

    @property
    def numeric(self) -> bool:
        """True if the texts are numbers."""
        return self.type in {FeatureType.NUMBER, FeatureType.INTEGER}

    def _most(self, readable: NDArray[np.bool_]) -> bool:
        return 0 < self.filled * _READABLE <= int(self.counts[readable].sum())

    @property
    def unreadable(self) -> tuple[int, str]:
        """Rows that do not read as the column's type, and one of their texts."""
        odd = np.zeros(len(self.texts), dtype=np.bool_)
        if self.numeric:
            odd = np.isnan(self.numbers.values)
        elif self.type is FeatureType.DATE:
            odd = np.isnat(self.dates.days)
        return int(self.counts[odd].sum()), next(iter(self.texts[odd]), "")

    def values(self) -> Floats:
        """Return the numbers of all rows that have one, increasing."""
        good = ~np.isnan(self.numbers.values)
        return np.sort(np.repeat(self.numbers.values[good], self.counts[good]))

    @property
    def constant(self) -> bool:
        """True if every row has the same, blanks counted as a value of their own."""
        if self.filled not in {0, self.rows}:
            return False
        if self.numeric:
            values = self.values()
            return bool(values[0] == values[-1])
        return len(self.categories()) < 2  # noqa: PLR2004 - it takes two to differ

    @property
    def unique(self) -> bool:
        """True if no two rows have the same text."""
        return 1 < len(self.texts) == self.filled

    @property
    def called_id(self) -> bool:
        """True if the name is one that numbers the rows, such as ``id`` or ``customer_id``."""
        return _ID.search(_CAMEL.sub("_", self.name)) is not None

    def categories(self) -> dict[str, int]:
        """Return each category to its rows, the most frequent first.

        Texts that differ by case only, or by ``.0`` after a whole number, are one category, spelled
        as most rows have it.
        """
        spelled: dict[str, dict[str, int]] = {}
        for text, rows in [*self._spellings(), *self.words.items()]:
            spelled.setdefault(fold(text), {})[text] = rows
        found = {
            min(forms, key=lambda text: (-forms[text], text)): sum(forms.values())
            for forms in spelled.values()
        }
        return dict(sorted(found.items(), key=lambda item: (-item[1], fold(item[0]))))

    def _spellings(self) -> Iterable[tuple[str, int]]:
        texts = self.texts
        if self.numeric:
            good = ~np.isnan(self.numbers.values)
            totals = pd.Series(self.counts[good]).groupby(self.numbers.values[good]).sum()
            return [(category_key(value), int(rows)) for value, rows in totals.items()]
        return zip(texts, self.counts.tolist(), strict=True)
