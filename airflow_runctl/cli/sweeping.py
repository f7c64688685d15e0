"""``runctl sweep``: shows what a sweep finds, and what it does."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from typing import Any

from airflow_runctl.cli.acting import by_whom
from airflow_runctl.cli.exit_codes import ExitCode
from airflow_runctl.cli.listing import airflow_of, scope_of
from airflow_runctl.cli.over_api import OverApi, connections_here, over_the_api, unreadable_here
from airflow_runctl.cli.reach import channel_of
from airflow_runctl.cli.screen import print_rows, progress, say
from airflow_runctl.control.findings import Finding, Sweep
from airflow_runctl.control.inventory import Inventory, KnownRun, Scope, Standing
from airflow_runctl.control.stop import StopNote
from airflow_runctl.control.sweep import Rules, Sweeper
from airflow_runctl.exceptions import AirflowRefused, RunctlError
from airflow_runctl.hooks.base import vendors
from airflow_runctl.rest.calls import awaited
from airflow_runctl.rest.runctl_api import LONGEST_WAIT, NoApi, RunctlApi
from airflow_runctl.rest.source import AirflowRest
from airflow_runctl.runs import StopReason


def sweep_runs(arguments: argparse.Namespace) -> int:
    """Find runs whose owner is over, and stop them if told to."""
    dry_run = arguments.dry_run or not arguments.yes
    rest = airflow_of(arguments)
    known = awaited(Inventory(rest, progress).runs(scope_of(arguments)))
    if (answer := awaited(_over_the_api(rest, arguments, known, dry_run=dry_run))) is not None:
        return _tell_answer(answer, arguments, dry_run=dry_run)
    sweep = awaited(_sweep(rest, arguments, known, dry_run=dry_run))
    rows = [swept.out() for swept in sweep.runs if swept.finding is not Finding.OWNED]
    rows += [start.out() for start in sweep.starts]
    strangers = [{**stranger.out(), "finding": "not known to Airflow"} for stranger in sweep.strangers]
    if arguments.output in ("json", "yaml"):
        print_rows([*rows, *strangers], arguments.output)
    else:
        if rows or not strangers:
            print_rows(rows, arguments.output)
        if strangers:
            print_rows(strangers, arguments.output)
    _tell(sweep, dry_run=dry_run)
    return _code(sweep)


async def _over_the_api(
    rest: AirflowRest, arguments: argparse.Namespace, known: Sequence[KnownRun], *, dry_run: bool
) -> dict[str, Any] | None:
    """Let the API server sweep, if it is there and the connection of an apparent orphan cannot be read here.

    :returns: what it came to; ``None`` if the sweep is to be made from here.
    """
    left = await _left(rest, scope_of(arguments))
    apparent = [one for one in (*known, *left) if one.standing is not Standing.OWNED]
    closed = await unreadable_here(connections_here(rest), apparent)
    if not closed:
        return None
    if arguments.dag_run_id or arguments.task_id:
        say("Over Airflow's API server no single Dag run or task is swept; what cannot be read here is left in doubt.")
        return None
    body = {
        **{name: getattr(arguments, name) for name in ("vendor", "conn_id", "dag_id", "min_age", "reason")},
        "look_again": min(arguments.look_again, LONGEST_WAIT),
        "max_orphans": arguments.max_orphans,
        "max_share": arguments.max_share,
        "exclude_dags": arguments.exclude_dag,
        "exclude_connections": arguments.exclude_connection,
        "dry_run": dry_run,
        "timeout": min(arguments.timeout, LONGEST_WAIT),
    }
    over = OverApi(rest, RunctlApi(rest.calls), arguments.reason, arguments.timeout)
    say(f"{over_the_api(closed)} Runs that Airflow does not know, and lost starts, are not looked for there.")
    seconds = arguments.look_again + arguments.timeout
    try:
        answer = await over.api.do("sweep", body, to="sweep", seconds=seconds)
    except NoApi as error:
        say(str(error))
        return None
    if answer.get("dag_run_id") and answer.get("may_be_alive") and not answer.get("runs"):
        answer = {**await over.awaited_outcome(str(answer["dag_run_id"]), seconds + LONGEST_WAIT), "by_dag": True}
    if left and (answer.get("dag_run_id") or answer.get("by_dag")):
        say(f"{len(left)} handles that archived attempts left were not looked at: a task cannot read them.")
    return answer


async def _left(rest: AirflowRest, scope: Scope) -> list[KnownRun]:
    """Return what archived attempts left, whose owners are not asked for yet; what cannot be read the sweep says."""
    try:
        found, _ = await rest.left(scope)
    except RunctlError:
        return []
    meant = (one for one in found if scope.has_handle(one.handle))
    return [KnownRun(one.where, one.handle, None, None, Standing.UNCLEAR, "", left=one) for one in meant]


def _tell_answer(answer: dict[str, Any], arguments: argparse.Namespace, *, dry_run: bool) -> ExitCode:
    """Print what a sweep over the API came to."""
    rows, refused = list(answer.get("runs") or ()), answer.get("refused")
    print_rows(rows, arguments.output)
    orphans = sum(one["finding"] == Finding.ORPHAN for one in rows)
    doubts = sum(one["finding"] == Finding.DOUBT for one in rows)
    for one in rows:
        if one.get("error"):
            say(f"{one['run']}: {one['error']}")
    if refused:
        say(f"NOTHING WAS STOPPED: {refused}.")
    say(f"{orphans} orphans, {doubts} runs in doubt.")
    if dry_run and orphans:
        say("A dry run: nothing was stopped. --yes stops the orphans.")
    if refused:
        return ExitCode.TOO_MANY
    return ExitCode.MAY_BE_ALIVE if answer.get("may_be_alive") else ExitCode.DONE


async def _sweep(
    rest: AirflowRest, arguments: argparse.Namespace, known: Sequence[KnownRun], *, dry_run: bool
) -> Sweep:
    scope = scope_of(arguments)
    sweeper = Sweeper(
        rest,
        channel_of(rest),
        Rules(
            min_age=arguments.min_age,
            look_again=arguments.look_again,
            most=arguments.max_orphans,
            share=arguments.max_share,
            exclude_dags=arguments.exclude_dag,
            exclude_connections=arguments.exclude_connection,
            timeout=arguments.timeout,
        ),
        StopNote(StopReason.LEFTOVER, f"{by_whom()} sweep", arguments.reason),
        scope,
        await _connections(rest),
        rest,
        rest,
        say,
        progress,
    )
    return await sweeper.run(dry_run=dry_run, known=known)


async def _connections(rest: AirflowRest) -> frozenset[tuple[str, str]]:
    """Return the connections of our vendors that Airflow shows; those of known runs come by themselves."""
    try:
        return await rest.connections(vendors())
    except AirflowRefused as error:
        say(f"{error} Only the vendors of runs that are known are asked what runs there.")
        return frozenset()


def _tell(sweep: Sweep, *, dry_run: bool) -> None:
    for why in sweep.unlisted:
        say(why)
    for failure in sweep.failures():
        say(failure)
    orphans, doubts = len(sweep.orphans), sum(one.finding is Finding.DOUBT for one in sweep.runs)
    if sweep.refused:
        say(f"NOTHING WAS STOPPED: {sweep.refused}.")
    for start in sweep.starts:
        say(f"{start.where}: {start.why}. Nothing stops it but a person.")
    said = f"{len(sweep.runs)} runs may be alive as Airflow knows them, {orphans} of them orphans, {doubts} in doubt"
    say(f"{said}; {len(sweep.strangers)} more run at vendors that Airflow does not know, and are only reported.")
    if dry_run and orphans:
        say("A dry run: nothing was stopped. --yes stops the orphans.")


def _code(sweep: Sweep) -> ExitCode:
    if sweep.refused:
        return ExitCode.TOO_MANY
    return ExitCode.MAY_BE_ALIVE if sweep.may_be_alive else ExitCode.DONE
