"""``aimq demo``: start the system on free ports and a temporary folder, score a file, stop it."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.table import Table

from aimq.cli.client import Client
from aimq.cli.ready import wait_until_ready
from aimq.cli.upload import score
from aimq.errors import AimqError
from aimq.settings import Settings, load_settings

#: Longest wait for the services, in seconds: loading models on a slow disk takes its time.
_PATIENCE = 120.0


def demo(
    file: Annotated[Path, typer.Argument(help="The .xlsx to score.")] = Path(
        "assets/sample_files/1000_rows.xlsx"
    ),
    output: Annotated[Path, typer.Option("-o", "--output", help="Where the result goes.")] = Path(
        "results/1000_rows_predicted.xlsx"
    ),
) -> None:
    """Start all services, score a sample spreadsheet, show the result, shut down."""
    with tempfile.TemporaryDirectory(prefix="aimq-demo-") as data:
        environ = {**os.environ, **_free_ports(), "AIMQ_DATA_DIR": data}
        os.environ.update(environ)
        settings = load_settings()
        services = subprocess.Popen(
            [sys.executable, "-m", "aimq", "up", "--quiet"], env=environ, start_new_session=True
        )
        try:
            deadline = time.monotonic() + _PATIENCE
            late = lambda: services.poll() is not None or time.monotonic() > deadline  # noqa: E731
            if not wait_until_ready(settings, late):
                raise AimqError("the services did not start; their messages are above")
            _show(settings, file, output)
        finally:
            services.send_signal(signal.SIGTERM)
            code = services.wait(timeout=60)
    if code:
        raise AimqError(f"the services ended with exit code {code}")


def _show(settings: Settings, file: Path, output: Path) -> None:
    output.parent.mkdir(parents=True, exist_ok=True)
    with Client(settings) as client:
        print(f"POST {client.url}/upload  {file}")
        started = time.perf_counter()
        job = score(client, file, output)
        taken = time.perf_counter() - started
    Console(width=None if sys.stdout.isatty() else 100).print(_first_rows(output))
    print(f"{job['rows_total']:,} rows scored in {taken:.2f} s, {job['rows_failed']:,} without a "
          f"prediction\nresult: {output}")  # fmt: skip


def _first_rows(path: Path, rows: int = 5) -> Table:
    from openpyxl import load_workbook  # noqa: PLC0415 # only the demo reads a workbook here

    sheet = load_workbook(path, read_only=True).worksheets[0]
    lines = list(sheet.iter_rows(max_row=rows + 1, values_only=True))
    shown = [name for name in ("model_group", "model", "kilometers", "age_in_months", "fuel_type",
                               "predicted_price") if name in lines[0]]  # fmt: skip
    table = Table(title=f"First {rows} rows")
    for name in shown:
        table.add_column(name)
    for line in lines[1:]:
        row = dict(zip(lines[0], line, strict=True))
        table.add_row(*(str(row[name]) for name in shown))
    return table


def _free_ports() -> dict[str, str]:
    """Return free loopback ports: the demo disturbs nothing that runs already."""
    socks = [socket.create_server(("127.0.0.1", 0)) for _ in range(3)]
    ports = [sock.getsockname()[1] for sock in socks]
    for sock in socks:
        sock.close()
    return {
        "AIMQ_INTERFACE_PORT": str(ports[0]),
        "AIMQ_ML_PORT": str(ports[1]),
        "AIMQ_ML_URL": f"http://127.0.0.1:{ports[1]}",
        "AIMQ_METRICS_PORT": str(ports[2]),
    }
