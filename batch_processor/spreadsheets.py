"""Works on uploads: file store to workbook to predictions to file store."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Final

import msgspec
import pyarrow as pa

from aimq.errors import NotFound, UnsupportedMedia, WorkbookError
from aimq.files import FileStore
from aimq.files.keys import new_result_key, upload_key
from aimq.ml_client.blocking import MlClient, ScoredTable
from aimq.ml_client.served_models import ServedModel, choose_model
from aimq.schema import Schema
from aimq.settings import Settings
from aimq.workbook.package import unpacked_size
from aimq.workbook.reader import WorkbookReader
from aimq.workbook.sheet import Sheet
from aimq.workbook.writing import write_workbook
from batch_processor.disposition import Ack
from batch_processor.memory_budget import MemoryBudget
from batch_processor.scoring import Progress, score
from batch_processor.work import Work

#: Shortest time between two stored progress reports, in seconds.
REPORT_SECONDS: Final = 0.25
#: Bytes of memory that a file takes for each byte of its unpacked parts. Measured with 300,000 rows
#: of 12 columns: 2.2 in the process that reads, 0.7 in the one that scores and writes.
MEMORY_FACTOR: Final = 3


class SpreadsheetHandler:
    """Scores one upload at a time per thread. Thread-safe.

    Each claim writes a file of its own; the job's record names the one that counts.

    Args:
        memory: what the uploads in work may take together.
    """

    def __init__(
        self,
        files: FileStore,
        client: MlClient,
        reader: WorkbookReader,
        memory: MemoryBudget,
        settings: Settings,
    ) -> None:
        self._files, self._client, self._reader = files, client, reader
        self._memory, self._settings = memory, settings

    def __call__(self, work: Work) -> Ack:
        """Score the upload of a job and store the result. Raises `AimqError` and `Stopped`."""
        model = work.job.model
        # Asked before the long reading: the service may be away.
        schema = self._client.schema(model) if model else None
        models = () if model else self._client.models()
        with ExitStack() as stack:
            try:
                path = stack.enter_context(self._files.local_copy(upload_key(work.job.job_id)))
            except NotFound as exc:
                raise WorkbookError("The uploaded file is gone. Upload it again.") from exc
            stack.enter_context(self._memory.reserve(_memory_of(path), work.check))
            sheet = self._reader.read(path, self._settings.max_rows)
            work.check()
            if schema is None:
                model = model_for(sheet.headers, models)
                schema = self._client.schema(model)
            return self._score(work, sheet, model, schema)

    def _score(self, work: Work, sheet: Sheet, model: str, schema: Schema) -> Ack:
        scored = score(
            sheet,
            schema,
            _ModelPredictor(self._client, model, work.job.interval),
            interval=bool(work.job.interval),
            batch_rows=self._settings.batch_rows,
            report=_throttled(work, time.monotonic),
        )
        key = new_result_key(work.claim)
        with tempfile.TemporaryFile() as stream:  # without a name: gone even after kill -9
            notes = write_workbook(scored.sheet, stream)
            stream.seek(0)
            work.check()
            self._files.put(key, stream)
        counts = asdict(scored.progress)
        return Ack(
            result=msgspec.json.encode(notes),
            result_key=key,
            model=model,
            model_versions=scored.model_versions,
            counts=counts,
        )


def model_for(headers: Sequence[str], models: Sequence[ServedModel]) -> str:
    """Return the model that a sheet is for by its columns; the default if it is for none.

    Raises:
        Invalid: it is for several; lists them.
        WorkbookError: it is for none, and there is no default.
    """
    default = next((model.name for model in models if model.default), None)
    chosen = choose_model(headers, models) or default
    if chosen is None:
        names = ", ".join(model.name for model in models) or "none"
        raise WorkbookError(f"The sheet has the columns of no model; there are: {names}.")
    return chosen


@dataclass(frozen=True, slots=True)
class _ModelPredictor:
    """Predictions of one model, with the intervals that a job asks for."""

    client: MlClient
    model: str
    interval: int

    def predict_table(self, table: pa.Table) -> ScoredTable:
        return self.client.predict_table(table, self.model, self.interval)


def _memory_of(path: Path) -> int:
    """Return the bytes of memory that scoring a file takes; 0 if it is no workbook."""
    try:
        return MEMORY_FACTOR * unpacked_size(path)
    except UnsupportedMedia:
        return 0  # the reader says what is wrong with it


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
