"""``make bench``: runs the benchmarks, prints the table, writes it to build/bench.json.

Whether a budget is held changes nothing in how it ends; a row that could not be measured does.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import time
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any, Final

from tests.benchmarks import growth, imports, kills, on_time, page, peers, stopping, watching
from tests.benchmarks.fresh import ROOT
from tests.benchmarks.machine import machine
from tests.benchmarks.plot import draw
from tests.benchmarks.rows import Measured

ROWS: Final[dict[str, Callable[[], Measured]]] = {
    "stop": stopping.measure,
    "watch": watching.measure,
    "kill": kills.measure,
    "import": imports.measure,
    "on-time": on_time.measure,
    "growth": growth.measure,
}
JSON: Final = ROOT / "build" / "bench.json"


def arguments() -> argparse.Namespace:
    """Return what the command line says."""
    parser = argparse.ArgumentParser(prog="make bench", description=__doc__)
    parser.add_argument("--row", choices=list(ROWS), action="append", help="only this family of rows; all by default")
    parser.add_argument("--plot", action="store_true", help="draw the picture of the page; takes stop and growth")
    parser.add_argument("--page", action="store_true", help="write the figures and the plot into docs; takes all rows")
    return parser.parse_args()


def measured(names: list[str]) -> tuple[dict[str, Measured], list[str]]:
    """Return what was measured, and what could not be."""
    found: dict[str, Measured] = {}
    failed = []
    for name in names:
        began = time.monotonic()
        try:
            found[name] = ROWS[name]()
        except Exception as error:
            failed.append(f"{name}: {type(error).__name__}: {error}")
        print(f"{name}: {time.monotonic() - began:.0f} s", file=sys.stderr)
    return found, failed


def kept(found: dict[str, Measured], on: dict[str, str], file: Path = JSON) -> None:
    """Write down what was measured."""
    file.parent.mkdir(exist_ok=True)
    families: dict[str, Any] = {
        name: {"rows": [row.out() for row in family.rows], "points": [asdict(point) for point in family.points]}
        for name, family in found.items()
    }
    file.write_text(json.dumps({"machine": on, "measured": families}, indent=1))


def main() -> int:
    """Measure, print, write; return 1 if something could not be measured."""
    wanted = arguments()
    on = machine()
    on |= {peer: peers.named(peer).removeprefix(f"{peer} ") for peer in peers.PACKAGES if peers.installed(peer)}
    found, failed = measured(wanted.row or list(ROWS))
    rows = [row for family in found.values() for row in family.rows]
    points = [point for family in found.values() for point in family.points]
    print("; ".join(f"{name}: {what}" for name, what in on.items()))
    if os.environ.get("PROFILE"):
        print("With a profile, which makes everything slower: no figures to compare.")
    page.show(rows, points)
    kept(found, on)
    print(f"{JSON.relative_to(ROOT)} has these figures")
    if failed:
        print("Not measured:", *failed, sep="\n  ", file=sys.stderr)
        return 1
    if wanted.page and set(found) == set(ROWS):
        page.write(page.markdown(on, rows, points))
        print(f"{page.PAGE.relative_to(ROOT)} has them too")
    if wanted.page or wanted.plot:
        print(f"{draw(points).relative_to(ROOT)} is drawn")
    return 0


if __name__ == "__main__":
    sys.exit(main())
