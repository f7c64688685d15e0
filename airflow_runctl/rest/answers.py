"""What Airflow's REST API answers, in our words: for whoever asks it from outside, and for the API server itself."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from airflow_runctl.exceptions import AirflowUnreachable
from airflow_runctl.runs import TaskKey, printable


def detail_in(body: bytes) -> str:
    """Return Airflow's own words of a refusal, for a message."""
    try:
        detail = json.loads(body).get("detail")
    except (ValueError, AttributeError):
        return ""
    return f": {printable(detail, 200)}" if isinstance(detail, str) else ""


def time_limit_in(task: Mapping[str, Any] | None) -> float | None:
    """Return the seconds of a task's ``execution_timeout``, or ``None`` if it has none, or that is not known."""
    limit = (task or {}).get("execution_timeout")
    if not isinstance(limit, Mapping):
        return None
    return float(limit.get("days") or 0) * 86400 + float(limit.get("seconds") or 0)


def check_marked(answer: object, where: TaskKey) -> None:
    """Check that a task instance was there to be marked.

    :raises AirflowUnreachable: if it was not.
    """
    if answer is None:
        raise AirflowUnreachable(f"Airflow has no task instance {where} any more; it was not marked.")
