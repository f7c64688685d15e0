"""VectorShift's analytics: the one place where runs can be listed, and how their events are read.

Source: https://docs.vectorshift.ai/sdk/analytics/reference; the call itself is known from the vendor's SDK.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from airflow_runctl.runs import RunState, RunStatus
from airflow_runctl.vendors.base import text_of

STATES: Final[Mapping[str, RunState]] = {
    "in_progress": RunState.RUNNING,
    "success": RunState.SUCCEEDED,
    "failure": RunState.FAILED,
}
"""Other words than those of the look at a run; on the wire in upper case."""

PAGE: Final = 50
MOST_PAGES: Final = 200
"""How many pages of a list are read; one that goes on behind them is an error."""


@dataclass(frozen=True, slots=True)
class ListedRun:
    """A run as the analytics show it, which may lag behind.

    :param run_id: the span's id, which is said to be the run's.
    :param trace_id: the trace that it was started with.
    :param status: where it stands.
    :param started_at: when it began, ISO 8601.
    """

    run_id: str
    trace_id: str | None
    status: RunStatus
    started_at: str | None


def search_body(pipeline_id: str, status: str | None, columns: Mapping[str, str], offset: int) -> dict[str, Any]:
    """Return the body of a search for runs of a pipeline; a time need not be given.

    :param pipeline_id: id of the pipeline; one search takes one.
    :param status: ``in_progress``, ``success`` or ``failure``; ``None`` for all.
    :param columns: further columns, name to the value wanted.
    :param offset: how many events to skip.
    """
    body: dict[str, Any] = {
        "span_type": [{"pipeline": "PIPELINE_RUN"}],
        "filters": [
            {"column_name": name, "operator": "OPERATOR_EQUAL", "value": {"string_value": value}}
            for name, value in {"ObjectId": pipeline_id, **columns}.items()
        ],
        "pagination_config": {"results_per_page": PAGE, "page_number": offset // PAGE + 1, "offset": offset},
    }
    if status is not None:
        wanted = {"column": "STATUS", "operation": "EQUALS", "value": {"string_value": status}}
        body["table_filters"] = [{"basic_op": wanted}]
    return body


def listed_run(event: Any, pipeline_id: str) -> ListedRun | None:
    """Return an event as a run; ``None`` if it is none of this pipeline. Keys come in two spellings."""
    if not isinstance(event, Mapping):
        return None
    run_id = _either(event, "spanId", "span_id")
    if run_id is None or _either(event, "objectId", "object_id") not in (None, pipeline_id):
        return None
    word = str(event.get("status") or "").lower()
    message = _either(event, "statusMessage", "status_message")
    status = RunStatus(STATES.get(word, RunState.UNKNOWN), word, message)
    return ListedRun(run_id, _either(event, "traceId", "trace_id"), status, _either(event, "startTime", "start_time"))


def _either(event: Mapping[str, Any], key: str, other: str) -> str | None:
    return text_of(event.get(key) or event.get(other))
