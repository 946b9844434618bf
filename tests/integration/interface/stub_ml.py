"""A server that answers as the ML service does, in a thread; what it answers can be changed."""

from __future__ import annotations

import asyncio
import contextlib
import json
import threading

from aimq.errors import ModelRefused
from aimq.schema.jsonschema import record_schema
from aimq.schema.model import parse_schema

SOURCE = {
    "name": "used_cars",
    "title": "Used cars",
    "group": {"name": "model_group", "values": ["A", "B"]},
    "target": {"name": "price", "prediction": "predicted_price", "unit": "EUR"},
    "features": [
        {"name": "model", "type": "category", "categories": {"A": ["Asta"], "B": ["Bora", "Brio"]}},
        {
            "name": "kilometers",
            "type": "number",
            "description": "Driven so far",
            "unit": "km",
            "minimum": 0,
            "maximum": 500000,
        },
        {"name": "doors", "type": "integer", "minimum": 2, "maximum": 5},
    ],
}
HOUSES = {
    "name": "houses",
    "title": "Houses",
    "warn": True,
    "target": {"name": "price", "prediction": "predicted_price"},
    "features": [
        {"name": "area", "type": "number", "minimum": 0, "maximum": 1000},
        {"name": "rooms", "type": "integer", "minimum": 1, "maximum": 50, "blank": True, "fill": 3},
        {"name": "sold", "type": "date"},
    ],
}
WINE = {
    "name": "wine",
    "title": "Wine",
    "target": {
        "name": "kind", "prediction": "predicted_kind", "task": "classification",
        "classes": ["red", "white"],
    },
    "features": [{"name": "alcohol", "type": "number", "minimum": 0, "maximum": 100}],
}  # fmt: skip
COLUMNS = ["model_group", "model", "kilometers", "doors"]
PREDICTION = {"predicted_price": 12345.67, "model_group": "A", "model_version": "20260101T000000Z"}


class StubMl:
    """Listens on a free loopback port. `status`, `headers` and `body` answer ``/predict``.

    `sources` has the schemas of the models by name, the default's first, and `version` is that of
    all of them; the schemas are those of `schemas_of`, if it is set. Every other path is
    answered as ``/predict`` is.
    """

    def __init__(self) -> None:
        self.status = 200
        self.headers: dict[str, str] = {"x-served-by": "onnxruntime"}
        self.body = json.dumps(PREDICTION).encode()
        self.sources = {"used_cars": SOURCE}
        self.version = "20260101T000000Z"
        self.schemas_of = ""
        self.asked: list[tuple[str, bytes, bytes]] = []
        self._loop = asyncio.new_event_loop()
        started = threading.Event()
        self._thread = threading.Thread(target=self._run, args=(started,), daemon=True)
        self._thread.start()
        started.wait()

    def _run(self, started: threading.Event) -> None:
        async def main() -> None:
            self._stop = asyncio.Event()
            server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
            self.url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
            started.set()
            await self._stop.wait()
            server.close()
            await asyncio.sleep(0)  # a connection just accepted has its task begin
            others = asyncio.all_tasks() - {asyncio.current_task()}
            for task in others:
                task.cancel()
            await asyncio.gather(*others, return_exceptions=True)

        self._loop.run_until_complete(main())
        self._loop.close()

    def stop(self) -> None:
        if self._thread.is_alive():
            self._loop.call_soon_threadsafe(self._stop.set)
            self._thread.join()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while True:
                head = await reader.readuntil(b"\r\n\r\n")
                length = int(head.lower().partition(b"content-length: ")[2].split(b"\r\n")[0])
                body = await reader.readexactly(length)
                path = head.split(b" ")[1].decode()
                self.asked.append((path, head, body))
                writer.write(self._answer(path))
        except (asyncio.IncompleteReadError, ConnectionError, asyncio.CancelledError):
            pass
        finally:
            writer.close()
            with contextlib.suppress(ConnectionError):
                await writer.wait_closed()

    def _answer(self, path: str) -> bytes:
        parts = path.split("/")
        if path == "/models":
            status, headers = 200, {}
            body = json.dumps(self._models()).encode()
        elif len(parts) == 4 and parts[3] == "schema" and parts[2] in self.sources:
            status, headers = 200, {}
            version = self.schemas_of or self.version
            answer = {"schema": self.sources[parts[2]], "version": version}
            with contextlib.suppress(ModelRefused):  # one that is damaged on purpose
                answer["record"] = record_schema(parse_schema(answer["schema"]))
            body = json.dumps(answer).encode()
        else:
            status, headers, body = self.status, self.headers, self.body
        media_type = "text/html" if parts[-1] == "report" else "application/json"
        headers = {"content-type": media_type, "content-length": str(len(body)), **headers}
        lines = "".join(f"{name}: {value}\r\n" for name, value in headers.items())
        return f"HTTP/1.1 {status} X\r\n{lines}\r\n".encode() + body

    def _models(self) -> dict[str, object]:
        default = next(iter(self.sources))
        listed = []
        for name, source in self.sources.items():
            fields = [*([source["group"]] if "group" in source else []), *source["features"]]
            required = [field["name"] for field in fields if not field.get("blank")]
            listed.append(
                {"name": name, "version": self.version, "default": name == default,
                 "columns": [field["name"] for field in fields], "required": required,
                 "title": source.get("title", name), "group": source.get("group", {}).get("name"),
                 "task": source.get("target", {}).get("task", "regression"),
                 "target": source.get("target", {}).get("name"),
                 "prediction": source.get("target", {}).get("prediction"),
                 "versions": ["20251201T000000Z", self.version], "canary": None,
                 "scores": {"all": {"r2": 0.5}}, "baselines": {"all": {"r2": -0.25}},
                 "report": True, "error": None}
            )  # fmt: skip
        return {"name": default, "schema": self.sources[default], "models": listed}
