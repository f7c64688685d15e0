"""VectorShift's analytics: runs as events, searched by columns."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

from airflow_runctl.sandbox.vectorshift.runs import EVENT_WORDS, VectorShiftRun
from airflow_runctl.sandbox.wire import Refused


def event_word(run: VectorShiftRun) -> str:
    return EVENT_WORDS.get(run.state, "IN_PROGRESS")


def matches(run: VectorShiftRun, body: dict[str, Any]) -> bool:
    columns = {"ObjectId": run.key, "TraceId": run.trace_id}
    for row in body.get("filters", []):
        if columns.get(row.get("column_name")) != row.get("value", {}).get("string_value"):
            return False
    for row in body.get("table_filters", []):
        wanted = row.get("basic_op", {})
        value = str(wanted.get("value", {}).get("string_value", ""))
        if wanted.get("column") == "STATUS" and value.upper() != event_word(run):
            return False
    return not_before(run, body.get("start_time"))


def not_before(run: VectorShiftRun, start_time: object) -> bool:
    if start_time is None:
        return True
    try:
        start = datetime.fromisoformat(str(start_time))
    except ValueError:
        raise Refused(400, "start_time is not a time") from None
    return run.created_at >= (start if start.tzinfo else start.replace(tzinfo=UTC))


def event(run: VectorShiftRun) -> dict[str, Any]:
    """[code] A run as the analytics show it; that ``spanId`` is the run's id is a third party's word."""
    return {
        "spanId": run.run_id,
        "traceId": run.trace_id,
        "objectId": run.key,
        "startTime": run.created_at.isoformat(),
        "endTime": run.ended_at.isoformat() if run.ended_at else None,
        "status": event_word(run),
        "statusMessage": run.message,
        "executionId": run.run_id,
    }
