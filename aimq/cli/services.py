"""``aimq interface``, ``ml-service`` and ``batch-processor``: one service in this process."""

from __future__ import annotations

import importlib
from typing import Annotated

import typer

from aimq.broker.topology import SHORT_NAMES
from aimq.errors import SettingsError
from aimq.parent_watchdog import watch_parent
from aimq.settings import Settings, load_settings
from aimq.telemetry import configure_logging

Parent = Annotated[int, typer.Option(hidden=True, help="End when this process ends.")]
AsWorker = Annotated[str, typer.Option(hidden=True, help="Serve as one of several processes.")]
Port = Annotated[int | None, typer.Option(help="Port to listen on; 0 takes a free one.")]


def interface(port: Port = None, parent: Parent = 0, worker: AsWorker = "") -> None:
    """Run the interface: uploads, jobs, single predictions and the page."""
    _serve("interface", {"interface_port": port}, parent, worker)


def ml_service(port: Port = None, parent: Parent = 0, worker: AsWorker = "") -> None:
    """Run the ML service: /predict/onnx and /predict/pickle."""
    _serve("ml_service", {"ml_port": port}, parent, worker)


def batch_processor(
    queues: Annotated[
        str,
        typer.Option(
            help="Queues to work on, comma-separated: uploads, tasks; or of the tasks only "
            "predictions, factorials, webhooks."
        ),
    ] = "uploads,tasks",
    concurrency: Annotated[int | None, typer.Option(help="Messages worked on at once.")] = None,
    parent: Parent = 0,
) -> None:
    """Run the batch processor: scores the spreadsheets that wait in the queue."""
    names = [name.strip() for name in queues.split(",") if name.strip()]
    unknown = sorted(set(names) - set(SHORT_NAMES))
    if unknown or not names:
        raise SettingsError(f"--queues takes {', '.join(SHORT_NAMES)}; got {queues!r}")
    chosen = list(dict.fromkeys(queue for name in names for queue in SHORT_NAMES[name]))
    _run("batch_processor", {"concurrency": concurrency}, parent, queues=chosen)


def _serve(package: str, overrides: dict[str, int | None], parent: int, worker: str) -> None:
    """Run an HTTP service in this process, or supervise as many workers as are set."""
    from aimq.http.workers import Worker  # noqa: PLC0415 # the batch processor needs none of it

    if worker:
        _run(package, overrides, parent, worker=Worker.parse(worker))
    _run(package, overrides, parent)


def _run(package: str, overrides: dict[str, int | None], parent: int, **options: object) -> None:
    given = {name: value for name, value in overrides.items() if value is not None}
    settings: Settings = load_settings(**given)
    configure_logging(settings, package.replace("_", "-"))
    watch_parent(parent)
    # By name: `aimq` must not depend on the services that depend on it.
    code = importlib.import_module(f"{package}.app").run(settings, **options)
    raise typer.Exit(code)
