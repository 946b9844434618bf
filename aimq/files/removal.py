"""Removes the files of a job."""

from __future__ import annotations

from aimq.files.keys import earlier_keys, result_folder, upload_key
from aimq.files.port import FileStore


def remove_files(files: FileStore, job_id: str) -> None:
    """Delete a job's upload and the results of all its claims. Its record is not needed.

    Raises:
        FilesUnavailable: some files may be left.
    """
    results = list(files.keys(result_folder(job_id)))
    for key in (upload_key(job_id), *earlier_keys(job_id), *results):
        files.delete(key)
