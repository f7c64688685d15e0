"""SnapLogic's readings of the quota of triggered runs."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Final

from airflow_runctl.sandbox.runs import now
from airflow_runctl.sandbox.snaplogic.org import Org
from airflow_runctl.sandbox.snaplogic.runs import (
    TRIGGERED,
    SnapLogicRun,
    envelope,
    stamp,
    task_segments,
)
from airflow_runctl.sandbox.wire import Answer, Call, Refused, Route

# [doc] https://docs.snaplogic.com/monitor/api-usage.html; shown even while nothing is enforced.
DAILY_LIMIT: Final = 10_000
CONCURRENT_LIMIT: Final = 10


class Quota:
    """How many triggers were used: https://docs.snaplogic.com/public-apis/get-runtime-apistats-org.html and
    its two parts.

    The limits concern Cloud URL triggers only; calls of the public API do not count. [doc]
    """

    def __init__(self, org: Org) -> None:
        self._org = org
        path = "api/1/rest/public/runtime/api-stats/{org}"
        self.routes = (
            Route("GET", path, "stats", self.both),
            Route("GET", f"{path}/daily", "stats", self.daily),
            Route("GET", f"{path}/concurrent", "stats", self.concurrent),
        )
        self.used: dict[str, int] = {}

    def reset(self) -> None:
        self.used = {}

    def check(self) -> None:
        """[doc] Refuse a trigger beyond a limit; runs that are under way go on."""
        concurrent, daily = self._org.settings.concurrent_limit, self._org.settings.daily_limit
        if concurrent is not None and len(self._active()) >= concurrent:
            raise Refused(429, "the limit of concurrent API calls is reached")
        if daily is not None and sum(self.used.values()) >= daily:
            raise Refused(429, "the limit of API calls for today is reached")

    def count(self, key: str) -> None:
        self.used[key] = self.used.get(key, 0) + 1

    def _active(self, org: str | None = None) -> list[SnapLogicRun]:
        return [
            run for run in self._org.runs.values() if run.open and run.invoker == TRIGGERED and org in (None, run.org)
        ]

    def _used(self, org: str) -> dict[str, int]:
        return {key: count for key, count in self.used.items() if task_segments(key)[0] == org}

    def _asked(self, call: Call) -> str:
        moment = call.query.get("date_time")
        if moment is not None:
            try:
                datetime.strptime(moment, "%Y-%m-%dT%H:%M:%S").replace(tzinfo=UTC)
            except ValueError:
                raise Refused(400, "date_time must be YYYY-MM-DDTHH:MM:SS") from None
        return self._org.check_org(call)

    async def both(self, call: Call) -> Answer:
        org = self._asked(call)
        return envelope(
            {
                "organization": org,
                "daily_limit": self._org.settings.daily_limit or DAILY_LIMIT,
                "daily_call_used": sum(self._used(org).values()),
                "concurrent_limit": self._org.settings.concurrent_limit or CONCURRENT_LIMIT,
                "concurrent_call_in_progress": len(self._active(org)),
            }
        )

    async def daily(self, call: Call) -> Answer:
        """[unknown] The shape of the items of ``top_tasks``: path and count here."""
        org = self._asked(call)
        tasks = self._used(org)
        used = sum(tasks.values())
        return envelope(
            {
                "date": now().date().isoformat(),
                "organization": org,
                "top_tasks": [{"task_path": key, "count": count} for key, count in tasks.items()],
                "task_count": len(tasks),
                "daily_call_used": used,
                "daily_call_available": (self._org.settings.daily_limit or DAILY_LIMIT) - used,
            }
        )

    async def concurrent(self, call: Call) -> Answer:
        """[unknown] The shape of the items of ``tasks``: the task's path here."""
        org = self._asked(call)
        active = self._active(org)
        return envelope(
            {
                "organization": org,
                "time_stamp": stamp(now()),
                "concurrent_call_in_progress": len(active),
                "tasks": [run.key for run in active],
            }
        )
