"""The routes that show a sweep what archived attempts left (Airflow 3.4), and take out what is over.

Airflow's public API shows the XComs of latest attempts alone. This shows handles of others, sealed as they lie there,
to whoever may read the XComs of their Dag, and edit its task instances: a sweep from a shell has to open them itself.
"""

from __future__ import annotations

import json
from collections import defaultdict
from typing import Annotated, Any

from fastapi import APIRouter, HTTPException, Query, Request, Response

from airflow_runctl.plugin.door import HOST
from airflow_runctl.plugin.itself import Itself
from airflow_runctl.plugin.login import Actor, Caller
from airflow_runctl.plugin.source import Tables
from airflow_runctl.plugin.words import ArchivedHandle, ArchivedHandles, Archives, LetGo, Refusal
from airflow_runctl.runs import TaskKey, printable

NOT_DONE: dict[int | str, dict[str, Any]] = {
    400: {"model": Refusal, "description": "The body is no JSON"},
    409: {"model": Refusal, "description": "It could not be done, and why"},
}

router = APIRouter(tags=["Archived attempts"], responses=NOT_DONE)


def _tables(actor: Caller, request: Request) -> Tables:
    return Tables(actor.may_sweep, Itself(request.scope[HOST], actor).time_limit)


@router.get("/archived", response_model=ArchivedHandles)
async def list_archived(actor: Actor, request: Request, which: Annotated[Archives, Query()]) -> Response:
    """List the handles of archived attempts whose runs may be alive, as far as the records tell."""
    left, is_all = await _tables(actor, request).left(which.scope())
    handles = [
        ArchivedHandle(
            dag_id=one.where.dag_id,
            dag_run_id=one.where.run_id,
            task_id=one.where.task_id,
            map_index=one.where.map_index,
            try_number=one.try_number,
            handle=dict(one.handle),
            has_other=one.has_other,
        )
        for one in left
    ]
    answer = ArchivedHandles(handles=handles, is_all=is_all).model_dump()
    # Of ASCII alone: whoever writes XComs could have put half a surrogate pair there.
    return Response(json.dumps(answer), media_type="application/json", headers={"Cache-Control": "no-store"})


@router.post("/archived/over", status_code=204)
async def let_go(actor: Actor, request: Request, said: LetGo) -> None:
    """Take handles of archived attempts out, since their runs are over; one that is not there is no error."""
    dag_ids = {one.dag_id for one in said.over}
    if refused := dag_ids - await actor.may_sweep(dag_ids):
        dags = ", ".join(printable(dag_id) for dag_id in sorted(refused))
        raise HTTPException(403, f"The login lacks the right to edit task instances of: {dags}. Nothing was done.")
    meant: dict[TaskKey, set[tuple[int, str]]] = defaultdict(set)
    for one in said.over:
        meant[one.key].add((one.try_number, one.digest))
    tables = _tables(actor, request)
    for where, handles in meant.items():
        await tables.drop(where, handles)
