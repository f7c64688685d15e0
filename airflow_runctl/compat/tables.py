"""The tables of Airflow 3, for what runs in the API server: XComs with the task instances that hold them.

From 3.4 on a task instance keeps a row for each of its attempts, and an XCom belongs to one of them. Airflow itself
leaves the earlier ones out of whatever asks for ``TaskInstance``; so XComs are only asked for together with those.
"""

from __future__ import annotations

import inspect
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Final

from airflow.models.dagrun import DagRun
from airflow.models.taskinstance import TaskInstance, TaskInstanceNote
from airflow.models.variable import Variable
from airflow.models.xcom import XComModel
from airflow.utils.session import create_session
from sqlalchemy import and_, delete, select
from sqlalchemy.orm import aliased

from airflow_runctl.runs import TaskKey, as_stored, instance_name

XCom: Any = XComModel

OF_AN_ATTEMPT: Final = hasattr(XCom, "task_instance_id")
"""True if an XCom belongs to an attempt (3.4 and newer); below it lies at the place of the task instance."""

TAKES_JSON: Final = "serialize" in inspect.signature(XCom.set).parameters
"""True if Airflow's model stores a value as a task does (3.2 and newer), and not as text."""


@dataclass(frozen=True, slots=True)
class Attempt:
    """The latest attempt of a task instance, and its Dag run.

    :param state: its state.
    :param try_number: counted from 1.
    :param ended_at: when it ended.
    :param note: what somebody wrote to it.
    :param dag_run: the state of the Dag run.
    :param began_at: when it began.
    """

    state: str | None
    try_number: int
    ended_at: datetime | None
    note: str | None
    dag_run: str | None
    began_at: datetime | None


@dataclass(frozen=True, slots=True)
class Held:
    """An XCom, others beside it, and the task instance that holds them.

    :param where: the task instance.
    :param value: the value.
    :param at: when it was written.
    :param beside: value of each other one that is there, and when it was written.
    :param attempt: the latest attempt.
    """

    where: TaskKey
    value: Any = field(repr=False)
    at: datetime | None
    beside: Mapping[str, tuple[Any, datetime | None]] = field(repr=False)
    attempt: Attempt


ATTEMPT = (
    TaskInstance.state,
    TaskInstance.try_number,
    TaskInstance.end_date,
    TaskInstanceNote.content,
    DagRun.state,
    TaskInstance.start_date,
)


PLACE: Final = ("dag_id", "run_id", "task_id", "map_index")


def of_task(xcom: Any) -> Any:
    """Return what ties an XCom to the task instance that holds it."""
    if OF_AN_ATTEMPT:
        return xcom.task_instance_id == TaskInstance.id
    return and_(*(getattr(xcom, name) == getattr(TaskInstance, name) for name in PLACE))


def _at(where: TaskKey) -> tuple[Any, ...]:
    """Return what a task instance has to fulfil to be that one."""
    return tuple(getattr(TaskInstance, name) == getattr(where, name) for name in PLACE)


def dags_with(key: str, dag_id: str | None = None) -> set[str]:
    """Return the Dags whose task instances hold an XCom ``key``; with ``dag_id`` only that one."""
    asked = select(XCom.dag_id).join(TaskInstance, of_task(XCom)).where(XCom.key == key).distinct()
    if dag_id is not None:
        asked = asked.where(XCom.dag_id == dag_id)
    with create_session() as session:
        return set(session.scalars(asked))


def held(
    key: str,
    beside: Sequence[str],
    dag_ids: Iterable[str],
    run_id: str | None,
    task_id: str | None,
    map_index: int | None,
) -> list[Held]:
    """Return the XComs ``key`` of these Dags, each with the XComs ``beside`` of the same task instance."""
    others: list[Any] = [aliased(XCom) for _ in beside]
    task: Any = TaskInstance
    asked: Any = (
        select(
            *(getattr(task, name) for name in PLACE),
            *(XCom.value, XCom.timestamp),
            *ATTEMPT,
            *(column for other in others for column in (other.value, other.timestamp)),
        )
        .select_from(XCom)
        .join(TaskInstance, of_task(XCom))
        .outerjoin(TaskInstanceNote, TaskInstanceNote.ti_id == TaskInstance.id)
        .outerjoin(DagRun, and_(DagRun.dag_id == TaskInstance.dag_id, DagRun.run_id == TaskInstance.run_id))
        .where(XCom.key == key, TaskInstance.dag_id.in_(sorted(dag_ids)))
    )
    for name, other in zip(beside, others, strict=True):
        asked = asked.outerjoin(other, and_(other.key == name, of_task(other)))
    for name, wanted in (("run_id", run_id), ("task_id", task_id), ("map_index", map_index)):
        if wanted is not None:
            asked = asked.where(getattr(task, name) == wanted)
    with create_session() as session:
        rows = session.execute(asked).all()
    first = 6 + len(ATTEMPT)
    return [
        Held(TaskKey(*row[:4]), as_stored(row[4]), row[5], _beside(beside, row[first:]), _attempt(row[6:first]))
        for row in rows
    ]


def _beside(names: Sequence[str], columns: Sequence[Any]) -> dict[str, tuple[Any, datetime | None]]:
    found = zip(names, columns[::2], columns[1::2], strict=True)
    return {name: (as_stored(value), at) for name, value, at in found if at is not None}


def stored(key: str, where: TaskKey) -> tuple[Any, datetime | None] | None:
    """Return an XCom and when it was written, or ``None``."""
    asked: Any = select(XCom.value, XCom.timestamp).join(TaskInstance, of_task(XCom))
    with create_session() as session:
        row = session.execute(asked.where(XCom.key == key, *_at(where))).first()
    return None if row is None else (as_stored(row[0]), row[1])


def latest_attempt(where: TaskKey) -> Attempt | None:
    """Return the latest attempt of a task instance, or ``None``."""
    asked: Any = (
        select(*ATTEMPT)
        .select_from(TaskInstance)
        .outerjoin(TaskInstanceNote, TaskInstanceNote.ti_id == TaskInstance.id)
        .outerjoin(DagRun, and_(DagRun.dag_id == TaskInstance.dag_id, DagRun.run_id == TaskInstance.run_id))
        .where(*_at(where))
    )
    with create_session() as session:
        row = session.execute(asked).first()
    return None if row is None else _attempt(row)


def dag_run_state(dag_id: str, run_id: str) -> str | None:
    """Return the state of a Dag run, or ``None``."""
    asked = select(DagRun.state).where(DagRun.dag_id == dag_id, DagRun.run_id == run_id)
    with create_session() as session:
        return _text(session.scalar(asked))


def task_states(dag_id: str, run_id: str, only: TaskKey | None = None) -> dict[str, str | None]:
    """Return the states of a Dag run's tasks, or of one; a mapped instance is named ``<task_id>_<index>``."""
    asked = select(TaskInstance.task_id, TaskInstance.map_index, TaskInstance.state).where(
        TaskInstance.dag_id == dag_id, TaskInstance.run_id == run_id
    )
    if only is not None:
        asked = asked.where(TaskInstance.task_id == only.task_id, TaskInstance.map_index == only.map_index)
    with create_session() as session:
        rows = session.execute(asked).all()
    return {instance_name(task_id, index): _text(state) for task_id, index, state in rows}


def store(key: str, value: Any, where: TaskKey) -> None:
    """Store an XCom as it is, as a task does over the execution API.

    :raises ValueError: if there is no such Dag run, or task instance, any more.
    """
    place = {name: getattr(where, name) for name in PLACE}
    with create_session() as session:
        if TAKES_JSON:
            XCom.set(key=key, value=value, serialize=False, session=session, **place)
            return
        asked = select(DagRun.id).where(DagRun.dag_id == where.dag_id, DagRun.run_id == where.run_id)
        dag_run_id = session.scalar(asked)
        if dag_run_id is None:
            raise ValueError(f"Airflow has no Dag run {where.dag_id}/{where.run_id} any more")
        session.execute(delete(XCom).where(*_xcom(key, where)))
        session.add(XCom(dag_run_id=dag_run_id, key=key, value=value, **place))


def drop(key: str, where: TaskKey) -> None:
    """Delete an XCom; a missing one is no error."""
    with create_session() as session:
        if OF_AN_ATTEMPT:
            XCom.delete_for_attempts(producer_ids=select(TaskInstance.id).where(*_at(where)), key=key, session=session)
        else:
            session.execute(delete(XCom).where(*_xcom(key, where)))


def variables(prefix: str) -> list[str]:
    """Return the names of Variables that begin so."""
    with create_session() as session:
        return list(session.scalars(select(Variable.key).where(Variable.key.startswith(prefix, autoescape=True))))


def drop_variable(name: str) -> None:
    """Delete a Variable; a missing one is no error."""
    with create_session() as session:
        session.execute(delete(Variable).where(Variable.key == name))


def _xcom(key: str, where: TaskKey) -> tuple[Any, ...]:
    return (XCom.key == key, *(getattr(XCom, name) == getattr(where, name) for name in PLACE))


def _attempt(row: Any) -> Attempt:
    state, try_number, ended_at, note, dag_run, began_at = row
    return Attempt(_text(state), int(try_number or 0), ended_at, note, _text(dag_run), began_at)


def _text(state: Any) -> str | None:
    return None if state is None else str(getattr(state, "value", state))
