"""Handles factorials: computed in processes, long results kept as files."""

from __future__ import annotations

import io
from typing import Final

import msgspec

from aimq.factorial import preview
from aimq.factorial_pool import FactorialPool
from aimq.files import FileStore
from batch_processor.handler import Success, Work

#: Longest result kept in the job's record, in digits (bytes).
INLINE: Final = 64 * 1024


def digits_key(job_id: str) -> str:
    """Return the file store's key of a result that is too long for the job's record."""
    return f"results/{job_id}.txt"


class FactorialWorker:
    """Computes one factorial at a time per thread. Thread-safe."""

    def __init__(self, files: FileStore, calculators: FactorialPool) -> None:
        self._files, self._calculators = files, calculators

    def __call__(self, work: Work) -> Success:
        """Compute and store; raises `TaskTooLong`, `WorkerDied`, `FilesUnavailable`, `Stopped`.

        The result is JSON: ``digits`` (how many), ``preview``, and ``output`` unless it is in a
        file.
        """
        no = msgspec.json.decode(work.job.input)["no"]
        text = self._calculators.digits(no, work.check)
        work.check()
        result: dict[str, object] = {"digits": len(text), "preview": preview(text)}
        if len(text) <= INLINE:
            result["output"] = text
        else:
            self._files.put(digits_key(work.job.job_id), io.BytesIO(text.encode("ascii")))
        return Success(result=msgspec.json.encode(result))
