"""Airflow's side of a task, in memory.

What is real: the task runner of Airflow (``run`` and ``finalize``: templates, rendered fields, deferral, callbacks,
the SIGTERM handler, the mapping of errors to states), its XCom and task-store classes, its connections. What is
not: the supervisor and the API server behind it. Their answers come from dicts, which tests read and write.
"""

from __future__ import annotations

import asyncio
import json
import signal
import threading
import uuid
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Protocol

from airflow_runctl.compat import HAS_TASK_STORE
from airflow_runctl.transport.aio import close_session

Instance = tuple[str, str, str, int]
"""Dag id, run id, task id, map index."""


class HasWhere(Protocol):
    dag_id: str
    run_id: str
    task_id: str
    map_index: int


class Unanswered(RuntimeError):
    """The supervisor of this process does not know the message: a real process would hang for ever."""


@dataclass
class Deferral:
    """What the API server keeps of a deferred task; everything went through JSON."""

    classpath: str
    trigger_kwargs: dict[str, Any]
    timeout: Any
    method: str
    next_kwargs: dict[str, Any]

    @classmethod
    def of(cls, msg: Any) -> Deferral:
        """Return what the API server keeps of a ``DeferTask``."""
        sent = json.loads(msg.model_dump_json())
        kwargs, more = (_codec().deserialize(sent[name]) for name in ("trigger_kwargs", "next_kwargs"))
        return cls(msg.classpath, kwargs, msg.trigger_timeout, msg.next_method, more or {})


@dataclass
class Attempt:
    """How one attempt, or one half of a deferred one, went.

    :param state: Airflow's state of the task instance afterwards.
    :param error: what was raised.
    :param result: XCom ``return_value``.
    :param deferral: if it deferred.
    """

    task: Any
    state: str
    error: BaseException | None
    result: Any
    deferral: Deferral | None
    ti: Any
    context: Any

    @property
    def said(self) -> str:
        """The error as a person sees it, notes included."""
        assert self.error is not None, f"no error; the state is {self.state}"
        return "\n".join([str(self.error), *getattr(self.error, "__notes__", [])])


@dataclass
class Refusal:
    """A message that the fake does not answer as it should: ``when`` chooses, ``error`` is raised."""

    when: Callable[[Any], bool]
    error: Exception


class Messages:
    """What a fake Airflow was asked, and what it refuses to answer."""

    messages: list[Any]
    refusals: list[Refusal]

    def refuse(self, message: str, **fields: Any) -> Refusal:
        """Fail every message of this name whose fields have these values."""

        def when(msg: Any) -> bool:
            return type(msg).__name__ == message and all(getattr(msg, k) == v for k, v in fields.items())

        refusal = Refusal(when, ConnectionError("the API server is away"))
        self.refusals.append(refusal)
        return refusal

    def sent(self, message: str, **fields: Any) -> list[Any]:
        """Return the messages of one name, oldest first."""
        found = [msg for msg in self.messages if type(msg).__name__ == message]
        return [msg for msg in found if all(getattr(msg, k) == v for k, v in fields.items())]


class FakeAirflow(Messages):
    """The supervisor channel of a task, a trigger or a callback.

    :param dag_id: the one Dag.
    :param run_id: the one Dag run.
    """

    def __init__(self, dag_id: str = "harvest", run_id: str = "manual__1") -> None:
        self.dag_id = dag_id
        self.run_id = run_id
        self.connections: dict[str, dict[str, Any]] = {}
        self.xcoms: dict[Instance, dict[str, Any]] = {}
        self.store: dict[Instance, dict[str, Any]] = {}
        self.states: dict[str, str | None] = {}
        self.rendered: list[dict[str, Any]] = []
        self.messages: list[Any] = []
        self.refusals: list[Refusal] = []
        self.on_message: Callable[[Any], None] = lambda message: None
        self.body_decoder: Any = None
        self.has_store = HAS_TASK_STORE
        self.logs: list[Mapping[str, Any]] = []
        self._marked: dict[str, str] | None = None
        self._last_word: Any = None
        self._instances: dict[uuid.UUID, Instance] = {}
        self._lock = threading.RLock()

    # -- the channel -------------------------------------------------------------------------------------

    def send(self, msg: Any) -> Any:
        with self._lock:
            self.messages.append(msg)
        self.on_message(msg)
        for refusal in list(self.refusals):
            if refusal.when(msg):
                raise refusal.error
        answer = getattr(self, f"_on_{type(msg).__name__}", None)
        if answer is None:
            raise Unanswered(type(msg).__name__)
        with self._lock:
            # As it would cross the socket: no object is shared with the other side.
            return answer(msg)

    async def asend(self, msg: Any) -> Any:
        return self.send(msg)

    def _on_GetXCom(self, msg: Any) -> Any:
        from airflow.sdk.execution_time.comms import XComResult

        return XComResult(key=msg.key, value=_copy(self.xcoms.get(_instance(msg), {}).get(msg.key)))

    def _on_SetXCom(self, msg: Any) -> None:
        self.xcoms.setdefault(_instance(msg), {})[msg.key] = _copy(msg.value)

    def _on_DeleteXCom(self, msg: Any) -> None:
        self.xcoms.get(_instance(msg), {}).pop(msg.key, None)

    def _on_GetXComSequenceSlice(self, msg: Any) -> Any:
        from airflow.sdk.execution_time.comms import XComSequenceSliceResult

        wanted = (msg.dag_id, msg.run_id, msg.task_id)
        rows = sorted((key[3], row) for key, row in self.xcoms.items() if key[:3] == wanted)
        return XComSequenceSliceResult(root=[_copy(row[msg.key]) for _, row in rows if msg.key in row])

    def _on_GetXComSequenceItem(self, msg: Any) -> Any:
        from airflow.sdk.exceptions import ErrorType
        from airflow.sdk.execution_time.comms import ErrorResponse, XComSequenceIndexResult

        wanted = (msg.dag_id, msg.run_id, msg.task_id)
        rows = sorted((key[3], row[msg.key]) for key, row in self.xcoms.items() if key[:3] == wanted and msg.key in row)
        if msg.offset >= len(rows):
            return ErrorResponse(error=ErrorType.XCOM_NOT_FOUND)
        return XComSequenceIndexResult(root=_copy(rows[msg.offset][1]))

    def _on_GetXComCount(self, msg: Any) -> Any:
        from airflow.sdk.execution_time.comms import XComCountResponse

        wanted = (msg.dag_id, msg.run_id, msg.task_id)
        return XComCountResponse(len=sum(1 for key, row in self.xcoms.items() if key[:3] == wanted and msg.key in row))

    def _on_GetConnection(self, msg: Any) -> Any:
        from airflow.sdk.api.datamodels._generated import ConnectionResponse
        from airflow.sdk.exceptions import ErrorType
        from airflow.sdk.execution_time.comms import ConnectionResult, ErrorResponse

        row = self.connections.get(msg.conn_id)
        if row is None:
            return ErrorResponse(error=ErrorType.CONNECTION_NOT_FOUND, detail={"conn_id": msg.conn_id})
        extra = row.get("extra")
        missing = dict.fromkeys(("host", "schema", "login", "password", "port"))
        text = extra if extra is None or isinstance(extra, str) else json.dumps(extra)
        fields = {**missing, **row, "conn_id": msg.conn_id, "extra": text}
        return ConnectionResult.from_conn_response(ConnectionResponse.model_validate(fields))

    def _on_GetTaskStates(self, msg: Any) -> Any:
        from airflow.sdk.execution_time.comms import TaskStatesResult

        wanted = {
            name: state
            for name, state in self.states.items()
            if not msg.task_ids
            or name in {task if msg.map_index < 0 else f"{task}_{msg.map_index}" for task in msg.task_ids}
        }
        return TaskStatesResult(task_states={run_id: dict(wanted) for run_id in msg.run_ids or [self.run_id]})

    def _on_GetTaskStateStore(self, msg: Any) -> Any:
        from airflow.sdk.exceptions import ErrorType
        from airflow.sdk.execution_time.comms import ErrorResponse, TaskStateStoreResult

        rows = self.store.get(self._instances[msg.ti_id], {})
        if msg.key not in rows:
            return ErrorResponse(error=ErrorType.TASK_STORE_NOT_FOUND)
        return TaskStateStoreResult(value=_copy(rows[msg.key]))

    def _on_SetTaskStateStore(self, msg: Any) -> None:
        self.store.setdefault(self._instances[msg.ti_id], {})[msg.key] = _copy(msg.value)

    def _on_DeleteTaskStateStore(self, msg: Any) -> None:
        self.store.get(self._instances[msg.ti_id], {}).pop(msg.key, None)

    def _on_SetRenderedFields(self, msg: Any) -> None:
        self.rendered.append(_copy(msg.rendered_fields))

    def _on_MaskSecret(self, msg: Any) -> None: ...
    def _on_SetRenderedMapIndex(self, msg: Any) -> None: ...

    def _on_end(self, msg: Any) -> None:
        self._last_word = msg
        if self._marked is not None:
            self.states.update(self._marked)
            raise ConnectionError("409: the task instance is not running")

    _on_DeferTask = _on_SucceedTask = _on_RetryTask = _on_TaskState = _on_end

    # -- what tests read ---------------------------------------------------------------------------------

    def xcom(self, task_id: str, key: str, map_index: int = -1) -> Any:
        return self.xcoms.get((self.dag_id, self.run_id, task_id, map_index), {}).get(key)

    def put_xcom(self, task_id: str, key: str, value: Any, map_index: int = -1) -> None:
        self.xcoms.setdefault((self.dag_id, self.run_id, task_id, map_index), {})[key] = _copy(value)

    def stored(self, task_id: str, map_index: int = -1) -> dict[str, Any]:
        rows: dict[str, Any] = self.store.get((self.dag_id, self.run_id, task_id, map_index), {})
        return dict(rows.get("airflow_runctl", {}))

    def everything(self) -> str:
        """Everything that Airflow would have kept or shown: where no secret may be."""
        return json.dumps(
            {
                "xcoms": [[list(key), row] for key, row in self.xcoms.items()],
                "store": [[list(key), row] for key, row in self.store.items()],
                "rendered": self.rendered,
                "messages": [
                    msg.model_dump(mode="json") for msg in self.messages if type(msg).__name__ not in {"MaskSecret"}
                ],
                "logs": [{k: str(v) for k, v in row.items()} for row in self.logs],
            },
            default=str,
        )

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

    def dag(self) -> Any:
        """Return a Dag to put operators into."""
        from airflow.sdk import DAG

        return DAG(self.dag_id, schedule=None, start_date=datetime(2026, 1, 1, tzinfo=UTC))

    def run(
        self,
        task: Any,
        *,
        try_number: int = 1,
        retries: int = 0,
        start_date: datetime | None = None,
        map_index: int = -1,
        deferral: Deferral | None = None,
        event: Any = None,
        marked: str | None = None,
    ) -> Attempt:
        """Run one attempt of ``task`` to its end or its deferral, as Airflow's worker does.

        :param retries: further tries that are left.
        :param deferral: go on after this one, with ``event`` as what the trigger said.
        :param marked: the state that a user gives the task just before it says how it ended, which is then refused.
        """
        from airflow.sdk.execution_time import task_runner

        where = (self.dag_id, self.run_id, task.task_id, map_index)
        keys = [] if deferral else list(self.xcoms.get(where, {}))
        ti = self._instance_of(task, where, try_number, retries, start_date, keys, deferral, event)
        context = ti.get_template_context()
        if not self.has_store:
            context.pop("task_state_store", None)
        name = task.task_id if map_index < 0 else f"{task.task_id}_{map_index}"
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
        deferred = Deferral.of(msg) if type(msg).__name__ == "DeferTask" else None
        return Attempt(
            ti.task,
            self.states[name] or "",
            error,
            self.xcom(task.task_id, "return_value", map_index),
            deferred,
            ti,
            context,
        )

    def _instance_of(
        self,
        task: Any,
        where: Instance,
        try_number: int,
        retries: int,
        start_date: datetime | None,
        keys_to_clear: list[str],
        deferral: Deferral | None,
        event: Any,
    ) -> Any:
        from airflow.sdk.api.datamodels._generated import DagRun, TIRunContext
        from airflow.sdk.execution_time.task_runner import RuntimeTaskInstance

        next_kwargs = None
        if deferral is not None:
            next_kwargs = _codec().serialize({**deferral.next_kwargs, "event": _copy(event)})
        moment = datetime.now(UTC)
        max_tries = try_number - 1 + retries
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
            ),
            max_tries=max_tries,
            next_method=deferral.method if deferral else None,
            next_kwargs=next_kwargs,
            xcom_keys_to_clear=keys_to_clear,
            should_retry=retries > 0,
            variables=[],
            connections=[],
        )
        ti = RuntimeTaskInstance.model_construct(
            id=uuid.uuid4(),  # a new one each time, as after a retry or a clear
            task_id=task.task_id,
            dag_id=self.dag_id,
            run_id=self.run_id,
            try_number=try_number,
            max_tries=max_tries,
            dag_version_id=uuid.uuid4(),
            map_index=where[3],
            task=task,
            start_date=start_date or moment,
            state="running",
            bundle_instance=None,
        )
        ti._ti_context_from_server = from_server
        self._instances[ti.id] = where
        return ti

    def trigger_of(self, deferral: Deferral, attempt: Attempt) -> Any:
        """Return the trigger as a triggerer builds it: from the text in the database."""
        from airflow.sdk.module_loading import import_string

        trigger = import_string(deferral.classpath)(**deferral.trigger_kwargs)
        trigger.task_instance = attempt.ti
        return trigger


@contextmanager
def in_place(fake: FakeAirflow) -> Iterator[FakeAirflow]:
    """Make ``fake`` the supervisor of this process; what a task changes in the process is put back."""
    from airflow.sdk.execution_time import task_runner

    handlers = {number: signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGALRM)}
    missing = object()
    before = getattr(task_runner, "SUPERVISOR_COMMS", missing)
    task_runner.SUPERVISOR_COMMS = fake  # type: ignore[assignment]
    try:
        yield fake
    finally:
        if before is missing:
            del task_runner.SUPERVISOR_COMMS
        else:
            task_runner.SUPERVISOR_COMMS = before  # type: ignore[assignment]
        for number, handler in handlers.items():
            signal.signal(number, handler)


def _instance(msg: HasWhere) -> Instance:
    return (msg.dag_id, msg.run_id, msg.task_id, -1 if msg.map_index is None else msg.map_index)


def _built(model: Any, **fields: Any) -> Any:
    """Build a message with those of the fields that this Airflow knows."""
    return model(**{name: value for name, value in fields.items() if name in model.model_fields})


def _codec() -> Any:
    """Return what has ``serialize`` and ``deserialize`` for a deferral: in this Airflow's own form."""
    try:
        from airflow.sdk import serde
    except ImportError:  # 3.1
        from airflow.serialization.serialized_objects import BaseSerialization

        return BaseSerialization
    return serde


def _copy(value: Any) -> Any:
    return json.loads(json.dumps(value))


def event_of(fake: Any, attempt: Attempt) -> Any:
    """Run the trigger of a deferred attempt to its event.

    :param fake: the fake of whichever Airflow this is.
    """

    async def first() -> Any:
        try:
            return (await anext(fake.trigger_of(attempt.deferral, attempt).run())).payload
        finally:
            await close_session()

    return asyncio.run(first())
