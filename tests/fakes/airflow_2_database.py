"""Airflow 2.11's metadata database, one for each test process: made once, emptied for each test, written by dicts."""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping
from typing import Any

from airflow import settings
from airflow.models import DagModel, DagRun, Log, SlaMiss, TaskInstance
from airflow.models.trigger import Trigger
from airflow.utils import db

from tests.fakes.airflow_any import Instance


@functools.cache
def make_database() -> None:
    """Make the metadata database of this test process."""
    from airflow.models.base import Base
    from sqlalchemy import event

    db.import_all_models()

    @event.listens_for(settings.engine, "connect")
    def quick(connection: Any, record: Any) -> None:
        # A test does not outlive its database. And readers need not wait for a writer, as on a real server.
        connection.execute("PRAGMA journal_mode=WAL")
        connection.execute("PRAGMA synchronous=OFF")

    # Notes point to users, whose table is that of a provider which takes seconds to import: read, but never written.
    notes = [table for name, table in Base.metadata.tables.items() if name.endswith("_note")]
    Base.metadata.create_all(
        settings.engine, tables=[table for table in Base.metadata.tables.values() if table not in notes]
    )
    with settings.engine.begin() as connection:
        for table in notes:
            connection.exec_driver_sql(
                f"CREATE TABLE {table.name} ({', '.join(column.name for column in table.columns)})"
            )


def empty_database() -> None:
    """Forget what the test before this one left."""
    settings.Session.remove()
    with settings.engine.begin() as connection:
        # What belongs to them goes with them.
        for model in (DagRun, DagModel, Trigger, SlaMiss, Log):
            connection.execute(model.__table__.delete())


def row_of(session: Any, where: Instance) -> TaskInstance | None:
    """Return a task instance, if there is one."""
    found: TaskInstance | None = session.query(TaskInstance).filter_by(**columns_of(where)).one_or_none()
    return found


def columns_of(where: Instance) -> dict[str, Any]:
    """Return the columns by which the tables know a task instance."""
    return dict(zip(("dag_id", "run_id", "task_id", "map_index"), where, strict=True))


class WrittenRow(dict[str, Any]):
    """The XComs of one task instance as they were when it was asked for; changes go to the database."""

    def __init__(
        self, values: Mapping[str, Any], write: Callable[[str, Any], None], wipe: Callable[[str], None]
    ) -> None:
        super().__init__(values)
        self._write, self._wipe = write, wipe

    def __setitem__(self, key: str, value: Any) -> None:
        self._write(key, value)
        super().__setitem__(key, value)

    def pop(self, key: str, *default: Any) -> Any:
        self._wipe(key)
        return super().pop(key, *default)


class WrittenRows(dict[Instance, WrittenRow]):
    """All XComs, in the same manner."""

    def __init__(self, rows: Mapping[Instance, WrittenRow], wipe: Callable[[], None]) -> None:
        super().__init__(rows)
        self._wipe = wipe

    def clear(self) -> None:
        self._wipe()
        super().clear()


class WrittenStates(dict[str, str | None]):
    """The states of the Dag run's task instances, in the same manner."""

    def __init__(self, states: Mapping[str, str | None], mark: Callable[[str, str | None], None]) -> None:
        super().__init__(states)
        self._mark = mark

    def __setitem__(self, name: str, state: str | None) -> None:
        self._mark(name, state)
        super().__setitem__(name, state)
