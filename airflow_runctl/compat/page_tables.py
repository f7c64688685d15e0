"""What only the page asks Airflow's tables: what became of runs, deadlines; and its entries in the log of actions."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from airflow.models.dagrun import DagRun
from airflow.models.deadline import Deadline
from airflow.models.log import Log
from airflow.models.taskinstance import TaskInstance
from airflow.utils.session import create_session
from sqlalchemy import select

from airflow_runctl.compat.tables import PLACE, XCom, of_task
from airflow_runctl.runs import TaskKey, as_stored


@dataclass(frozen=True, slots=True)
class Kept:
    """An XCom.

    :param where: the task instance that holds it.
    :param key: its key.
    :param value: its value.
    :param at: when it was written.
    """

    where: TaskKey
    key: str
    value: Any = field(repr=False)
    at: datetime | None


def kept(
    keys: Sequence[str], dag_ids: Iterable[str], *, since: datetime | None = None, most: int, **place: Any
) -> list[Kept]:
    """Return XComs of the latest attempts of task instances, the newest first.

    :param since: only what was written from then on.
    :param most: how many at most.
    :param place: ``run_id``, ``task_id``, ``map_index`` of the task instances; ``None`` for any.
    """
    task: Any = TaskInstance
    asked: Any = (
        select(*(getattr(task, name) for name in PLACE), XCom.key, XCom.value, XCom.timestamp)
        .select_from(XCom)
        .join(TaskInstance, of_task(XCom))
        .where(XCom.key.in_(keys), TaskInstance.dag_id.in_(sorted(dag_ids)))
        .order_by(XCom.timestamp.desc())
        .limit(most)
    )
    if since is not None:
        asked = asked.where(XCom.timestamp >= since)
    for name, wanted in place.items():
        if wanted is not None:
            asked = asked.where(getattr(task, name) == wanted)
    with create_session() as session:
        rows = session.execute(asked).all()
    return [Kept(TaskKey(*row[:4]), row[4], as_stored(row[5]), row[6]) for row in rows]


def deadlines(dag_ids: Iterable[str]) -> dict[tuple[str, str], list[tuple[datetime, datetime]]]:
    """Return the deadlines of Dag runs that go on: from when each counts, and until when."""
    run: Any = DagRun
    asked: Any = (
        select(run.dag_id, run.run_id, run.queued_at, Deadline.deadline_time)
        .select_from(Deadline)
        .join(DagRun, Deadline.dagrun_id == run.id)
        .where(run.dag_id.in_(sorted(dag_ids)), run.state.in_(("queued", "running")))
    )
    found: dict[tuple[str, str], list[tuple[datetime, datetime]]] = {}
    with create_session() as session:
        for dag_id, run_id, since, until in session.execute(asked):
            found.setdefault((dag_id, run_id), []).append((since or until, until))
    return found


def note_act(event: str, user: str, acts: Iterable[tuple[TaskKey, Mapping[str, Any]]]) -> None:
    """Write to Airflow's own log of actions what a user does with the runs of task instances.

    :param event: what.
    :param acts: each task instance, with more about it.
    """
    with create_session() as session:
        for where, told in acts:
            place = {name: getattr(where, name) for name in PLACE}
            session.add(Log(event, owner=user, owner_display_name=user, extra=json.dumps(dict(told)), **place))
