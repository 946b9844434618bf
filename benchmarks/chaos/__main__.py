"""Kills services, servers and connections at random under load, and accounts for all it accepted.

    make chaos

Prints what was accepted, done, failed with a reason, lost, duplicated and wrong; exits 1 unless the
last three are 0. A seed draws the same blows again.
"""

from __future__ import annotations

import argparse
import signal
import sys
import tempfile
from pathlib import Path

from benchmarks.chaos.run import Report, run
from benchmarks.machine import describe


def main() -> int:
    """Run the study on the chosen adapters."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--kills", type=int, default=200)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--on", choices=["embedded", "servers", "both"], default="both")
    parser.add_argument("--rows", type=int, default=3000, help="of the largest workbook")
    parser.add_argument("--models", type=Path, default=Path("models"))
    options = parser.parse_args()
    # Servers and services are ended also when this is asked to stop.
    signal.signal(signal.SIGTERM, lambda number, _: sys.exit(128 + number))
    print(describe())
    kept = True
    for name in ("embedded", "servers"):
        if options.on in {name, "both"}:
            with tempfile.TemporaryDirectory(prefix="aimq-chaos-") as folder:
                report = run(
                    Path(folder), options.models.absolute(), kills=options.kills,
                    seed=options.seed, servers=name == "servers", most_rows=options.rows,
                    say=lambda line: print(line, flush=True),
                )  # fmt: skip
                _show(name, report)
                kept = kept and report.kept
                if not report.kept:
                    _show_logs(Path(folder))
    return 0 if kept else 1


def _show(name: str, report: Report) -> None:
    print(f"\n{name}: {sum(report.blows.values())} blows in {report.seconds:.0f} s")
    for blow, count in sorted(report.blows.items()):
        print(f"  {count:4d} × {blow}")
    print(f"  {report.account.summary()}")
    print(f"  refused or unanswered meanwhile: {report.account.refused:,}")
    print(f"  all final {report.until_final:.0f} s after the last blow")
    print(f"  messages left in queues: {report.left or 'none'}; exit codes {report.exit_codes}")
    for what in ("lost", "duplicated", "wrong", "unexpected"):
        for item in getattr(report.account, what):
            print(f"  {what}: {item}")
    for job, reason in report.account.failed.items():
        print(f"  failed: {job}: {reason}")


def _show_logs(folder: Path) -> None:
    for log in sorted(folder.glob("*.log")):
        print(f"--- end of {log.name}")
        print("\n".join(log.read_text(errors="replace").splitlines()[-40:]))


if __name__ == "__main__":
    sys.exit(main())
