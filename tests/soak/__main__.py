"""``make soak MINUTES=10 SEED=1``: a deployment under faults, and an oracle that says whether a promise was broken."""

from __future__ import annotations

import argparse
import shutil
import signal
import sys
import time
from pathlib import Path
from types import FrameType
from typing import Final

from airflow_runctl.sandbox.client import Sandbox
from tests.places import ROOT
from tests.soak.deployment import Deployment
from tests.soak.faults import Chaos
from tests.soak.gathering import gather, settle
from tests.soak.journal import Journal
from tests.soak.oracle import LEFT_ALIVE, judge, table
from tests.soak.people import People
from tests.soak.plan import Plan, plan
from tests.soak.services import Services
from tests.soak.sweeping import complaints, sweep

BUILD: Final = ROOT / "build" / "soak"


def main() -> int:
    """Return 0 if no promise was broken, and 1 if one was; then all logs are kept in build/soak/<seed>."""
    parser = argparse.ArgumentParser(prog="make soak", description=__doc__)
    parser.add_argument("--minutes", type=float, default=10)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--plan", action="store_true", help="print what would happen, and end")
    parser.add_argument("--keep", action="store_true", help="keep all logs, whatever the verdict")
    given = parser.parse_args()
    what = plan(given.seed, given.minutes)
    print(*what.lines(), sep="\n", flush=True)
    if given.plan:
        return 0
    signal.signal(signal.SIGTERM, _interrupt)
    folder = BUILD / str(given.seed)
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    return _soak(what, folder, given.keep)


def _interrupt(number: int, frame: FrameType | None) -> None:
    raise KeyboardInterrupt


def _soak(what: Plan, folder: Path, keep: bool) -> int:
    journal = Journal(folder / "journal.txt")
    journal.tell("PostgreSQL, Redis and the vendors' sandbox start")
    with Services() as services, Sandbox.spawn() as sandbox:
        deployment = Deployment(services, sandbox, journal.tell)
        bad = True
        try:
            with deployment.airflow:
                try:
                    bad = _broken(deployment, journal, what, folder)
                finally:
                    if bad or keep:
                        _keep_logs(deployment, folder)
        finally:
            deployment.airflow.close()
    print(f"{'NOT GOOD: logs are' if bad else 'Good: no promise was broken. History is'} in {folder}")
    return 1 if bad else 0


def _broken(deployment: Deployment, journal: Journal, what: Plan, folder: Path) -> bool:
    people = People(deployment, journal)
    chaos = Chaos(deployment, people, journal)
    journal.began()
    people.start()
    try:
        chaos.run(what)
        journal.tell("faults are over")
        settle(deployment, journal, what, chaos.keep_up)
    finally:
        people.close()
    history = gather(deployment, journal.events)
    history.save(folder / "history.json")
    verdict = judge(history)
    began = time.monotonic()
    swept = sweep(deployment, folder)
    left = [finding for finding in (*verdict.sins, *verdict.gaps) if finding.sin == LEFT_ALIVE]
    wrong = list(complaints(swept, left))
    lines = [
        *table(history, verdict),
        f"the sweep, {time.monotonic() - began:.0f} s: exit code {swept.code}, orphans: "
        + (", ".join(swept.orphans) or "none"),
        *(f"  {row}" for row in swept.rows),
        *(f"SIN  {complaint}" for complaint in wrong),
    ]
    print(*lines, sep="\n")
    (folder / "verdict.txt").write_text("\n".join(lines) + "\n")
    return bool(verdict.sins or wrong)


def _keep_logs(deployment: Deployment, folder: Path) -> None:
    airflow = deployment.airflow
    for name, source in (("components", airflow.sessions.logs), ("logs", airflow.home / "logs")):
        shutil.copytree(source, folder / name, dirs_exist_ok=True)
    shutil.copytree(deployment.services.sessions.logs, folder / "services", dirs_exist_ok=True)


if __name__ == "__main__":
    sys.exit(main())
