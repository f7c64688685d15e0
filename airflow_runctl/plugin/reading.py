"""The routes that read: what may be alive, of the Dags whose task instances the user may read."""

from __future__ import annotations

import asyncio
from typing import Annotated, Any, Final

from fastapi import APIRouter, Depends, HTTPException, Path, Query, Request

from airflow_runctl.compat.api_server import READ
from airflow_runctl.control.by_hand import look_at_vendor
from airflow_runctl.control.inventory import Inventory, KnownRun, Scope
from airflow_runctl.control.stop_many import Connections
from airflow_runctl.plugin.channel import TablesChannel
from airflow_runctl.plugin.door import HOST
from airflow_runctl.plugin.facts import Facts, facts_of
from airflow_runctl.plugin.itself import Itself
from airflow_runctl.plugin.login import Caller, Reader
from airflow_runctl.plugin.looks import Look, Looks
from airflow_runctl.plugin.source import Tables
from airflow_runctl.plugin.ways import OFF, Ways, acts_here, apart
from airflow_runctl.plugin.words import Filters, Refusal, Run, RunId, Runs, ShownRun, ShownRuns, WaysNow
from airflow_runctl.runs import HISTORY_KEY, RunStatus

NOT_DONE: dict[int | str, dict[str, Any]] = {409: {"model": Refusal, "description": "It could not be done, and why"}}

router = APIRouter(tags=["Reading"], responses=NOT_DONE)


def source_for(asking: Caller, method: str, request: Request) -> tuple[Tables, Itself]:
    """Return what tells of the runs of the Dags that a user may read, or edit; and Airflow as that user.

    :param method: ``READ`` or ``EDIT``.
    """
    itself = Itself(request.scope[HOST], asking)

    async def may(dag_ids: set[str]) -> frozenset[str]:
        return await asking.may(method, dag_ids)

    return Tables(may, itself.time_limit), itself


async def readable(reader: Reader, request: Request) -> Tables:
    """Return what tells of the runs of the Dags that the user may read."""
    return source_for(reader, READ, request)[0]


Readable = Annotated[Tables, Depends(readable)]


@router.get("/runs")
async def list_runs(reader: Reader, source: Readable, filters: Annotated[Filters, Query()]) -> Runs:
    """List the runs that may be alive, the oldest first."""
    runs = await Inventory(source, history=True).runs(filters.scope())
    facts = await facts_of(reader, source, runs)
    return Runs(runs=[Run(**facts.shown(run)) for run in runs], total=len(runs))


@router.get("/runs/{run_id:path}", responses={404: {"model": Refusal, "description": "No such run may be alive"}})
async def show_run(
    reader: Reader, source: Readable, run_id: Annotated[RunId, Path(description="id of the run at its vendor")]
) -> ShownRuns:
    """Show all that is known of a run; of several if their vendors gave them one id."""
    runs = await Inventory(source, history=True).runs(Scope(runs=frozenset({run_id})))
    if not runs:
        raise HTTPException(404, "No such run may be alive, as far as the user may see.")
    facts = await facts_of(reader, source, runs)
    return ShownRuns(runs=list(await asyncio.gather(*(_all_of(source, facts, run) for run in runs))))


async def _all_of(source: Tables, facts: Facts, run: KnownRun) -> ShownRun:
    limit = await source.time_limit(run.where)
    look = await _looks.at(run) if acts_here() else Look(f"not asked: {OFF}")
    told = {**facts.shown(run), "now": look.said, "now_state": look.state, "now_at": look.at}
    past = run.past_out(*await source.earlier(HISTORY_KEY, run.where))
    return ShownRun(**told, **past, execution_timeout=limit)


async def _look(run: KnownRun) -> RunStatus | str:
    return await apart(look_at_vendor(Connections(TablesChannel()), run))


_looks: Final = Looks(_look)


@router.get("/ways")
async def show_ways(reader: Reader, request: Request) -> WaysNow:
    """Say what can be done from here."""
    if acts_here():
        return WaysNow(here=True, why=None)
    source, itself = source_for(reader, READ, request)
    return WaysNow(here=False, why=await Ways(source, itself, reader).why_not())
