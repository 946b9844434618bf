"""Works on uploads: file store to workbook to predictions to file store."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable
from dataclasses import asdict
from typing import Final

from aimq.errors import NotFound, WorkbookError
from aimq.files import FileStore
from aimq.files.keys import result_key, upload_key
from aimq.ml_client.blocking import MlClient
from aimq.settings import Settings
from aimq.workbook import WorkbookReader, write_workbook
from batch_processor.disposition import Ack
from batch_processor.scoring import Progress, score
from batch_processor.work import Work

#: Shortest time between two stored progress reports, in seconds.
REPORT_SECONDS: Final = 0.25


class SpreadsheetHandler:
    """Scores one upload at a time per thread. Thread-safe.

    Scored twice, an upload has one and the same result file.
    """

    def __init__(
        self, files: FileStore, client: MlClient, reader: WorkbookReader, settings: Settings
    ) -> None:
        self._files, self._client = files, client
        self._reader, self._settings = reader, settings

    def __call__(self, work: Work) -> Ack:
        """Score the upload of a job and store the result. Raises `AimqError` and `Stopped`."""
        job_id = work.job.job_id
        schema = self._client.schema()  # before the long reading: it may be away
        try:
            with self._files.local_copy(upload_key(job_id)) as path:
                sheet = self._reader.read(path, self._settings.max_rows)
        except NotFound as exc:
            raise WorkbookError("The uploaded file is gone. Upload it again.") from exc
        work.check()
        scored = score(
            sheet,
            schema,
            self._client,
            batch_rows=self._settings.batch_rows,
            report=_throttled(work, time.monotonic),
        )
        with tempfile.TemporaryFile() as stream:  # without a name: gone even after kill -9
            write_workbook(scored.sheet, stream)
            stream.seek(0)
            work.check()
            self._files.put(result_key(job_id), stream)
        return Ack(model_versions=scored.model_versions, counts=asdict(scored.progress))


def _throttled(work: Work, clock: Callable[[], float]) -> Callable[[Progress], None]:
    """Return a report function that stores at most one report every `REPORT_SECONDS`."""
    due = 0.0

    def report(progress: Progress) -> None:
        nonlocal due
        work.check()
        if clock() >= due:
            work.progress(**asdict(progress))
            due = clock() + REPORT_SECONDS

    return report
