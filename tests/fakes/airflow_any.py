"""What the fakes of Airflow 3 and of Airflow 2.11 have in common: what tests say to them, and read from them."""

from __future__ import annotations

import asyncio
import json
import signal
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from airflow_runctl.transport.aio import close_session

Instance = tuple[str, str, str, int]
"""Dag id, run id, task id, map index."""


@dataclass
class Deferral:
    """What Airflow keeps of a deferred task; everything went through JSON."""

    classpath: str
    trigger_kwargs: dict[str, Any]
    timeout: Any
    method: str
    next_kwargs: dict[str, Any]


@dataclass(frozen=True)
class Start:
    """How an attempt, or the second half of a deferred one, begins.

    :param retries: further tries that are left.
    :param deferral: go on after this one, with ``event`` as what the trigger said.
    """

    task: Any
    try_number: int = 1
    retries: int = 0
    start_date: datetime | None = None
    map_index: int = -1
    deferral: Deferral | None = None
    event: Any = None


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


class AnyAirflow:
    """An Airflow with one Dag. It is talked to in messages, by the names that they have in Airflow 3.

    :param dag_id: the one Dag.
    :param run_id: the Dag run at hand.
    """

    xcoms: dict[Instance, dict[str, Any]]
    states: dict[str, str | None]
    has_store: bool

    def __init__(self, dag_id: str = "harvest", run_id: str = "manual__1") -> None:
        self.dag_id = dag_id
        self.run_id = run_id
        self.connections: dict[str, dict[str, Any]] = {}
        self.store: dict[Instance, dict[str, Any]] = {}
        self.variables: dict[str, str] = {}
        self.rendered: list[dict[str, Any]] = []
        self.messages: list[Any] = []
        self.refusals: list[Refusal] = []
        self.on_message: Callable[[Any], None] = lambda message: None
        self.logs: list[Mapping[str, Any]] = []
        self._lock = threading.RLock()

    # -- messages ----------------------------------------------------------------------------------------

    def hear(self, message: Any) -> Callable[[Any], Any] | None:
        """Take note of a message, and raise if it is to be refused; return what answers it."""
        with self._lock:
            self.messages.append(message)
        self.on_message(message)
        for refusal in list(self.refusals):
            if refusal.when(message):
                raise refusal.error
        return getattr(self, f"_on_{type(message).__name__}", None)

    def refuse(self, message: str, **fields: Any) -> Refusal:
        """Fail every message of this name whose fields have these values."""
        refusal = Refusal(lambda msg: _is(msg, message, fields), ConnectionError("the API server is away"))
        self.refusals.append(refusal)
        return refusal

    def sent(self, message: str, **fields: Any) -> list[Any]:
        """Return the messages of one name, oldest first."""
        return [msg for msg in self.messages if _is(msg, message, fields)]

    # -- what tests read ---------------------------------------------------------------------------------

    def xcom(self, task_id: str, key: str, map_index: int = -1) -> Any:
        return self.xcoms.get((self.dag_id, self.run_id, task_id, map_index), {}).get(key)

    def stored(self, task_id: str, map_index: int = -1) -> dict[str, Any]:
        """Return what we keep in the task state store; where Airflow has none, nothing."""
        rows: dict[str, Any] = self.store.get((self.dag_id, self.run_id, task_id, map_index), {})
        return dict(rows.get("airflow_runctl", {}))

    def everything(self) -> str:
        """Everything that Airflow would have kept or shown: where no secret may be."""
        told = [msg for msg in self.messages if type(msg).__name__ != "MaskSecret"]
        return json.dumps(
            {
                "xcoms": [[list(where), row] for where, row in self.xcoms.items()],
                "store": [[list(where), row] for where, row in self.store.items()],
                "variables": self.variables,
                "rendered": self.rendered,
                "messages": [msg.model_dump(mode="json") for msg in told],
                **self._kept_besides(),
            },
            default=str,
        )

    def _kept_besides(self) -> dict[str, Any]:
        raise NotImplementedError

    # -- running a task ----------------------------------------------------------------------------------

    def dag(self) -> Any:
        """Return a Dag to put operators into."""
        from airflow.providers.common.compat.sdk import DAG

        return DAG(self.dag_id, schedule=None, start_date=datetime(2026, 1, 1, tzinfo=UTC))

    def run(self, task: Any, *, marked: str | None = None, **how: Any) -> Attempt:
        """Run one attempt of ``task`` to its end or its deferral, as Airflow's worker does.

        :param marked: the state that a user gives the task just before it says how it ended.
        :param how: further fields of ``Start``.
        """
        return self._run(Start(task, **how), marked)

    def _run(self, start: Start, marked: str | None) -> Attempt:
        raise NotImplementedError

    def instance_of(self, start: Start) -> Any:
        """Return the task instance as it is when its process begins."""
        raise NotImplementedError

    def trigger_of(self, deferral: Deferral, attempt: Attempt) -> Any:
        """Return the trigger as a triggerer builds it: from the text in the database."""
        from airflow.providers.common.compat.module_loading import import_string

        trigger = import_string(deferral.classpath)(**deferral.trigger_kwargs)
        trigger.task_instance = attempt.ti
        return trigger

    # -- what each of the two needs ----------------------------------------------------------------------

    def _where(self, start: Start) -> Instance:
        return (self.dag_id, self.run_id, start.task.task_id, start.map_index)

    def _connection(self, conn_id: str) -> dict[str, Any] | None:
        """Return a connection with its extra as text."""
        row = self.connections.get(conn_id)
        if row is None:
            return None
        extra = row.get("extra")
        return {**row, "extra": extra if extra is None or isinstance(extra, str) else json.dumps(extra)}


def _is(message: Any, name: str, fields: Mapping[str, Any]) -> bool:
    return type(message).__name__ == name and all(getattr(message, k) == v for k, v in fields.items())


@contextmanager
def handlers_put_back() -> Iterator[None]:
    """Put back the signal handlers that a task sets."""
    handlers = {number: signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGALRM)}
    try:
        yield
    finally:
        for number, handler in handlers.items():
            signal.signal(number, handler)


def event_of(fake: AnyAirflow, attempt: Attempt) -> Any:
    """Run the trigger of a deferred attempt to its event."""
    deferral = attempt.deferral
    assert deferral is not None

    async def first() -> Any:
        try:
            return (await anext(fake.trigger_of(deferral, attempt).run())).payload
        finally:
            await close_session()

    return asyncio.run(first())


def name_of(task_id: str, map_index: int) -> str:
    """Return what states of tasks are named by."""
    return task_id if map_index < 0 else f"{task_id}_{map_index}"


def copied(value: Any) -> Any:
    """Return a value as it is after its way through JSON."""
    return json.loads(json.dumps(value))
