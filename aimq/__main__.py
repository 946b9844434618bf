"""Lets ``python -m aimq`` be the command line."""

from aimq.cli.main import run

if __name__ == "__main__":
    run()
