"""``python -m etl``: the pipeline without the command line of AIMQ."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from aimq.errors import AimqError
from aimq.settings import load_settings
from etl.pipeline import run


def main(arguments: list[str] | None = None) -> int:
    """Train and publish; returns 0, or 2 after a line on standard error that says what is wrong."""
    parser = argparse.ArgumentParser(
        prog="python -m etl", description="Train a model per group and publish them."
    )
    parser.add_argument("--source", type=Path, help="CSV or Excel table; default: synthetic data")
    parser.add_argument("--schema", type=Path, help="description of the table (schema.toml)")
    parser.add_argument("--trees", type=int, default=100, help="trees per group")
    parser.add_argument("--leaf", type=int, default=5, help="fewest training rows in a leaf")
    chosen = vars(parser.parse_args(arguments))
    try:
        run(load_settings(), **chosen)
    except AimqError as exc:
        sys.stderr.write(f"{exc.title}: {exc.detail}\n")
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
