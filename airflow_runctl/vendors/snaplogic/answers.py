"""The words and shapes of SnapLogic's answers."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from airflow_runctl.exceptions import BadAnswer
from airflow_runctl.runs import RunState
from airflow_runctl.vendors.base import HttpResponse, Started, text_of

STATES: Final[Mapping[str, RunState]] = {
    "Queued": RunState.QUEUED,
    "NoUpdate": RunState.QUEUED,
    "Prepared": RunState.RUNNING,
    "Started": RunState.RUNNING,
    "Resuming": RunState.RUNNING,
    "Suspending": RunState.RUNNING,
    "Stopping": RunState.STOPPING,
    "Failing": RunState.RUNNING,
    "Suspended": RunState.SUSPENDED,
    "Completed": RunState.SUCCEEDED,
    "Failed": RunState.FAILED,
    "Stopped": RunState.STOPPED,
}

LIVE_STATES: Final = (
    "Queued",
    "NoUpdate",
    "Prepared",
    "Resuming",
    "Started",
    "Suspending",
    "Suspended",
    "Failing",
    "Stopping",
)
"""In the order in which a run passes them: asked one after the other, a run that moves on is met later."""

OVER_STATES: Final = ("Completed", "Failed", "Stopped")

FAILURE_TEXTS: Final = ("failure", "reason", "resolution", "error", "message")
"""What tells of a failure, besides ``error_list``."""


def started(ruuid: str) -> Started:
    """Return the run with this runtime id."""
    return Started(ruuid, {"ruuid": ruuid})


def entry_id(entry: Mapping[str, Any]) -> str:
    """Return the id of a list entry, which calls it ``id``, not ``ruuid``."""
    ruuid = entry.get("id") or entry.get("ruuid")
    if not isinstance(ruuid, str):
        raise BadAnswer("An entry of SnapLogic's list of runs has no id.")
    return ruuid


def reason_of(response: HttpResponse) -> str:
    """Return what an answer says of a call that was not carried out."""
    body = response.json_or_none()
    if isinstance(body, Mapping):
        fields = body.get("response_map", body)
        if isinstance(fields, Mapping) and (text := failure_text(fields)):
            return text
    return response.excerpt() or "no text"


def failure_text(fields: Mapping[str, Any]) -> str | None:
    """Return what an answer says of a failure, or ``None``."""
    errors = fields.get("error_list")
    texts = [fields[key] for key in FAILURE_TEXTS if key in fields]
    if isinstance(errors, list):
        texts += [error.get("message") if isinstance(error, Mapping) else error for error in errors]
    parts = [text for value in texts if (text := text_of(value))]
    return "; ".join(dict.fromkeys(parts)) or None
