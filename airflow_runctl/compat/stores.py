"""Where a task instance keeps what the attempts after it must find: in its task state store, and beyond a clear."""

from __future__ import annotations

import hashlib
import json
from typing import TYPE_CHECKING, Any, Final, Protocol

from airflow_runctl.compat.release import CLEARS_FORGET
from airflow_runctl.runs import TaskKey

if TYPE_CHECKING:
    from airflow.sdk import Context

PREFIX: Final = "airflow_runctl."
"""What the keys of our Variables begin with."""


class TaskStore(Protocol):
    """Airflow's task state store (3.3+): survives the retries of a task instance, and below 3.4 its clears."""

    def get(self, key: str, default: Any = None) -> Any:
        """Return the stored value."""

    def set(self, key: str, value: Any) -> None:
        """Store a JSON value."""

    def delete(self, key: str) -> None:
        """Forget the value."""


def task_store(context: Context) -> TaskStore | None:
    """Return the task state store, or ``None`` below Airflow 3.3."""
    store: TaskStore | None = context.get("task_state_store")
    return store


class ClearProof:
    """One JSON value of a task instance that its clear leaves alone: an Airflow Variable.

    The API server is asked by message, not with Airflow's ``Variable``: that one would first ask each secrets backend
    of the worker, at every start, for what only we write.

    :param where: the task instance.
    """

    def __init__(self, where: TaskKey) -> None:
        self.name = variable_of(where)
        self._where = where

    def get(self) -> Any:
        """Return the value, or ``None``; what is no JSON, as text."""
        return value_in(_send("GetVariable", key=self.name))

    def set(self, value: Any) -> None:
        """Store a JSON value."""
        description = f"airflow-runctl: a run of {self._where} that may be alive"
        _send("PutVariable", key=self.name, value=json.dumps(value), description=description)

    def delete(self) -> None:
        """Forget the value; a missing one is no error."""
        _send("DeleteVariable", key=self.name)


def clear_proof(where: TaskKey) -> ClearProof | None:
    """Return where a task instance keeps what a clear must not take; ``None`` where its clear takes nothing."""
    return ClearProof(where) if CLEARS_FORGET else None


def variable_of(where: TaskKey) -> str:
    """Return the key of a task instance's Variable: a digest, since ids alone may be as long as a key."""
    names = json.dumps([where.dag_id, where.run_id, where.task_id, where.map_index])
    return PREFIX + hashlib.sha256(names.encode()).hexdigest()


def value_in(answer: Any) -> Any:
    """Return the value that ``GetVariable`` was answered; ``None`` if there is no such Variable.

    :raises AirflowRuntimeError: if Airflow refuses to say.
    """
    from airflow.sdk.exceptions import AirflowRuntimeError, ErrorType
    from airflow.sdk.execution_time.comms import ErrorResponse

    if isinstance(answer, ErrorResponse):
        if answer.error is not ErrorType.VARIABLE_NOT_FOUND:
            raise AirflowRuntimeError(answer)
        return None
    try:
        return json.loads(answer.value)
    except ValueError:
        return answer.value


def _send(name: str, **fields: Any) -> Any:
    from airflow.sdk.execution_time import comms, task_runner

    return task_runner.SUPERVISOR_COMMS.send(getattr(comms, name)(**fields))
