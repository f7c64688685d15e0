"""The routes that read: what may be alive, of the Dags whose task instances the user may read."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime
from typing import Annotated, Any

from fastapi import APIRouter, Depends, HTTPException, Path, Query, Request

from airflow_runctl.compat.api_server import READ
from airflow_runctl.control.by_hand import state_at_vendor
from airflow_runctl.control.inventory import Inventory, KnownRun, Scope
from airflow_runctl.control.stop_many import Connections
from airflow_runctl.plugin.channel import TablesChannel
from airflow_runctl.plugin.door import HOST
from airflow_runctl.plugin.itself import Itself
from airflow_runctl.plugin.login import Caller, Reader
from airflow_runctl.plugin.source import Tables
from airflow_runctl.plugin.ways import OFF, acts_here, apart
from airflow_runctl.plugin.words import Filters, Refusal, Run, RunId, Runs, ShownRun, ShownRuns
from airflow_runctl.runs import HISTORY_KEY

router = APIRouter(tags=["Reading"])


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
async def list_runs(source: Readable, filters: Annotated[Filters, Query()]) -> Runs:
    """List the runs that may be alive, the oldest first."""
    runs = await Inventory(source, history=True).runs(filters.scope())
    return Runs(runs=[shown(run) for run in runs], total=len(runs))


@router.get("/runs/{run_id:path}", responses={404: {"model": Refusal, "description": "No such run may be alive"}})
async def show_run(
    source: Readable, run_id: Annotated[RunId, Path(description="id of the run at its vendor")]
) -> ShownRuns:
    """Show all that is known of a run; of several if their vendors gave them one id."""
    runs = await Inventory(source, history=True).runs(Scope(runs=frozenset({run_id})))
    if not runs:
        raise HTTPException(404, "No such run may be alive, as far as the user may see.")
    return ShownRuns(runs=list(await asyncio.gather(*(_all_of(source, run) for run in runs))))


async def _all_of(source: Tables, run: KnownRun) -> ShownRun:
    limit = await source.time_limit(run.where)
    now = await apart(state_at_vendor(Connections(TablesChannel()), run)) if acts_here() else f"not asked: {OFF}"
    past = run.past_out(*await source.earlier(HISTORY_KEY, run.where))
    return ShownRun(**_plain(run), **past, execution_timeout=limit, now=now)


def shown(run: KnownRun) -> Run:
    """Return a run as it is shown."""
    return Run(**_plain(run))


def _plain(run: KnownRun) -> dict[str, Any]:
    return run.out(datetime.now(UTC))
