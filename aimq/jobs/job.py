"""The record of one piece of work, and the states it goes through."""

from __future__ import annotations

import secrets
from datetime import UTC, datetime
from enum import StrEnum
from typing import Final

import msgspec

from aimq.messages import Kind


class Status(StrEnum):
    """Where a job stands."""

    QUEUED = "queued"
    PROCESSING = "processing"
    RETRYING = "retrying"
    DONE = "done"
    FAILED = "failed"
    CANCELLED = "cancelled"


FINAL: Final = frozenset({Status.DONE, Status.FAILED, Status.CANCELLED})

#: Bytes of randomness in a job id: ids cannot be guessed, so that one is a capability.
_ID_BYTES: Final = 16


def new_job_id() -> str:
    """Return a fresh job id: 32 hexadecimal digits, safe in paths, keys and URLs."""
    return secrets.token_hex(_ID_BYTES)


def now() -> datetime:
    """Return the time of day, UTC."""
    return datetime.now(UTC)


class Job(msgspec.Struct, frozen=True, kw_only=True):
    """A job as stored. Immutable; a change makes a new one in the store.

    Attributes:
        filename: the client's name of the upload, made safe to show; never used as a path.
        model: name of the model that predicts, or that a training makes; empty for the default, or
            until one is chosen by the columns of a spreadsheet.
        interval: per cent that prediction intervals are to cover; 0 for none.
        rows_total: rows of the spreadsheet, once known.
        attempts: attempts begun.
        error: what a person should do about it; set when status is failed, retrying or cancelled.
        model_versions: model group to the version that predicted its rows.
        input: the work of a task, as JSON bytes; of a training its `Training`; empty for a
            spreadsheet (the file store has it).
        result: the result of a task, as JSON bytes; the `notes` on that of a spreadsheet, which is
            in the file store itself.
        result_key: key of the file that the claim which counts has written; empty where there is
            none (see `aimq.files.keys.result_key`).
        published: the broker has confirmed the message.
        traceparent: W3C trace context of the request that made the job.
    """

    job_id: str = msgspec.field(default_factory=new_job_id)
    kind: Kind
    filename: str = ""
    model: str = ""
    interval: int = 0
    status: Status = Status.QUEUED
    rows_total: int | None = None
    rows_done: int = 0
    rows_failed: int = 0
    attempts: int = 0
    error: str | None = None
    model_versions: dict[str, str] = msgspec.field(default_factory=dict)
    created_at: datetime = msgspec.field(default_factory=now)
    started_at: datetime | None = None
    finished_at: datetime | None = None
    input: bytes = b""
    result: bytes = b""
    result_key: str = ""
    published: bool = False
    traceparent: str = ""
    callback_url: str = ""

    @property
    def final(self) -> bool:
        """True if no more work is done on the job, unless it is replayed."""
        return self.status in FINAL

    @property
    def notes(self) -> list[str]:
        """What was changed in a spreadsheet's result to fit the format, a sentence each."""
        if self.kind is not Kind.SPREADSHEET or not self.result:
            return []
        return msgspec.json.decode(self.result, type=list[str])

    @property
    def training(self) -> dict[str, object] | None:
        """What a training has published; None until it is done, and for other kinds of jobs."""
        if self.kind is not Kind.TRAINING or not self.result:
            return None
        return msgspec.json.decode(self.result, type=dict[str, object])

    def public(self) -> dict[str, object]:
        """Return what a client may see, as JSON-ready values; `training` of a training only."""
        shown = {name: msgspec.to_builtins(getattr(self, name)) for name in PUBLIC_FIELDS}
        if self.kind is Kind.TRAINING:
            shown["training"] = self.training
        return shown


PUBLIC_FIELDS: Final = (
    "job_id",
    "kind",
    "filename",
    "model",
    "status",
    "rows_total",
    "rows_done",
    "rows_failed",
    "attempts",
    "error",
    "notes",
    "model_versions",
    "created_at",
    "started_at",
    "finished_at",
)
