"""From one record to one row of the matrix: the hot path of single predictions."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from aimq.errors import FieldError, Invalid
from aimq.schema import messages
from aimq.schema.model import Feature, FeatureType, Schema, fold


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

    Numbers must be JSON numbers; categories are matched without regard to case and outer space;
    fields the schema does not know are passed over.
    """

    def __init__(self, schema: Schema) -> None:
        self._schema = schema
        self._groups = {fold(group): group for group in schema.groups}
        self._categories = [
            (f.name, {g: self._codes(f, g) for g in schema.groups}) if not f.numeric else None
            for f in schema.features
        ]

    @staticmethod
    def _codes(feature: Feature, group: str) -> dict[str, float]:
        known = feature.by_group.get(group, feature.categories)
        codes = {c: float(n) for n, c in enumerate(feature.categories) if c in set(known)}
        return {**codes, **{fold(category): code for category, code in codes.items()}}

    def encode(self, record: object) -> Encoded:
        """Return the record's group and row.

        Raises:
            Invalid: one entry per wrong field, with what was given and what is allowed.
        """
        if not isinstance(record, Mapping):
            raise Invalid(f"A record is a JSON object, not {messages.quote(record)}.")
        group = self._group(record.get(self._schema.group))
        if group is None:
            raise self._invalid(record, None)
        row: list[float] = []
        for feature, category in zip(self._schema.features, self._categories, strict=True):
            value = record.get(feature.name)
            number = (
                _number(feature, value) if category is None else _code(category[1][group], value)
            )
            if number is None:
                raise self._invalid(record, group)
            row.append(number)
        return Encoded(group, row)

    def _group(self, value: object) -> str | None:
        return self._groups.get(fold(value)) if isinstance(value, str) else None

    def _invalid(self, record: Mapping[object, object], group: str | None) -> Invalid:
        """Go through the record again, slowly, and name everything that is wrong."""
        schema, errors = self._schema, list[FieldError]()
        if group is None:
            given = record.get(schema.group)
            errors.append(_error(schema.group, given, messages.listed(schema.groups)))
        for feature, category in zip(schema.features, self._categories, strict=True):
            value = record.get(feature.name)
            if category is None:
                number = _number(feature, value)
            else:
                codes = category[1]
                any_group = [codes[g] for g in ([group] if group else schema.groups)]
                number = next((n for c in any_group if (n := _code(c, value)) is not None), None)
            if number is None:
                errors.append(_error(feature.name, value, messages.allowed(feature, group)))
        names = ", ".join(str(error["field"]) for error in errors)
        return Invalid(f"Wrong or missing: {names}.", errors=errors)


def _error(name: str, value: object, allowed: str) -> FieldError:
    if value is None:
        return FieldError(field=name, message=messages.MISSING, given=None, allowed=allowed)
    shown = messages.quote(value)
    return FieldError(field=name, message=f"{shown} is not {allowed}", given=shown, allowed=allowed)


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


def _code(codes: dict[str, float], value: object) -> float | None:
    if type(value) is not str:
        return None
    code = codes.get(value)
    return code if code is not None else codes.get(fold(value))
