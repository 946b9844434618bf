"""A table of a ``schema.toml``, read key by key; what is wrong is said with its place."""

from __future__ import annotations

import difflib
import math
from collections.abc import Iterable, Mapping
from typing import Any, Final

from aimq.errors import ModelRefused
from aimq.schema.feature import category_key, fold

#: Most words of one list: their codes are 16 bits wide in Arrow.
_MOST: Final = 32_767


class TomlTable:
    """One table. Every method raises `ModelRefused`, which names the table and the key.

    Args:
        place: how messages name the table, as ``[group]``.
        content: what stands there.
        keys: those that the table may have. A key whose value is null counts as absent.
    """

    def __init__(self, place: str, content: object, keys: tuple[str, ...]) -> None:
        self.place = place
        if not isinstance(content, Mapping):
            raise self.refused(f"must be a table, not {_short(content)}")
        for key in content:
            if key not in keys:
                near = difflib.get_close_matches(str(key), keys, n=1)
                hint = f"; did you mean {near[0]}?" if near else f". It takes {', '.join(keys)}."
                raise self.refused(f"{str(key)[:60]!r} is not known here{hint}")
        self._content: dict[str, Any] = {k: v for k, v in content.items() if v is not None}

    def refused(self, text: str) -> ModelRefused:
        """Return the error that says `text` of this table."""
        return ModelRefused(f"{self.place}: {text}" if self.place else text)

    def get(self, key: str) -> Any:  # noqa: ANN401 # whatever a person wrote
        """Return what stands there; None if nothing."""
        return self._content.get(key)

    def has(self, key: str) -> bool:
        """True if the key is given."""
        return key in self._content

    def text(self, key: str, default: str | None = None) -> str:
        """Return a text; without a default one is needed, and must not be blank."""
        value = self._content.get(key, default)
        if value is None:
            raise self.refused(f'{key} is missing: add {key} = "…"')
        if not isinstance(value, str) or (default is None and not value.strip()):
            raise self.refused(f"{key} must be a text in quotation marks, not {_short(value)}")
        return value

    def flag(self, key: str) -> bool:
        """Return true or false; false if it is not given."""
        value = self._content.get(key, False)
        if not isinstance(value, bool):
            raise self.refused(f"{key} must be true or false, not {_short(value)}")
        return value

    def number(self, key: str, default: float) -> float:
        """Return a number, which must be finite; JSON has no other."""
        value = self._content.get(key)
        if value is None:
            return default
        try:
            number = math.nan if isinstance(value, bool | str) else float(value)
        except (TypeError, ValueError, OverflowError):
            number = math.nan
        if not math.isfinite(number):
            raise self.refused(f"{key} must be a finite number, not {_short(value)}")
        return number

    def words(self, key: str, values: object) -> tuple[str, ...]:
        """Return a list of categories as text, of a number its name; they must differ."""
        if values is None:
            raise self.refused(f'{key} is missing: add {key} = ["a", "b"]')
        if not isinstance(values, list | tuple) or not values:
            raise self.refused(f'{key} must be a list such as ["a", "b"], not {_short(values)}')
        words = tuple(value if isinstance(value, str) else category_key(value) for value in values)
        for word, value in zip(words, values, strict=True):
            if not fold(word):
                raise self.refused(
                    f"{key} has {_short(value)}: take it out, or write it as a text with letters "
                    "or digits"
                )
        if len(words) > _MOST:
            raise self.refused(f"{key} has {len(words):,} entries; at most {_MOST:,} are possible")
        twice = repeated(words)
        if twice is not None:
            raise self.refused(
                f"{key} has {twice!r} twice, for case and outer space do not count: keep one"
            )
        return words


def repeated(names: Iterable[str]) -> str | None:
    """Return the first name that was there before, whatever its case and outer space."""
    seen: set[str] = set()
    for name in names:
        if fold(name) in seen:
            return name
        seen.add(fold(name))
    return None


def _short(value: object) -> str:
    text = repr(value)
    return text if len(text) <= 60 else text[:60] + "…"  # noqa: PLR2004 # a line of a message
