"""A real HTTP server that speaks the ML service's contract, with faults on demand.

Its predictions are arithmetic, so that a test can tell what every row must come to.
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

import numpy as np
import pandas as pd
import pyarrow as pa
from numpy.typing import NDArray

from aimq.ml_client.blocking import ARROW
from aimq.schema.model import Schema, parse_schema

#: Largest JSON body that is read, in bytes: the ML service's default.
MAX_BODY = 1024 * 1024
SCHEMA_FILE = Path(__file__).parents[1] / "etl" / "schemas" / "used_cars.toml"


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

    def score(self, body: bytes) -> bytes:
        """Answer an Arrow stream."""
        with pa.ipc.open_stream(body) as reader:
            table = reader.read_all().to_pandas()
        self.rows.append(len(table))
        errors = self.refuse(table)
        right = np.array([error is None for error in errors])
        columns = {
            self.schema.prediction: pa.array(prices(table), mask=~right),
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

    def score_records(self, body: bytes) -> bytes:
        """Answer a JSON array."""
        records = json.loads(body)
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
        body = {"name": "used_cars", "version": "v1", "schema": self.stand_in.source}
        self.answer(200, json.dumps(body, default=str).encode())

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        self.stand_in.requests.append((self.path, dict(self.headers), len(body)))
        fault = self.stand_in.next_fault()
        fault.before()
        if fault.cut:
            self.close_connection = True
            self.connection.close()
        elif fault.status != 200 or fault.body:
            self.answer(fault.status, fault.body, fault.headers)
        elif self.headers["Content-Type"] == ARROW:
            self.answer(200, self.stand_in.score(body))
        elif len(body) > MAX_BODY:
            self.answer(413, b'{"detail": "The body is too large."}')
        else:
            self.answer(200, self.stand_in.score_records(body))

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
