"""How the runs of VectorShift behave, and the words it has for them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final, Literal

from airflow_runctl.sandbox.runs import Run, Step
from airflow_runctl.sandbox.vendor import Behaviour, Settings

# [unknown] No source has a word for a paused run.
PAUSED: Final = "paused"

TERMINAL: Final = frozenset({"completed", "succeeded", "failed", "cancelled"})


@dataclass(frozen=True, slots=True)
class Words:
    live: str
    done: str
    terminated: str


# Two official pages contradict each other. The SDK's set has no word for a terminated run, so it has to be
# `failed` there [inferred]; the background guide shows `cancelled` [doc].
WORDS: Final = {
    "sdk": Words(live="in_progress", done="completed", terminated="failed"),
    "guide": Words(live="running", done="succeeded", terminated="cancelled"),
}

# [code] The words of the analytics, in the upper case in which they travel. [unknown] What a terminated or a
# paused run is called there: a failure, and still in progress.
EVENT_WORDS: Final = {
    "completed": "SUCCESS",
    "succeeded": "SUCCESS",
    "failed": "FAILURE",
    "cancelled": "FAILURE",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class VectorShiftBehaviour(Behaviour):
    """How the runs of one pipeline behave.

    :param end: empty is success, in the word of the set in use.
    :param stop_seconds: none by default, as the guide describes a terminate as immediate.
    :param words: which of the two contradicting sets of status words.
    :param result_lag_seconds: ``completed`` is there this long before ``result``.
    :param failing_calls: operations (``start``, ``stop``, ``pause``, ``resume``) that answer 200 with status
        failed and do nothing, as their schema allows.
    :param pipeline: the pipeline's name; its id by default.
    """

    stop_seconds: float | None = 0.0
    words: Literal["sdk", "guide"] = "sdk"
    result_lag_seconds: float = 0.0
    failing_calls: list[Literal["start", "stop", "pause", "resume"]] | None = None
    pipeline: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class VectorShiftSettings(Settings):
    """:param rate_limit_per_minute: the only published figure, of the older API."""

    rate_limit_per_minute: int | None = 250


@dataclass(eq=False, slots=True, kw_only=True)
class VectorShiftRun(Run):
    trace_id: str
    paused_plan: tuple[Step, ...] = ()

    def details(self) -> dict[str, Any]:
        return {"pipeline_id": self.key, "trace_id": self.trace_id}
