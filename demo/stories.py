"""The demo's stories: external runs hang, a limit passes, and what both sides then tell of it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, Final

from airflow_runctl.sandbox.client import Sandbox
from demo.real_airflow import RealAirflow
from demo.release import RELEASE

Json = dict[str, Any]

OVER: Final = ("success", "failed")
GOOD_RUN_SECONDS: Final = 120.0


@dataclass(frozen=True, slots=True)
class Story:
    """One example Dag whose runs hang.

    :param dag_id: the Dag.
    :param title: what happens.
    :param limit: name of the limit that passes.
    :param seconds: that limit.
    :param anchor: what it counts from: ``queued`` (the Dag run), ``interval`` (the end of its data interval),
        ``task`` (its start) or ``run`` (the external run).
    """

    dag_id: str
    title: str
    limit: str
    seconds: float
    anchor: str


DEADLINE: Final = Story(
    "deadline_stops_hung_runs",
    "A SnapLogic and an axiom.ai run hang; the Dag's deadline passes",
    "deadline",
    20,
    "queued",
)
SLA: Final = Story(
    "sla_miss_stops_hung_runs",
    "A scheduled SnapLogic run went well, the next one hangs; its task misses its SLA",
    "sla",
    20,
    "interval",
)
STORIES: Final = (
    DEADLINE if RELEASE.has_deadlines else SLA,
    Story(
        "max_runtime_while_deferred",
        "A SnapLogic run hangs while its task is deferred; max_runtime passes",
        "max_runtime",
        10,
        "run",
    ),
    Story(
        "execution_timeout_on_worker",
        "An axiom.ai run hangs while its task waits on a worker; execution_timeout passes",
        "execution_timeout",
        10,
        "task",
    ),
)


@dataclass(frozen=True, slots=True)
class Event:
    """One line of a timeline.

    :param at: when.
    :param side: who tells it: ``Airflow``, or a vendor.
    :param text: what.
    """

    at: datetime
    side: str
    text: str


@dataclass(frozen=True, slots=True)
class Told:
    """A story that has ended.

    :param story: the story.
    :param events: its timeline.
    :param began: when its Dag run was queued, or when its SLAs began to count.
    :param open_runs: runs of it that are still alive at the vendors.
    :param problems: what was not as it should be.
    """

    story: Story
    events: Sequence[Event]
    began: datetime
    open_runs: int
    problems: Sequence[str]


def begin(airflow: RealAirflow, sandbox: Sandbox, story: Story) -> str:
    """Begin a story; return its Dag run."""
    if story is not SLA:
        return airflow.trigger(story.dag_id)
    # A task that never succeeded never misses an SLA.
    sandbox.behave("snaplogic", "late", run_seconds=1)
    airflow.unpause(story.dag_id)

    def good() -> bool:
        return any(row["state"] == "success" for row in airflow.dag_runs(story.dag_id))

    def hung() -> str | None:
        running = [row["dag_run_id"] for row in airflow.dag_runs(story.dag_id) if row["state"] == "running"]
        hangs = any(run["name"] == "late" and _time(run["created_at"]) > told for run in sandbox.open_runs())
        return running[0] if running and hangs else None

    airflow.wait_for(good, "a good run", GOOD_RUN_SECONDS)
    told = datetime.now(UTC)
    sandbox.behave("snaplogic", "late", run_seconds=None)
    run_id = airflow.wait_for(hung, "a run that hangs", GOOD_RUN_SECONDS)
    sandbox.behave("snaplogic", "late", run_seconds=1)
    return run_id


def end(airflow: RealAirflow, story: Story) -> None:
    """End a story whose Dag run is over: schedule no further one."""
    airflow.unpause(story.dag_id, paused=True)


def tell(airflow: RealAirflow, sandbox: Sandbox, story: Story, run_id: str) -> Told:
    """Gather what Airflow and the vendors know of a Dag run that is over."""
    dag_run = airflow.dag_run(story.dag_id, run_id)
    began = _time(dag_run["data_interval_end"] if story.anchor == "interval" else dag_run["queued_at"])
    tasks = airflow.task_instances(story.dag_id, run_id)
    runs = runs_of(airflow, sandbox, story.dag_id, run_id)
    events = [Event(_time(dag_run["queued_at"]), "Airflow", "Dag run queued")]
    for task in tasks:
        events += _task_events(task)
    for run in runs:
        events += _run_events(run)
    events += _limits(story, began, tasks, runs)
    open_runs = sum(run["open"] for run in runs)
    events.sort(key=lambda event: event.at)
    return Told(story, events, began, open_runs, list(_problems(tasks, runs)))


def runs_of(airflow: RealAirflow, sandbox: Sandbox, dag_id: str, run_id: str) -> list[Json]:
    """Return the sandbox's runs that the logs of a Dag run's tasks name, all tries; the oldest first."""
    logs = "".join(
        airflow.task_log(dag_id, run_id, task["task_id"], try_number=number, map_index=task["map_index"])
        for task in airflow.task_instances(dag_id, run_id)
        for number in range(1, task["try_number"] + 1)
    )
    return [run for run in sandbox.runs() if run["run_id"] in logs or _viewer_task(run) in logs]


def _viewer_task(run: Json) -> str:
    """Return the only name that an axiom.ai run has for its client: the task id of the viewer URL."""
    _, _, task_id = str(run.get("details", {}).get("viewer_url", "")).partition("taskId=")
    return f"#{task_id}" if task_id else "no viewer URL"


def _task_events(task: Json) -> Iterator[Event]:
    state = f"task {task['task_id']}: {task['state']}, try {task['try_number']}"
    if task["end_date"]:
        yield Event(_time(task["end_date"]), "Airflow", state)


def _run_events(run: Json) -> Iterator[Event]:
    name = f"{run['name']}"
    yield Event(_time(run["created_at"]), run["vendor"], f"{name}: started")
    for entry in run["history"]:
        if entry["event"] == "stop asked":
            yield Event(_time(entry["at"]), run["vendor"], f"{name}: stop asked")
    if run["ended_at"]:
        yield Event(_time(run["ended_at"]), run["vendor"], f"{name}: stop confirmed, {run['state']}")


def _limits(story: Story, began: datetime, tasks: Sequence[Json], runs: Sequence[Json]) -> Iterator[Event]:
    anchors = {
        "queued": [began],
        "interval": [began],
        "task": [_time(task["start_date"]) for task in tasks if task["start_date"]],
        "run": [_time(run["created_at"]) for run in runs],
    }
    for anchor in anchors[story.anchor]:
        yield Event(
            anchor + timedelta(seconds=story.seconds), "limit", f"{story.limit} of {story.seconds:.0f} s passes"
        )


def _problems(tasks: Sequence[Json], runs: Sequence[Json]) -> Iterator[str]:
    if len(runs) != len(tasks):
        yield f"{len(runs)} runs at the vendors, expected {len(tasks)}"
    for run in runs:
        if run["open"]:
            yield f"{run['vendor']} run {run['name']} is still {run['state']}"
        if not run["stop_requests"]:
            yield f"{run['vendor']} run {run['name']} was never asked to stop"
    for task in tasks:
        if task["state"] != "failed" or task["try_number"] != 1:
            yield f"task {task['task_id']} is {task['state']} after {task['try_number']} tries"


def _time(text: str) -> datetime:
    return datetime.fromisoformat(text)
