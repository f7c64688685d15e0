"""What Airflow knows of runs that may be alive: each with its owner, what that does now, and whether it is an orphan.

The command line, the sweep and whatever else shows runs ask here, and have no logic of their own about them. Where the
facts come from is a :class:`Source`: Airflow's REST API for a command line, its own tables for a plugin. A handle lies
under ``HANDLE_KEY`` only while its run may be alive, so that runs that are over cost nothing, however many they are.

Nothing here needs Airflow, a connection or a vendor: what a handle shows is not verified, and is only to be read. What
acts on a run opens its handle first, and then knows its :class:`~airflow_runctl.runs.Ownership` for certain.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from enum import StrEnum
from typing import Any, Final, Protocol

from airflow_runctl.control import history
from airflow_runctl.control.stop_note import StopNote
from airflow_runctl.exceptions import RunctlError
from airflow_runctl.runs import (
    AUDIT_KEY,
    HANDLE_KEY,
    HISTORY_KEY,
    LEFT_BY,
    LIMITS,
    SHOWN,
    Ownership,
    StopReason,
    TaskKey,
    printable,
    state_in,
)

log = logging.getLogger(__name__)

AT_ONCE: Final = 8
"""Questions that a source is asked at once: an API server has few processes, and others ask it too."""


@dataclass(frozen=True, slots=True)
class Stored:
    """A value that Airflow keeps for a task instance.

    :param value: the value, JSON.
    :param at: when it was written, if the source says.
    """

    value: Any = field(repr=False)
    at: datetime | None = None


@dataclass(frozen=True, slots=True)
class LastAttempt:
    """The latest attempt of a task instance.

    :param state: its state in Airflow's words; ``None`` before it is scheduled.
    :param try_number: counted from 1.
    :param ended_at: when it ended, if it has.
    :param note: what somebody wrote to it.
    """

    state: str | None
    try_number: int
    ended_at: datetime | None = None
    note: str | None = None


@dataclass(frozen=True, slots=True)
class Left:
    """A handle that an archived attempt holds (``archive.py``).

    :param where: its task instance.
    :param try_number: the attempt.
    :param handle: the handle.
    :param has_other: True if the latest attempt holds another one.
    """

    where: TaskKey
    try_number: int
    handle: Mapping[str, Any] = field(repr=False)
    has_other: bool = False


@dataclass(frozen=True, slots=True)
class Scope:
    """Which runs are meant; what is not given, all.

    :param vendor: name of the vendor.
    :param conn_id: the connection.
    :param dag_id: the Dag.
    :param run_id: the Dag run.
    :param task_id: the task.
    :param map_index: the mapped task instance.
    :param state: state of the owner, in Airflow's words; ``none`` before it is scheduled.
    :param orphans_only: only runs whose owner is over.
    :param runs: ids of the runs themselves.
    """

    vendor: str | None = None
    conn_id: str | None = None
    dag_id: str | None = None
    run_id: str | None = None
    task_id: str | None = None
    map_index: int | None = None
    state: str | None = None
    orphans_only: bool = False
    runs: frozenset[str] = frozenset()

    def has_place(self, where: TaskKey) -> bool:
        """Return True if a task instance is meant."""
        return (
            self.dag_id in (None, where.dag_id)
            and self.run_id in (None, where.run_id)
            and self.task_id in (None, where.task_id)
            and self.map_index in (None, where.map_index)
        )

    def has_handle(self, handle: Mapping[str, Any]) -> bool:
        """Return True if the run of a handle is meant, by what it shows."""
        return (
            self.vendor in (None, handle.get("vendor"))
            and self.conn_id in (None, handle.get("conn_id"))
            and (not self.runs or handle.get("run_id") in self.runs)
        )


ALL: Final = Scope()


class Source(Protocol):
    """Where the facts come from. What it cannot tell it raises as a ``RunctlError``, and leaves nothing out."""

    async def places(self, key: str, scope: Scope) -> list[TaskKey]:
        """Return the task instances that hold an XCom ``key``, at least those that ``scope`` means."""

    async def stored(self, key: str, where: TaskKey) -> Stored | None:
        """Return an XCom, or ``None``."""

    async def attempt(self, where: TaskKey) -> LastAttempt | None:
        """Return the latest attempt of a task instance, or ``None`` if Airflow has no such one any more."""

    async def dag_run_state(self, dag_id: str, run_id: str) -> str | None:
        """Return the state of a Dag run, or ``None`` if Airflow has no such one any more."""

    async def time_limit(self, where: TaskKey) -> float | None:
        """Return the seconds of the task's ``execution_timeout``, or ``None`` if it has none, or that is not known."""


class Standing(StrEnum):
    """Is there anybody whose run it is?"""

    OWNED = "owned"
    ORPHAN = "orphan"
    UNCLEAR = "unclear"


FOLLOWS: Final = frozenset({"running", "deferred", "restarting", "up_for_reschedule", "awaiting_input"})
"""States of a task that follows its run, or ends it now."""

COMES: Final = frozenset({None, "scheduled", "queued", "up_for_retry"})
"""States of a task whose next attempt will find the run."""

OVER: Final = frozenset({"success", "failed", "skipped", "upstream_failed", "removed"})
"""States of a task that does nothing more."""

DAG_RUN_GOES_ON: Final = frozenset({"queued", "running"})
DAG_RUN_OVER: Final = frozenset({"success", "failed"})


def standing_of(attempt: LastAttempt | None, dag_run: str | None, ownership: Ownership | None) -> tuple[Standing, str]:
    """Return whether a run has an owner, and why.

    :param attempt: the latest attempt of the task that started it.
    :param dag_run: the state of its Dag run; only asked for where the task is over.
    :param ownership: whose run it is, as its opened handle says; ``None`` if it was not opened.
    """
    if (told := whatever_its_task_does(attempt, ownership)) is not None:
        return told
    assert attempt is not None, "of a task that is gone was told"
    state = attempt.state
    if state in FOLLOWS:
        return Standing.OWNED, f"its task is {state}"
    if state in COMES:
        return Standing.OWNED, f"its task is {state or 'not scheduled'}: the next attempt finds it"
    if ownership is Ownership.TASK or (ownership is None and state != "success"):
        return Standing.ORPHAN, f"its task is over ({state})"
    return after_its_dag_run(dag_run, ownership)


def whatever_its_task_does(attempt: LastAttempt | None, ownership: Ownership | None) -> tuple[Standing, str] | None:
    """Return the standing of a run that is nobody's, or of whose task nothing is known; ``None`` of any other."""
    if ownership is Ownership.NOBODY:
        return Standing.OWNED, "it was started with leave_running=True: it is nobody's to end"
    if attempt is None:
        return Standing.UNCLEAR, "Airflow has no such task instance any more"
    if attempt.state not in FOLLOWS | COMES | OVER:
        return Standing.UNCLEAR, f"its task is {printable(attempt.state)}, which is no state that is known here"
    return None


def after_its_dag_run(state: str | None, ownership: Ownership | None) -> tuple[Standing, str]:
    """Return whether there is an owner of a run that was left to its Dag run; or, unopened, perhaps to nobody."""
    if state in DAG_RUN_GOES_ON:
        return Standing.OWNED, f"its task is over, and its Dag run {state}"
    if state not in DAG_RUN_OVER:
        return Standing.UNCLEAR, f"the state of its Dag run is {printable(state)}"
    if ownership is None:
        return Standing.UNCLEAR, f"its task ended well and its Dag run is over ({state}): it may be nobody's to end"
    return Standing.ORPHAN, f"its Dag run is over ({state})"


@dataclass(frozen=True, slots=True)
class KnownRun:
    """A run that may be alive, as Airflow's records have it; what the handle shows is not verified.

    :param where: the task instance that started it.
    :param handle: its handle.
    :param attempt: the latest attempt of that task instance.
    :param dag_run: the state of the Dag run; ``None`` where nothing depends on it.
    :param standing: whether it has an owner.
    :param why: why that is so.
    :param audit: what was recorded of it last.
    :param unread: why its records could not be read; it may be alive.
    :param past: the history of its task instance, if that was asked for.
    :param left: the archived attempt that holds its handle, if only such a one does.
    """

    where: TaskKey
    handle: Mapping[str, Any] = field(repr=False)
    attempt: LastAttempt | None
    dag_run: str | None
    standing: Standing
    why: str
    audit: Stored | None = None
    unread: str | None = None
    past: Stored | None = field(default=None, repr=False)
    left: Left | None = field(default=None, repr=False)

    @property
    def state(self) -> str:
        """The owner's state, in Airflow's words."""
        return "unknown" if self.attempt is None else str(self.attempt.state or "none")

    @property
    def started_at(self) -> datetime | None:
        """When the run was started."""
        try:
            moment = datetime.fromisoformat(str(self.handle.get("started_at")))
        except ValueError:
            return None
        return moment if moment.tzinfo else None

    def age(self, now: datetime) -> float | None:
        """Return the seconds since the run was started."""
        return (now - self.started_at).total_seconds() if self.started_at else None

    @property
    def stop(self) -> StopNote | None:
        """The stop of it that was recorded, intent or outcome."""
        return StopNote.read(self._audit.get("stop")) if self._is_about_it else None

    @property
    def seen(self) -> tuple[str | None, datetime | None]:
        """The vendor's word for its state that was recorded last, and when; nothing is while a run just goes on."""
        told = history.last_seen(history.read(self.past.value), self.run_id) if self.past else (None, None)
        state = state_in(self._audit)
        if not self._is_about_it or state is None:
            return told
        at = self.audit.at if self.audit else None
        if told[1] is not None and (at is None or told[1] > at):
            return told
        return printable(self._audit.get("vendor_state") or state), at

    @property
    def run_id(self) -> str:
        """The run's id at its vendor, as it is shown."""
        return printable(self.handle.get("run_id"), 300)

    @property
    def limits(self) -> dict[str, datetime]:
        """When it has to be over, by the name of each limit of its task; the first that passes stops it."""
        kept = self.handle.get(LIMITS)
        moments = {name: _moment(kept.get(name)) for name in LIMIT_NAMES} if isinstance(kept, Mapping) else {}
        return {name: moment for name, moment in moments.items() if moment is not None}

    @property
    def history(self) -> list[dict[str, Any]]:
        """What happened to the runs of its task instance, the oldest first, of all attempts of which that is known."""
        return self._history()

    def _history(self, *earlier: Any) -> list[dict[str, Any]]:
        told = history.merged(*earlier, self.past.value if self.past else None)
        return history.read(told, self.audit.value if self.audit else None)

    def past_out(self, *earlier: Any) -> dict[str, Any]:
        """Return plain JSON: its ``history``, and as ``wiped`` in words what is missing there of earlier attempts.

        :param earlier: what earlier attempts have kept, where that is still there.
        """
        events = self._history(*earlier)
        gone = history.wiped(events, self.attempt.try_number if self.attempt else None)
        said = f"nothing is left of attempt {', '.join(map(str, gone))}: a later one wipes it" if gone else None
        return {"history": events, "wiped": said}

    @property
    def _audit(self) -> Mapping[str, Any]:
        return self.audit.value if self.audit and isinstance(self.audit.value, Mapping) else {}

    @property
    def _is_about_it(self) -> bool:
        return all(self._audit.get(key) == self.handle.get(key) for key in ("run_id", "started_at"))

    def out(self, now: datetime) -> dict[str, Any]:
        """Return plain JSON for people and scripts: nothing by which the run could be reached."""
        age = self.age(now)
        state, at = self.seen
        return {
            "dag_id": self.where.dag_id,
            "dag_run_id": self.where.run_id,
            "task_id": self.where.task_id,
            "map_index": self.where.map_index,
            "try_number": self.attempt.try_number if self.attempt else None,
            "owner_state": self.state,
            "dag_run_state": self.dag_run,
            **{name: _shown(self.handle.get(name)) for name in SHOWN},
            "age": None if age is None else round(age),
            "vendor_state": state,
            "vendor_state_at": at.isoformat() if at else None,
            "limits": {
                name: {"at": at.isoformat(timespec="seconds"), "left": round((at - now).total_seconds())}
                for name, at in self.limits.items()
            },
            "stop": self.stop.out() if self.stop else None,
            "standing": self.standing.value,
            "why": self.unread or self.why,
        }


LIMIT_NAMES: Final = (StopReason.EXECUTION_TIMEOUT.value, StopReason.MAX_RUNTIME.value)


def _moment(at: object) -> datetime | None:
    try:
        return datetime.fromtimestamp(at, UTC) if isinstance(at, int | float) else None
    except (ValueError, OverflowError, OSError):
        return None


def _shown(value: object) -> str | None:
    return None if value is None else printable(value, 300)


class Inventory:
    """Reads what may be alive, with few questions: three for each such run, and none for one that is over.

    :param source: where the facts come from.
    :param progress: told how many runs of how many were looked at.
    :param history: read what happened to each run too, which takes a fourth question.
    """

    def __init__(
        self,
        source: Source,
        progress: Callable[[int, int], None] = lambda done, of: None,
        *,
        history: bool = False,
    ) -> None:
        self._source = source
        self._history = history
        self._progress = progress
        self._turns = asyncio.Semaphore(AT_ONCE)
        self._dag_runs: dict[tuple[str, str], asyncio.Task[str | None]] = {}

    async def runs(self, scope: Scope = ALL) -> list[KnownRun]:
        """Return the runs that may be alive, the oldest first.

        :raises RunctlError: if the source does not say which there are.
        """
        places = [where for where in await self._source.places(HANDLE_KEY, scope) if scope.has_place(where)]
        done = 0

        async def look(where: TaskKey) -> KnownRun | None:
            nonlocal done
            async with self._turns:
                known = await self._look(where, scope)
            done += 1
            self._progress(done, len(places))
            return known

        known = await asyncio.gather(*map(look, places))
        return _oldest_first(run for run in known if run is not None)

    async def again(self, known: KnownRun, ownership: Ownership | None = None) -> KnownRun | None:
        """Return the same run as it is now; ``None`` if another one, or none, is recorded at its place by now.

        :param ownership: whose it is, as its opened handle says.
        :raises RunctlError: if the source does not say.
        """
        self._dag_runs.pop((known.where.dag_id, known.where.run_id), None)
        handle = await self._source.stored(HANDLE_KEY, known.where)
        if handle is None or not isinstance(handle.value, Mapping):
            return None
        if any(handle.value.get(key) != known.handle.get(key) for key in SAME):
            return None
        return await self._known(known.where, handle.value, ownership)

    async def _look(self, where: TaskKey, scope: Scope) -> KnownRun | None:
        """Look at one run; what cannot be read of it hides no other."""
        try:
            return await self._read(where, scope)
        except RunctlError as error:
            said = str(error)
        except Exception as error:
            log.debug("%s cannot be read", where, exc_info=True)
            said = f"Its records cannot be read ({type(error).__name__})."
        return KnownRun(where, {}, None, None, Standing.UNCLEAR, "", unread=f"{said} A run may be alive.")

    async def _read(self, where: TaskKey, scope: Scope) -> KnownRun | None:
        stored = await self._source.stored(HANDLE_KEY, where)
        if stored is None:
            return None  # it ended meanwhile
        if not isinstance(stored.value, Mapping):
            return None if scope.runs else await self._odd(where)
        if not scope.has_handle(stored.value):
            return None
        known = await self._known(where, stored.value, None)
        if scope.state not in (None, known.state) or (scope.orphans_only and known.standing is Standing.OWNED):
            return None
        return known

    async def _odd(self, where: TaskKey) -> KnownRun:
        attempt = await self._source.attempt(where)
        unread = f"what lies under {HANDLE_KEY!r} there is no handle; a run may be alive"
        return KnownRun(where, {}, attempt, None, Standing.UNCLEAR, "", unread=unread)

    async def _known(self, where: TaskKey, handle: Mapping[str, Any], ownership: Ownership | None) -> KnownRun:
        attempt, audit, past = await asyncio.gather(
            self._source.attempt(where), self._source.stored(AUDIT_KEY, where), self._past(where)
        )
        is_over = attempt is not None and attempt.state in OVER
        dag_run = await self._dag_run(where) if is_over else None
        standing, why = standing_of(attempt, dag_run, ownership)
        if standing is Standing.OWNED and LEFT_BY in handle:
            why = f"{why}; it was left by attempt {printable(handle[LEFT_BY])}, and this one decides on it"
        return KnownRun(where, handle, attempt, dag_run, standing, why, audit, past=past)

    async def _past(self, where: TaskKey) -> Stored | None:
        return await self._source.stored(HISTORY_KEY, where) if self._history else None

    async def _dag_run(self, where: TaskKey) -> str | None:
        key = (where.dag_id, where.run_id)
        if key not in self._dag_runs:
            self._dag_runs[key] = asyncio.create_task(self._source.dag_run_state(*key))
        return await asyncio.shield(self._dag_runs[key])


SAME: Final = ("vendor", "conn_id", "run_id", "started_at", "token", LEFT_BY)
"""What tells from a stored handle that it is still the one that was read before."""


def _oldest_first(runs: Iterable[KnownRun]) -> list[KnownRun]:
    latest = datetime.max.replace(tzinfo=UTC)
    return sorted(runs, key=lambda run: (run.started_at or latest, str(run.where)))
