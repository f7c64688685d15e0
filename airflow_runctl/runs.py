"""The words of the house: a run, its state, its owner, and what a stop came to.

Pure values: nothing here knows Airflow, a vendor or the network.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from typing import Any, Final

HANDLE_KEY: Final = "external_run"
"""XCom key of a handle, and the key of a handle in what a start operator returns."""

AUDIT_KEY: Final = "external_run_audit"
"""XCom key of what became of a run, and of every stop of it."""

HISTORY_KEY: Final = "external_run_history"
"""XCom key, and part of the key in the task state store, of what happened to a task instance's runs."""

LEFT_BY: Final = "left_by"
"""In a stored handle: the attempt that left the run; nobody follows it yet."""

LIMITS: Final = "limits"
"""In a stored handle, for people: when its run has to be over (Unix time), by the name of each limit."""

SHOWN: Final = ("vendor", "conn_id", "what", "run_id", "url", "started_at")
"""What a handle shows of its run, for people; ``what`` is missing in handles of earlier versions."""

LINK_KEY: Final = "_link_ExternalRunLink"
"""XCom key of the address behind the button on a task; Airflow makes it from the name of the link's class."""


SECRET_IDS: Final = frozenset({"pw", "password", "viewer_url", "connect_url", "token", "secret", "key", "api_key"})
"""Names under which a vendor's ids of a run are credentials; masked in logs, hidden in rendered fields."""


def printable(value: object, length: int = 80) -> str:
    """Return text that somebody else may have written as a message can show it: printable, and cut.

    :param length: how many characters of it.
    """
    text = str(value)[: length + 1]
    if not text.isprintable():
        text = "".join(character if character.isprintable() else "?" for character in text)
    return text if len(text) <= length else text[:length] + "..."


MAINTENANCE_DAG: Final = "runctl_maintenance"
MAINTENANCE_TASK: Final = "act"
OUTCOME_KEY: Final = "outcome"
"""XCom key of what a task of the maintenance Dag came to."""


class RunState(StrEnum):
    """Where a run stands. ``UNKNOWN`` (a vendor's word that nobody documents) counts as live."""

    QUEUED = "queued"
    RUNNING = "running"
    STOPPING = "stopping"
    SUSPENDED = "suspended"
    SUCCEEDED = "succeeded"
    FAILED = "failed"
    STOPPED = "stopped"
    UNKNOWN = "unknown"

    @property
    def is_terminal(self) -> bool:
        """True once the run can never run again by itself."""
        return self in {RunState.SUCCEEDED, RunState.FAILED, RunState.STOPPED}

    @property
    def is_live(self) -> bool:
        """True while the run may still work, cost or write."""
        return not self.is_terminal


def state_in(record: Mapping[str, Any]) -> RunState | None:
    """Return the state that a record holds, ``None`` if that is none: whoever writes XComs could put anything there."""
    value = record.get("state")
    return RunState(value) if isinstance(value, str) and value in set(RunState) else None


@dataclass(frozen=True, slots=True)
class RunStatus:
    """One look at a run.

    :param state: the state in this package's words.
    :param vendor_state: the vendor's own word for it.
    :param message: what the vendor says about it, the reason of a failure above all.
    :param result: what the run returned, if the vendor hands it out; JSON.
    :param retry_is_safe: False if it ended in a way that leaves open what it did, so that no retry may start it again.
    """

    state: RunState
    vendor_state: str
    message: str | None = None
    result: Any = field(default=None, repr=False)
    retry_is_safe: bool = True


@dataclass(frozen=True, slots=True)
class TaskKey:
    """A task instance, whichever its attempt."""

    dag_id: str
    run_id: str
    task_id: str
    map_index: int = -1

    def __str__(self) -> str:
        mapped = "" if self.map_index < 0 else f"[{self.map_index}]"
        return f"{self.dag_id}/{self.run_id}/{self.task_id}{mapped}"


def instance_name(task_id: str, map_index: int) -> str:
    """Return how the states of tasks name a task instance: ``t``, or ``t_0`` for the first of a mapped one."""
    return task_id if map_index < 0 else f"{task_id}_{map_index}"


def as_stored(value: Any) -> Any:
    """Return an XCom's value as it was stored: what went through Airflow's own model can come as JSON text."""
    if isinstance(value, str):
        try:
            return json.loads(value)
        except ValueError:
            return value
    return value


def digest_of(handle: Mapping[str, Any]) -> str:
    """Return what tells a handle from every other one, and nothing about it."""
    return hashlib.sha256(str(handle.get("token")).encode(errors="replace")).hexdigest()


class Ownership(StrEnum):
    """Who has to end a run: the attempt that watches it, the Dag run, or nobody (``leave_running``)."""

    TASK = "task"
    DAG_RUN = "dag_run"
    NOBODY = "nobody"


@dataclass(frozen=True, slots=True)
class Owner:
    """The task attempt that started a run, and who has to end it.

    :param key: the task instance.
    :param try_number: its attempt, counted from 1.
    :param ownership: who has to end the run.
    """

    key: TaskKey
    try_number: int
    ownership: Ownership = Ownership.TASK


@dataclass(frozen=True, slots=True)
class ExternalRun:
    """One run at a vendor, with everything that is needed to reach it again from another process.

    :param vendor: name of the vendor, as in ``snaplogic``.
    :param conn_id: the Airflow connection that reaches it.
    :param run_id: the run's id, for people; a vendor without ids gets a name and a time.
    :param url: the page of the run at the vendor, without secrets, or ``None``.
    :param started_at: when the run was started (UTC).
    :param ids: what the vendor asks for to act on the run. May hold secrets, hence never shown.
    :param owner: who started it; ``None`` for a run that a user named by the vendor's own ids.
    :param fingerprint: digest of what was started, to tell one item of a mapped task from another.
    :param what: name of what it is a run of, for people: a pipeline, task, automation, agent or browser. No secret.
    """

    vendor: str
    conn_id: str
    run_id: str
    url: str | None
    started_at: datetime
    ids: Mapping[str, str] = field(repr=False)
    owner: Owner | None = None
    fingerprint: str | None = None
    what: str | None = None


class StopReason(StrEnum):
    """Why a run was stopped. It decides whether Airflow may start the run again."""

    DEADLINE = "deadline"
    SLA = "sla"
    FAILURE = "failure"
    USER = "user"
    BY_HAND = "by_hand"
    KILLED = "killed"
    MAX_RUNTIME = "max_runtime"
    EXECUTION_TIMEOUT = "execution_timeout"
    SENSOR_TIMEOUT = "sensor_timeout"
    ERROR = "error"
    DAG_RUN_ENDED = "dag_run_ended"
    LEFTOVER = "leftover"

    @property
    def is_final(self) -> bool:
        """True if a retry would defeat the stop: somebody wanted this run to end."""
        return self in _FINAL_REASONS


_FINAL_REASONS: Final = frozenset(
    {
        StopReason.DEADLINE,
        StopReason.SLA,
        StopReason.FAILURE,
        StopReason.USER,
        StopReason.BY_HAND,
        StopReason.DAG_RUN_ENDED,
        StopReason.SENSOR_TIMEOUT,
    }
)


class StopOutcome(StrEnum):
    """What a stop came to. ``REQUESTED``: asked, but not seen to take effect in time."""

    STOPPED = "stopped"
    ALREADY_FINISHED = "already_finished"
    REQUESTED = "requested"


@dataclass(frozen=True, slots=True)
class StopResult:
    """The end of a stop.

    :param outcome: what it came to.
    :param status: the last look at the run, if there was one.
    :param seconds: from the first request to the outcome.
    :param unknown: the vendor's word at the last look, if that was that it knows no such run.
    """

    outcome: StopOutcome
    status: RunStatus | None
    seconds: float
    unknown: str | None = None

    @property
    def is_over(self) -> bool:
        """True if the run was seen to have ended."""
        return self.outcome is not StopOutcome.REQUESTED
