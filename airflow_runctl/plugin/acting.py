"""The routes that act, for whoever may edit the task instances of each Dag that is meant; else nothing is done.

An answer waits for the end of what it is about, as long as the user says and no longer than a proxy would wait; what
is not seen to be over by then goes on, and ``GET /runs`` tells of it. Waiting is cheap: a look at the tables a second.
"""

from __future__ import annotations

import asyncio
import logging
from typing import Any

from fastapi import APIRouter, HTTPException, Request

from airflow_runctl.compat import page_tables
from airflow_runctl.compat.api_server import EDIT, READ
from airflow_runctl.control.end_owner import Ended
from airflow_runctl.control.errands import Act as ErrandAct
from airflow_runctl.control.errands import Errand, named, sweeper, swept
from airflow_runctl.control.inventory import ALL, Inventory, KnownRun, Scope
from airflow_runctl.control.sweep import Rules
from airflow_runctl.exceptions import AirflowUnreachable, WrongArgument
from airflow_runctl.plugin.login import Actor, Asking, Caller
from airflow_runctl.plugin.reading import source_for
from airflow_runctl.plugin.source import asked
from airflow_runctl.plugin.ways import Ways, acts_here, apart
from airflow_runctl.plugin.words import Act, Doings, Done, Refusal, SweepAct, SweepAnswer, TestAct, Tried
from airflow_runctl.runs import printable

log = logging.getLogger(__name__)

NOT_DONE: dict[int | str, dict[str, Any]] = {
    400: {"model": Refusal, "description": "The body is no JSON"},
    409: {"model": Refusal, "description": "It could not be done, and why"},
}

router = APIRouter(tags=["Acting"], responses=NOT_DONE)


@router.post("/stop")
async def stop_runs(actor: Actor, act: Act, request: Request) -> Doings:
    """Stop runs: one whose task is alive through its task, any other directly, or by the maintenance Dag."""
    ways, runs = await _meant(actor, act, request)
    if act.dry_run:
        return _dry(runs)
    await _note("runctl_stop", actor, act, runs)
    return _done(*await ways.stop(runs, act.reason, act.timeout))


@router.post("/resume")
async def resume_runs(actor: Actor, act: Act, request: Request) -> Doings:
    """Resume suspended runs."""
    ways, runs = await _meant(actor, act, request)
    if act.dry_run:
        return _dry(runs)
    await _note("runctl_resume", actor, act, runs)
    return _done(*await ways.resume(runs, act.reason, act.timeout))


@router.post("/sweep")
async def sweep_runs(actor: Actor, act: SweepAct, request: Request) -> SweepAnswer:
    """Find runs whose owner is over, of the Dags that the user may edit, and stop them if told to."""
    source, itself = source_for(actor, EDIT, request)
    ways = Ways(source, itself, actor)
    scope = Scope(vendor=act.vendor, conn_id=act.conn_id, dag_id=act.dag_id)
    rules = Rules(
        act.min_age,
        act.look_again,
        act.max_orphans,
        act.max_share,
        act.exclude_dags,
        act.exclude_connections,
        act.timeout,
    )
    if acts_here():
        hand = ways.hand(act.reason, act.timeout)
        return SweepAnswer(**swept(await apart(sweeper(hand, rules, scope, source).run(dry_run=act.dry_run))))
    runs = await Inventory(source).runs(scope)
    errand = Errand(ErrandAct.SWEEP, named(runs), act.reason, act.timeout, rules, act.dry_run)
    answer = await ways.errand(errand, act.timeout)
    if answer.outcome is None:
        return SweepAnswer(runs=[], refused=None, may_be_alive=True, dag_run_id=answer.dag_run_id)
    return SweepAnswer(**answer.outcome, dag_run_id=answer.dag_run_id)


@router.post("/test")
async def test_connection(asking: Asking, act: TestAct, request: Request) -> Tried:
    """Reach the vendor of a connection, for whoever may test connections in Airflow."""
    if not await asyncio.to_thread(asking.rights.try_connection, act.conn_id):
        raise HTTPException(403, "The login lacks the right to test this connection.")
    source, itself = source_for(asking, EDIT, request)
    errand = Errand(ErrandAct.TEST, conn_id=act.conn_id, timeout=act.timeout)
    answer = await Ways(source, itself, asking).errand(errand, act.timeout)
    if answer.outcome is None:
        return Tried(worked=None, said="The task that tries it has not ended yet.", dag_run_id=answer.dag_run_id)
    worked, said = answer.outcome["worked"], answer.outcome["said"]
    return Tried(worked=worked, said=said, dag_run_id=answer.dag_run_id)


test_connection.__test__ = False  # type: ignore[attr-defined]  # it is no test of pytest's


async def _meant(actor: Caller, act: Act, request: Request) -> tuple[Ways, list[KnownRun]]:
    """Return the runs that are meant, if the user may edit the task instances of each.

    :raises WrongArgument: if nothing says which.
    :raises HTTPException: 403 if the user may read, and not edit, one of them.
    """
    scope = act.scope()
    if scope == ALL:
        raise WrongArgument("Say which runs: by their ids, or by a filter such as dag_id. Nothing was done.")
    source, itself = source_for(actor, READ, request)
    found = await Inventory(source).runs(scope)
    runs = [run for run in found if act.means(run.where, run.handle.get("run_id"))]
    dag_ids = {run.where.dag_id for run in runs}
    if act.dag_id is not None:
        dag_ids.add(act.dag_id)
    if refused := dag_ids - await actor.may(EDIT, dag_ids):
        dags = ", ".join(printable(dag_id) for dag_id in sorted(refused))
        raise HTTPException(403, f"The login lacks the right to edit task instances of: {dags}. Nothing was done.")
    return Ways(source, itself, actor), runs


async def _note(event: str, actor: Caller, act: Act, runs: list[KnownRun]) -> None:
    """Write to Airflow's log of actions who does it; that this fails keeps no run alive."""
    acts = [
        (run.where, {**{name: printable(run.handle.get(name)) for name in ("vendor", "run_id")}, "reason": act.reason})
        for run in runs
    ]
    try:
        await asked(page_tables.note_act)(event, actor.name, acts)
    except AirflowUnreachable as error:
        log.warning("%s by %s is not in Airflow's log of actions: %s", event, actor.name, error)


def _dry(runs: list[KnownRun]) -> Doings:
    from airflow_runctl.control.seal import describe

    return _done([Ended(run.where, describe(run.handle), "nothing: a dry run") for run in runs], [])


def _done(ended: list[Ended], dag_run_ids: list[str]) -> Doings:
    runs = [Done(**one.out()) for one in ended]
    return Doings(runs=runs, may_be_alive=any(one.may_be_alive for one in ended), dag_run_ids=dag_run_ids)
