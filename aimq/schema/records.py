"""From one record to one row of the matrix: the hot path of single predictions."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from aimq.errors import FieldError, Invalid
from aimq.schema import error_texts
from aimq.schema.model import Feature, FeatureType, Schema, category_key

#: Spelling of a category to its code, by group; under None those of any group.
_Codes = dict[str | None, dict[str, float]]


@dataclass(frozen=True, slots=True)
class Encoded:
    """A record as its model sees it.

    Attributes:
        group: canonical name of the model group.
        row: one number per feature, in matrix order.
    """

    group: str
    row: list[float]


class RecordEncoder:
    """Validates and encodes records of one schema. Immutable; thread-safe.

    Numbers must be JSON numbers. Categories match without regard to case and outer space; a
    category whose name is a number may be given as that number. Unknown fields are ignored.
    """

    def __init__(self, schema: Schema) -> None:
        self._schema = schema
        codes = schema.group_feature.codes()
        self._groups = {spelling: schema.groups[code] for spelling, code in codes.items()}
        self._features = [(f, _codes(f, schema.groups)) for f in schema.features]

    def encode(self, record: object) -> Encoded:
        """Return the record's group and row.

        Raises:
            Invalid: one entry per wrong field, with what was given and what is allowed.
        """
        if not isinstance(record, Mapping):
            raise Invalid(f"A record is a JSON object, not {error_texts.quote(record)}.")
        group = self._groups.get(category_key(record.get(self._schema.group)))
        if group is None:
            raise self._invalid(record, None)
        row: list[float] = []
        for feature, codes in self._features:
            number = _read(feature, codes, group, record.get(feature.name))
            if number is None:
                raise self._invalid(record, group)
            row.append(number)
        return Encoded(group, row)

    def _invalid(self, record: Mapping[object, object], group: str | None) -> Invalid:
        """Name every wrong field of a record."""
        wrong = [] if group is not None else [self._schema.group_feature]
        for feature, codes in self._features:
            if _read(feature, codes, group, record.get(feature.name)) is None:
                wrong.append(feature)
        errors = [_error(feature, record.get(feature.name), group) for feature in wrong]
        names = ", ".join(feature.name for feature in wrong)
        return Invalid(f"Wrong or missing: {names}.", errors=errors)


def _codes(feature: Feature, groups: tuple[str, ...]) -> _Codes:
    return {
        group: {spelling: float(code) for spelling, code in feature.codes(group).items()}
        for group in (None, *groups)
    }


def _error(feature: Feature, value: object, group: str | None) -> FieldError:
    return FieldError(
        field=feature.name,
        message=error_texts.wrong(feature, value, group),
        given=None if value is None else error_texts.quote(value),
        allowed=error_texts.allowed(feature, group),
    )


def _read(feature: Feature, codes: _Codes, group: str | None, value: object) -> float | None:
    """The number or the category's code; None if the value is wrong."""
    if feature.numeric:
        return _number(feature, value)
    known = codes[group]
    code = known.get(value) if type(value) is str else None  # most are spelled as in the schema
    return code if code is not None else known.get(category_key(value))


def _number(feature: Feature, value: object) -> float | None:
    if type(value) is not int and type(value) is not float:
        return None
    if not feature.minimum <= value <= feature.maximum:  # false for NaN as well
        return None
    if feature.type is FeatureType.INTEGER and type(value) is float and not value.is_integer():
        return None
    try:
        return float(value)
    except OverflowError:  # an int beyond float, where the schema has no maximum
        return None
