"""How a SnapLogic run lives, and how the API shows it: states, the way through them, rows and details."""

from __future__ import annotations

import uuid
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Final, Literal
from urllib.parse import quote, unquote

from airflow_runctl.sandbox.runs import Run, Step, now
from airflow_runctl.sandbox.vendor import Behaviour
from airflow_runctl.sandbox.wire import Answer, as_json

LOGIN: Final = "ops@acme.example"

TERMINAL: Final = frozenset({"Completed", "Failed", "Stopped"})

# The passing states are short: clients must not need to see them.
BRIEF: Final = 0.05

# [doc] states reached through a state of their own.
ON_THE_WAY: Final = {"Failed": "Failing", "Suspended": "Suspending", "Stopped": "Stopping"}

TRIGGERED: Final = "triggered"
ULTRA: Final = "always_on"


@dataclass(frozen=True, slots=True, kw_only=True)
class SnapLogicBehaviour(Behaviour):
    """How the runs of one task behave.

    :param answers: when the trigger call is answered, and with what: ``end`` when the run is over; ``early``
        at once with the pipeline's output ``[{"ruuid": ...}]``; ``early_blind`` at once without any id;
        ``header`` at once with the id in ``x-snapi-pipeline-ruuid``.
    :param list_delay_seconds: the run can be neither listed nor read before.
    :param single_instance: a trigger while a run is active is refused with 409.
    :param suspend_after_seconds: the run suspends by itself; after a resume it lasts ``run_seconds`` and
        ends.
    :param pipeline: pipeline name; the task's name by default.
    :param invoker: ``triggered``, or ``always_on`` for an Ultra Task, whose runs are replaced when they end.
    :param resolution: the second half of SnapLogic's reason for a failure.
    :param age_seconds: how long ago the run claims to have been made; for lists that reach back only so far.
    """

    end: str = "Completed"
    answers: Literal["end", "early", "early_blind", "header"] = "end"
    list_delay_seconds: float = 0.0
    single_instance: bool = False
    suspend_after_seconds: float | None = None
    pipeline: str | None = None
    invoker: str = TRIGGERED
    resolution: str | None = None
    age_seconds: float = 0.0


@dataclass(eq=False, slots=True, kw_only=True)
class SnapLogicRun(Run):
    org: str
    project: str
    pipeline: str
    invoker: str
    visible_at: datetime
    stopper: str | None = None

    def details(self) -> dict[str, Any]:
        return {"org": self.org, "task_path": self.key, "pipeline": self.pipeline, "invoker": self.invoker}


# The key of a task is its path with each segment percent-encoded: a name may hold a slash.


def task_key(segments: tuple[str, ...]) -> str:
    return "".join("/" + quote(segment, safe="") for segment in segments)


def task_segments(key: str) -> tuple[str, ...]:
    return tuple(map(unquote, key[1:].split("/")))


# The way through the states. [inferred from their documented meanings]


def first_steps(behaviour: SnapLogicBehaviour) -> tuple[Step, ...]:
    queue = behaviour.queue_seconds
    arrival = (Step(0, "NoUpdate"),) if queue == 0 else (Step(0, "Queued"), Step(queue, "NoUpdate"))
    return (*arrival, Step(BRIEF, "Prepared"), Step(BRIEF, "Started"))


def last_steps(behaviour: SnapLogicBehaviour, *, suspends: bool) -> tuple[Step, ...]:
    """Return the steps from Started on; ``suspends`` is false after a resume."""
    seconds, end = behaviour.run_seconds, behaviour.end
    if suspends and behaviour.suspend_after_seconds is not None:
        seconds, end = behaviour.suspend_after_seconds, "Suspended"
    message = None if end == "Completed" else behaviour.message
    if end in ON_THE_WAY:
        return (Step(seconds, ON_THE_WAY[end]), Step(BRIEF, end, message))
    return (Step(seconds, end, message),)


# How the API shows it.


def stamp(moment: datetime) -> str:
    return moment.astimezone(UTC).isoformat(timespec="microseconds")


def envelope(response_map: object) -> Answer:
    return as_json({"response_map": response_map, "http_status_code": 200}, headers={"X-SL-StatusCode": "200"})


def summary(run: SnapLogicRun, resolution: str | None) -> dict[str, Any]:
    """[unknown] Which keys a summary keeps is not listed; here it keeps the reason of a failure."""
    bad = run.state in ("Failed", "Suspended")
    return {
        "ruuid": run.run_id,
        "instance_id": run.run_id,
        "state": run.state,
        "state_log": [
            {"timestamp": int(event.at.timestamp() * 1000), "new_state": event.event}
            for event in run.history
            if not event.event.endswith(" asked")
        ],
        "label": run.pipeline,
        "reason": run.message if bad else None,
        "resolution": resolution if bad else None,
        "failure": f"Pipeline {run.state.lower()}" if bad else None,
        "mode": "standard",
        "invoker": run.invoker,
        "user_id": LOGIN,
        "stopper": run.stopper,
        "create_time": stamp(run.created_at),
        "duration": int(((run.ended_at or now()) - run.created_at).total_seconds() * 1000),
        "documents_count": 40,
        "error_documents_count": 1 if bad else 0,
        "parent_ruuid": None,
        "path_id": run.project,
        "plex_path": f"/{run.org}/shared/Cloud",
    }


def detail(run: SnapLogicRun, resolution: str | None, seed: str) -> dict[str, Any]:
    """[doc] What a summary leaves out. [doc, code] There is key material in it: it must not reach a log."""
    failure = {"failure": "Snap failed", "reason": run.message, "resolution": resolution}
    return {
        "session_id": f"session-{run.run_id}",
        "export_link": f"/export/{run.run_id}",
        "env_map_list": [{"api_key": f"snaplogic-env-key-{seed}"}],
        "snap_map": {"snap-1": {"label": "Insert", "state": run.state, **(failure if run.message else {})}},
    }


def entry(run: SnapLogicRun) -> dict[str, Any]:
    """[code] A row of the list: the run is ``id`` here, and more keys differ from those of a single run."""
    return {
        "id": run.run_id,
        "pipe_id": str(uuid.uuid5(uuid.NAMESPACE_URL, run.pipeline)),
        "label": run.pipeline,
        "path_id": run.project,
        "state": run.state,
        "state_timestamp": stamp(run.since),
        "create_time": stamp(run.created_at),
        "invoker": run.invoker,
        "user_id": LOGIN,
        "cc_label": "node-1",
        "runtime_label": "Cloud",
        "runtime_path_id": f"{run.org}/rt/cloud/prod",
        "mode": "standard",
        "duration": 120,
        "documents": 40,
        "error_documents": 0,
        "parent_ruuid": None,
        "subpipes": {},
        "has_lints": False,
    }
