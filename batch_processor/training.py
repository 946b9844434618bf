"""Works on trainings: an uploaded table to a published model, by ``aimq train`` in a process."""

from __future__ import annotations

import os
import sys
import tempfile
import threading
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any, Final

import msgspec

import aimq
from aimq.errors import Invalid, ModelRefused, NotFound, NotInstalled, WorkbookError, WorkerDied
from aimq.files import FileStore
from aimq.files.keys import upload_key
from aimq.jobs.job import Job
from aimq.jobs.training import Training
from aimq.published import current_version
from aimq.schema import load_schema
from aimq.schema.model import fold
from aimq.settings import Settings
from batch_processor.disposition import Ack, Defer
from batch_processor.training_process import Finished, Limits, run
from batch_processor.work import Work

#: How long a training waits for the one under way before it asks again, in seconds.
_BUSY_SECONDS: Final = 10.0
#: What the process needs of our environment: no address, no key, no token is among it.
_INHERITED: Final = ("PATH", "HOME", "PYTHONPATH", "LANG", "LC_ALL", "LD_LIBRARY_PATH")
#: Exit code of ``aimq train`` for what its user can mend; its last line says it.
_USERS_MISTAKE: Final = 2
_COMMAND: Final = (sys.executable, "-m", "aimq", "train")


class TrainingHandler:
    """Trains one model at a time; another training is deferred, so that uploads keep their threads.

    Thread-safe. The process has a folder of its own, which is deleted at its end, and writes to the
    models folder; publishing is one step, so that a process that is killed publishes nothing.

    Args:
        memory: most bytes of memory of the process.
        command: what trains, with the arguments of ``aimq train``.
    """

    def __init__(
        self,
        files: FileStore,
        settings: Settings,
        memory: int,
        command: Sequence[str] = _COMMAND,
    ) -> None:
        self._files, self._settings, self._command = files, settings, command
        self._limits = Limits(memory=memory, seconds=settings.training_seconds)
        self._training = threading.Lock()

    def __call__(self, work: Work) -> Ack | Defer:
        """Train from the table of a job. Raises `AimqError` and `Stopped`.

        The result is JSON, see `_result`.
        """
        if not self._training.acquire(blocking=False):
            return Defer(_BUSY_SECONDS)
        try:
            return self._train(work)
        finally:
            self._training.release()

    def _train(self, work: Work) -> Ack:
        asked = msgspec.json.decode(work.job.input, type=Training)
        models = self._settings.models_dir.absolute()
        _require_writable(models)
        replaced = _replaced(models, work.job.model, asked.target)
        with ExitStack() as stack:
            folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="aimq-train-")))
            try:
                table = stack.enter_context(self._files.local_copy(upload_key(work.job.job_id)))
            except NotFound as exc:
                raise WorkbookError("The uploaded table is gone. Upload it again.") from exc
            (folder / _local_name(work.job, asked)).symlink_to(table.absolute())
            command = [*self._command, *_arguments(work.job, asked)]
            finished = run(command, folder, self._environment(folder), self._limits, work.check)
        return Ack(result=msgspec.json.encode(_result(finished, replaced)))

    def _environment(self, folder: Path) -> dict[str, str]:
        """Return the whole environment of the process."""
        inherited = {name: os.environ[name] for name in _INHERITED if name in os.environ}
        root = str(Path(aimq.__file__).parents[1])  # its working folder is another than ours
        cores = str(self._settings.concurrency)
        return inherited | {
            "PYTHONPATH": os.pathsep.join(filter(None, [root, inherited.get("PYTHONPATH")])),
            "MPLCONFIGDIR": str(folder),
            "TMPDIR": str(folder),
            "AIMQ_MODELS_DIR": str(self._settings.models_dir.absolute()),
            "AIMQ_CONCURRENCY": cores,
            "OMP_NUM_THREADS": cores,
            "OPENBLAS_NUM_THREADS": cores,
            # The address space is what is limited, so nothing may reserve much of it.
            "ARROW_DEFAULT_MEMORY_POOL": "system",
            "MALLOC_ARENA_MAX": "2",
        }


def _require_writable(models: Path) -> None:
    """Raise `NotInstalled` unless a file can be written to the models folder."""
    try:
        models.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=models):
            pass
    except OSError as exc:
        raise NotInstalled(
            "The batch processor cannot write the models folder, so that nothing can be trained "
            f"here ({exc.strerror}). Run `aimq train` where it can be written."
        ) from exc


def _replaced(models: Path, name: str, target: str) -> str:
    """Return the version in service that the training replaces; empty where the name is new.

    Raises:
        Invalid: the model of that name predicts something else.
    """
    try:
        version = current_version(models, name)
        schema = load_schema(models / name / version / "schema.toml")
    except (NotFound, ModelRefused):  # a damaged one may well be replaced
        return ""
    if fold(schema.target) != fold(target):
        raise Invalid(
            f"There is a model {name} already, which predicts {schema.target!r}. Give this one "
            "another name."
        )
    return version


def _local_name(job: Job, asked: Training) -> str:
    """Return what the process calls the table: no name of the client's, and one it knows."""
    return f"{job.model}{asked.ending}"


def _arguments(job: Job, asked: Training) -> list[str]:
    """Return the arguments of ``aimq train``; none of the client's can be taken for an option."""
    chosen = {"--target": asked.target, "--name": job.model}
    chosen |= {"--group": asked.group, "--task": asked.task}
    options = [f"{option}={value}" for option, value in chosen.items() if value]
    return [_local_name(job, asked), *options, "--json", "--parent", str(os.getpid())]


def _result(finished: Finished, replaced: str) -> dict[str, Any]:
    """Return what the job shows: name, version, task, scores by group, version replaced.

    Raises:
        Invalid: what its user can mend, in the words of ``aimq train``.
        WorkerDied: anything else that went wrong.
    """
    if finished.code == _USERS_MISTAKE and finished.said:
        raise Invalid(finished.said)
    if finished.code != 0:
        why = finished.said or finished.last_error
        raise WorkerDied(f"The training ended with exit code {finished.code}: {why[:500]}")
    published = msgspec.json.decode(finished.last_line, type=dict[str, Any])
    shown = {name: published.get(name) for name in ("name", "version", "task", "groups")}
    return shown | {"replaced": replaced or None}
