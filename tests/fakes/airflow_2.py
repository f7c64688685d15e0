"""Airflow 2.11's side of a task: its own machinery over a real metadata database, one for each test process.

What is real: Dag runs and task instances, ``TaskInstance._run_raw_task`` (templates, rendered fields, XComs that are
wiped, deferral, time-outs, ``on_kill``, callbacks, retries), triggers as rows, XCom. What is not: the scheduler, the
executor and the loop of the triggerer, whose part the tests play; and connections, which come from a dict.

What Airflow 3 sends to its supervisor as messages is called here directly. A thin layer about these calls shows each
as a message of the same name, so that tests can refuse it, count it, or do something when it comes.
"""

from __future__ import annotations

import functools
import json
import logging
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from types import SimpleNamespace
from typing import Any

import pytest
from airflow.models import Connection, DagModel, DagRun, TaskInstance, XCom
from airflow.models.baseoperator import ExecutorSafeguard
from airflow.models.renderedtifields import RenderedTaskInstanceFields
from airflow.models.taskreschedule import TaskReschedule
from airflow.models.trigger import Trigger
from airflow.secrets.environment_variables import EnvironmentVariablesBackend
from airflow.utils.log import secrets_masker
from airflow.utils.session import create_session
from airflow.utils.types import DagRunType

from airflow_runctl.compat import database
from tests.fakes.airflow_2_database import (
    WrittenRow,
    WrittenRows,
    WrittenStates,
    columns_of,
    empty_database,
    make_database,
    row_of,
)
from tests.fakes.airflow_any import AnyAirflow, Attempt, Deferral, Instance, Start, copied, handlers_put_back, name_of

OURS = ("airflow_runctl", "airflow.task")
"""Loggers whose lines belong to a task or a trigger."""


class Message(SimpleNamespace):
    """A call that would be a message to the supervisor of Airflow 3."""

    def model_dump(self, mode: str = "python") -> dict[str, Any]:
        return dict(vars(self))


class FakeAirflow(AnyAirflow):
    """An Airflow 2.11 with one Dag; tests use it as they use the fake of Airflow 3.

    :param dag_id: the one Dag.
    :param run_id: the Dag run at hand.
    """

    has_store = False

    def __init__(self, dag_id: str = "harvest", run_id: str = "manual__1") -> None:
        super().__init__(dag_id, run_id)
        self.everything_logged: list[str] = []
        self._marked: dict[str, str] = {}

    # -- what would be messages --------------------------------------------------------------------------

    def said(self, name: str, **fields: Any) -> None:
        """Take note of a call, and raise if it is to be refused."""
        message = type(name, (Message,), {})(**fields)
        answer = self.hear(message)
        if answer is not None:
            answer(message)

    def patch(self, patch: pytest.MonkeyPatch) -> None:
        """Put the thin layer about Airflow's own calls."""
        plain_set, plain_get, plain_delete = XCom.set, XCom.get_one, XCom.delete
        plain_states, plain_mask = database.task_states_in_database, secrets_masker.SecretsMasker.add_mask

        @functools.wraps(plain_set)
        def set_xcom(cls: Any, key: str, value: Any, **where: Any) -> None:
            self.said("SetXCom", key=key, value=value, **_without_session(where))
            plain_set(key=key, value=value, **where)

        @functools.wraps(plain_get)
        def get_one(*args: Any, **where: Any) -> Any:
            self.said("GetXCom", **_without_session(where))
            return plain_get(*args, **where)

        @functools.wraps(plain_delete)
        def delete(cls: Any, xcoms: Any, *args: Any, **more: Any) -> None:
            for row in xcoms:
                self.said(
                    "DeleteXCom",
                    **{name: getattr(row, name) for name in ("key", "dag_id", "run_id", "task_id", "map_index")},
                )
            plain_delete(xcoms, *args, **more)

        def task_states(dag_id: str, run_id: str, only: Any) -> Any:
            self._act()
            asked = {"task_ids": [only.task_id], "map_index": only.map_index} if only else {"task_ids": None}
            self.said("GetTaskStates", dag_id=dag_id, run_ids=[run_id], **asked)
            return plain_states(dag_id, run_id, only)

        def add_mask(masker: Any, secret: Any, name: str | None = None) -> None:
            if isinstance(secret, str):
                self.hear(type("MaskSecret", (Message,), {})(value=secret, name=name))
            plain_mask(masker, secret, name)

        patch.setattr(XCom, "set", classmethod(set_xcom))
        patch.setattr(XCom, "get_one", staticmethod(get_one))
        patch.setattr(XCom, "delete", classmethod(delete))
        patch.setattr(database, "task_states_in_database", task_states)
        patch.setattr(secrets_masker.SecretsMasker, "add_mask", add_mask)
        patch.setattr("airflow.models.connection.ensure_secrets_loaded", lambda: [EnvironmentVariablesBackend(), self])

    def get_connection(self, conn_id: str) -> Connection | None:
        """Be Airflow's secrets backend behind the environment."""
        self.said("GetConnection", conn_id=conn_id)
        row = self._connection(conn_id)
        return None if row is None else Connection(conn_id=conn_id, **row)

    # -- what tests read and write ------------------------------------------------------------------------

    @property
    def xcoms(self) -> WrittenRows:
        found: dict[Instance, dict[str, Any]] = {}
        with create_session() as session:
            columns = (XCom.dag_id, XCom.run_id, XCom.task_id, XCom.map_index, XCom.key, XCom.value)
            for *where, key, value in session.query(*columns).order_by(XCom.timestamp):
                found.setdefault(tuple(where), {})[key] = json.loads(value)
        rows = {
            where: WrittenRow(
                values, functools.partial(self._write_xcom, where), functools.partial(self._wipe_xcoms, where)
            )
            for where, values in found.items()
        }
        return WrittenRows(rows, self._wipe_xcoms)

    def put_xcom(self, task_id: str, key: str, value: Any, map_index: int = -1) -> None:
        self._write_xcom((self.dag_id, self.run_id, task_id, map_index), key, value)

    def _write_xcom(self, where: Instance, key: str, value: Any) -> None:
        """Write the very value, though Airflow would not serialize it so."""
        dag_id, run_id, task_id, map_index = where
        self._wipe_xcoms(where, key)
        with create_session() as session:
            dag_run = self._dag_run(session)
            if row_of(session, where) is None:
                session.add(self._bare_instance(task_id, map_index, None))
                session.flush()
            row = XCom(
                dag_run_id=dag_run.id,
                key=key,
                value=json.dumps(value).encode(),
                dag_id=dag_id,
                run_id=run_id,
                task_id=task_id,
                map_index=map_index,
            )
            session.add(row)

    def _wipe_xcoms(self, where: Instance | None = None, key: str | None = None) -> None:
        with create_session() as session:
            rows = session.query(XCom)
            if where is not None:
                rows = rows.filter_by(**columns_of(where), key=key)
            rows.delete(synchronize_session=False)

    @property
    def states(self) -> WrittenStates:
        with create_session() as session:
            columns = (TaskInstance.task_id, TaskInstance.map_index, TaskInstance.state)
            rows = session.query(*columns).filter_by(dag_id=self.dag_id, run_id=self.run_id).all()
        states = {name_of(task_id, index): state and str(state) for task_id, index, state in rows}
        return WrittenStates(states, self.mark)

    @states.setter
    def states(self, states: Mapping[str, str | None]) -> None:
        for name, state in states.items():
            self.mark(name, state)

    def mark(self, name: str, state: str | None, run_id: str | None = None) -> None:
        """Give a task instance a state as a user does: a clear takes back where it would have gone on."""
        with create_session() as session:
            self._dag_run(session, run_id)
            rows = session.query(TaskInstance).filter_by(dag_id=self.dag_id, run_id=run_id or self.run_id).all()
            row = next((row for row in rows if name_of(row.task_id, row.map_index) == name), None)
            if row is None:
                row = self._bare_instance(name, -1, state, run_id)
                session.add(row)
            row.state = state
            if state in (None, "scheduled", "queued"):
                row.clear_next_method_args()

    def row(self, task_id: str = "start", map_index: int = -1, run_id: str | None = None) -> TaskInstance:
        """Return a task instance as it is in the database."""
        with create_session() as session:
            found = row_of(session, (self.dag_id, run_id or self.run_id, task_id, map_index))
            assert found is not None
            assert found.dag_run is not None
            session.expunge_all()
            return found

    def _kept_besides(self) -> dict[str, Any]:
        with create_session() as session:
            triggers = [row.kwargs for row in session.query(Trigger)]
            resumed = [row[0] for row in session.query(TaskInstance.next_kwargs)]
        return {"triggers": triggers, "next_kwargs": resumed, "logs": self.everything_logged}

    @contextmanager
    def recorded(self) -> Iterator[None]:
        """Keep what is logged meanwhile."""
        kept = _Kept(self)
        loggers = [logging.getLogger(name) for name in ("", "airflow.task")]
        for logger in loggers:
            logger.addHandler(kept)
        try:
            yield
        finally:
            for logger in loggers:
                logger.removeHandler(kept)

    # -- running a task ----------------------------------------------------------------------------------

    def dag_run(self, run_id: str, due: datetime | None = None, state: str = "running") -> None:
        """Make a Dag run.

        :param due: end of the data interval, which is ten minutes long; by default it is a run by hand, of now.
        """
        with create_session() as session:
            self._dag_run(session, run_id, due).state = state

    def _run(self, start: Start, marked: str | None) -> Attempt:
        where = self._where(start)
        ti = self.instance_of(start)
        error: BaseException | None = None
        with self.recorded(), self._marking(where, marked):
            try:
                ti._run_raw_task()
            except BaseException as raised:
                error = raised
            finally:
                _say_that_the_process_ends()
        self._keep_rendered(where)
        row = self.row(start.task.task_id, start.map_index)
        if row.state == "up_for_reschedule":
            self._reschedule(where)
        return Attempt(
            ti.task,
            str(row.state or ""),
            error,
            self.xcom(start.task.task_id, "return_value", start.map_index),
            _deferral_of(row) if row.state == "deferred" else None,
            row,
            {},
        )

    @contextmanager
    def _marking(self, where: Instance, marked: str | None) -> Iterator[None]:
        """Let a user act as late as it can be noticed: before the task asks for its state, or else at its end."""
        self._marked = {name_of(where[2], where[3]): marked} if marked else {}
        plain = TaskInstance._execute_task

        def execute(ti: Any, context: Any, task_orig: Any) -> Any:
            try:
                return plain(ti, context, task_orig)
            finally:
                self._act()

        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(TaskInstance, "_execute_task", execute)
            yield

    def _act(self) -> None:
        marked, self._marked = self._marked, {}
        for name, state in marked.items():
            self.mark(name, state)

    def instance_of(self, start: Start) -> TaskInstance:
        """Return the task instance as it is when its process begins: after the scheduler and the executor."""
        task, where, deferral = start.task, self._where(start), start.deferral
        if not task.has_dag():
            self.dag().add_task(task)
        # Airflow sets it up for the main thread only; a test may call ``execute`` in another.
        ExecutorSafeguard._sentinel.callers = getattr(ExecutorSafeguard._sentinel, "callers", {})
        # Airflow tries again only what has retries.
        task.retries = start.try_number - 1 + start.retries
        with create_session() as session:
            self._dag_run(session, where[1])
            row = row_of(session, where)
            if row is None:
                row = TaskInstance(task, run_id=where[1], map_index=where[3])
                session.add(row)
            row.state, row.trigger_id = "running", None
            row.try_number, row.max_tries = start.try_number, task.retries
            row.start_date = start.start_date or (deferral and row.start_date) or datetime.now(UTC)
            row.clear_next_method_args()
            if deferral is not None:
                row.next_method = deferral.method
                said = {} if start.event is None else {"event": copied(start.event)}
                row.next_kwargs = {**deferral.next_kwargs, **said}
            session.flush()
            assert row.dag_run is not None
        row.task = task
        return row

    def _keep_rendered(self, where: Instance) -> None:
        with create_session() as session:
            row = session.query(RenderedTaskInstanceFields).filter_by(**columns_of(where)).one_or_none()
            if row is not None:
                self.rendered.append(copied(row.rendered_fields))

    def _reschedule(self, where: Instance) -> None:
        with create_session() as session:
            rows = session.query(TaskReschedule).filter_by(**columns_of(where))
            date = rows.order_by(TaskReschedule.id.desc()).first().reschedule_date
        self.said("RescheduleTask", reschedule_date=date)

    def _dag_run(self, session: Any, run_id: str | None = None, due: datetime | None = None) -> DagRun:
        run_id = run_id or self.run_id
        found = session.query(DagRun).filter_by(dag_id=self.dag_id, run_id=run_id).one_or_none()
        if found is None:
            if session.get(DagModel, self.dag_id) is None:
                session.add(DagModel(dag_id=self.dag_id, is_active=True, is_paused=False))
            moment = datetime.now(UTC)
            begin = due - timedelta(minutes=10) if due else moment
            found = DagRun(
                dag_id=self.dag_id,
                run_id=run_id,
                run_type=DagRunType.SCHEDULED if due else DagRunType.MANUAL,
                execution_date=begin,
                data_interval=(begin, due or moment),
                start_date=moment,
                state="running",
                external_trigger=due is None,
            )
            session.add(found)
            session.flush()
        return found

    def _bare_instance(
        self, task_id: str, map_index: int, state: str | None, run_id: str | None = None
    ) -> TaskInstance:
        from airflow.operators.empty import EmptyOperator

        task = EmptyOperator(task_id=task_id, dag=self.dag())
        return TaskInstance(task, run_id=run_id or self.run_id, state=state, map_index=map_index)


class _Kept(logging.Handler):
    """Keeps the lines of tasks and triggers in the form in which Airflow 3's fake has them."""

    def __init__(self, fake: FakeAirflow) -> None:
        super().__init__(logging.DEBUG)
        self.fake = fake

    def emit(self, record: logging.LogRecord) -> None:
        self.fake.everything_logged.append(self.format(record))
        if record.name.startswith(OURS):
            row = {"event": record.msg, "positional_args": record.args or (), "log_level": record.levelname.lower()}
            self.fake.logs.append(row)


@contextmanager
def in_place(fake: FakeAirflow) -> Iterator[FakeAirflow]:
    """Make ``fake`` the Airflow of this process; what a task changes in the process is put back."""
    make_database()
    empty_database()
    masker = secrets_masker._secrets_masker()
    masker.patterns, masker.replacer = set(), None
    with handlers_put_back(), pytest.MonkeyPatch.context() as patch:
        fake.patch(patch)
        yield fake


def _say_that_the_process_ends() -> None:
    """Do what ``airflow tasks run`` does last."""
    from airflow.cli.commands.task_command import TaskCommandMarker
    from airflow.listeners.listener import get_listener_manager

    try:
        get_listener_manager().hook.before_stopping(component=TaskCommandMarker())
    finally:
        get_listener_manager().clear()


def _deferral_of(row: TaskInstance) -> Deferral:
    with create_session() as session:
        trigger = session.get(Trigger, row.trigger_id)
        timeout = row.trigger_timeout and row.trigger_timeout.replace(tzinfo=UTC)
        return Deferral(trigger.classpath, copied(trigger.kwargs), timeout, row.next_method, row.next_kwargs or {})


def _without_session(where: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in where.items() if name != "session"}
