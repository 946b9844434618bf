"""``aimq up``: all three services on this machine, supervised."""

from __future__ import annotations

import asyncio
import os
import secrets
import sys
import threading
from typing import Annotated

import typer

from aimq.cli.ready import wait_until_ready
from aimq.http.serve import bind
from aimq.settings import Settings, load_settings
from aimq.supervisor import Service, Supervisor, service_command
from aimq.telemetry import configure_logging

#: In the order in which they are stopped: first the door, last what the others call.
SERVICES = ("interface", "batch-processor", "ml-service")


def up(
    quiet: Annotated[bool, typer.Option("--quiet", help="Only warnings of the services.")] = False,
) -> None:
    """Serve until Ctrl-C: interface, batch processor and ML service, restarted when they die."""
    settings = load_settings(log_level="warning") if quiet else load_settings()
    configure_logging(settings, "aimq")
    settings.refuse_open_door(settings.interface_host)
    _refuse_taken_ports(settings)
    raise typer.Exit(asyncio.run(_supervise(settings, environment(settings))))


def environment(settings: Settings) -> dict[str, str]:
    """Return the services' environment: this process's, with a token between them."""
    return {
        **os.environ,
        "AIMQ_INTERNAL_TOKEN": settings.internal_token or secrets.token_urlsafe(32),
        "AIMQ_LOG_LEVEL": settings.log_level,
    }


async def _supervise(settings: Settings, environ: dict[str, str]) -> int:
    services = [Service(name, service_command(name)) for name in SERVICES]
    supervisor = Supervisor(services, environ, _say)
    stopped = threading.Event()
    threading.Thread(target=_greet, args=(settings, stopped), daemon=True).start()
    try:
        return await supervisor.run()
    finally:
        stopped.set()


def _greet(settings: Settings, stopped: threading.Event) -> None:
    if not wait_until_ready(settings, stopped.is_set):
        return
    page = settings.interface_url
    _say(
        f"ready\n"
        f"  page and uploads   {page}\n"
        f"  API documentation  {page}/docs\n"
        f"  ML service         {settings.ml_url}/docs\n"
        f"  stop with Ctrl-C"
    )


def _refuse_taken_ports(settings: Settings) -> None:
    for host, port, variable in (
        (settings.interface_host, settings.interface_port, "AIMQ_INTERFACE_PORT"),
        (settings.ml_host, settings.ml_port, "AIMQ_ML_PORT"),
        (settings.metrics_host, settings.metrics_port, "AIMQ_METRICS_PORT"),
    ):
        bind(host, port, variable).close()


def _say(line: str) -> None:
    print(f"aimq: {line}", file=sys.stderr, flush=True)
