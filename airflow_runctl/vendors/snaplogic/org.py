"""SnapLogic beside its runs: the org's quota, and switching tasks on and off.

Sources: https://docs.snaplogic.com/public-apis/get-runtime-apistats-org.html (and ``-daily``, ``-concurrent``),
https://docs.snaplogic.com/public-apis/post-task-disable.html and ``post-task-enable.html``.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

from airflow_runctl.exceptions import BadAnswer, VendorError
from airflow_runctl.vendors.base import Effect, Flow, text_of
from airflow_runctl.vendors.snaplogic.api import SnapLogicApi


def quota(org: SnapLogicApi, kind: str | None = None, at: datetime | None = None) -> Flow[Mapping[str, Any]]:
    """Read the quota of triggered runs; the account has to be an org admin's.

    :param kind: ``daily`` or ``concurrent`` for one of them in detail; both by default.
    :param at: the time it is read for, now by default.
    :returns: as SnapLogic names it: ``daily_limit``, ``daily_call_used``, ``concurrent_limit``,
        ``concurrent_call_in_progress`` for both; ``daily_call_available``, ``top_tasks``, ... in detail.
    """
    query = {"date_time": at.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%S")} if at else {}
    response = yield org.request("GET", "runtime", "api-stats", org.org, *([kind] if kind else []), query=query)
    reading = org.envelope(response)
    if not isinstance(reading, Mapping):
        raise BadAnswer(f"SnapLogic's answer about the quota has no response_map: {response.excerpt()!r}")
    return reading


def switch_task(org: SnapLogicApi, task_path: str, *, on: bool) -> Flow[None]:
    """Enable or disable a task. Disabling an Ultra Task ends its instances for good.

    The answer is not in the usual envelope, and a 200 can list the task as failed.

    :param task_path: ``/org/space/project/task``; the org may be left out.
    """
    path = "/" + "/".join(org.task_segments(task_path))
    what = "enable" if on else "disable"
    response = yield org.request("POST", "task", what, effect=Effect.STOP, json={"task_path": path})
    org.envelope(response)
    body = response.json()
    if isinstance(body, Mapping) and body.get("failed"):
        raise VendorError(f"SnapLogic did not {what} task {path}: {text_of(body['failed'])}", status=response.status)
