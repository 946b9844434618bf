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
from urllib.parse import quote

import httpx
import msgspec
import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from aimq import errors
from aimq.backoff import parse_retry_after
from aimq.errors import AimqError, FieldError, MlUnavailable, NotFound, TimedOut
from aimq.ml_client.served_models import ServedModel, read_models
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
        predictions: float64 (n,), NaN where there is none; of classes object (n,), text or None.
        errors: object (n,), why a row has no prediction, or None.
        versions: object (n,), the model version that predicted the row, or None.
        probability: float64 (n,), of the class; None for numbers.
        low: float64 (n,), lower end of the interval; None where none was asked for.
        high: float64 (n,), its upper end; None like it.
        warnings: object (n,), why a prediction is doubtful, or None; None if the model has none.
    """

    predictions: NDArray[np.float64] | NDArray[np.object_]
    errors: NDArray[np.object_]
    versions: NDArray[np.object_]
    probability: NDArray[np.float64] | None = None
    low: NDArray[np.float64] | None = None
    high: NDArray[np.float64] | None = None
    warnings: NDArray[np.object_] | None = None


class MlClient:
    """Calls the ML service. Thread-safe: threads share a pool of kept connections.

    Every method raises `MlUnavailable` when the service cannot be reached or answers nonsense,
    `TimedOut` after ``ml_timeout_seconds``, `RateLimited` or `Overloaded` when it asks to come
    back later, and a `ClientError` when it refuses what was sent: `NotFound` when the model is not
    published any more. The model "" is the default.
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

    def predict_table(self, table: pa.Table, model: str = "", interval: int = 0) -> ScoredTable:
        """Score a table that has the schema's columns; one request however many rows.

        Args:
            interval: per cent that `low` and `high` are to cover; 0 for none.
        """
        path = _predict_path(model) + (f"?interval={interval}" if interval else "")
        with _of_model(model):
            answer = self._call("POST", path, _stream(table), ARROW)
        with self._reading(), pa.ipc.open_stream(pa.py_buffer(answer)) as reader:
            scored = _scored(reader.read_all())
            if interval and (scored.low is None or scored.high is None):
                raise errors.Invalid("The model has no prediction intervals: leave interval out.")
            if len(scored.predictions) != table.num_rows:
                raise ValueError(f"{len(scored.predictions)} rows for {table.num_rows}")
            return scored

    def predict_records(self, records: list[object], model: str = "") -> list[dict[str, Any]]:
        """Score records given as JSON values; one answer per record, in order.

        An answer is a prediction, or has ``error`` and ``errors``.
        """
        with _of_model(model):
            answer = self._call("POST", _predict_path(model), msgspec.json.encode(records))
        with self._reading():
            answers = msgspec.json.decode(answer, type=list[dict[str, Any]])
            if len(answers) != len(records):
                raise ValueError(f"{len(answers)} answers for {len(records)} records")
            return answers

    def schema(self, model: str = "") -> Schema:
        """Return the schema of a model in service."""
        with _of_model(model):
            path = f"/models/{quote(model, safe='')}/schema" if model else "/models"
            answer = self._call("GET", path)
        with self._reading():
            return parse_schema(msgspec.json.decode(answer)["schema"])

    def models(self) -> tuple[ServedModel, ...]:
        """Return the models that the service has."""
        answer = self._call("GET", "/models")
        with self._reading():
            return read_models(answer)

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


def _predict_path(model: str) -> str:
    return f"/models/{quote(model, safe='')}/predict" if model else "/predict/onnx"


@contextmanager
def _of_model(model: str) -> Iterator[None]:
    """Say of which model it is that the service has none of that name."""
    try:
        yield
    except NotFound as exc:
        if not model:
            raise
        raise NotFound(f"The model {model!r} is not published any more. {exc.detail}") from exc


def _scored(table: pa.Table) -> ScoredTable:
    """Read the columns of an answer; the first is the prediction."""
    name = table.column_names[0]
    classes = pa.types.is_dictionary(table.schema.field(name).type)

    def numbers(column: str) -> NDArray[np.float64] | None:
        if column not in table.column_names:
            return None
        return np.asarray(table.column(column).cast(pa.float64()).to_numpy(), dtype=np.float64)

    def texts(column: str) -> NDArray[np.object_]:
        text = table.column(column).cast(pa.string())
        return np.asarray(text.to_numpy(zero_copy_only=False)).astype(object)

    return ScoredTable(
        texts(name) if classes else np.asarray(numbers(name), dtype=np.float64),
        texts("error"),
        texts("model_version"),
        numbers("probability") if classes else None,
        numbers(f"{name}_low"),
        numbers(f"{name}_high"),
        texts("warning") if "warning" in table.column_names else None,
    )


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
