"""The usual way: FastAPI hands a prediction to Celery, whose task asks the ML service.

As durable as Celery gets: publisher confirms, acks after the work, results in Redis. The task keeps
its connection to the ML service open between calls.
"""

from __future__ import annotations

import http.client
import json
import os
from typing import Any
from urllib.parse import urlsplit

from celery import Celery
from fastapi import FastAPI

from benchmarks.rivals.contender import ML_URL, urls

_broker, _store = urls()
_ml = urlsplit(os.environ[ML_URL])
queue = Celery("rival", broker=_broker, backend=_store)
queue.conf.update(
    broker_transport_options={"confirm_publish": True},
    task_acks_late=True,
    task_reject_on_worker_lost=True,
    task_default_delivery_mode="persistent",
    task_default_queue_type="classic",  # the quicker of the two with Celery
    broker_connection_retry_on_startup=True,
    worker_hijack_root_logger=False,
)
app = FastAPI()
_connections: list[http.client.HTTPConnection] = []


@queue.task
def score(record: dict[str, Any]) -> Any:  # noqa: ANN401 # whatever the ML service answers
    """Have one record predicted."""
    if not _connections:
        _connections.append(http.client.HTTPConnection(_ml.hostname or "", _ml.port, timeout=30))
    body = json.dumps(record)
    _connections[0].request("POST", "/predict/onnx", body, {"Content-Type": "application/json"})
    answer = _connections[0].getresponse()
    content = answer.read()
    if answer.status != 200:
        raise RuntimeError(f"the ML service answered {answer.status}: {content[:200]!r}")
    return json.loads(content)


@app.post("/predict/async", status_code=202)
def accept(record: dict[str, Any]) -> dict[str, str]:
    """Queue a prediction."""
    return {"task_id": score.delay(record).id, "status": "queued"}


@app.get("/results/{task_id}")
def result(task_id: str) -> dict[str, Any]:
    """Return a prediction."""
    found = queue.AsyncResult(task_id)
    done = found.successful()
    return {"status": "done" if done else "queued", "result": found.result if done else None}
