"""Client file names made safe: shown and sent back, never used as a path. Pure."""

from __future__ import annotations

import re
import unicodedata
from typing import Final
from urllib.parse import quote

FALLBACK: Final = "upload.xlsx"
SUFFIX: Final = ".xlsx"
#: Longest name kept, in characters.
MAX_CHARACTERS: Final = 120
#: Longest name kept, in bytes of UTF-8: what file systems accept, less the room for a suffix.
_MAX_BYTES: Final = 200
#: Unicode categories that are dropped: controls, format characters (among them the bidirectional
#: overrides that make ``exe.xslx`` of ``xlsx.exe``), surrogates, private use and unassigned.
_DROPPED: Final = frozenset({"Cc", "Cf", "Cs", "Co", "Cn"})
#: Not allowed in a file name on some system that may download it.
_RESERVED: Final = re.compile(r'[<>:"|?*]')


def display_name(raw: str) -> str:
    """Return a client's file name, safe to show and to offer for a download.

    Path parts, control and bidirectional characters and characters reserved on some file system
    are gone, white space is collapsed, the name has at most `MAX_CHARACTERS` characters and ends
    in ``.xlsx`` or whatever short extension it had. What is left of nothing is `FALLBACK`.
    """
    name = unicodedata.normalize("NFC", raw).replace("\\", "/").rsplit("/", 1)[-1]
    kept = (" " if char.isspace() else char for char in name)
    name = "".join(char for char in kept if unicodedata.category(char) not in _DROPPED)
    name = " ".join(_RESERVED.sub("_", name).split()).lstrip(". ").rstrip(". ")
    return _shortened(name) or FALLBACK


def _shortened(name: str) -> str:
    stem, dot, extension = name.rpartition(".")
    if not dot or len(extension) > len(SUFFIX):
        stem, dot, extension = name, "", ""
    stem = _cut(stem[: MAX_CHARACTERS - len(dot + extension)], _MAX_BYTES - 4 * len(extension))
    return stem.rstrip(". ") + dot + extension


def _cut(text: str, size: int) -> str:
    return text.encode("utf-8")[:size].decode("utf-8", "ignore")


def result_name(shown: str) -> str:
    """Return the name of the result of an upload: ``cars.xlsx`` gives ``cars_predicted.xlsx``."""
    stem, dot, extension = shown.rpartition(".")
    if not dot or not stem or len(extension) > len(SUFFIX) - 1:
        stem = shown
    return f"{stem or 'upload'}_predicted{SUFFIX}"


def content_disposition(name: str) -> str:
    """Return the header value that downloads a file under `name`.

    Source: RFC 6266 with the extended notation of RFC 5987; the plain form is for old clients.
    """
    plain = unicodedata.normalize("NFKD", name).encode("ascii", "ignore").decode()
    plain = re.sub(r'[\\"%]', "_", plain).strip()
    if plain == name:
        return f'attachment; filename="{plain}"'
    if plain.startswith((".", "_predicted")) or not plain:
        plain = "result" + plain
    return f"attachment; filename=\"{plain}\"; filename*=UTF-8''{quote(name, safe='')}"
