"""What happened in a soak: what was done to it, what Airflow tells of its tasks, and the vendors of their runs."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass, fields
from datetime import datetime
from pathlib import Path
from typing import Any, TypeVar, get_type_hints


@dataclass(frozen=True, slots=True)
class Event:
    """Something that was done, or that was seen.

    :param kind: that of ``plan.Fault``; ``ended-by-itself`` of a component; ``airflow-away`` while the API server did
        not answer.
    :param target: component or vendor.
    :param until: when it was over; None if it is of one moment.
    :param owner: the task instance that a person cleared or marked, as its runs are named.
    :param dag_run: the Dag run that a person set to failed.
    :param attempts: ids of the task instances whose processes were killed.
    :param pids: all processes that were killed.
    """

    at: datetime
    kind: str
    target: str = ""
    until: datetime | None = None
    owner: str = ""
    dag_run: str = ""
    attempts: tuple[str, ...] = ()
    pids: tuple[int, ...] = ()

    def covers(self, moment: datetime, seconds: float = 0.0) -> bool:
        """Tell whether a moment is in it, or that much later."""
        return self.at <= moment and (moment - (self.until or self.at)).total_seconds() <= seconds


@dataclass(frozen=True, slots=True)
class DagRun:
    """A Dag run as Airflow tells it at the end; ``name`` is its run id."""

    name: str
    kind: str
    vendor: str
    state: str
    queued: datetime | None
    ended: datetime | None


@dataclass(frozen=True, slots=True)
class Attempt:
    """One try of a task instance.

    :param owner: the task instance, as its runs are named.
    :param number: of the try.
    :param is_last: whether no retry was to come.
    """

    id: str
    owner: str
    dag_run: str
    task: str
    number: int
    is_last: bool
    state: str | None
    queued: datetime | None
    started: datetime | None
    ended: datetime | None
    pid: int | None = None


@dataclass(frozen=True, slots=True)
class Run:
    """A run as its vendor tells it.

    :param owner: its name, which says whose it is.
    :param stop_asked: when it was first asked to stop.
    """

    id: str
    vendor: str
    owner: str
    state: str
    is_open: bool
    created: datetime
    ended: datetime | None
    stop_asked: datetime | None = None


@dataclass(frozen=True, slots=True)
class History:
    """All of it."""

    events: Sequence[Event]
    dag_runs: Sequence[DagRun]
    attempts: Sequence[Attempt]
    runs: Sequence[Run]

    def save(self, file: Path) -> None:
        """Write it down, so that the oracle can be asked again."""
        file.write_text(json.dumps(asdict(self), default=datetime.isoformat, indent=1))

    @classmethod
    def load(cls, file: Path) -> History:
        """Read what ``save`` has written."""
        rows = json.loads(file.read_text())
        return cls(
            [_read(Event, row) for row in rows["events"]],
            [_read(DagRun, row) for row in rows["dag_runs"]],
            [_read(Attempt, row) for row in rows["attempts"]],
            [_read(Run, row) for row in rows["runs"]],
        )


Row = TypeVar("Row", Event, DagRun, Attempt, Run)


def _read(kind: type[Row], row: dict[str, Any]) -> Row:
    hints = get_type_hints(kind)
    return kind(**{field.name: _value(hints[field.name], row[field.name]) for field in fields(kind)})


def _value(hint: Any, value: Any) -> Any:
    if "datetime" in str(hint) and value is not None:
        return datetime.fromisoformat(value)
    return tuple(value) if isinstance(value, list) else value
