"""``aimq settings``: every setting, its default and its meaning, as a Markdown table."""

from __future__ import annotations

from aimq.settings import PREFIX, Settings, variables

#: Defaults that depend on the machine or on other settings, in words.
_DERIVED = {
    "broker_url": "`sqlite:///<data>/aimq.db`",
    "store_url": "`sqlite:///<data>/aimq.db`",
    "files_url": "`file://<data>/files`",
    "interface_url": "from host and port",
    "concurrency": "cores",
    "prefetch": "2 × concurrency",
}


def settings() -> None:
    """Print every setting with its default and meaning (Markdown)."""
    print(table(), end="")


def table() -> str:
    """Return the Markdown table of all settings, in the order of the class."""
    rows = ["| variable | default | meaning |", "|---|---|---|"]
    for name in variables():
        field = Settings.model_fields[name]
        meaning = " ".join((field.description or "").split())
        rows.append(f"| {PREFIX}{name.upper()} | {_default(name)} | {meaning} |")
    return "\n".join(rows) + "\n"


def _default(name: str) -> str:
    default = Settings.model_fields[name].default
    if name in _DERIVED:
        return _DERIVED[name]
    if isinstance(default, bool):
        return f"`{int(default)}`"
    return "empty" if default in {"", frozenset()} else f"`{default}`"
