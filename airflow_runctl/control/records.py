"""What is recorded of a run, where, and in which form: the words that all who write and read records share.

==========================  ==================  ====================================================
where                       key                 what
==========================  ==================  ====================================================
XCom of the task instance   external_run        the handle, while the run may be alive
XCom of the task instance   external_run_audit  what became of the run, and of every stop of it
XCom of the task instance   external_run_hist.. what happened to its runs, for people: nothing decides by it
XCom of the task instance   external_run_turn   while the run of its start is being identified: whose turn it is
XCom of the task instance   _link_...           the page of the run, for the button on the task
task state store (3.3+)     airflow_runctl      the write-ahead record; outlives retries and (below 3.4) clears
task state store (3.3+)     airflow_runctl_h... the same history, which the next attempt does not wipe
Variable (3.4+)             airflow_runctl....  the same, sealed, while a run may be alive; outlives clears
==========================  ==================  ====================================================

A start in flight and a deadline may meet. The operator stores the handle and then reads the audit for the
intent of a stop; the notifier writes the intent and then reads the handle. So one of them sees the other.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from datetime import datetime
from typing import Any, Final

from airflow_runctl.compat import Channel
from airflow_runctl.control.seal import Handle, handle_of, shown_of
from airflow_runctl.control.stop import StopNote
from airflow_runctl.hooks.base import Access
from airflow_runctl.runs import AUDIT_KEY, LEFT_BY, SHOWN, ExternalRun, Owner, RunStatus, TaskKey
from airflow_runctl.vendors.base import Search

STORE_KEY: Final = "airflow_runctl"
HISTORY_STORE_KEY: Final = "airflow_runctl_history"
TURN_KEY: Final = "external_run_turn"

STARTING: Final = "starting"
"""``state`` of an audit record before the run's id is known."""

AMBIGUOUS: Final = "ambiguous"
"""``state`` of an audit record, and phase of a record, of a start that made one of several ``candidates``. Nothing
tells which, so none is ever stopped for it."""

RELEASED: Final = "released"
"""Phase of a record whose task ended well and left the run to the Dag run, or to nobody."""

LIVE: Final = "live"
KILLED: Final = "killed"
"""Phase of a record whose attempt stopped its run because it was killed."""

OVER: Final = "over"

LISTED_AFTER: Final = 60.0
"""Seconds after a start in which its run may still be missing from the vendor's list."""


def noted_stop(audit: Any, run: ExternalRun) -> StopNote | None:
    """Return the stop in an audit record, if it is about ``run`` and not about an earlier attempt's."""
    if not isinstance(audit, Mapping):
        return None
    same = audit.get("run_id") == run.run_id and audit.get("started_at") == run.started_at.isoformat()
    return StopNote.read(audit.get("stop")) if same or audit.get("state") == STARTING else None


def audit_of(
    run: ExternalRun, status: RunStatus | None, note: StopNote | None, handle: Handle | None = None
) -> dict[str, Any]:
    """Return the audit record of a run: plain JSON, without secrets.

    :param handle: its handle, whose token says for certain that the run is this task's.
    """
    return {
        **({"token": handle["token"]} if handle and "token" in handle else {}),
        **shown_of(run),
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


async def note_intent(channel: Channel, where: TaskKey, note: StopNote, handle: Handle | None) -> None:
    """Leave the intent of a stop for the task that owns a run, before anything is asked of the vendor.

    :param handle: the run's handle; ``None`` for a start that is in flight, which then stops its run itself.
    """
    if handle is None or handle.get("run_id") == STARTING:
        # What was written ahead stays: it is all that leads to the run.
        shown = await channel.get(AUDIT_KEY, where)
    else:
        shown = {name: handle[name] for name in (*SHOWN, "token") if name in handle}
    await channel.set(AUDIT_KEY, {**shown, "stop": note.out()}, where)


__all__ = [
    "AMBIGUOUS",
    "AUDIT_KEY",
    "HISTORY_STORE_KEY",
    "KILLED",
    "LEFT_BY",
    "LISTED_AFTER",
    "LIVE",
    "OVER",
    "RELEASED",
    "STARTING",
    "STORE_KEY",
    "TURN_KEY",
    "audit_of",
    "note_intent",
    "noted_stop",
    "search_in",
    "start_of",
]
