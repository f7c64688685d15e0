"""What attempts that are over still hold, from Airflow 3.4 on: a clear or a retry archives the attempt with its XComs.

Airflow's public API shows the XComs of latest attempts alone, and its models leave the others out of whatever asks for
``TaskInstance``: so the tables themselves are asked. Only the API server loads this.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from airflow.models.taskinstance import TaskInstance
from airflow.utils.session import create_session
from sqlalchemy import and_, delete, func, select

from airflow_runctl.compat.tables import OF_AN_ATTEMPT, PLACE
from airflow_runctl.runs import TaskKey, as_stored


@dataclass(frozen=True, slots=True)
class Archived:
    """An XCom of an archived attempt, with what lies at the same task instance under other keys.

    :param where: the task instance.
    :param try_number: the attempt.
    :param attempt_id: its id.
    :param value: the value.
    :param beside: key and value of XComs of all its attempts.
    :param latest: key and value of those of the latest attempt.
    """

    where: TaskKey
    try_number: int
    attempt_id: Any
    value: Any = field(repr=False)
    beside: list[tuple[str, Any]] = field(default_factory=list, repr=False)
    latest: dict[str, Any] = field(default_factory=dict, repr=False)


def _tables() -> tuple[Any, Any]:
    """Return the tables of all attempts, and of the XComs that belong to attempts."""
    from airflow.models import xcom

    v2: Any = xcom.XComModelV2  # type: ignore[attr-defined,unused-ignore]
    return TaskInstance.__table__, v2.__table__


def _place(tasks: Any, where: TaskKey) -> tuple[Any, ...]:
    named = (tasks.c[name] == getattr(where, name) for name in PLACE[:-1])
    return (*named, tasks.c.region_index == where.map_index)


def archived(key: str, where: TaskKey) -> list[Any]:
    """Return what the earlier attempts of a task instance still hold as XCom ``key``; below 3.4 a start wipes that."""
    if not OF_AN_ATTEMPT:
        return []
    tasks, rows = _tables()
    asked = (
        select(rows.c.value)
        .join(tasks, rows.c.task_instance_id == tasks.c.id)
        .where(rows.c.key == key, tasks.c.working_set.is_(None), *_place(tasks, where))
        .order_by(tasks.c.try_number)
    )
    with create_session() as session:
        return [as_stored(value) for value in session.scalars(asked)]


def dags_with_archived(key: str, since: datetime, dag_id: str | None = None) -> set[str]:
    """Return the Dags of which an attempt that was archived since then holds an XCom ``key``."""
    if not OF_AN_ATTEMPT:
        return set()
    tasks, rows = _tables()
    asked = (
        select(tasks.c.dag_id)
        .join(rows, rows.c.task_instance_id == tasks.c.id)
        .where(rows.c.key == key, *_archived_since(tasks, since))
        .distinct()
    )
    if dag_id is not None:
        asked = asked.where(tasks.c.dag_id == dag_id)
    with create_session() as session:
        return set(session.scalars(asked))


def held_by_archived(
    key: str, beside: Collection[str], dag_ids: Iterable[str], since: datetime, most: int, **place: Any
) -> list[Archived]:
    """Return the XComs ``key`` of attempts of these Dags that were archived since then, the latest first.

    :param beside: keys of the XComs that are returned with each, of all attempts of the same task instance.
    :param most: how many at most.
    :param place: ``run_id``, ``task_id``, ``map_index`` of the task instances; ``None`` for any.
    """
    tasks, rows = _tables()
    columns = {"map_index": tasks.c.region_index, "run_id": tasks.c.run_id, "task_id": tasks.c.task_id}
    asked = (
        select(*(tasks.c[name] for name in PLACE[:-1]), tasks.c.region_index, tasks.c.try_number, tasks.c.id)
        .add_columns(rows.c.value)
        .join(rows, rows.c.task_instance_id == tasks.c.id)
        .where(rows.c.key == key, tasks.c.dag_id.in_(sorted(dag_ids)), *_archived_since(tasks, since))
        .order_by(_changed(tasks).desc(), tasks.c.id)
        .limit(most)
    )
    for name, wanted in place.items():
        if wanted is not None:
            asked = asked.where(columns[name] == wanted)
    with create_session() as session:
        found = {
            row[5]: Archived(TaskKey(*row[:4]), row[4], row[5], as_stored(row[6])) for row in session.execute(asked)
        }
        for attempt_id, name, value, is_latest in session.execute(_beside(tasks, rows, beside, found)):
            found[attempt_id].beside.append((name, as_stored(value)))
            if is_latest:
                found[attempt_id].latest[name] = as_stored(value)
    return list(found.values())


def _beside(tasks: Any, rows: Any, keys: Collection[str], attempt_ids: Iterable[Any]) -> Any:
    """Return the question for the XComs of all attempts at the task instances of some."""
    other = tasks.alias()
    same = and_(*(other.c[name] == tasks.c[name] for name in (*PLACE[:-1], "region_index")))
    return (
        select(tasks.c.id, rows.c.key, rows.c.value, other.c.working_set)
        .join(other, same)
        .join(rows, rows.c.task_instance_id == other.c.id)
        .where(tasks.c.id.in_(list(attempt_ids)), rows.c.key.in_(keys))
    )


def _changed(tasks: Any) -> Any:
    """Return when an attempt was archived: nothing changes it after that."""
    return func.coalesce(tasks.c.updated_at, tasks.c.end_date)


def _archived_since(tasks: Any, since: datetime) -> tuple[Any, ...]:
    return tasks.c.working_set.is_(None), _changed(tasks) >= since


def drop_archived(key: str, attempt_ids: Collection[Any]) -> None:
    """Delete an XCom of attempts that are archived; a missing one is no error."""
    tasks, rows = _tables()
    over = select(tasks.c.id).where(tasks.c.id.in_(list(attempt_ids)), tasks.c.working_set.is_(None))
    with create_session() as session:
        session.execute(delete(rows).where(rows.c.key == key, rows.c.task_instance_id.in_(over)))
