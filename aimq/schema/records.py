"""From one record to one row of the matrix: the hot path of single predictions."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from aimq.errors import FieldError, Invalid
from aimq.schema import error_texts
from aimq.schema.feature import Feature, FeatureType, category_key, date_values
from aimq.schema.model import Schema
from aimq.schema.values import is_blank, read_code, read_date

#: A value of a record, and the record's group, to its numbers in the matrix; None if it is wrong.
_Read = Callable[[object, str | None], tuple[float, ...] | None]


@dataclass(frozen=True, slots=True)
class Encoded:
    """A record as its model sees it.

    Attributes:
        group: canonical name of the model group.
        row: one number per column of the matrix.
    """

    group: str
    row: list[float]


class RecordEncoder:
    """Validates and encodes records of one schema. Immutable; thread-safe.

    Numbers must be JSON numbers, dates ISO 8601 text. Categories match without regard to case and
    outer space; a category whose name is a number may be given as that number. A field that may be
    blank may be absent, null or blank text. Unknown fields are ignored.
    """

    def __init__(self, schema: Schema) -> None:
        self._schema = schema
        codes = schema.group_feature.codes()
        self._groups = {spelling: schema.groups[code] for spelling, code in codes.items()}
        self._only = schema.groups[0] if schema.group is None else None
        self._reads = [(f.name, _reader(f, schema.groups)) for f in schema.features]

    def encode(self, record: object) -> Encoded:
        """Return the record's group and row.

        Raises:
            Invalid: one entry per wrong field, with what was given and what is allowed.
        """
        if not isinstance(record, Mapping):
            raise Invalid(f"A record is a JSON object, not {error_texts.quote(record)}.")
        group = self._only or self._groups.get(category_key(record.get(self._schema.group)))
        if group is None:
            raise self._invalid(record, None)
        row: list[float] = []
        for name, read in self._reads:
            numbers = read(record.get(name), group)
            if numbers is None:
                raise self._invalid(record, group)
            row += numbers
        return Encoded(group, row)

    def _invalid(self, record: Mapping[object, object], group: str | None) -> Invalid:
        """Name every wrong field of a record."""
        wrong = [] if group is not None else [self._schema.group_feature]
        for feature, (name, read) in zip(self._schema.features, self._reads, strict=True):
            if read(record.get(name), group) is None:
                wrong.append(feature)
        errors = [_error(feature, record.get(feature.name), group) for feature in wrong]
        names = ", ".join(feature.name for feature in wrong)
        return Invalid(f"Wrong or missing: {names}.", errors=errors)


def _error(feature: Feature, value: object, group: str | None) -> FieldError:
    return FieldError(
        field=feature.name,
        message=error_texts.wrong(feature, value, group),
        given=None if value is None else error_texts.quote(value),
        allowed=error_texts.allowed(feature, group),
    )


def _reader(feature: Feature, groups: tuple[str, ...]) -> _Read:
    if feature.coded:
        return _code_reader(feature, groups)
    read = _date if feature.type is FeatureType.DATE else _number_reader(feature)
    return _or_blank(read, feature.blank_values) if feature.blank else read


def _or_blank(read: _Read, blank: tuple[float, ...]) -> _Read:
    """Add the column that is 1 where the value is missing."""

    def read_or_blank(value: object, group: str | None) -> tuple[float, ...] | None:
        numbers = read(value, group)
        if numbers is not None:
            return (*numbers, 0.0)
        return blank if is_blank(value) else None

    return read_or_blank


def _code_reader(feature: Feature, groups: tuple[str, ...]) -> _Read:
    by_group = {
        group: {spelling: (float(code),) for spelling, code in feature.codes(group).items()}
        for group in (None, *groups)
    }

    def read(value: object, group: str | None) -> tuple[float, ...] | None:
        known = by_group[group]
        if type(value) is str:  # most are spelled as in the schema
            code = known.get(value)
            if code is not None:
                return code
        return read_code(feature, known, value)

    return read


def _date(value: object, _: str | None) -> tuple[float, ...] | None:
    day = read_date(value)
    return None if day is None else date_values(day)


def _number_reader(feature: Feature) -> _Read:
    minimum, maximum = feature.minimum, feature.maximum
    whole = feature.type is FeatureType.INTEGER

    def read(value: object, _: str | None) -> tuple[float, ...] | None:
        if type(value) is not int and type(value) is not float:
            return None
        if not minimum <= value <= maximum:  # false for NaN as well
            return None
        if whole and type(value) is float and not value.is_integer():
            return None
        try:
            return (float(value),)
        except OverflowError:  # an int beyond float, where the schema has no maximum
            return None

    return read
