"""What a record looks like: features, types, ranges, categories, group and target."""

from __future__ import annotations

import math
import tomllib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from numbers import Integral, Real
from pathlib import Path
from typing import Any, Final

from aimq.errors import ModelRefused

#: Beyond this a number is infinite in the float32 matrix that the models see.
LARGEST: Final = 3.4028234663852886e38
#: No category is the name of an integer of more bits: `str` refuses over 4,300 digits.
_WIDEST: Final = 256


class FeatureType(StrEnum):
    """How a feature's values are read."""

    NUMBER = "number"
    INTEGER = "integer"
    CATEGORY = "category"


def fold(text: str) -> str:
    """Return the form under which names and categories are compared: no case, no outer space."""
    return text.strip().casefold()


def category_key(value: object) -> str:
    """Return the folded name of the category that a value stands for.

    Text stands for itself and a number for its shortest name: 180 and 180.0 for "180", 1.5 for
    "1.5". Empty, which no category is, for every other value: booleans, NaN, infinity, dates.
    """
    if isinstance(value, str):
        return fold(value)
    if isinstance(value, bool) or not isinstance(value, Real):
        return ""
    if not isinstance(value, Integral):
        value = float(value)
        if not value.is_integer():
            return repr(value) if math.isfinite(value) else ""
    number = int(value)
    return str(number) if number.bit_length() <= _WIDEST else ""


def category_number(category: str) -> int | float | None:
    """Return the number whose name a category is; None if there is no such number."""
    try:
        number = float(category)
    except ValueError:
        return None
    if category_key(number) != fold(category):
        return None
    return int(number) if number.is_integer() else number


@dataclass(frozen=True, slots=True, kw_only=True)
class Feature:
    """One column that the model sees.

    Attributes:
        unit: of the values, for people.
        minimum: smallest value allowed (numbers); inclusive.
        maximum: largest value allowed (numbers); inclusive.
        categories: every category, in the order of their codes 0, 1, 2, …
        by_group: group to the categories it knows, where not every group knows all of them.
    """

    name: str
    type: FeatureType
    description: str = ""
    unit: str = ""
    minimum: float = -LARGEST
    maximum: float = LARGEST
    categories: tuple[str, ...] = ()
    by_group: Mapping[str, tuple[str, ...]] = field(default_factory=dict)

    @property
    def numeric(self) -> bool:
        """True if values are numbers."""
        return self.type is not FeatureType.CATEGORY

    def categories_of(self, group: str | None) -> tuple[str, ...]:
        """Return the categories that a group knows; of None, every category."""
        return self.categories if group is None else self.by_group.get(group, self.categories)

    def codes(self, group: str | None = None) -> dict[str, int]:
        """Return the code of each category that a group knows, by spelling; of None, of every one.

        Spellings are the category itself, its folded form, and ``180.0`` for ``180``, as table
        programs write a whole number in a column of fractions.
        """
        known = set(self.categories_of(group))
        codes = {word: code for code, word in enumerate(self.categories) if word in known}
        fractions = {f"{word}.0": code for word, code in codes.items() if word.isdecimal()}
        return {**fractions, **{fold(word): code for word, code in codes.items()}, **codes}


@dataclass(frozen=True, slots=True, kw_only=True)
class Schema:
    """A record: a group, features in the order of the matrix columns, and a target.

    Attributes:
        group: name of the field that chooses the model.
        groups: its values.
        target: name of the column to learn.
        prediction: name of the returned column.
        target_minimum: smallest target value in training; rows below are outliers.
        target_maximum: largest target value in training; rows above are outliers.
    """

    name: str
    title: str
    group: str
    groups: tuple[str, ...]
    features: tuple[Feature, ...]
    target: str
    prediction: str
    target_unit: str = ""
    target_minimum: float = float("-inf")
    target_maximum: float = float("inf")
    source: Mapping[str, Any] = field(default_factory=dict, repr=False, compare=False)

    @property
    def columns(self) -> tuple[str, ...]:
        """Names of the fields a record needs: the group first, then the features."""
        return (self.group, *(feature.name for feature in self.features))

    @property
    def group_feature(self) -> Feature:
        """The group as a category."""
        return Feature(
            name=self.group,
            type=FeatureType.CATEGORY,
            description="Chooses the model.",
            categories=self.groups,
        )

    def encoder(self) -> dict[str, Any]:
        """Return the published encoding: matrix columns in order, and each category's code."""
        return {
            "columns": [feature.name for feature in self.features],
            "codes": {
                f.name: {word: code for code, word in enumerate(f.categories)}
                for f in self.features
                if not f.numeric
            },
        }


def load_schema(path: Path) -> Schema:
    """Read a ``schema.toml``. Raises `ModelRefused` if it is unreadable or inconsistent."""
    try:
        return parse_schema(tomllib.loads(path.read_text(encoding="utf-8")))
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as exc:
        raise ModelRefused(f"{path}: cannot be read: {exc}") from exc
    except (KeyError, TypeError, ValueError, AttributeError) as exc:
        raise ModelRefused(f"{path}: {exc!r} is missing or wrong") from exc


def parse_schema(source: Mapping[str, Any]) -> Schema:
    """Build a schema from the tables of a ``schema.toml``. Raises `ValueError`, `KeyError`."""
    group, target = source["group"], source["target"]
    groups = _words(group["values"])
    features = tuple(_feature(table, groups) for table in source["features"])
    names = [group["name"], target["name"], *(feature.name for feature in features)]
    if len({fold(name) for name in names}) != len(names):
        raise ValueError(f"names must differ: {names}")
    if not groups or not features:
        raise ValueError("at least one group and one feature are needed")
    _check_words(group["name"], groups)
    return Schema(
        name=source["name"],
        title=source.get("title", source["name"]),
        group=group["name"],
        groups=groups,
        features=features,
        target=target["name"],
        prediction=target.get("prediction", "prediction"),
        target_unit=target.get("unit", ""),
        target_minimum=float(target.get("minimum", "-inf")),
        target_maximum=float(target.get("maximum", "inf")),
        source=source,
    )


def _words(values: Iterable[object]) -> tuple[str, ...]:
    """Return categories as text; of a number its name."""
    return tuple(value if isinstance(value, str) else category_key(value) for value in values)


def _check_words(name: str, words: Sequence[str]) -> None:
    if not all(fold(word) for word in words):
        raise ValueError(f"{name}: a category must not be blank")
    if len({fold(word) for word in words}) != len(words):
        raise ValueError(f"{name}: categories must differ by more than case and outer space")


def _feature(table: Mapping[str, Any], groups: Sequence[str]) -> Feature:
    kind = FeatureType(table["type"])
    given = table.get("categories", [])
    by_group: dict[str, tuple[str, ...]] = {}
    if isinstance(given, Mapping):
        if set(given) != set(groups):
            raise ValueError(f"{table['name']}: categories are needed for each of {groups}")
        by_group = {name: _words(values) for name, values in given.items()}
        given = dict.fromkeys(value for name in groups for value in by_group[name])
    categories = _words(given)
    if (kind is FeatureType.CATEGORY) != bool(categories):
        raise ValueError(f"{table['name']}: a category, and only it, has categories")
    _check_words(table["name"], categories)
    minimum = max(float(table.get("minimum", -LARGEST)), -LARGEST)
    maximum = min(float(table.get("maximum", LARGEST)), LARGEST)
    if not minimum <= maximum:  # true for NaN as well
        raise ValueError(f"{table['name']}: the minimum is over the maximum")
    return Feature(
        name=table["name"],
        type=kind,
        description=table.get("description", ""),
        unit=table.get("unit", ""),
        minimum=minimum,
        maximum=maximum,
        categories=categories,
        by_group=by_group,
    )
