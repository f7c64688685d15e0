"""``make demo``: external runs hang, limits pass, the runs are stopped at the vendors; see for yourself."""

from __future__ import annotations

import argparse
import contextlib
import os
import signal
import sys
import time
from pathlib import Path
from types import FrameType

from rich.console import Console
from rich.table import Table

from airflow_runctl.sandbox.client import Sandbox
from demo.real_airflow import RealAirflow
from demo.stories import OVER, STORIES, Told, begin, end, tell

EXAMPLES = Path(__file__).parents[1] / "example_dags"
STORY_SECONDS = 240.0
console = Console(highlight=False, soft_wrap=True)


def say(text: str) -> None:
    """Print a line at once."""
    console.print(text, markup=False)


def main() -> int:
    """Run the stories; return 0 if every run was really stopped."""
    parser = argparse.ArgumentParser(prog="demo", description=__doc__)
    parser.add_argument("--keep", action="store_true", help="leave Airflow's UI up at the end, until Ctrl-C")
    parser.add_argument(
        "--database",
        default=os.environ.get("RUNCTL_TEST_DB"),
        help="SQLAlchemy URL of a PostgreSQL; SQLite by default, which Airflow 2.11 cannot take",
    )
    given = parser.parse_args()
    signal.signal(signal.SIGTERM, _interrupt)
    try:
        return _run(given.keep, given.database)
    except KeyboardInterrupt:
        say("Interrupted; everything was ended.")
        return 130


def _interrupt(number: int, frame: FrameType | None) -> None:
    raise KeyboardInterrupt


def _run(keep: bool, database: str | None) -> int:
    say("Starting the vendors' sandbox and a real Airflow (scheduler, Dag processor, triggerer, API server)")
    with (
        Sandbox.spawn() as sandbox,
        RealAirflow(
            dag_folders=[EXAMPLES], environment=sandbox.connections, database=database, progress=say
        ) as airflow,
    ):
        # The first one may take some time to begin.
        run_ids = {story.dag_id: begin(airflow, sandbox, story) for story in reversed(STORIES)}
        _wait(airflow, sandbox, run_ids)
        for story in STORIES:
            end(airflow, story)
        told = [tell(airflow, sandbox, story, run_ids[story.dag_id]) for story in STORIES]
        for each in told:
            _print(each)
        still_open = len(sandbox.open_runs())
        good = not still_open and not any(each.problems for each in told)
        say(f"Open runs at the vendors: {still_open}. " + ("Every run was really stopped." if good else "NOT GOOD."))
        if keep:
            say(f"Airflow's UI: {airflow.url} (no login needed). Ctrl-C ends it.")
            with contextlib.suppress(KeyboardInterrupt):
                signal.pause()
    return 0 if good else 1


def _wait(airflow: RealAirflow, sandbox: Sandbox, run_ids: dict[str, str]) -> None:
    began = said = time.monotonic()

    def all_over() -> bool:
        nonlocal said
        if time.monotonic() - said > 5:
            said = time.monotonic()
            say(f"{said - began:4.0f} s: {len(sandbox.open_runs())} runs are alive at the vendors")
        return all(airflow.dag_run_state(dag_id, run_id) in OVER for dag_id, run_id in run_ids.items())

    airflow.wait_for(all_over, "the stories to end", STORY_SECONDS)


def _print(told: Told) -> None:
    table = Table(title=f"\n{told.story.title} ({told.story.dag_id})", title_justify="left", min_width=90)
    table.add_column("seconds", justify="right")
    table.add_column("who")
    table.add_column("what")
    for event in told.events:
        table.add_row(f"{(event.at - told.began).total_seconds():.1f}", event.side, event.text)
    table.add_row("end", "vendors", f"open runs: {told.open_runs}")
    console.print(table)
    for problem in told.problems:
        say(f"PROBLEM: {problem}")


if __name__ == "__main__":
    sys.exit(main())
