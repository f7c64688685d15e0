"""``runctl stop`` and ``runctl resume``: what a person does to single runs."""

from __future__ import annotations

import argparse
import asyncio
import getpass
import logging
from collections.abc import Sequence
from typing import TYPE_CHECKING, Final

from airflow_runctl.cli.exit_codes import ExitCode
from airflow_runctl.cli.listing import COLUMNS, airflow_of, none_of, row_of, scope_of
from airflow_runctl.cli.over_api import OverApi, connections_here, over_the_api, unreadable_here
from airflow_runctl.cli.screen import ask, print_rows, progress, say
from airflow_runctl.control.end_owner import Ended, end_owner
from airflow_runctl.control.inventory import ALL, FOLLOWS, Inventory, KnownRun
from airflow_runctl.exceptions import RunctlError, WrongArgument
from airflow_runctl.rest.calls import awaited
from airflow_runctl.rest.runctl_api import NoApi, RunctlApi
from airflow_runctl.rest.source import AirflowRest

if TYPE_CHECKING:
    from airflow_runctl.control.by_hand import Hand

log = logging.getLogger(__name__)

NO_AIRFLOW: Final = "Airflow is not installed here, so that no connection can be read."


def by_whom() -> str:
    """Return who acts, for records."""
    try:
        return f"runctl ({getpass.getuser()})"
    except OSError:
        return "runctl"


def stop_runs(arguments: argparse.Namespace) -> int:
    """Stop runs."""
    rest = airflow_of(arguments)
    runs = _chosen(rest, arguments)
    if not runs or not _agreed(runs, arguments, "Stop"):
        return _nothing(runs, arguments)
    ended = awaited(_stop_all(rest, runs, arguments))
    print_rows([one.out() for one in ended], arguments.output)
    return ExitCode.MAY_BE_ALIVE if any(one.may_be_alive for one in ended) else ExitCode.DONE


async def _stop_all(rest: AirflowRest, runs: Sequence[KnownRun], arguments: argparse.Namespace) -> list[Ended]:
    hand = _hand(rest, arguments)
    elsewhere, here = await _over_the_api(rest, "stop", runs, arguments)

    async def stop(run: KnownRun) -> Ended:
        """Stop one run; what nobody foresaw of it keeps no other from being stopped."""
        try:
            return await (hand.stop(run) if hand else _only_mark(rest, run, arguments))
        except Exception as error:
            log.debug("The run of %s was not stopped", run.where, exc_info=True)
            said = f"{type(error).__name__}: {error}. The run may be alive."
            return Ended(run.where, f"a run of {run.where}", "nothing", error=said)

    return [*elsewhere, *await asyncio.gather(*map(stop, here))]


async def _over_the_api(
    rest: AirflowRest, act: str, runs: Sequence[KnownRun], arguments: argparse.Namespace
) -> tuple[list[Ended], list[KnownRun]]:
    """Act over Airflow's API server on the runs whose connection cannot be read here; return the others too.

    Without such an API nothing was done, and all of them are left for what can be done from here.
    """
    closed = await unreadable_here(connections_here(rest), runs)
    there = [run for run in runs if run.handle.get("conn_id") in closed]
    if not there:
        return [], [*runs]
    over = OverApi(rest, RunctlApi(rest.calls), getattr(arguments, "reason", None), arguments.timeout)
    say(over_the_api(closed))
    try:
        return await over.act(act, there), [run for run in runs if run not in there]
    except NoApi as error:
        say(str(error))
        return [], [*runs]


async def _only_mark(rest: AirflowRest, run: KnownRun, arguments: argparse.Namespace) -> Ended:
    """Stop a run through its task, which is all that can be done without Airflow's code."""
    name = f"run {run.handle.get('run_id')} (unverified)"
    if run.attempt is None or run.attempt.state not in FOLLOWS:
        return Ended(run.where, name, "nothing", error=f"{NO_AIRFLOW} {run.why}; the run may be alive.")
    try:
        return await end_owner(rest, rest, run, name, arguments.reason, timeout=arguments.timeout)
    except RunctlError as error:
        return Ended(run.where, name, "nothing", error=f"{error} The run may be alive.")


def resume_runs(arguments: argparse.Namespace) -> int:
    """Resume suspended runs."""
    rest = airflow_of(arguments)
    runs = _chosen(rest, arguments)
    if not runs or not _agreed(runs, arguments, "Resume"):
        return _nothing(runs, arguments)
    resumed = awaited(_resume_all(rest, runs, arguments))
    print_rows([one.out() for one in resumed], arguments.output)
    return ExitCode.DONE if all(one.outcome == "resumed" for one in resumed) else ExitCode.FAILED


async def _resume_all(rest: AirflowRest, runs: Sequence[KnownRun], arguments: argparse.Namespace) -> list[Ended]:
    resumed, here = await _over_the_api(rest, "resume", runs, arguments)
    hand = _hand(rest, arguments)
    if hand is None and here:
        raise RunctlError(f"{NO_AIRFLOW} Nothing was resumed.")
    return [*resumed, *(await asyncio.gather(*map(hand.resume, here)) if hand else ())]


def _hand(rest: AirflowRest, arguments: argparse.Namespace) -> Hand | None:
    """Return what acts where connections can be read; ``None`` where Airflow is not installed."""
    try:
        from airflow_runctl.cli.reach import channel_of
        from airflow_runctl.control.by_hand import Hand
        from airflow_runctl.control.stop_many import Connections
    except ImportError:
        return None
    reason = getattr(arguments, "reason", None)
    channel = channel_of(rest)
    return Hand(rest, rest, channel, Connections(channel), by_whom(), reason, arguments.timeout, say)


def _chosen(rest: AirflowRest, arguments: argparse.Namespace) -> list[KnownRun]:
    """Return the runs that are meant.

    :raises WrongArgument: if nothing says which.
    """
    scope = scope_of(arguments)
    if scope == ALL:
        raise WrongArgument("Say which runs: by their ids, or by a filter such as --dag-id. Nothing was done.")
    runs = asyncio.run(Inventory(rest, progress).runs(scope))
    missing = scope.runs - {str(run.handle.get("run_id")) for run in runs}
    if missing:
        say(f"Airflow knows no run that may be alive of the id {', '.join(sorted(missing))}.")
    return runs


def _agreed(runs: Sequence[KnownRun], arguments: argparse.Namespace, what: str) -> bool:
    """Show the runs, and ask unless told not to."""
    if arguments.dry_run:
        return False
    if arguments.yes:
        return True
    print_rows([row_of(run) for run in runs], "table", COLUMNS)
    owners = ", ".join(f"{run.where} ({run.state})" for run in runs)
    return ask(f"{what} {len(runs)} run(s), of {owners}?")


def _nothing(runs: Sequence[KnownRun], arguments: argparse.Namespace) -> ExitCode:
    if not runs:
        say(f"{none_of(arguments)} Nothing was done.")
        return ExitCode.FAILED if getattr(arguments, "runs", None) else ExitCode.DONE
    if arguments.dry_run:
        print_rows([row_of(run) for run in runs], arguments.output, COLUMNS)
        say("A dry run: nothing was done.")
        return ExitCode.DONE
    say("Nothing was done.")
    return ExitCode.WRONG_USE
