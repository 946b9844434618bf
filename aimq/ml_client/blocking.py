"""The ML service as worker threads call it: Arrow tables and JSON records, on kept connections.

The answer's status decides the error (`aimq.errors`): what the service asks to be tried again is a
`TransientError` with its ``Retry-After``; what it calls wrong is a `ClientError`.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from http import HTTPStatus
from typing import Any, Final

import httpx
import msgspec
import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from aimq import errors
from aimq.backoff import parse_retry_after
from aimq.errors import AimqError, FieldError, MlUnavailable, TimedOut
from aimq.schema.model import Schema, parse_schema
from aimq.settings import Settings

ARROW: Final = "application/vnd.apache.arrow.stream"

_REFUSALS: Final[tuple[type[AimqError], ...]] = (
    errors.ClientError,
    errors.Unauthorized,
    errors.NotFound,
    errors.TooLarge,
    errors.UnsupportedMedia,
    errors.Invalid,
    errors.RateLimited,
    errors.Overloaded,
    errors.TimedOut,
)
_ERRORS: Final = {kind.status: kind for kind in _REFUSALS} | {403: errors.Unauthorized}
#: What reading an answer raises that is not of the form agreed on.
_MALFORMED: Final = (
    pa.ArrowException, msgspec.MsgspecError, ValueError, LookupError, TypeError,
    errors.ModelRefused,
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class ScoredTable:
    """A scored table; n rows, in the order sent.

    Attributes:
        predictions: float64 (n,), NaN where there is none.
        errors: object (n,), why a row has no prediction, or None.
        versions: object (n,), the model version that predicted the row, or None.
    """

    predictions: NDArray[np.float64]
    errors: NDArray[np.object_]
    versions: NDArray[np.object_]


class MlClient:
    """Calls the ML service. Thread-safe: threads share a pool of kept connections.

    Every method raises `MlUnavailable` when the service cannot be reached or answers nonsense,
    `TimedOut` after ``ml_timeout_seconds``, `RateLimited` or `Overloaded` when it asks to come
    back later, and a `ClientError` when it refuses what was sent.
    """

    def __init__(self, settings: Settings) -> None:
        token = settings.internal_token
        connections = settings.concurrency + 4
        self._http = httpx.Client(
            base_url=settings.ml_url,
            headers={"Authorization": f"Bearer {token}"} if token else {},
            timeout=settings.ml_timeout_seconds,
            limits=httpx.Limits(max_connections=connections, max_keepalive_connections=connections),
            trust_env=False,
        )
        self._url, self._timeout = settings.ml_url, settings.ml_timeout_seconds

    def predict_table(self, table: pa.Table) -> ScoredTable:
        """Score a table that has the schema's columns; one request however many rows."""
        answer = self._call("POST", "/predict/onnx", _stream(table), ARROW)
        with self._reading(), pa.ipc.open_stream(pa.py_buffer(answer)) as reader:
            scored = _scored(reader.read_all())
            if len(scored.predictions) != table.num_rows:
                raise ValueError(f"{len(scored.predictions)} rows for {table.num_rows}")
            return scored

    def predict_records(self, records: list[object]) -> list[dict[str, Any]]:
        """Score records given as JSON values; one answer per record, in order.

        An answer is a prediction, or has ``error`` and ``errors``.
        """
        answer = self._call("POST", "/predict/onnx", msgspec.json.encode(records))
        with self._reading():
            answers = msgspec.json.decode(answer, type=list[dict[str, Any]])
            if len(answers) != len(records):
                raise ValueError(f"{len(answers)} answers for {len(records)} records")
            return answers

    def schema(self) -> Schema:
        """Return the schema of the models in service."""
        answer = self._call("GET", "/models")
        with self._reading():
            return parse_schema(msgspec.json.decode(answer)["schema"])

    def check(self) -> None:
        """Raise unless the service is ready to predict."""
        self._call("GET", "/health/ready")

    def close(self) -> None:
        """Close the connections. Idempotent."""
        self._http.close()

    def _call(
        self, method: str, path: str, body: bytes = b"", media_type: str = "application/json"
    ) -> bytes:
        try:
            answer = self._http.request(
                method, path, content=body, headers={"Content-Type": media_type}
            )
        except httpx.TimeoutException as exc:
            raise TimedOut(f"The ML service gave no answer in {self._timeout:g} s.") from exc
        except (httpx.HTTPError, httpx.InvalidURL) as exc:
            why = str(exc) or type(exc).__name__
            raise MlUnavailable(
                f"The ML service cannot be reached at {self._url} ({why})."
            ) from exc
        if answer.status_code != HTTPStatus.OK:
            raise _error(answer)
        return answer.content

    @contextmanager
    def _reading(self) -> Iterator[None]:
        """Map what the reading of an answer raises to `MlUnavailable`."""
        try:
            yield
        except _MALFORMED as exc:
            raise MlUnavailable(
                f"The ML service at {self._url} gave an answer out of form: {exc}"
            ) from exc


def _stream(table: pa.Table) -> bytes:
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, table.schema) as writer:
        writer.write_table(table)
    body: bytes = sink.getvalue().to_pybytes()
    return body


def _scored(table: pa.Table) -> ScoredTable:
    [name] = (name for name in table.column_names if name not in {"error", "model_version"})
    predictions = table.column(name).cast(pa.float64()).to_numpy()
    refusals = table.column("error").to_numpy(zero_copy_only=False).astype(object)
    versions = table.column("model_version").cast(pa.string()).to_numpy(zero_copy_only=False)
    return ScoredTable(np.asarray(predictions, dtype=np.float64), refusals, versions.astype(object))


def _error(answer: httpx.Response) -> AimqError:
    """Return the error of a refusal: that of its problem document, or what there is instead."""
    status = answer.status_code
    fields: list[FieldError] = []
    try:
        body = msgspec.json.decode(answer.content)
        detail, fields = str(body["detail"]), list(body.get("errors", []))
    except (*_MALFORMED, AttributeError):
        detail = f"The ML service answered {status} {answer.reason_phrase}."
    kind = _ERRORS.get(status)
    if kind is None:
        return MlUnavailable(f"The ML service answered {status}: {detail}")
    retry_after = parse_retry_after(answer.headers.get("Retry-After", ""))
    return kind(detail, errors=fields, retry_after=retry_after)
