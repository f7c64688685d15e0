"""The records of one task attempt, as the worker writes and reads them: XCom for whoever looks after the Dag run, the
task state store for the attempts to come. See ``records.py`` for what lies where.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from airflow_runctl.compat import TaskStore, delete_xcom, get_xcom, set_xcom, task_key, task_store
from airflow_runctl.control.arguments import Digests, differing, opened, sealed
from airflow_runctl.control.history import Event, merged
from airflow_runctl.control.records import (
    AMBIGUOUS,
    AUDIT_KEY,
    HISTORY_STORE_KEY,
    KILLED,
    LEFT_BY,
    LIVE,
    OVER,
    RELEASED,
    STARTING,
    STORE_KEY,
    audit_of,
    noted_stop,
    start_of,
)
from airflow_runctl.control.seal import Handle, handle_of, open_handle
from airflow_runctl.control.second_home import Record, SecondHome
from airflow_runctl.control.stop import StopNote
from airflow_runctl.hooks.base import Access
from airflow_runctl.runs import (
    HANDLE_KEY,
    HISTORY_KEY,
    LIMITS,
    LINK_KEY,
    ExternalRun,
    Owner,
    Ownership,
    RunStatus,
    TaskKey,
)
from airflow_runctl.vendors.base import Search

if TYPE_CHECKING:
    from airflow.sdk import Context

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Leftover:
    """What an earlier attempt left in the task state store.

    :param phase: ``starting``, ``ambiguous``, ``live``, ``killed``, ``released`` or ``over``.
    :param handle: the handle, unless the id was not known.
    :param search: the search keys of a start.
    :param fingerprint: digest of what was started.
    :param try_number: the attempt that wrote it.
    :param at: when it was written, Unix time.
    :param was_cleared: a user has cleared the task since then; it is no mere retry.
    :param candidates: ids of the runs of which one may be the start's.
    :param arguments: digests of the arguments of what was started, sealed; none are known of 0.1.0.
    """

    phase: str
    handle: Handle | None
    search: Search
    fingerprint: str
    try_number: int
    at: float
    was_cleared: bool
    candidates: tuple[str, ...] = ()
    arguments: Any = None


class Ledger:
    """The records of one task attempt, written on the worker.

    :param context: the attempt's context.
    :param access: the connection that seals its handles.
    :param fingerprint: digest of what the attempt starts.
    :param arguments: digests of its arguments; ``None`` after a deferral.
    """

    def __init__(self, context: Context, access: Access, fingerprint: str, arguments: Digests | None = None) -> None:
        ti: Any = context["ti"]
        self.where = task_key(ti)
        self._try_number: int = ti.try_number
        self._max_tries: int = ti.max_tries or 0
        self._store: TaskStore | None = task_store(context)
        self._second = SecondHome(Owner(self.where, ti.try_number, Ownership.TASK), access)
        self._access = access
        self.fingerprint = fingerprint
        self._arguments = arguments
        self._sealed_arguments: str | None = None
        self._search: Search = {}
        self._phase = ""
        self._waits = False
        self._handle: Handle | None = None
        self._history: list[Event] | None = None

    @property
    def survives_retries(self) -> bool:
        """True if what is recorded here can be read by the next attempt."""
        return self._store is not None

    def left_by_earlier_attempt(self) -> Leftover | None:
        """Return what an earlier attempt left, if anything.

        :raises HandleError: if a clear has left something that does not open.
        """
        record, only_a_clear = self._stored(), False
        if record is None:
            record, only_a_clear = self._second.read(), True
        if record is None:
            return None
        self._second.left_by(int(record.get("try_number") or 0))
        return Leftover(
            phase=str(record.get("phase")),
            handle=record.get("handle"),
            search=record.get("search") or {},
            fingerprint=str(record.get("fingerprint")),
            try_number=int(record.get("try_number") or 0),
            at=float(record.get("at") or 0.0),
            # The clear of a task that was not running allows as many tries again; that of a running one leaves
            # the number of tries alone, and a try beyond it can come only from there.
            was_cleared=only_a_clear
            or self._max_tries > int(record.get("max_tries") or 0)
            or self._try_number > self._max_tries + 1,
            candidates=tuple(record.get("candidates") or ()),
            arguments=record.get("arguments"),
        )

    def waiting_to_start(self) -> None:
        """Say that a start is to come, to whoever stops what the Dag run left alive."""
        self._waits = True
        self._push(AUDIT_KEY, {**self._names(), "state": STARTING})

    def stop_before_start(self) -> StopNote | None:
        """Return the stop of a start that is still to come, if one was asked for."""
        audit = get_xcom(AUDIT_KEY, self.where) if self._waits else None
        return StopNote.read(audit.get("stop")) if isinstance(audit, Mapping) else None

    def starting(self, search: Search, owner: Owner) -> None:
        """Write ahead: from now on a run may come to be.

        The next attempt reads it in the task state store, and whoever looks after the Dag run in the audit
        record; that one is sealed, since it leads to a run.

        :param search: by which the run can be looked for.
        :param owner: who starts it.
        """
        self._search = search
        self._sealed_arguments = sealed(self._arguments or {}, self._access)
        self._put_store(STARTING, None)
        self._show_start(search, owner, datetime.now(UTC))

    def ambiguous(self, candidates: Sequence[str]) -> None:
        """Record that one of these runs may be the start's, and nothing tells which."""
        self._put_store(AMBIGUOUS, None, candidates)
        self._push(AUDIT_KEY, {**self._names(), "state": AMBIGUOUS, "candidates": [*candidates]})

    def still_starting(self, left: Leftover, owner: Owner) -> None:
        """Put back what an earlier attempt wrote ahead, while its run is looked for: nobody else sees it now."""
        self._search = left.search
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

    def started(self, run: ExternalRun, limits: Mapping[str, float] | None = None) -> dict[str, Any]:
        """Record a run that is alive; return its handle.

        :param limits: when it has to be over, for people: what is kept lies elsewhere.
        """
        handle = {**handle_of(run, self._access), **({LIMITS: dict(limits)} if limits else {})}
        self._push(HANDLE_KEY, handle)
        self._sealed_arguments = self._arguments_of(run)
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

    def released(self, handle: Handle, ownership: Ownership, let_go: Callable[[], None]) -> None:
        """Record that the task is over and the run is not: it belongs to the Dag run, or to nobody.

        :param let_go: called as soon as a run is recorded as nobody's: no kill may end it then.
        """
        self._put_store(RELEASED, handle, nobodys=let_go if ownership is Ownership.NOBODY else None)

    def over(self, run: ExternalRun, status: RunStatus | None, note: StopNote | None) -> None:
        """Record that the run is over: its handle goes, the audit record stays."""
        handle = handle_of(run, self._access)
        self._push(AUDIT_KEY, audit_of(run, status, note, handle))
        delete_xcom(HANDLE_KEY, self.where)
        self._put_store(OVER, handle)

    def note(self, run: ExternalRun, status: RunStatus | None, note: StopNote) -> None:
        """Record the intent or the outcome of a stop."""
        self._push(AUDIT_KEY, audit_of(run, status, note))

    def noted_stop(self, run: ExternalRun) -> StopNote | None:
        """Return what was recorded of a stop of ``run``, by whomever, or of its start."""
        return noted_stop(get_xcom(AUDIT_KEY, self.where), run)

    def is_closed(self) -> bool:
        """Return True if no run is recorded here as alive any more."""
        return get_xcom(HANDLE_KEY, self.where) is None

    def remember(self, events: Sequence[Event]) -> None:
        """Add events to the history: where the next attempt wipes it, and where it does not.

        What earlier attempts have told is in the second place alone, and is put into the first one again.
        """
        if self._history is None:
            self._history = merged(self._store.get(HISTORY_STORE_KEY) if self._store else None)
        stored = get_xcom(HISTORY_KEY, self.where)
        history = merged(self._history, stored, events)
        if history != stored:
            self._push(HISTORY_KEY, history)
        if self._store is not None and history != self._history:
            self._store.set(HISTORY_STORE_KEY, history)
        self._history = history

    def handle(self) -> Handle | None:
        """Return the handle of the run that this task instance watches, from whichever place still has it."""
        handle = get_xcom(HANDLE_KEY, self.where)
        if isinstance(handle, Mapping):
            return handle
        left = self.left_by_earlier_attempt()
        return left.handle if left is not None and left.phase == LIVE else None

    def last_writer(self) -> int | None:
        """Return which attempt was the last to record a run here; ``None`` if nothing tells.

        :raises HandleError: if only a handle could tell, and that does not open.
        """
        record = self._stored()
        if record is not None:
            return int(record.get("try_number") or 0) or None
        handle = get_xcom(HANDLE_KEY, self.where)
        if not isinstance(handle, Mapping):
            return None
        owner = open_handle(handle, self._access, found_at=self.where).owner
        return owner.try_number if owner else None

    def differing(self, left: Leftover) -> str:
        """Return the names of the arguments that differ from those of ``left``; an empty text if none can be told."""
        return differing(self._arguments or {}, opened(left.arguments, self._access))

    def _arguments_of(self, run: ExternalRun) -> str | None:
        """Return the digests of what ``run`` was started with; an earlier attempt's may have been others than now."""
        if self._arguments is not None and run.fingerprint == self.fingerprint:
            return sealed(self._arguments, self._access)
        record = self._stored()
        return record.get("arguments") if record is not None else None

    def _stored(self) -> Record | None:
        record = self._store.get(STORE_KEY) if self._store else None
        return record if isinstance(record, Mapping) else None

    def _names(self) -> dict[str, Any]:
        return {"vendor": self._access.vendor.name, "conn_id": self._access.conn_id}

    def _push(self, key: str, value: Any) -> None:
        set_xcom(key, value, self.where)

    def _put_store(
        self,
        phase: str,
        handle: Handle | None,
        candidates: Sequence[str] = (),
        *,
        nobodys: Callable[[], None] | None = None,
    ) -> None:
        self._phase, self._handle = phase, handle
        if self._store is None:
            return
        record = {
            **self._names(),
            "phase": phase,
            "handle": dict(handle) if handle else None,
            "search": dict(self._search),
            "fingerprint": self.fingerprint,
            "arguments": self._sealed_arguments,
            "try_number": self._try_number,
            "max_tries": self._max_tries,
            "at": time.time(),
            **({"candidates": [*candidates]} if candidates else {}),
        }
        self._store.set(STORE_KEY, record)
        if nobodys is not None:
            nobodys()
        if phase == OVER or nobodys is not None:
            self._second.forget()  # a clear has nothing to end
        else:
            self._second.keep(record)


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
