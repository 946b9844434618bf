"""Which models the ML service has, as it says on ``GET /models``, and which one a sheet is for."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Final

import msgspec

from aimq.errors import FieldError, Invalid, NotFound
from aimq.schema.model import fold

#: Models that a message lists, at most.
_LISTED: Final = 20


class ServedModel(msgspec.Struct, frozen=True, kw_only=True):
    """One model of the list; fields that are not needed here are passed over.

    Attributes:
        version: in service; None while there is none.
        default: it answers where no model is named.
        columns: fields of a record, in order.
        required: those of them that a record or a sheet must have.
    """

    name: str
    version: str | None = None
    default: bool = False
    columns: tuple[str, ...] = ()
    required: tuple[str, ...] = ()


class _Models(msgspec.Struct):
    models: tuple[ServedModel, ...]


_decoder: Final = msgspec.json.Decoder(_Models)


def read_models(body: bytes) -> tuple[ServedModel, ...]:
    """Return the models of an answer to ``GET /models``. Raises `msgspec.MsgspecError`."""
    return _decoder.decode(body).models


def unknown_model(name: str, names: Iterable[str]) -> NotFound:
    """Return the error that says which models there are."""
    known = sorted(names)
    more = f" and {len(known) - _LISTED} more" if len(known) > _LISTED else ""
    listed = ", ".join(known[:_LISTED]) + more or "none"
    return NotFound(f"No model {name[:64]!a} is served; there are: {listed}.")


def choose_model(header: Sequence[str], models: Sequence[ServedModel]) -> str | None:
    """Return the name of the model whose required columns a header has. Pure.

    Of several the default is taken. A model that requires no column needs one of its columns.
    Names are compared without regard to case and outer space.

    Returns:
        None if the header fits no model.

    Raises:
        Invalid: it fits several, and the default is not one of them; lists them.
    """
    there = {fold(name) for name in header}
    fitting = [model for model in models if _fits(there, model)]
    if len(fitting) > 1:
        fitting = [model for model in fitting if model.default] or fitting
    if len(fitting) > 1:
        names = ", ".join(sorted(model.name for model in fitting)[:_LISTED])
        raise Invalid(
            f"The sheet has the columns of several models: {names}. Say which: ?model=NAME with "
            "POST /upload, or `aimq upload --model NAME`.",
            errors=[FieldError(field="model", message="is needed", allowed=names)],
        )
    return fitting[0].name if fitting else None


def _fits(there: set[str], model: ServedModel) -> bool:
    required = {fold(name) for name in model.required}
    return required <= there and any(fold(name) in there for name in model.columns)
