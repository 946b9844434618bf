"""Refuses compressed Arrow streams: a small one could unpack into all of the memory.

The reader of pyarrow has no bound of its own, so the messages' headers are looked at before any
buffer is read. Layout: Arrow columnar format, "Encapsulated message format" and ``Message.fbs``;
FlatBuffers internals for the tables.
"""

from __future__ import annotations

import struct
from typing import Final

import pyarrow as pa

from aimq.errors import UnsupportedMedia

_DICTIONARY_BATCH: Final = 2
_RECORD_BATCH: Final = 3
#: Places of fields in their FlatBuffers tables (``Message.fbs``).
_MESSAGE_HEADER_TYPE, _MESSAGE_HEADER = 1, 2
_DICTIONARY_DATA: Final = 1
_BATCH_COMPRESSION: Final = 3


def refuse_compressed(body: bytes) -> None:
    """Raise `UnsupportedMedia` when a message of the stream is compressed.

    Raises:
        pyarrow.ArrowException: the stream is malformed.
    """
    reader = pa.ipc.MessageReader.open_stream(body)
    while True:
        try:
            message = reader.read_next_message()
        except StopIteration:
            return
        try:
            compressed = _is_compressed(memoryview(message.metadata))
        except (struct.error, IndexError) as exc:
            raise pa.ArrowInvalid(f"malformed message: {exc}") from None
        if compressed:
            raise UnsupportedMedia("Compressed Arrow streams are not read: send it uncompressed.")


def _is_compressed(metadata: memoryview) -> bool:
    root = struct.unpack_from("<I", metadata, 0)[0]
    type_at = _field(metadata, root, _MESSAGE_HEADER_TYPE)
    header_at = _field(metadata, root, _MESSAGE_HEADER)
    kind = metadata[type_at] if type_at else 0
    if not header_at or kind not in {_DICTIONARY_BATCH, _RECORD_BATCH}:
        return False
    batch = _follow(metadata, header_at)
    if kind == _DICTIONARY_BATCH:
        data_at = _field(metadata, batch, _DICTIONARY_DATA)
        if not data_at:
            return False
        batch = _follow(metadata, data_at)
    return _field(metadata, batch, _BATCH_COMPRESSION) != 0


def _follow(buffer: memoryview, at: int) -> int:
    """Return where the table lies that the offset at `at` points to."""
    return at + int(struct.unpack_from("<I", buffer, at)[0])


def _field(buffer: memoryview, table: int, number: int) -> int:
    """Return where a field of a FlatBuffers table lies; 0 when it is absent."""
    vtable = table - struct.unpack_from("<i", buffer, table)[0]
    size = struct.unpack_from("<H", buffer, vtable)[0]
    entry = 4 + 2 * number
    if entry + 2 > size:
        return 0
    offset = struct.unpack_from("<H", buffer, vtable + entry)[0]
    return table + offset if offset else 0
