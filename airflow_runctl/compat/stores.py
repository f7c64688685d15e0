"""Where a task instance keeps what the attempts after it must find: in its task state store, and beyond a clear."""

from __future__ import annotations

import hashlib
import json
from typing import TYPE_CHECKING, Any, Final, Protocol

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


class Variables:
    """Airflow's Variables, which no clear touches, for JSON values of our own.

    The API server is asked by message, not with Airflow's ``Variable``: that one would first ask each secrets backend
    of the worker, at every start, for what only we write.
    """

    def names(self, prefix: str) -> list[str]:
        """Return the names that begin so."""
        return names_in(_send("GetVariableKeys", prefix=prefix))

    def get(self, name: str) -> Any:
        """Return the value, or ``None``; what is no JSON, as text."""
        return value_in(_send("GetVariable", key=name))

    def set(self, name: str, value: Any, description: str) -> None:
        """Store a JSON value."""
        _send("PutVariable", key=name, value=json.dumps(value), description=description)

    def delete(self, name: str) -> None:
        """Forget the value; a missing one is no error."""
        _send("DeleteVariable", key=name)


def prefix_of(where: TaskKey) -> str:
    """Return what the names of a task instance's Variables begin with: a digest, since ids may be as long as a name."""
    names = json.dumps([where.dag_id, where.run_id, where.task_id, where.map_index])
    return f"{PREFIX}{hashlib.sha256(names.encode()).hexdigest()}."


def variable_of(where: TaskKey, try_number: int) -> str:
    """Return the name of the Variable of one attempt."""
    return f"{prefix_of(where)}{try_number}"


def attempt_of(name: str) -> int:
    """Return the attempt whose Variable has this name; 0 if it is none of ours."""
    number = name.rpartition(".")[2]
    return int(number) if number.isdecimal() else 0


def value_in(answer: Any) -> Any:
    """Return the value that ``GetVariable`` was answered; ``None`` if there is no such Variable.

    :raises AirflowRuntimeError: if Airflow refuses to say.
    """
    from airflow.sdk.exceptions import ErrorType

    if getattr(answer, "error", None) is ErrorType.VARIABLE_NOT_FOUND:
        return None
    _raise_refusal(answer)
    try:
        return json.loads(answer.value)
    except ValueError:
        return answer.value


def names_in(answer: Any) -> list[str]:
    """Return the names that ``GetVariableKeys`` was answered.

    :raises AirflowRuntimeError: if Airflow refuses to say.
    """
    _raise_refusal(answer)
    return list(answer.keys)


def _raise_refusal(answer: Any) -> None:
    from airflow.sdk.exceptions import AirflowRuntimeError
    from airflow.sdk.execution_time.comms import ErrorResponse

    if isinstance(answer, ErrorResponse):
        raise AirflowRuntimeError(answer)


def _send(name: str, **fields: Any) -> Any:
    comms, message = addressed(name, **fields)
    return comms.send(message)


def addressed(name: str, **fields: Any) -> tuple[Any, Any]:
    """Return whom a process of Airflow 3 asks, and a message to it."""
    from airflow.sdk.execution_time import comms, task_runner

    return task_runner.SUPERVISOR_COMMS, getattr(comms, name)(**fields)
