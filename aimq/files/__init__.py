"""The FileStore port and its adapters: a local folder, or any fsspec file system by URL."""

from aimq.files.connect import connect_files
from aimq.files.port import FileStore

__all__ = ["FileStore", "connect_files"]
