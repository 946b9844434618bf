"""What was promised, and whether it was kept: every upload that was answered 202."""

from __future__ import annotations

import io
import random
import threading
import time
from dataclasses import dataclass, field
from typing import Any

import httpx
import openpyxl
import pandas as pd
import rustpy_xlsxwriter

from aimq.schema.model import parse_schema

_FINAL = {"done", "failed", "cancelled"}


@dataclass
class Account:
    """The result of a run.

    Attributes:
        accepted: uploads answered 202.
        done: finished, every row right and in its place.
        failed: ended as failed with a reason: job id to reason.
        lost: unknown to the system, or not final when patience ended.
        duplicated: results with rows more than once.
        wrong: results with a wrong, missing or displaced row.
        refused: uploads answered 503, or not answered: promised nothing.
        unexpected: answers that no fault of ours may cause.
    """

    accepted: int = 0
    done: int = 0
    failed: dict[str, str] = field(default_factory=dict)
    lost: list[str] = field(default_factory=list)
    duplicated: list[str] = field(default_factory=list)
    wrong: list[str] = field(default_factory=list)
    refused: int = 0
    unexpected: list[str] = field(default_factory=list)

    @property
    def kept(self) -> bool:
        """Tell whether every promise was kept."""
        return not (self.lost or self.duplicated or self.wrong or self.unexpected)

    def summary(self) -> str:
        """Return the figures on one line."""
        return (
            f"accepted {self.accepted}, done {self.done}, failed with reason {len(self.failed)}, "
            f"lost {len(self.lost)}, duplicated {len(self.duplicated)}, wrong {len(self.wrong)}"
        )


class Pool:
    """Records whose right predictions are known, from which workbooks are drawn."""

    def __init__(self, ml_url: str, size: int, seed: int) -> None:
        schema = parse_schema(httpx.get(f"{ml_url}/models").json()["schema"])
        draw = random.Random(seed)
        self.records: list[dict[str, Any]] = []
        for _ in range(size):
            group = draw.choice(schema.groups)
            record: dict[str, Any] = {schema.group: group}
            for f in schema.features:
                words = f.by_group.get(group, f.categories)
                low, high = (int(f.minimum), int(f.maximum)) if f.numeric else (0, 0)
                record[f.name] = draw.randint(low, high) if f.numeric else draw.choice(words)
            self.records.append(record)
        answer = httpx.post(f"{ml_url}/predict/onnx", json=self.records, timeout=60)
        self.expected = [line[schema.prediction] for line in answer.raise_for_status().json()]
        self.prediction = schema.prediction
        self._frame = pd.DataFrame(self.records)

    def workbook(self, picks: list[int]) -> bytes:
        """Return an .xlsx of the picked records; column ``ref`` numbers its rows."""
        frame = self._frame.iloc[picks].reset_index(drop=True)
        frame.insert(0, "ref", range(len(picks)))
        buffer = io.BytesIO()
        rustpy_xlsxwriter.write_worksheet(frame.to_dict("records"), buffer)
        return buffer.getvalue()


class Ledger:
    """Uploads from several threads and remembers what was promised. Thread-safe."""

    def __init__(self, url: str, pool: Pool) -> None:
        self._url = url
        self._pool = pool
        self._promised: dict[str, list[int]] = {}
        self._lock = threading.Lock()
        self.account = Account()

    def upload_until(self, stop: threading.Event, seed: int, most_rows: int, pause: float) -> None:
        """Upload workbooks of random length until `stop` is set; bear every outage."""
        draw = random.Random(seed)
        with httpx.Client(base_url=self._url, timeout=30) as http:
            while not stop.wait(draw.uniform(0, 2 * pause)):
                count = int(most_rows ** draw.random()) or 1
                self._upload(http, [draw.randrange(len(self._pool.records)) for _ in range(count)])

    def _upload(self, http: httpx.Client, picks: list[int]) -> None:
        body = self._pool.workbook(picks)
        try:
            answer = http.post("/upload", files={"file": ("cars.xlsx", body)})
        except httpx.TransportError:
            with self._lock:
                self.account.refused += 1
            return
        with self._lock:
            if answer.status_code == httpx.codes.ACCEPTED:
                self._promised[answer.json()["job_id"]] = picks
                self.account.accepted += 1
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
        with httpx.Client(base_url=self._url, timeout=60) as http:
            while waiting and time.monotonic() < deadline:
                final = {job for job in waiting if self._check_if_final(http, job)}
                if final:
                    waiting -= final
                    deadline = time.monotonic() + patience
                else:
                    time.sleep(0.2)
        self.account.lost += sorted(waiting)
        return self.account

    def _check_if_final(self, http: httpx.Client, job_id: str) -> bool:
        answer = http.get(f"/jobs/{job_id}")
        if answer.status_code == httpx.codes.NOT_FOUND:
            self.account.lost.append(job_id)
            return True
        job = answer.raise_for_status().json()
        if job["status"] not in _FINAL:
            return False
        if job["status"] == "done":
            self._check(http, job)
        elif job["error"]:
            self.account.failed[job_id] = job["error"]
        else:
            self.account.wrong.append(f"{job_id}: {job['status']} without a reason")
        return True

    def _check(self, http: httpx.Client, job: dict[str, Any]) -> None:
        job_id, picks = job["job_id"], self._promised[job["job_id"]]
        content = http.get(f"/jobs/{job_id}/result").raise_for_status().content
        sheet = openpyxl.load_workbook(io.BytesIO(content), read_only=True).worksheets[0]
        header, *rows = sheet.iter_rows(values_only=True)
        refs = [row[0] for row in rows]
        column = list(header).index(self._pool.prediction)
        expected = [self._pool.expected[pick] for pick in picks]
        if len(refs) != len(set(refs)):
            self.account.duplicated.append(job_id)
        elif refs != list(range(len(picks))):
            self.account.wrong.append(f"{job_id}: rows missing or displaced")
        elif any(
            abs(row[column] - e) > 1e-4 * abs(e) for row, e in zip(rows, expected, strict=True)
        ):
            self.account.wrong.append(f"{job_id}: a prediction differs")
        elif (job["rows_total"], job["rows_done"]) != (len(picks), len(picks)):
            self.account.wrong.append(f"{job_id}: counts {job['rows_done']}/{job['rows_total']}")
        else:
            self.account.done += 1


def _differ(given: float | None, expected: float) -> bool:
    return given is None or abs(given - expected) > 1e-4 * abs(expected)
