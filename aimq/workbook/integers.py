"""Makes whole numbers of a workbook whole in the file, too: ``26535``, not ``26535.0``.

The writer knows floats only. To Excel both are the same number, but other readers (openpyxl, for
one) take the first for an int and the second for a float.
"""

from __future__ import annotations

import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import IO, BinaryIO, Final

_SHEETS: Final = "xl/worksheets/"
_CHUNK: Final = 1024 * 1024
#: Of zlib. The next ones take up to three times as long to save a fifth.
_LEVEL: Final = 2
#: More bytes than this need an entry of the 64-bit format, which not every reader knows.
_LARGE: Final = 2_000_000_000


def copy_with_integers(source: BinaryIO, target: Path | BinaryIO) -> None:
    """Copy a workbook, writing numbers without a fraction as integers; streams, a MiB at a time.

    Args:
        source: a workbook that keeps its text within the sheets, escaped as XML, so that what ends
            a number cannot be part of a text.
    """
    with (
        zipfile.ZipFile(source) as before,
        zipfile.ZipFile(target, "w", zipfile.ZIP_DEFLATED, compresslevel=_LEVEL) as after,
    ):
        for member in before.infolist():
            numbers = member.filename.startswith(_SHEETS)
            large = member.file_size > _LARGE  # it only shrinks
            with (
                before.open(member) as read,
                after.open(member.filename, "w", force_zip64=large) as write,
            ):
                for part in _parts(read):
                    write.write(part.replace(b".0</v>", b"</v>") if numbers else part)


def _parts(stream: IO[bytes]) -> Iterator[bytes]:
    """Cut a stream of XML only where a tag ends."""
    rest = b""
    while chunk := stream.read(_CHUNK):
        whole = rest + chunk
        cut = whole.rfind(b">") + 1
        yield whole[:cut]
        rest = whole[cut:]
    yield rest
