"""The words and shapes of VectorShift's answers."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from airflow_runctl.runs import RunState
from airflow_runctl.vendors.base import HttpResponse, text_of

STATES: Final[Mapping[str, RunState]] = {
    # What the SDK and its reference page say.
    "in_progress": RunState.RUNNING,
    "completed": RunState.SUCCEEDED,
    "failed": RunState.FAILED,
    # What the guide to background runs says.
    "running": RunState.RUNNING,
    "succeeded": RunState.SUCCEEDED,
    "cancelled": RunState.STOPPED,
}
"""Two official pages contradict each other; both sets are read, in any case. No page has a word for a run
that is paused or queued: such a word is taken for live."""

FAILED_CALL: Final = "failed"
"""``status`` of an answer whose call was not carried out, the HTTP status 200 notwithstanding."""

ERROR_KEYS: Final = ("error", "message", "detail", "errors")
"""Where the text of an error stands, in the order in which the SDK looks."""


def id_in(answer: Mapping[str, Any]) -> str | None:
    """Return the id of the run in an answer: ``task_id``, in some answers called ``run_id``."""
    for key in ("task_id", "run_id"):
        value = answer.get(key)
        if isinstance(value, str) and value:
            return value
    return None


def said_in(response: HttpResponse) -> str:
    """Return what an answer says of its failure; a 401 has a body of its own, without ``status``."""
    body = response.json_or_none()
    return (text_in(body) if isinstance(body, Mapping) else None) or response.excerpt() or "no text"


def text_in(body: Mapping[str, Any]) -> str | None:
    """Return the text of an error in an answer, from where the SDK looks for it first."""
    for key in ERROR_KEYS:
        value = body.get(key)
        if isinstance(value, list):
            texts = [text_of(entry.get("message", entry) if isinstance(entry, Mapping) else entry) for entry in value]
            value = "; ".join(text for text in texts if text)
        if text := text_of(value):
            return text
    return None
