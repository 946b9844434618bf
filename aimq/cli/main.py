"""The command ``aimq``."""

from __future__ import annotations

import sys
from typing import NoReturn

import typer

from aimq.cli import (
    dead_letters,
    demo,
    import_model,
    jobs,
    models,
    services,
    settings,
    train,
    up,
    upload,
)
from aimq.errors import AimqError, NotInstalled, SettingsError

app = typer.Typer(
    name="aimq",
    help="Score spreadsheets and single records with machine-learning models over a message queue.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode="rich",
    epilog="Exit codes: 0 done, 1 it failed, 2 wrong usage or settings, 3 not reachable.",
)
app.command("up", rich_help_panel="Serve")(up.up)
app.command("interface", rich_help_panel="Serve")(services.interface)
app.command("ml-service", rich_help_panel="Serve")(services.ml_service)
app.command("batch-processor", rich_help_panel="Serve")(services.batch_processor)
app.command("train", rich_help_panel="Models")(train.train)
app.command("import", rich_help_panel="Models")(import_model.import_model)
app.command("settings", rich_help_panel="Serve")(settings.settings)
app.command("upload", rich_help_panel="Use")(upload.upload)
app.command("jobs", rich_help_panel="Use")(jobs.jobs)
app.command("demo", rich_help_panel="Use")(demo.demo)
app.add_typer(models.app, name="models", rich_help_panel="Models")
app.add_typer(dead_letters.app, name="dead-letters", rich_help_panel="Use")


def run() -> NoReturn:
    """Run the command line; an error of ours becomes one line and an exit code."""
    try:
        app(standalone_mode=True)
    except AimqError as exc:
        print(f"aimq: {exc.detail}", file=sys.stderr)
        raise SystemExit(exit_code(exc)) from None
    except KeyboardInterrupt:
        raise SystemExit(130) from None
    raise SystemExit(0)


def exit_code(error: AimqError) -> int:
    """Return the exit code of an error that ends a command."""
    if isinstance(error, SettingsError | NotInstalled):
        return 2
    return 3 if error.retryable else 1
