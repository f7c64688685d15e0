"""Keeps and finds the handles of runs: XCom for whoever watches a Dag run, the task state store for retries.

==========================  ==================  ====================================================
where                       key                 what
==========================  ==================  ====================================================
XCom of the task instance   external_run        the handle, while the run may be alive
XCom of the task instance   external_run_audit  what became of the run, and of every stop of it
XCom of the task instance   _link_...           the page of the run, for the button on the task
task state store (3.3+)     airflow_runctl      the write-ahead record; outlives retries and clears
==========================  ==================  ====================================================

A start in flight and a deadline may meet. The operator stores the handle and then reads the audit for the
intent of a stop; the notifier writes the intent and then reads the handle. So one of them sees the other.
"""

from __future__ import annotations

import json
import logging
import re
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Final

from airflow_runctl.compat import Channel, TaskStore, delete_xcom, get_xcom, set_xcom, task_key, task_store
from airflow_runctl.control.seal import Handle, handle_of
from airflow_runctl.control.stop import StopNote
from airflow_runctl.hooks.base import Access
from airflow_runctl.runs import HANDLE_KEY, LINK_KEY, ExternalRun, Owner, RunStatus, TaskKey
from airflow_runctl.vendors.base import Search

if TYPE_CHECKING:
    from airflow.sdk import Context

log = logging.getLogger(__name__)

AUDIT_KEY: Final = "external_run_audit"
STORE_KEY: Final = "airflow_runctl"

LEFT_BY: Final = "left_by"
"""In a stored handle: the attempt that left the run; nobody follows it yet."""

STARTING: Final = "starting"
"""``state`` of an audit record before the run's id is known."""

RELEASED: Final = "released"
"""Phase of a record whose task ended well and left the run to the Dag run, or to nobody."""

LIVE: Final = "live"
KILLED: Final = "killed"
"""Phase of a record whose attempt stopped its run because it was killed."""

OVER: Final = "over"

LISTED_AFTER: Final = 60.0
"""Seconds after a start in which its run may still be missing from the vendor's list."""


@dataclass(frozen=True, slots=True)
class Leftover:
    """What an earlier attempt left in the task state store.

    :param phase: ``starting``, ``live``, ``killed``, ``released`` or ``over``.
    :param handle: the handle, unless the id was not known.
    :param search: the search keys of a start.
    :param fingerprint: digest of what was started.
    :param try_number: the attempt that wrote it.
    :param at: when it was written, Unix time.
    :param was_cleared: a user has cleared the task since then; it is no mere retry.
    """

    phase: str
    handle: Handle | None
    search: Search
    fingerprint: str
    try_number: int
    at: float
    was_cleared: bool


class Ledger:
    """The records of one task attempt, written on the worker.

    :param context: the attempt's context.
    :param access: the connection that seals its handles.
    :param fingerprint: digest of what the attempt starts.
    """

    def __init__(self, context: Context, access: Access, fingerprint: str) -> None:
        ti: Any = context["ti"]
        self.where = task_key(ti)
        self._try_number: int = ti.try_number
        self._max_tries: int = ti.max_tries or 0
        self._store: TaskStore | None = task_store(context)
        self._access = access
        self.fingerprint = fingerprint
        self._search: Search = {}
        self._phase = ""
        self._handle: Handle | None = None

    @property
    def survives_retries(self) -> bool:
        """True if what is recorded here can be read by the next attempt."""
        return self._store is not None

    def left_by_earlier_attempt(self) -> Leftover | None:
        """Return what an earlier attempt left, if anything."""
        record = self._store.get(STORE_KEY) if self._store else None
        if not isinstance(record, Mapping):
            return None
        return Leftover(
            phase=str(record.get("phase")),
            handle=record.get("handle"),
            search=record.get("search") or {},
            fingerprint=str(record.get("fingerprint")),
            try_number=int(record.get("try_number") or 0),
            at=float(record.get("at") or 0.0),
            # The clear of a task that was not running allows as many tries again; that of a running one leaves
            # the number of tries alone, and a try beyond it can come only from there.
            was_cleared=self._max_tries > int(record.get("max_tries") or 0) or self._try_number > self._max_tries + 1,
        )

    def starting(self, search: Search, owner: Owner) -> None:
        """Write ahead: from now on a run may come to be.

        The next attempt reads it in the task state store, and whoever looks after the Dag run in the audit
        record; that one is sealed, since it leads to a run.

        :param search: by which the run can be looked for.
        :param owner: who starts it.
        """
        self._search = search
        self._put_store(STARTING, None)
        self._show_start(search, owner, datetime.now(UTC))

    def still_starting(self, left: Leftover, owner: Owner) -> None:
        """Put back what an earlier attempt wrote ahead, while its run is looked for: nobody else sees it now."""
        self._show_start(left.search, owner, datetime.fromtimestamp(left.at, UTC))

    def _show_start(self, search: Search, owner: Owner, began: datetime) -> None:
        start = start_of(search, owner, self._access, began)
        self._push(AUDIT_KEY, {**self._names(), "state": STARTING, "start": start})

    def killed(self) -> None:
        """Record that this attempt is being killed and has stopped its run; a new one may start again."""
        if self._phase == LIVE:
            self._put_store(KILLED, self._handle)

    def nothing_started(self) -> None:
        """Take back :meth:`starting`: the vendor surely started nothing."""
        self._put_store(OVER, None)
        self._push(AUDIT_KEY, {**self._names(), "state": "not_started"})

    def started(self, run: ExternalRun) -> dict[str, Any]:
        """Record a run that is alive; return its handle."""
        handle = handle_of(run, self._access)
        self._push(HANDLE_KEY, handle)
        self._put_store(LIVE, handle)
        keep_link(run, self.where)
        return handle

    def left_behind(self, run: ExternalRun, try_number: int) -> Handle:
        """Keep the run of an earlier attempt findable while it is not clear whether this one goes on with it.

        :param try_number: the attempt that left it.
        """
        handle = {**handle_of(run, self._access), LEFT_BY: try_number}
        self._push(HANDLE_KEY, handle)
        return handle

    def released(self, handle: Handle) -> None:
        """Record that the task is over and the run is not: it belongs to the Dag run, or to nobody."""
        self._put_store(RELEASED, handle)

    def over(self, run: ExternalRun, status: RunStatus | None, note: StopNote | None) -> None:
        """Record that the run is over: its handle goes, the audit record stays."""
        self._push(AUDIT_KEY, audit_of(run, status, note))
        delete_xcom(HANDLE_KEY, self.where)
        self._put_store(OVER, handle_of(run, self._access))

    def note(self, run: ExternalRun, status: RunStatus | None, note: StopNote) -> None:
        """Record the intent or the outcome of a stop."""
        self._push(AUDIT_KEY, audit_of(run, status, note))

    def noted_stop(self, run: ExternalRun) -> StopNote | None:
        """Return what was recorded of a stop of ``run``, by whomever, or of its start."""
        return noted_stop(get_xcom(AUDIT_KEY, self.where), run)

    def handle(self) -> Handle | None:
        """Return the handle of the run that this task instance watches, from whichever place still has it."""
        handle = get_xcom(HANDLE_KEY, self.where)
        if isinstance(handle, Mapping):
            return handle
        left = self.left_by_earlier_attempt()
        return left.handle if left is not None and left.phase == LIVE else None

    def _names(self) -> dict[str, Any]:
        return {"vendor": self._access.vendor.name, "conn_id": self._access.conn_id}

    def _push(self, key: str, value: Any) -> None:
        set_xcom(key, value, self.where)

    def _put_store(self, phase: str, handle: Handle | None) -> None:
        self._phase, self._handle = phase, handle
        if self._store is None:
            return
        self._store.set(
            STORE_KEY,
            {
                **self._names(),
                "phase": phase,
                "handle": dict(handle) if handle else None,
                "search": dict(self._search),
                "fingerprint": self.fingerprint,
                "try_number": self._try_number,
                "max_tries": self._max_tries,
                "at": time.time(),
            },
        )


def keep_link(run: ExternalRun, where: TaskKey) -> None:
    """Let the button on a task open ``run`` from now on.

    Airflow itself stores links when the task's process ends: none while it runs, none after SIGKILL. A link
    that cannot be stored is no reason to end a run.
    """
    if run.url is None:
        return
    try:
        set_xcom(LINK_KEY, run.url, where)
    except Exception:
        log.warning("Could not store the link to run %s", run.run_id, exc_info=True)


def noted_stop(audit: Any, run: ExternalRun) -> StopNote | None:
    """Return the stop in an audit record, if it is about ``run`` and not about an earlier attempt's."""
    if not isinstance(audit, Mapping):
        return None
    same = audit.get("run_id") == run.run_id and audit.get("started_at") == run.started_at.isoformat()
    return StopNote.read(audit.get("stop")) if same or audit.get("state") == STARTING else None


def audit_of(run: ExternalRun, status: RunStatus | None, note: StopNote | None) -> dict[str, Any]:
    """Return the audit record of a run: plain JSON, without secrets."""
    return {
        "vendor": run.vendor,
        "conn_id": run.conn_id,
        "run_id": run.run_id,
        "url": run.url,
        "started_at": run.started_at.isoformat(),
        "state": status.state.value if status else None,
        "vendor_state": status.vendor_state if status else None,
        "stop": note.out() if note else None,
    }


def start_of(search: Search, owner: Owner, access: Access, began: datetime) -> Handle:
    """Return the handle of a start whose run is not known yet: its ids are the search keys."""
    ids = {"search": json.dumps(dict(search))}
    start = ExternalRun(access.vendor.name, access.conn_id, STARTING, None, began, ids, owner)
    return handle_of(start, access)


def search_in(start: ExternalRun) -> Search:
    """Return the search keys of a start."""
    search: Search = json.loads(start.ids["search"])
    return search


# -- finding what a Dag run left -------------------------------------------------------------------------

MAYBE_STARTING: Final = frozenset({"running", "restarting"})
"""States of a task that may be about to store a handle."""


@dataclass(frozen=True, slots=True)
class Found:
    """One task instance that was looked at.

    :param where: the task instance.
    :param handle: its handle, if it has one.
    :param may_start: True if it may still come to have one: it runs, and nothing says that it is done.
    :param is_starting: True if it said that it is starting a run.
    :param lost_start: what it wrote ahead of a start, if it is over and never said what came of it.
    :param unread: why it could not be looked at; it may have a run.
    """

    where: TaskKey
    handle: Handle | None
    may_start: bool = False
    is_starting: bool = False
    lost_start: Handle | None = None
    unread: str | None = None


async def look_for_handles(channel: Channel, dag_id: str, run_id: str, task_ids: frozenset[str] | None) -> list[Found]:
    """Look at every task instance of a Dag run, or at those of the named tasks."""
    states = await channel.task_states(dag_id, run_id)
    found = []
    for name, state in states.items():
        for where in _meanings(TaskKey(dag_id, run_id, name)):
            if task_ids is not None and where.task_id not in task_ids:
                continue
            try:
                found.append(await _look_at(channel, where, running=state in MAYBE_STARTING))
            except Exception as error:
                # A task may store what only its own code can read: that must not keep the others' runs alive.
                unread = f"the handle of task {where.task_id!r} cannot be read ({type(error).__name__})"
                found.append(Found(where, None, unread=f"{unread}; a run of it may be alive."))
    return found


def _meanings(name: TaskKey) -> Iterator[TaskKey]:
    """Yield what a name among the task states can mean: ``t_0`` is a task, or an instance of a mapped ``t``."""
    yield name
    if mapped := re.fullmatch(r"(.+)_(\d+)", name.task_id):
        yield TaskKey(name.dag_id, name.run_id, mapped[1], int(mapped[2]))


async def _look_at(channel: Channel, where: TaskKey, *, running: bool) -> Found:
    handle = await channel.get(HANDLE_KEY, where)
    if isinstance(handle, Mapping):
        return Found(where, handle)
    audit = await channel.get(AUDIT_KEY, where)
    state = audit.get("state") if isinstance(audit, Mapping) else None
    if running:
        return Found(where, None, may_start=state in (None, STARTING), is_starting=state == STARTING)
    start = audit.get("start") if state == STARTING else None
    return Found(where, None, lost_start=start if isinstance(start, Mapping) else None)


async def note_intent(channel: Channel, where: TaskKey, note: StopNote, handle: Handle | None) -> None:
    """Leave the intent of a stop for the task that owns a run, before anything is asked of the vendor.

    :param handle: the run's handle; ``None`` for a start that is in flight, which then stops its run itself.
    """
    if handle is None or handle.get("run_id") == STARTING:
        # What was written ahead stays: it is all that leads to the run.
        shown = await channel.get(AUDIT_KEY, where)
    else:
        shown = {name: handle.get(name) for name in ("vendor", "conn_id", "run_id", "url", "started_at")}
    await channel.set(AUDIT_KEY, {**shown, "stop": note.out()}, where)
