"""Works on factorials: computed in child processes; long results are files."""

from __future__ import annotations

import io
from typing import Final

import msgspec

from aimq.factorial import preview
from aimq.factorial_pool import FactorialPool
from aimq.files import FileStore
from aimq.files.keys import new_result_key
from batch_processor.disposition import Ack
from batch_processor.work import Work

#: Longest result kept in the job's record, in digits (bytes).
INLINE: Final = 64 * 1024


class FactorialHandler:
    """Computes one factorial at a time per thread. Thread-safe."""

    def __init__(self, files: FileStore, pool: FactorialPool) -> None:
        self._files, self._pool = files, pool

    def __call__(self, work: Work) -> Ack:
        """Compute and store; raises `TaskTooLong`, `WorkerDied`, `FilesUnavailable`, `Stopped`.

        The result is JSON: ``digits`` (how many), ``preview``, and ``output`` unless it is in a
        file.
        """
        no = msgspec.json.decode(work.job.input)["no"]
        text = self._pool.digits(no, work.check)
        work.check()
        result: dict[str, object] = {"digits": len(text), "preview": preview(text)}
        key = ""
        if len(text) <= INLINE:
            result["output"] = text
        else:
            key = new_result_key(work.claim)
            self._files.put(key, io.BytesIO(text.encode("ascii")))
        return Ack(result=msgspec.json.encode(result), result_key=key)
