"""Handles an upload: file store to workbook to predictions to file store."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable
from dataclasses import asdict
from typing import Final

from aimq.errors import NotFound, WorkbookError
from aimq.files import FileStore
from aimq.ml_client.blocking import MlClient
from aimq.settings import Settings
from aimq.workbook.reader import WorkbookReader
from aimq.workbook.writing import write_workbook
from batch_processor.handler import Success, Work
from batch_processor.spreadsheet import Progress, score

#: Shortest time between two stored progress reports, in seconds.
REPORT_SECONDS: Final = 0.25


def upload_key(job_id: str) -> str:
    """Return the file store's key of what was uploaded."""
    return f"uploads/{job_id}.xlsx"


def result_key(job_id: str) -> str:
    """Return the file store's key of the scored spreadsheet."""
    return f"results/{job_id}.xlsx"


class SpreadsheetScorer:
    """Scores one upload at a time per thread. Doing it twice gives the same result file once."""

    def __init__(
        self, files: FileStore, client: MlClient, reader: WorkbookReader, settings: Settings
    ) -> None:
        self._files, self._client = files, client
        self._reader, self._settings = reader, settings

    def __call__(self, work: Work) -> Success:
        """Score the upload of a job and store the result; raises `AimqError` and `Stopped`."""
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
        return Success(model_versions=scored.model_versions, counts=asdict(scored.progress))


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
