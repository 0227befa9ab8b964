"""`python -m bench [NAME ...] [--small] [--json FILE] [--list]`: run works, print a Markdown table, write every number as JSON."""

from __future__ import annotations

import argparse
import json
import sys
import time
import traceback
from dataclasses import asdict
from pathlib import Path
from typing import Any

from bench import machine
from bench.problems import Missing
from bench.row import Row
from bench.works import WORKS, Work

COLUMNS = ("work", "ours", "peer", "ratio", "bar", "met?")


def main() -> int:
    """0, or 1 where a work could not be done (sides that disagree, data that are not here)."""
    parser = _parser()
    arguments = parser.parse_args()
    unknown = set(arguments.works) - {work.name for work in WORKS}
    if unknown:
        parser.error(f"no work is called {', '.join(sorted(unknown))}; --list names them")
    if arguments.list:
        print("\n".join(f"{work.name:20} {work.about}" for work in WORKS))
        return 0
    chosen = [work for work in WORKS if not arguments.works or work.name in arguments.works]
    about = machine.facts()
    print("\n".join(f"- {key}: {value}" for key, value in about.items()))
    if arguments.small:
        print("- sizes: small; they only exercise the code, bars do not apply")
    print(f"\n| {' | '.join(COLUMNS)} |\n|{'---|' * len(COLUMNS)}", flush=True)
    rows, failed = _run_all(chosen, arguments.small, lambda rows: _write(arguments.json, about, arguments.small, rows))
    notes = list(dict.fromkeys(f"- {row.work}: {row.note}" for row in rows if row.note)) + [f"- NOT MEASURED {line}" for line in failed]
    print("\n" + "\n".join(notes) if notes else "")
    return 1 if failed else 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m bench", description=__doc__)
    parser.add_argument("works", nargs="*", metavar="NAME", help="works to do (default: all)")
    parser.add_argument("--small", action="store_true", help="tiny sizes, to exercise the code")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write all numbers to FILE, after each work")
    parser.add_argument("--list", action="store_true", help="name the works and end")
    return parser


def _run_all(works: list[Work], small: bool, write: Any) -> tuple[list[Row], list[str]]:
    """All lines, printed as they come; and why works failed. One that fails does not stop the others."""
    rows: list[Row] = []
    failed: list[str] = []
    for work in works:
        begin = time.perf_counter()
        try:
            for row in work.run(small):
                rows.append(row)
                print(line(row, small), flush=True)
        except Missing as error:
            failed.append(f"{work.name}: {error}")
        except Exception as error:  # one that fails must not take the others' hours with it
            traceback.print_exc()
            failed.append(f"{work.name}: {str(error).strip().splitlines()[-1] if str(error).strip() else type(error).__name__}")
        print(f"{work.name}: done in {time.perf_counter() - begin:.0f} s", file=sys.stderr)
        write(rows)
    return rows, failed


def line(row: Row, small: bool) -> str:
    """A line of the Markdown table."""
    ratio = "" if row.ratio is None else f"{row.ratio:.2f} x"
    met = "" if row.met is None else "small" if small else "yes" if row.met else "NO"
    return f"| {row.work} | {row.ours} | {row.peer} | {ratio} | {row.bar} | {met} |"


def _write(path: Path | None, about: dict[str, Any], small: bool, rows: list[Row]) -> None:
    if path is not None:
        path.write_text(json.dumps({"machine": about, "small": small, "rows": [asdict(row) for row in rows]}, indent=1) + "\n")


if __name__ == "__main__":
    sys.exit(main())
