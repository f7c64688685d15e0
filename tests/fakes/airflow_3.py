"""Airflow's side of a task, in memory.

What is real: the task runner of Airflow (``run`` and ``finalize``: templates, rendered fields, deferral, callbacks,
the SIGTERM handler, the mapping of errors to states), its XCom and task-store classes, its connections. What is
not: the supervisor and the API server behind it. Their answers come from dicts, which tests read and write.
"""

from __future__ import annotations

import json
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from datetime import UTC, datetime
from functools import cache
from typing import Any, Protocol

from airflow_runctl.compat import CLEARS_FORGET, HAS_TASK_STORE
from tests.fakes.airflow_any import (
    AnyAirflow,
    Attempt,
    Deferral,
    Instance,
    Start,
    copied,
    handlers_put_back,
    name_of,
)

speaks_for: ContextVar[Any]
"""The task instance for which a trigger speaks to Airflow."""
try:
    from airflow.sdk.bases.xcom import _current_trigger_ti as speaks_for
except ImportError:  # below 3.4 a trigger speaks for nobody
    speaks_for = ContextVar("speaks_for", default=None)


class HasWhere(Protocol):
    dag_id: str
    run_id: str
    task_id: str
    map_index: int


class Unanswered(RuntimeError):
    """The supervisor of this process does not know the message: a real process would hang for ever."""


class FakeAirflow(AnyAirflow):
    """The supervisor channel of a task, a trigger or a callback.

    :param dag_id: the one Dag.
    :param run_id: the one Dag run.
    """

    def __init__(self, dag_id: str = "harvest", run_id: str = "manual__1") -> None:
        super().__init__(dag_id, run_id)
        self.xcoms = {}
        self.states = {}
        self.body_decoder: Any = None
        self.has_store = HAS_TASK_STORE
        self._marked: dict[str, str] | None = None
        self._last_word: Any = None
        self._instances: dict[uuid.UUID, Instance] = {}
        self._max_tries: dict[Instance, int] = {}
        self._live: dict[Instance, uuid.UUID] = {}
        self.in_loop = False
        self.dag_run_state: str = "running"
        self.conf: dict[str, Any] | None = None
        self.user: str | None = None

    # -- the channel -------------------------------------------------------------------------------------

    def send(self, msg: Any) -> Any:
        answer = self.hear(msg)
        if answer is None:
            raise Unanswered(type(msg).__name__)
        with self._lock:
            if type(msg).__name__.endswith("XCom"):
                self._refuse_those_that_are_over()
            # As it would cross the socket: no object is shared with the other side.
            return answer(msg)

    def _refuse_those_that_are_over(self) -> None:
        """Refuse a trigger that speaks for an attempt which is over, as the API server of 3.4 does."""
        ti: Any = speaks_for.get()
        if CLEARS_FORGET and ti is not None and self._live.get(self._instances[ti.id]) != ti.id:
            raise refusal(403, "Task instance is not a live attempt")

    def archive(self, task_id: str, map_index: int = -1) -> None:
        """Make an attempt one that is over, as a clear does."""
        self._live.pop((self.dag_id, self.run_id, task_id, map_index), None)

    async def asend(self, msg: Any) -> Any:
        return self.send(msg)

    def _on_GetXCom(self, msg: Any) -> Any:
        from airflow.sdk.execution_time.comms import XComResult

        return XComResult(key=msg.key, value=copied(self.xcoms.get(_instance(msg), {}).get(msg.key)))

    def _on_SetXCom(self, msg: Any) -> None:
        self.xcoms.setdefault(_instance(msg), {})[msg.key] = copied(msg.value)

    def _on_DeleteXCom(self, msg: Any) -> None:
        self.xcoms.get(_instance(msg), {}).pop(msg.key, None)

    def _on_GetXComSequenceSlice(self, msg: Any) -> Any:
        from airflow.sdk.execution_time.comms import XComSequenceSliceResult

        return XComSequenceSliceResult(root=copied(self._of_each_index(msg)))

    def _on_GetXComSequenceItem(self, msg: Any) -> Any:
        from airflow.sdk.exceptions import ErrorType
        from airflow.sdk.execution_time.comms import ErrorResponse, XComSequenceIndexResult

        values = self._of_each_index(msg)
        if msg.offset >= len(values):
            return ErrorResponse(error=ErrorType.XCOM_NOT_FOUND)
        return XComSequenceIndexResult(root=copied(values[msg.offset]))

    def _on_GetXComCount(self, msg: Any) -> Any:
        from airflow.sdk.execution_time.comms import XComCountResponse

        return XComCountResponse(len=len(self._of_each_index(msg)))

    def _of_each_index(self, msg: Any) -> list[Any]:
        wanted = (msg.dag_id, msg.run_id, msg.task_id)
        rows = {where[3]: row for where, row in self.xcoms.items() if where[:3] == wanted and msg.key in row}
        return [rows[map_index][msg.key] for map_index in sorted(rows)]

    def _on_GetConnection(self, msg: Any) -> Any:
        from airflow.sdk.api.datamodels._generated import ConnectionResponse
        from airflow.sdk.exceptions import ErrorType
        from airflow.sdk.execution_time.comms import ConnectionResult, ErrorResponse

        row = self._connection(msg.conn_id)
        if row is None:
            return ErrorResponse(error=ErrorType.CONNECTION_NOT_FOUND, detail={"conn_id": msg.conn_id})
        missing = dict.fromkeys(("host", "schema", "login", "password", "port"))
        fields = {**missing, **row, "conn_id": msg.conn_id}
        return ConnectionResult.from_conn_response(ConnectionResponse.model_validate(fields))

    def _on_GetTaskStates(self, msg: Any) -> Any:
        from airflow.sdk.execution_time.comms import TaskStatesResult

        wanted = {
            name: state
            for name, state in self.states.items()
            if not msg.task_ids or name in {name_of(task, msg.map_index) for task in msg.task_ids}
        }
        return TaskStatesResult(task_states={run_id: dict(wanted) for run_id in msg.run_ids or [self.run_id]})

    def _on_GetDagRunState(self, msg: Any) -> Any:
        from airflow.sdk.execution_time.comms import DagRunStateResult

        return DagRunStateResult(state=self.dag_run_state)

    def _on_GetTaskStateStore(self, msg: Any) -> Any:
        from airflow.sdk.exceptions import ErrorType
        from airflow.sdk.execution_time.comms import ErrorResponse, TaskStateStoreResult

        rows = self.store.get(self._instances[msg.ti_id], {})
        if msg.key not in rows:
            return ErrorResponse(error=ErrorType.TASK_STORE_NOT_FOUND)
        return TaskStateStoreResult(value=copied(rows[msg.key]))

    def _on_SetTaskStateStore(self, msg: Any) -> None:
        self.store.setdefault(self._instances[msg.ti_id], {})[msg.key] = copied(msg.value)

    def _on_DeleteTaskStateStore(self, msg: Any) -> None:
        self.store.get(self._instances[msg.ti_id], {}).pop(msg.key, None)

    def _on_GetVariable(self, msg: Any) -> Any:
        from airflow.sdk.exceptions import ErrorType
        from airflow.sdk.execution_time.comms import ErrorResponse, VariableResult

        if msg.key not in self.variables:
            return ErrorResponse(error=ErrorType.VARIABLE_NOT_FOUND, detail={"key": msg.key})
        return VariableResult(key=msg.key, value=self.variables[msg.key])

    def _on_GetVariableKeys(self, msg: Any) -> Any:
        from airflow.sdk.execution_time.comms import VariableKeysResult

        names = sorted(name for name in self.variables if name.startswith(msg.prefix))
        return VariableKeysResult(keys=names[msg.offset : msg.offset + msg.limit], total_entries=len(names))

    def _on_PutVariable(self, msg: Any) -> None:
        self.variables[msg.key] = msg.value

    def _on_DeleteVariable(self, msg: Any) -> None:
        self.variables.pop(msg.key, None)

    def _on_SetExecutionTimeout(self, msg: Any) -> None: ...
    def _on_SetRenderedFields(self, msg: Any) -> None:
        self.rendered.append(copied(msg.rendered_fields))

    def _on_MaskSecret(self, msg: Any) -> None: ...
    def _on_SetRenderedMapIndex(self, msg: Any) -> None: ...

    def _on_end(self, msg: Any) -> None:
        self._last_word = msg
        if self._marked is not None:
            self.states.update(self._marked)
            raise ConnectionError("409: the task instance is not running")

    _on_DeferTask = _on_SucceedTask = _on_RetryTask = _on_TaskState = _on_end

    # -- what tests read ---------------------------------------------------------------------------------

    def put_xcom(self, task_id: str, key: str, value: Any, map_index: int = -1) -> None:
        self.xcoms.setdefault((self.dag_id, self.run_id, task_id, map_index), {})[key] = copied(value)

    def _kept_besides(self) -> dict[str, Any]:
        return {"logs": [{name: str(value) for name, value in row.items()} for row in self.logs]}

    @contextmanager
    def recorded(self) -> Iterator[None]:
        """Keep what is logged meanwhile."""
        import structlog  # Airflow 2 has none

        with structlog.testing.capture_logs() as logs:
            try:
                yield
            finally:
                self.logs += logs

    @staticmethod
    def _task_log() -> Any:
        import structlog

        return structlog.get_logger("task")

    # -- running a task ----------------------------------------------------------------------------------

    def _run(self, start: Start, marked: str | None) -> Attempt:
        from airflow.sdk.execution_time import task_runner

        ti = self.instance_of(start)
        context = ti.get_template_context()
        if not self.has_store:
            context.pop("task_state_store", None)
        name = name_of(start.task.task_id, start.map_index)
        self.states[name] = "running"
        self._marked, self._last_word = {name: marked} if marked else None, None
        log = self._task_log()
        with self.recorded():
            try:
                state, msg, error = task_runner.run(ti, context, log)
            except ConnectionError as refused:  # on 3.1 a process whose last word is refused ends at once
                state, msg, error = None, self._last_word, refused
            # Before ``finalize``: callbacks see the state as the API server has it by then.
            self.states[name] = marked or str(getattr(state, "value", state or "failed"))
            if state is not None:
                task_runner.finalize(ti, state, context, log, error)
        self.xcoms = {key: row for key, row in self.xcoms.items() if row}
        return Attempt(
            ti.task,
            self.states[name] or "",
            error,
            self.xcom(start.task.task_id, "return_value", start.map_index),
            deferral_of(msg) if type(msg).__name__ == "DeferTask" else None,
            ti,
            context,
        )

    def instance_of(self, start: Start) -> Any:
        """Return the task instance as it is when its process begins: after the scheduler and the executor."""
        from airflow.sdk.api.datamodels._generated import DagRun, TIRunContext
        from airflow.sdk.execution_time.task_runner import RuntimeTaskInstance

        where, deferral = self._where(start), start.deferral
        next_kwargs = None
        if deferral is not None:
            next_kwargs = _codec().serialize({**deferral.next_kwargs, "event": copied(start.event)})
        moment = datetime.now(UTC)
        max_tries = start.try_number - 1 + start.retries
        from_server = _built(
            TIRunContext,
            dag_run=_built(
                DagRun,
                dag_id=self.dag_id,
                run_id=self.run_id,
                logical_date=moment,
                data_interval_start=None,
                data_interval_end=None,
                run_after=moment,
                start_date=moment,
                end_date=None,
                run_type="manual",
                state="running",
                consumed_asset_events=[],
                partition_key=None,
                conf=copied(self.conf),
                triggering_user_name=self.user,
            ),
            max_tries=max_tries,
            next_method=deferral.method if deferral else None,
            next_kwargs=next_kwargs,
            xcom_keys_to_clear=[] if deferral else list(self.xcoms.get(where, {})),
            should_retry=start.retries > 0,
            variables=[],
            connections=[],
        )
        ti = RuntimeTaskInstance.model_construct(
            id=uuid.uuid4(),  # a new one each time, as after a retry or a clear
            task_id=start.task.task_id,
            dag_id=self.dag_id,
            run_id=self.run_id,
            try_number=start.try_number,
            max_tries=max_tries,
            dag_version_id=uuid.uuid4(),
            map_index=start.map_index,
            task=start.task,
            start_date=start.start_date or moment,
            state="running",
            bundle_instance=None,
        )
        if self.in_loop:
            object.__setattr__(from_server, "loop", "a pass of a loop")
        ti._ti_context_from_server = from_server
        self._instances[ti.id], self._live[where] = where, ti.id
        if CLEARS_FORGET and deferral is None and max_tries > self._max_tries.get(where, max_tries):
            self.store.pop(where, None)  # more tries than before are given by a clear alone
        self._max_tries[where] = max_tries
        return ti


@cache
def _adapter_of(kind: Any) -> Any:
    from pydantic import TypeAdapter

    return TypeAdapter(kind)


@contextmanager
def in_place(fake: FakeAirflow) -> Iterator[FakeAirflow]:
    """Make ``fake`` the supervisor of this process; what a task changes in the process is put back."""
    from airflow.sdk.execution_time import task_runner

    missing = object()
    before = getattr(task_runner, "SUPERVISOR_COMMS", missing)
    task_runner.SUPERVISOR_COMMS = fake  # type: ignore[assignment]
    # Airflow makes one for each field of each task, which took a seventh of the tests' time.
    task_runner.TypeAdapter = _adapter_of  # type: ignore[assignment,misc,attr-defined]
    try:
        with handlers_put_back():
            yield fake
    finally:
        if before is missing:
            del task_runner.SUPERVISOR_COMMS
        else:
            task_runner.SUPERVISOR_COMMS = before  # type: ignore[assignment]


def refusal(status: int, message: str) -> Exception:
    """Return what a process is told whose request the API server refuses."""
    from airflow.sdk.exceptions import AirflowRuntimeError, ErrorType
    from airflow.sdk.execution_time.comms import ErrorResponse

    told = {"detail": {"reason": "access_denied", "message": message}}
    detail = {"status_code": status, "message": message, "detail": told}
    return AirflowRuntimeError(ErrorResponse(error=ErrorType.API_SERVER_ERROR, detail=detail))


def _instance(msg: HasWhere) -> Instance:
    return (msg.dag_id, msg.run_id, msg.task_id, -1 if msg.map_index is None else msg.map_index)


def _built(model: Any, **fields: Any) -> Any:
    """Build a message with those of the fields that this Airflow knows."""
    return model(**{name: value for name, value in fields.items() if name in model.model_fields})


def deferral_of(msg: Any) -> Deferral:
    """Return what the API server keeps of a ``DeferTask``."""
    sent = json.loads(msg.model_dump_json())
    kwargs, more = (_codec().deserialize(sent[name]) for name in ("trigger_kwargs", "next_kwargs"))
    return Deferral(msg.classpath, kwargs, msg.trigger_timeout, msg.next_method, more or {})


def _codec() -> Any:
    """Return what has ``serialize`` and ``deserialize`` for a deferral: in this Airflow's own form."""
    try:
        from airflow.sdk import serde
    except ImportError:  # 3.1
        from airflow.serialization.serialized_objects import BaseSerialization

        return BaseSerialization
    return serde
