"""A real HTTP server that speaks the ML service's contract, with faults on demand.

Its predictions are arithmetic, so that a test can tell what every row must come to. Beside the
default model it serves those in `MlStandIn.others`: name to the tables of their schema. They have
one number as their first feature, n: a number to learn is 10 n, with an interval of 1 to each side,
and the class is n modulo the number of classes, with a probability of 0.75.
"""

from __future__ import annotations

import json
import socket
import threading
import tomllib
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit

import numpy as np
import pandas as pd
import pyarrow as pa
from numpy.typing import NDArray

from aimq.ml_client.blocking import ARROW
from aimq.schema.model import Schema, parse_schema

#: Largest JSON body that is read, in bytes: the ML service's default.
MAX_BODY = 1024 * 1024
SCHEMA_FILE = Path(__file__).parents[1] / "etl" / "schemas" / "used_cars.toml"


def encoded(values: Any, mask: NDArray[np.bool_]) -> pa.Array:
    """Return numbers as float64 and texts as a dictionary; missing where the mask is true."""
    texts = [value for value in values if isinstance(value, str)]
    array = pa.array(list(values), pa.string() if texts else None, mask=mask)
    return array.dictionary_encode() if texts else array


def fields_of(source: dict[str, Any]) -> list[dict[str, Any]]:
    """Return the tables of a record's fields, the group's first if there is one."""
    return [*([source["group"]] if "group" in source else []), *source["features"]]


def prices(table: pd.DataFrame) -> NDArray[np.float64]:
    """Return what the stand-in predicts: a whole number of each row's own."""
    return np.asarray(
        2_000_000 - table["kilometers"].astype(float) - table["age_in_months"].astype(float) * 100
    )


@dataclass
class Fault:
    """An answer out of the ordinary.

    Attributes:
        before: called before answering, on the server's thread.
    """

    status: int = 200
    headers: dict[str, str] = field(default_factory=dict)
    body: bytes = b""
    cut: bool = False
    before: Callable[[], object] = bool


class MlStandIn:
    """A running stand-in; `faults` are used up by the next predictions, in order."""

    def __init__(self, port: int = 0) -> None:
        self.source: dict[str, Any] = tomllib.loads(SCHEMA_FILE.read_text(encoding="utf-8"))
        self.schema: Schema = parse_schema(self.source)
        self.others: dict[str, dict[str, Any]] = {}
        self.faults: deque[Fault] = deque()
        self.fault_for_all: Fault | None = None
        self.requests: list[tuple[str, dict[str, str], int]] = []
        self.rows: list[int] = []
        self.version = "v1"
        self.refuse: Callable[[pd.DataFrame], list[str | None]] = lambda table: [None] * len(table)
        self._server = _Server(
            ("127.0.0.1", port), type("Handler", (_Handler,), {"stand_in": self})
        )
        self.url = f"http://127.0.0.1:{self._server.server_port}"
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.02,))

    def next_fault(self) -> Fault:
        """Return what is to go wrong with this request."""
        if self.fault_for_all is not None:
            return self.fault_for_all
        return self.faults.popleft() if self.faults else Fault()

    def models(self) -> dict[str, Any]:
        """Return the answer to ``GET /models``."""
        default = {"name": "used_cars", "version": self.version, "schema": self.source}
        sources = {"used_cars": self.source, **self.others}
        return default | {
            "models": [
                {"name": name, "title": source.get("title", name), "version": self.version,
                 "default": name == "used_cars",
                 "columns": [table["name"] for table in fields_of(source)],
                 "required": [t["name"] for t in fields_of(source) if not t.get("blank")]}
                for name, source in sources.items()
            ]
        }  # fmt: skip

    def schema_of(self, name: str) -> dict[str, Any] | None:
        """Return the answer to ``GET /models/{name}/schema``."""
        source = {"used_cars": self.source, **self.others}.get(name)
        return source and {"schema": source, "record": {}, "answer": {}}

    def predict_other(self, name: str, table: pd.DataFrame, *, interval: bool) -> dict[str, Any]:
        """Return the columns that another model predicts."""
        source = self.others[name]
        target = source["target"]
        number = table[source["features"][0]["name"]].astype(float)
        warning = {"warning": [None] * len(table)} if source.get("warn") else {}
        prediction = target.get("prediction", "prediction")
        if target.get("task") == "classification":
            classes = target["classes"]
            words = [classes[int(n) % len(classes)] for n in number]
            return {prediction: words, "probability": [0.75] * len(words), **warning}
        ends = {f"{prediction}_low": number * 10 - 1, f"{prediction}_high": number * 10 + 1}
        return {prediction: number * 10, **(ends if interval else {}), **warning}

    def score(self, body: bytes, name: str = "used_cars", *, interval: bool = False) -> bytes:
        """Answer an Arrow stream."""
        with pa.ipc.open_stream(body) as reader:
            table = reader.read_all().to_pandas()
        self.rows.append(len(table))
        errors = self.refuse(table)
        right = np.array([error is None for error in errors])
        if name in self.others:
            predicted = self.predict_other(name, table, interval=interval)
        else:
            predicted = {self.schema.prediction: prices(table)}
        columns = {key: encoded(values, ~right) for key, values in predicted.items()} | {
            "error": pa.array(errors, pa.string()),
            "model_version": pa.array(
                [self.version if ok else None for ok in right], pa.string()
            ).dictionary_encode(),
        }
        answer = pa.table(columns)
        sink = pa.BufferOutputStream()
        with pa.ipc.new_stream(sink, answer.schema) as writer:
            writer.write_table(answer)
        return bytes(sink.getvalue().to_pybytes())

    def score_records(self, body: bytes, name: str = "used_cars") -> bytes:
        """Answer a JSON array."""
        records = json.loads(body)
        if name in self.others:
            table = self.predict_other(name, pd.DataFrame(records), interval=False)
            rows = pd.DataFrame(table).to_dict("records")
            return json.dumps([row | {"model_version": self.version} for row in rows]).encode()
        return json.dumps(
            [
                {self.schema.prediction: price, "model_group": r["model_group"],
                 "model_version": self.version}
                for r, price in zip(records, prices(pd.DataFrame(records)), strict=True)
            ]
        ).encode()  # fmt: skip

    def start(self) -> None:
        """Start answering."""
        self._thread.start()

    def close(self) -> None:
        """Stop answering, also those who are connected."""
        self._server.shutdown()
        self._server.server_close()
        self._server.hang_up()
        self._thread.join()


class _Server(ThreadingHTTPServer):
    daemon_threads = True

    def __init__(self, *arguments: Any) -> None:
        self._open: set[socket.socket] = set()
        super().__init__(*arguments)

    def process_request(self, request: Any, client_address: Any) -> None:
        self._open.add(request)
        super().process_request(request, client_address)

    def shutdown_request(self, request: Any) -> None:
        self._open.discard(request)
        super().shutdown_request(request)

    def hang_up(self) -> None:
        """Break every connection that is open."""
        for sock in list(self._open):
            with suppress(OSError):
                sock.shutdown(socket.SHUT_RDWR)

    def handle_error(self, *_: object) -> None:
        """Be quiet about clients that were killed."""


class _Handler(BaseHTTPRequestHandler):
    stand_in: MlStandIn
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True

    def do_GET(self) -> None:
        parts = [unquote(part) for part in urlsplit(self.path).path.split("/")[1:]]
        found: Any = self.stand_in.models()
        if parts[0] == "models" and len(parts) == 3:
            found = self.stand_in.schema_of(parts[1])
        if found is None:
            self.answer(404, b'{"detail": "There are: used_cars."}')
        else:
            self.answer(200, json.dumps(found, default=str).encode())

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        self.stand_in.requests.append((self.path, dict(self.headers), len(body)))
        parts = urlsplit(self.path)
        name = unquote(parts.path.split("/")[2]) if "/models/" in parts.path else "used_cars"
        interval = "interval" in parse_qs(parts.query)
        fault = self.stand_in.next_fault()
        fault.before()
        if fault.cut:
            self.close_connection = True
            self.connection.close()
        elif fault.status != 200 or fault.body:
            self.answer(fault.status, fault.body, fault.headers)
        elif self.stand_in.schema_of(name) is None:
            self.answer(404, b'{"detail": "There are: used_cars."}')
        elif self.headers["Content-Type"] == ARROW:
            self.answer(200, self.stand_in.score(body, name, interval=interval))
        elif len(body) > MAX_BODY:
            self.answer(413, b'{"detail": "The body is too large."}')
        else:
            self.answer(200, self.stand_in.score_records(body, name))

    def answer(self, status: int, body: bytes, headers: dict[str, str] | None = None) -> None:
        self.send_response(status)
        for name, value in (headers or {}).items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        """Be quiet."""


@contextmanager
def ml_stand_in(port: int = 0) -> Iterator[MlStandIn]:
    """Run a stand-in for the length of a ``with`` block."""
    stand_in = MlStandIn(port)
    stand_in.start()
    try:
        yield stand_in
    finally:
        stand_in.close()
