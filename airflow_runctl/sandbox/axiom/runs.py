"""How the runs of axiom.ai behave, and the words it has for them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final, Literal

from airflow_runctl.sandbox.runs import Run
from airflow_runctl.sandbox.vendor import Behaviour, Settings

QUEUED: Final = "queued"
RUNNING: Final = "Running"
TERMINAL: Final = frozenset({"Success", "Failure"})
PODS: Final = 100

# Every form of the viewer URL that has been seen, by its number in the facts. Form 4 has no four-digit pod
# group, so no pid can be read from it. Form 3 is known by its beginning only; the rest is what forms 1 and 2
# are cut from [inferred].
VIEWER_URLS: Final[dict[int, Callable[[str, str, int], str]]] = {
    1: lambda pid, pw, n: f"dev-c-00{pid}-v4-proxy.axiom.ai&port=443&password={pw}&taskId={n}",
    2: lambda pid, pw, n: f"c-00{pid}-v4-proxy.axiom.ai&port=443&password={pw}",
    3: lambda pid, pw, n: (
        f"https://vnc.axiom.ai/vnc_lite.html?host=c-00{pid}-v4-proxy.axiom.ai&port=443&autoconnect=true"
        f"&password={pw}&scale=local&taskId={n}"
    ),
    4: lambda pid, pw, n: (
        f"https://vnc.axiom.ai/vnc_lite.html?host=v4-proxy-{int(pid)}-axiom-ai&port=443&autoconnect=true"
        f"&password={pw}&scale=local"
    ),
    5: lambda pid, pw, n: f"https://viewer.axiom.ai/watch?password={pw}&host=c-00{pid}-v4-proxy.axiom.ai",
}

# The answer to an accepted stop: the current page shows none, older pages echo the pid.
STOP_REPLIES: Final[dict[str, Callable[[str], dict[str, str]]]] = {
    "stopped": lambda pid: {"stopped": pid},
    "success": lambda pid: {"status": "success"},
    "empty": lambda pid: {},
}


@dataclass(frozen=True, slots=True, kw_only=True)
class AxiomBehaviour(Behaviour):
    """How the runs of one automation behave.

    :param viewer_url_shape: which of the five forms of viewer URL is handed out; 1 is the one in the current
        docs.
    :param queued: the trigger always answers queued; the run starts after ``queue_seconds``, None is never.
    :param refuse: ``{"status": ..., "message": ...}``: the trigger is refused so; 200 with an error in it is
        possible.
    :param stop_reply: the body that answers a stop.
    :param words: ``docs``: run-data says Running, Success, Failure; ``code``: Running, Finished, as vendor
        code has it.
    :param report_lag_seconds: run-reports shows a start and an end only this much later.
    :param stale_seconds: run-data still shows the run before this one for so long.
    :param single_instance: one run at a time, the others queue: the documented default without "Allow cloud
        concurrency". Off here, else most examples would queue.
    :param gives_run_id: the trigger also answers with a ``run_id``, as two pages say and all others do not.
    """

    end: str = "Success"
    queue_seconds: float | None = None
    viewer_url_shape: Literal[1, 2, 3, 4, 5] = 1
    queued: bool = False
    refuse: dict[str, Any] | None = None
    stop_reply: Literal["stopped", "success", "empty"] = "stopped"
    words: Literal["docs", "code"] = "docs"
    report_lag_seconds: float = 0.0
    stale_seconds: float = 0.0
    single_instance: bool = False
    gives_run_id: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class AxiomSettings(Settings):
    """Switches of the account.

    :param rate_limit_per_minute: 100 as documented, all endpoints together.
    :param concurrency: runs at once; more are queued. 20 is the documented figure of the largest plan.
    """

    rate_limit_per_minute: int | None = 100
    concurrency: int = 20


@dataclass(eq=False, slots=True, kw_only=True)
class AxiomRun(Run):
    """:param pid: pod slot, reused by later runs; None while queued. ``pw`` belongs to this run alone."""

    number: int
    pid: str | None = None
    pw: str
    viewer_url: str | None = None
    started_at: datetime | None = None

    def details(self) -> dict[str, Any]:
        return {"pid": self.pid, "pw": self.pw, "viewer_url": self.viewer_url}
