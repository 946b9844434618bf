"""The ML service as seen from worker threads: Arrow tables and JSON records, over kept connections.

The answer's status decides the error (`aimq.errors`): what the service asks to be tried again is a
`TransientError` with its ``Retry-After``; what it calls wrong is a `ClientError`.
"""

from __future__ import annotations

import threading
import time
from dataclasses import dataclass
from http import HTTPStatus
from typing import Any, Final, Self

import httpx
import msgspec
import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from aimq.errors import (
    AimqError,
    ClientError,
    FieldError,
    Invalid,
    MlUnavailable,
    NotFound,
    Overloaded,
    RateLimited,
    TimedOut,
    TooLarge,
    Unauthorized,
    UnsupportedMedia,
)
from aimq.schema.model import Schema, parse_schema
from aimq.settings import Settings

ARROW: Final = "application/vnd.apache.arrow.stream"
#: Age in seconds at which the schema is asked for again.
SCHEMA_SECONDS: Final = 5.0

_ERRORS: Final[dict[int, type[AimqError]]] = {
    400: ClientError,
    401: Unauthorized,
    403: Unauthorized,
    404: NotFound,
    413: TooLarge,
    415: UnsupportedMedia,
    422: Invalid,
    429: RateLimited,
    503: Overloaded,
    504: TimedOut,
}


@dataclass(frozen=True, slots=True)
class Scored:
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

    def __init__(self, settings: Settings, transport: httpx.BaseTransport | None = None) -> None:
        headers = {}
        if settings.internal_token:
            headers["Authorization"] = f"Bearer {settings.internal_token}"
        connections = settings.concurrency + 4
        self._http = httpx.Client(
            base_url=settings.ml_url,
            headers=headers,
            timeout=settings.ml_timeout_seconds,
            limits=httpx.Limits(max_connections=connections, max_keepalive_connections=connections),
            transport=transport,
            trust_env=False,
        )
        self._url = settings.ml_url
        self._timeout = settings.ml_timeout_seconds
        self._lock = threading.Lock()
        self._schema: tuple[Schema, float] | None = None

    def predict_table(self, table: pa.Table) -> Scored:
        """Score a table that has the schema's columns; one request however many rows."""
        answer = self._call(
            "POST", "/predict/onnx", content=_stream(table), headers={"Content-Type": ARROW}
        )
        try:
            with pa.ipc.open_stream(pa.py_buffer(answer.content)) as reader:
                scored = _scored(reader.read_all())
        except (pa.ArrowException, ValueError, KeyError, TypeError, StopIteration) as exc:
            raise self._nonsense(exc) from exc
        if len(scored.predictions) != table.num_rows:
            raise self._nonsense(f"{len(scored.predictions)} rows for {table.num_rows}")
        return scored

    def predict_records(self, records: list[object]) -> list[dict[str, Any]]:
        """Score records given as JSON values; one answer per record, in order.

        An answer is a prediction, or has ``error`` and ``errors``.
        """
        answer = self._call("POST", "/predict/onnx", content=msgspec.json.encode(records))
        try:
            answers = msgspec.json.decode(answer.content, type=list[dict[str, Any]])
        except (msgspec.DecodeError, UnicodeDecodeError) as exc:
            raise self._nonsense(exc) from exc
        if len(answers) != len(records):
            raise self._nonsense(f"{len(answers)} answers for {len(records)} records")
        return answers

    def schema(self) -> Schema:
        """Return the schema of the models in service, at most `SCHEMA_SECONDS` old."""
        with self._lock:
            if self._schema is not None and self._schema[1] > time.monotonic():
                return self._schema[0]
        answer = self._call("GET", "/models")
        try:
            schema = parse_schema(msgspec.json.decode(answer.content)["schema"])
        except (msgspec.DecodeError, UnicodeDecodeError, KeyError, TypeError, ValueError) as exc:
            raise self._nonsense(exc) from exc
        with self._lock:
            self._schema = schema, time.monotonic() + SCHEMA_SECONDS
        return schema

    def check(self) -> None:
        """Raise unless the service is ready to predict."""
        self._call("GET", "/health/ready")

    def close(self) -> None:
        """Close the connections. Idempotent."""
        self._http.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _call(
        self,
        method: str,
        path: str,
        content: bytes | None = None,
        headers: dict[str, str] | None = None,
    ) -> httpx.Response:
        try:
            answer = self._http.request(
                method,
                path,
                content=content,
                headers=headers or {"Content-Type": "application/json"},
            )
        except httpx.TimeoutException as exc:
            raise TimedOut(f"The ML service gave no answer in {self._timeout:g} s.") from exc
        except (httpx.HTTPError, httpx.InvalidURL) as exc:
            raise MlUnavailable(
                f"The ML service cannot be reached at {self._url} ({_reason(exc)})."
            ) from exc
        if answer.status_code != HTTPStatus.OK:
            raise self._error(answer)
        return answer

    def _error(self, answer: httpx.Response) -> AimqError:
        detail, errors = _problem(answer)
        kind = _ERRORS.get(answer.status_code)
        if kind is None:
            return MlUnavailable(f"The ML service answered {answer.status_code}: {detail}")
        return kind(detail, errors=errors, retry_after=_retry_after(answer))

    def _nonsense(self, why: object) -> MlUnavailable:
        return MlUnavailable(f"The ML service at {self._url} gave an answer out of form: {why}")


def _stream(table: pa.Table) -> bytes:
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, table.schema) as writer:
        writer.write_table(table)
    body: bytes = sink.getvalue().to_pybytes()
    return body


def _scored(table: pa.Table) -> Scored:
    name = next(n for n in table.column_names if n not in {"error", "model_version"})
    predictions = table.column(name).cast(pa.float64()).to_numpy()
    errors = table.column("error").to_numpy(zero_copy_only=False).astype(object)
    versions = table.column("model_version").cast(pa.string()).to_numpy(zero_copy_only=False)
    return Scored(np.asarray(predictions, dtype=np.float64), errors, versions.astype(object))


def _problem(answer: httpx.Response) -> tuple[str, list[FieldError]]:
    """Return detail and errors of a problem document, or what there is instead."""
    try:
        body = msgspec.json.decode(answer.content)
        return str(body["detail"]), list(body.get("errors", []))
    except (msgspec.DecodeError, UnicodeDecodeError, KeyError, TypeError, AttributeError):
        return f"The ML service answered {answer.status_code} {answer.reason_phrase}.", []


def _retry_after(answer: httpx.Response) -> float | None:
    """Return the seconds of ``Retry-After``; the form with a date is passed over."""
    try:
        seconds = float(answer.headers.get("Retry-After", ""))
    except ValueError:
        return None
    return seconds if 0 <= seconds < float("inf") else None


def _reason(exc: Exception) -> str:
    return str(exc) or type(exc).__name__
