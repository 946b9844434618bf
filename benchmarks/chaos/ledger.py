"""What was promised, and whether it was kept: everything that was answered 202."""

from __future__ import annotations

import io
import math
import random
import threading
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import httpx
import openpyxl
import pandas as pd

from aimq.messages import Kind
from aimq.schema.model import parse_schema
from benchmarks.sampling import sample_records

_FINAL = {"done", "failed", "cancelled"}
_DUPLICATED = "duplicated"


@dataclass
class Account:
    """The result of a run.

    Attributes:
        accepted: what was answered 202, by kind.
        done: finished, and right: every row of a spreadsheet with its prediction in its place.
        failed: ended as failed with a reason: job id to reason.
        lost: unknown to the system, or not final when patience ended.
        duplicated: results with rows more than once.
        wrong: results with a wrong, missing or displaced row.
        refused: answered 503, or not answered: promised nothing.
        unexpected: answers that no outage may cause.
        settled_at: when everything was final, by the monotonic clock.
    """

    accepted: Counter[str] = field(default_factory=Counter)
    done: int = 0
    failed: dict[str, str] = field(default_factory=dict)
    lost: list[str] = field(default_factory=list)
    duplicated: list[str] = field(default_factory=list)
    wrong: list[str] = field(default_factory=list)
    refused: int = 0
    unexpected: list[str] = field(default_factory=list)
    settled_at: float = 0.0

    @property
    def kept(self) -> bool:
        """Tell whether every promise was kept."""
        return not (self.lost or self.duplicated or self.wrong or self.unexpected)

    def summary(self) -> str:
        """Return the figures on one line."""
        kinds = ", ".join(f"{count:,} {kind}s" for kind, count in sorted(self.accepted.items()))
        return (
            f"accepted {self.accepted.total():,} ({kinds}), done {self.done:,}, "
            f"failed with reason {len(self.failed)}, lost {len(self.lost)}, "
            f"duplicated {len(self.duplicated)}, wrong {len(self.wrong)}"
        )


class Pool:
    """Records whose right predictions are known, from which workbooks are drawn."""

    def __init__(self, ml_url: str, size: int, seed: int) -> None:
        schema = parse_schema(httpx.get(f"{ml_url}/models").json()["schema"])
        self.records = sample_records(schema, size, seed)
        answer = httpx.post(f"{ml_url}/predict/onnx", json=self.records, timeout=60)
        self.expected = [line[schema.prediction] for line in answer.raise_for_status().json()]
        self.prediction = schema.prediction
        self._frame = pd.DataFrame(self.records)

    def workbook(self, picks: list[int]) -> bytes:
        """Return an .xlsx of the picked records; column ``ref`` numbers its rows."""
        frame = self._frame.iloc[picks].reset_index(drop=True)
        frame.insert(0, "ref", range(len(picks)))
        buffer = io.BytesIO()
        frame.to_excel(buffer, index=False)
        return buffer.getvalue()


@dataclass(frozen=True)
class Promise:
    """What was asked for: rows of the pool (a prediction has one), or a factorial's number."""

    kind: Kind
    picks: list[int] = field(default_factory=list)
    number: int = 0


class Ledger:
    """Asks from several threads and remembers what was promised. Thread-safe."""

    def __init__(self, url: str, pool: Pool) -> None:
        self._url = url
        self._pool = pool
        self._promised: dict[str, Promise] = {}
        self._lock = threading.Lock()
        self.account = Account()

    def ask_until(self, stop: threading.Event, seed: int, most_rows: int, pause: float) -> None:
        """Upload workbooks of random length, and ask for predictions and factorials, until `stop`
        is set; bear every outage.
        """
        draw = random.Random(seed)
        with httpx.Client(base_url=self._url, timeout=30) as http:
            while not stop.wait(draw.uniform(0, 2 * pause)):
                count = int(most_rows ** draw.random()) or 1
                self._upload(http, [self._draw(draw) for _ in range(count)])
                for _ in range(draw.randint(0, 6)):
                    self._predict(http, self._draw(draw))
                self._factorial(http, draw.randint(0, 1000))

    def _draw(self, draw: random.Random) -> int:
        return draw.randrange(len(self._pool.records))

    def _upload(self, http: httpx.Client, picks: list[int]) -> None:
        files = {"file": ("cars.xlsx", self._pool.workbook(picks))}
        self._ask(Promise(Kind.SPREADSHEET, picks), lambda: http.post("/upload", files=files))

    def _predict(self, http: httpx.Client, pick: int) -> None:
        record = self._pool.records[pick]
        self._ask(
            Promise(Kind.PREDICTION, [pick]), lambda: http.post("/predict/async", json=record)
        )

    def _factorial(self, http: httpx.Client, number: int) -> None:
        self._ask(
            Promise(Kind.FACTORIAL, number=number),
            lambda: http.get("/factorial", params={"no": number}),
        )

    def _ask(self, promise: Promise, call: Callable[[], httpx.Response]) -> None:
        try:
            answer = call()
        except httpx.TransportError:
            with self._lock:
                self.account.refused += 1
            return
        with self._lock:
            if answer.status_code == httpx.codes.ACCEPTED:
                given = answer.json()
                job_id = given.get("job_id") or given.get("task_id") or given["request_id"]
                self._promised[job_id] = promise
                self.account.accepted[promise.kind] += 1
            elif answer.status_code == httpx.codes.SERVICE_UNAVAILABLE:
                self.account.refused += 1
            else:
                self.account.unexpected.append(f"{answer.status_code} {answer.text[:200]}")

    def settle(self, patience: float) -> Account:
        """Wait until every promised job is final, check every result, and return the account.

        Args:
            patience: seconds without any job becoming final after which the rest is lost.
        """
        waiting, deadline = set(self._promised), time.monotonic() + patience
        final: list[dict[str, Any]] = []
        with httpx.Client(base_url=self._url, timeout=60) as http:
            while waiting and time.monotonic() < deadline:
                jobs = [self._job_if_final(http, job_id) for job_id in waiting]
                now_final = [job for job in jobs if job is not None]
                waiting -= {job["job_id"] for job in now_final}
                final += now_final
                if now_final:
                    deadline = time.monotonic() + patience
                else:
                    time.sleep(0.2)
            self.account.settled_at = time.monotonic()
            for job in final:
                self._judge(http, job)
        self.account.lost += sorted(waiting)
        return self.account

    def _job_if_final(self, http: httpx.Client, job_id: str) -> dict[str, Any] | None:
        answer = http.get(f"/jobs/{job_id}")
        if answer.status_code == httpx.codes.NOT_FOUND:
            return {"job_id": job_id, "status": "unknown"}
        job: dict[str, Any] = answer.raise_for_status().json()
        return job if job["status"] in _FINAL else None

    def _judge(self, http: httpx.Client, job: dict[str, Any]) -> None:
        job_id = job["job_id"]
        promise = self._promised[job_id]
        if job["status"] == "unknown":
            self.account.lost.append(job_id)
        elif job["status"] == "done":
            fault = {
                Kind.SPREADSHEET: self._check,
                Kind.PREDICTION: self._check_prediction,
                Kind.FACTORIAL: self._check_factorial,
            }[promise.kind](http, job, promise)
            if fault is _DUPLICATED:
                self.account.duplicated.append(job_id)
            elif fault:
                self.account.wrong.append(f"{job_id}: {fault}")
            else:
                self.account.done += 1
        elif job["error"]:
            self.account.failed[job_id] = job["error"]
        else:
            self.account.wrong.append(f"{job_id}: {job['status']} without a reason")

    def _check(self, http: httpx.Client, job: dict[str, Any], promise: Promise) -> str:
        """Return what is wrong with a spreadsheet; "" if nothing."""
        content = http.get(f"/jobs/{job['job_id']}/result").raise_for_status().content
        sheet = openpyxl.load_workbook(io.BytesIO(content), read_only=True).worksheets[0]
        header, *rows = sheet.iter_rows(values_only=True)
        refs = [row[0] for row in rows]
        column = list(header).index(self._pool.prediction)
        expected = [self._pool.expected[pick] for pick in promise.picks]
        count = len(expected)
        if len(refs) != len(set(refs)):
            return _DUPLICATED
        if refs != list(range(count)):
            return "rows missing or displaced"
        if any(_differ(row[column], e) for row, e in zip(rows, expected, strict=True)):
            return "a prediction differs"
        if (job["rows_total"], job["rows_done"]) != (count, count):
            return f"counts {job['rows_done']}/{job['rows_total']}"
        return ""

    def _check_prediction(self, http: httpx.Client, job: dict[str, Any], promise: Promise) -> str:
        answer = http.get(f"/results/{job['job_id']}").raise_for_status().json()["result"]
        given, expected = answer[self._pool.prediction], self._pool.expected[promise.picks[0]]
        return f"predicted {given}, not {expected}" if _differ(given, expected) else ""

    def _check_factorial(self, http: httpx.Client, job: dict[str, Any], promise: Promise) -> str:
        answer = http.get("/factorial/result", params={"id": job["job_id"]})
        output = answer.raise_for_status().json()["output"]
        right = output == str(math.factorial(promise.number))
        return "" if right else f"wrong factorial of {promise.number}"


def _differ(given: float | None, expected: float) -> bool:
    return given is None or abs(given - expected) > 1e-4 * abs(expected)
