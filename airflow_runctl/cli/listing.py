"""``runctl list`` and ``runctl show``: what may be alive."""

from __future__ import annotations

import argparse
import asyncio
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import astuple
from datetime import UTC, datetime
from typing import Any, Final

from airflow_runctl.cli.exit_codes import ExitCode
from airflow_runctl.cli.login import find_login
from airflow_runctl.cli.over_api import connections_here, over_the_api, unreadable_here
from airflow_runctl.cli.screen import print_row, print_rows, progress, say, span
from airflow_runctl.control.inventory import Inventory, KnownRun, Scope, Standing
from airflow_runctl.exceptions import RunctlError
from airflow_runctl.rest.calls import Calls, awaited
from airflow_runctl.rest.runctl_api import NoApi, RunctlApi
from airflow_runctl.rest.source import AirflowRest

COLUMNS: Final = (
    "dag_id",
    "dag_run_id",
    "task",
    "try",
    "owner",
    "vendor",
    "conn_id",
    "what",
    "run_id",
    "age",
    "at vendor",
    "standing",
)


EVENT_COLUMNS: Final = (
    "at",
    "event",
    "by",
    "why",
    "outcome",
    "seconds",
    "state",
    "vendor_state",
    "run_id",
    "try_number",
)


def scope_of(arguments: argparse.Namespace) -> Scope:
    """Return which runs the filters mean."""
    return Scope(
        vendor=arguments.vendor,
        conn_id=arguments.conn_id,
        dag_id=arguments.dag_id,
        run_id=arguments.dag_run_id,
        task_id=arguments.task_id,
        map_index=getattr(arguments, "map_index", None),
        state=getattr(arguments, "state", None),
        orphans_only=getattr(arguments, "orphans", False),
        runs=frozenset(getattr(arguments, "runs", ())),
    )


def none_of(arguments: argparse.Namespace) -> str:
    """Return the sentence that says that nothing was found, and no more than that."""
    ids = getattr(arguments, "runs", ())
    if not ids:
        return "No such run may be alive, as far as Airflow knows."
    return (
        f"Airflow has no record of a run {', '.join(map(repr, ids))} that may be alive: it is over, or the id is "
        "another one. An id has to be given whole, as runctl list -o plain shows it."
    )


def airflow_of(arguments: argparse.Namespace) -> AirflowRest:
    """Return the Airflow that is asked."""
    return AirflowRest(Calls(find_login(arguments.api_url)))


def list_runs(arguments: argparse.Namespace) -> int:
    """List the runs that may be alive."""
    runs = asyncio.run(Inventory(airflow_of(arguments), progress, history=True).runs(scope_of(arguments)))
    print_rows([row_of(run) for run in runs], arguments.output, COLUMNS)
    for run in runs:
        if run.standing is not Standing.OWNED:
            say(f"{run.where}: {run.standing.value}, {run.unread or run.why}")
    return code_of(runs)


def row_of(run: KnownRun) -> dict[str, Any]:
    """Return a row of the list: all that is known for scripts, and the columns that people read."""
    now = datetime.now(UTC)
    full = run.out(now)
    state, at = run.seen
    mapped = "" if run.where.map_index < 0 else f"[{run.where.map_index}]"
    return {
        **full,
        "task": f"{run.where.task_id}{mapped}",
        "try": full["try_number"],
        "owner": run.state,
        "age": span(run.age(now)),
        "age_seconds": full["age"],
        "at vendor": f"{state}, {span((now - at).total_seconds())} ago" if state and at else state,
    }


def code_of(runs: list[KnownRun]) -> ExitCode:
    """Return 3 if one of the runs has no owner, or perhaps none."""
    alarming = any(run.standing is not Standing.OWNED for run in runs)
    return ExitCode.MAY_BE_ALIVE if alarming else ExitCode.DONE


def show_runs(arguments: argparse.Namespace) -> int:
    """Show all that is known of runs."""
    runs = awaited(_show(airflow_of(arguments), arguments))
    if not runs:
        say(none_of(arguments))
        return ExitCode.FAILED
    return code_of(runs)


async def _show(rest: AirflowRest, arguments: argparse.Namespace) -> list[KnownRun]:
    runs = await Inventory(rest, progress, history=True).runs(scope_of(arguments))
    look = await _looks(rest, runs)
    shown = []
    for run in runs:
        limit = await _limit(rest, run)
        known = {**run.out(datetime.now(UTC)), "execution_timeout": limit}
        shown.append({**known, "now": await look(run), **run.past_out()})
    if arguments.output in ("json", "yaml"):
        print_rows(shown, arguments.output)
    else:
        for row in shown:
            events = row.pop("history")
            print_row(row, arguments.output)
            if events:
                print_rows(events, arguments.output, EVENT_COLUMNS)
    return runs


async def _limit(rest: AirflowRest, run: KnownRun) -> float | None:
    """Return the task's limit; that it cannot be read hides nothing else of the run."""
    try:
        return await rest.time_limit(run.where)
    except RunctlError as error:
        say(f"{run.where}: its limit is not known. {error}")
        return None


async def _looks(rest: AirflowRest, runs: Sequence[KnownRun]) -> Callable[[KnownRun], Awaitable[str]]:
    """Return what asks a run's vendor, and says why it cannot if it cannot."""
    opened = connections_here(rest)
    closed = await unreadable_here(opened, runs)
    if closed:
        say(over_the_api(closed))

    async def look(run: KnownRun) -> str:
        if run.handle.get("conn_id") in closed and (said := await _asked_there(rest, run)) is not None:
            return said
        if opened is None:
            return "not asked: Airflow is not installed here"
        from airflow_runctl.control.by_hand import state_at_vendor

        return await state_at_vendor(opened, run)

    return look


async def _asked_there(rest: AirflowRest, run: KnownRun) -> str | None:
    """Return what the API server says of a run; ``None`` if there is none that does."""
    try:
        shown = await RunctlApi(rest.calls).shown(str(run.handle["run_id"]))
    except NoApi as error:
        say(str(error))
        return None
    except RunctlError as error:
        return f"not asked: {error}"
    place = dict(zip(("dag_id", "dag_run_id", "task_id", "map_index"), astuple(run.where), strict=True))
    said = [str(one["now"]) for one in shown if all(one.get(name) == value for name, value in place.items())]
    return said[0] if said else "not asked: the API server finds no such run any more"
