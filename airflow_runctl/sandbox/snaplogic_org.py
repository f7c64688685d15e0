"""SnapLogic's calls about the org rather than about a run: readings of the quota, and tasks on and off."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING, Final

from airflow_runctl.sandbox.runs import Step, now
from airflow_runctl.sandbox.snaplogic_runs import (
    TRIGGERED,
    ULTRA,
    SnapLogicRun,
    envelope,
    stamp,
    task_key,
    task_segments,
)
from airflow_runctl.sandbox.wire import Answer, Call, Refused, Route, as_json

if TYPE_CHECKING:
    from airflow_runctl.sandbox.snaplogic import SnapLogic

# [doc] https://docs.snaplogic.com/monitor/api-usage.html; shown even while nothing is enforced.
DAILY_LIMIT: Final = 10_000
CONCURRENT_LIMIT: Final = 10


class Quota:
    """How many triggers were used: https://docs.snaplogic.com/public-apis/get-runtime-apistats-org.html and
    its two parts.

    The limits concern Cloud URL triggers only; calls of the public API do not count. [doc]
    """

    def __init__(self, vendor: SnapLogic) -> None:
        self._vendor = vendor
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
        concurrent, daily = self._vendor.settings.concurrent_limit, self._vendor.settings.daily_limit
        if concurrent is not None and len(self._active()) >= concurrent:
            raise Refused(429, "the limit of concurrent API calls is reached")
        if daily is not None and sum(self.used.values()) >= daily:
            raise Refused(429, "the limit of API calls for today is reached")

    def count(self, key: str) -> None:
        self.used[key] = self.used.get(key, 0) + 1

    def _active(self, org: str | None = None) -> list[SnapLogicRun]:
        return [
            run
            for run in self._vendor.runs.values()
            if run.open and run.invoker == TRIGGERED and org in (None, run.org)
        ]

    def _used(self, org: str) -> dict[str, int]:
        return {key: count for key, count in self.used.items() if task_segments(key)[0] == org}

    def _org(self, call: Call) -> str:
        moment = call.query.get("date_time")
        if moment is not None:
            try:
                datetime.strptime(moment, "%Y-%m-%dT%H:%M:%S").replace(tzinfo=UTC)
            except ValueError:
                raise Refused(400, "date_time must be YYYY-MM-DDTHH:MM:SS") from None
        return self._vendor.check_org(call)

    async def both(self, call: Call) -> Answer:
        org = self._org(call)
        return envelope(
            {
                "organization": org,
                "daily_limit": self._vendor.settings.daily_limit or DAILY_LIMIT,
                "daily_call_used": sum(self._used(org).values()),
                "concurrent_limit": self._vendor.settings.concurrent_limit or CONCURRENT_LIMIT,
                "concurrent_call_in_progress": len(self._active(org)),
            }
        )

    async def daily(self, call: Call) -> Answer:
        """[unknown] The shape of the items of ``top_tasks``: path and count here."""
        org = self._org(call)
        tasks = self._used(org)
        used = sum(tasks.values())
        return envelope(
            {
                "date": now().date().isoformat(),
                "organization": org,
                "top_tasks": [{"task_path": key, "count": count} for key, count in tasks.items()],
                "task_count": len(tasks),
                "daily_call_used": used,
                "daily_call_available": (self._vendor.settings.daily_limit or DAILY_LIMIT) - used,
            }
        )

    async def concurrent(self, call: Call) -> Answer:
        """[unknown] The shape of the items of ``tasks``: the task's path here."""
        org = self._org(call)
        active = self._active(org)
        return envelope(
            {
                "organization": org,
                "time_stamp": stamp(now()),
                "concurrent_call_in_progress": len(active),
                "tasks": [run.key for run in active],
            }
        )


class TaskSwitches:
    """Tasks on and off: https://docs.snaplogic.com/public-apis/post-task-disable.html and
    post-task-enable.html.

    The answer is two lists and not the envelope. [unknown] Their items: task paths here.
    """

    def __init__(self, vendor: SnapLogic) -> None:
        self._vendor = vendor
        self.routes = (
            Route("POST", "api/1/rest/public/task/disable", "disable", self.disable),
            Route("POST", "api/1/rest/public/task/enable", "enable", self.enable),
        )
        self.disabled: set[str] = set()

    def reset(self) -> None:
        self.disabled = set()

    async def disable(self, call: Call) -> Answer:
        """[doc] Disabling an Ultra Task marks its instances complete. [inferred] A triggered run goes on."""
        found, answer = self._found(call)
        self.disabled.update(found)
        for run in list(self._vendor.runs.values()):
            if run.key in found and run.invoker == ULTRA and run.open:
                run.follow(Step(0, "Completed"))
        return answer

    async def enable(self, call: Call) -> Answer:
        """[inferred] An Ultra Task gets its instance: the platform keeps the wanted number of them."""
        found, answer = self._found(call)
        self.disabled.difference_update(found)
        alive = {run.key for run in self._vendor.runs.values() if run.open}
        for key in found:
            if self._vendor.behaviours[key].invoker == ULTRA and key not in alive:
                self._vendor.start_run(key, None)
        return answer

    def _found(self, call: Call) -> tuple[list[str], Answer]:
        body = call.json_object()
        path = body.get("task_path") or body.get("project_path")
        if not isinstance(path, str) or not path.startswith("/"):
            raise Refused(400, "task_path or project_path is missing")
        asked = task_key(tuple(path[1:].split("/")))
        if "task_path" in body:
            found = [asked] if asked in self._vendor.behaviours else []
        else:
            found = [key for key in self._vendor.behaviours if key.startswith(f"{asked}/")]
        return found, as_json({"success": found, "failed": [] if found else [path]})
