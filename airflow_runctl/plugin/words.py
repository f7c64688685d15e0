"""What is asked of the API and what it answers: no field is given out that is not named here."""

from __future__ import annotations

from typing import Annotated, Any, Final

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, StringConstraints

from airflow_runctl.control.inventory import Scope
from airflow_runctl.control.sweep import LOOK_AGAIN, MIN_AGE, MOST, SHARE

LONGEST_WAIT: Final = 50.0
"""Seconds that an answer waits for a run's end: many a proxy cuts a call after 60."""


def _plain_text(text: str) -> str:
    """Refuse what no database and no header takes: control characters, halves of surrogate pairs."""
    if not text.isprintable():
        raise ValueError("holds characters that are not printable")
    return text


Name = Annotated[str, StringConstraints(min_length=1, max_length=250), AfterValidator(_plain_text)]
RunId = Annotated[str, StringConstraints(min_length=1, max_length=1000), AfterValidator(_plain_text)]
Reason = Annotated[str, StringConstraints(max_length=300), AfterValidator(_plain_text)]
MapIndex = Annotated[int, Field(ge=-1, le=2**31 - 1)]
Seconds = Annotated[float, Field(ge=0, le=LONGEST_WAIT, allow_inf_nan=False)]


class Question(BaseModel):
    """Something that is asked; a field that is not known is a mistake, and not passed over."""

    model_config = ConfigDict(extra="forbid")


class Filters(Question):
    """Which runs are meant; what is not given, all."""

    run_id: list[RunId] = Field(default_factory=list, max_length=100, description="ids of the runs at their vendors")
    vendor: Name | None = Field(None, description="only runs at this vendor, such as snaplogic")
    conn_id: Name | None = Field(None, description="only runs of this connection")
    dag_id: Name | None = Field(None, description="only runs of this Dag")
    dag_run_id: Name | None = Field(None, description="only runs of this Dag run")
    task_id: Name | None = Field(None, description="only runs of this task")
    map_index: MapIndex | None = Field(None, description="only runs of this mapped task instance")
    state: Name | None = Field(None, description="only runs whose owner is in this state; none before it is scheduled")
    orphans: bool = Field(False, description="only runs whose owner is over, or not clear")

    def scope(self) -> Scope:
        """Return the same in the inventory's words."""
        return Scope(
            vendor=self.vendor,
            conn_id=self.conn_id,
            dag_id=self.dag_id,
            run_id=self.dag_run_id,
            task_id=self.task_id,
            map_index=self.map_index,
            state=self.state,
            orphans_only=self.orphans,
            runs=frozenset(self.run_id),
        )


class Act(Filters):
    """Which runs something is done with, and how."""

    reason: Reason | None = Field(None, description="why; for the log, the records and the note of the task")
    dry_run: bool = Field(False, description="only say which runs are meant")
    timeout: Seconds = Field(
        30.0, description="seconds for which the answer waits for the end; GET /runs tells of what comes later"
    )


class SweepAct(Question):
    """What a sweep looks at, and what keeps it from harm."""

    vendor: Name | None = Field(None, description="only runs at this vendor")
    conn_id: Name | None = Field(None, description="only runs of this connection")
    dag_id: Name | None = Field(None, description="only runs of this Dag; else of all that the user may edit")
    min_age: float = Field(MIN_AGE, ge=0, le=1e8, allow_inf_nan=False, description="seconds that a run has to be old")
    look_again: Seconds = Field(LOOK_AGAIN, description="seconds between the two looks")
    max_orphans: int = Field(MOST, ge=0, le=10_000, description="if more are found, none is stopped")
    max_share: float = Field(SHARE, ge=0, le=1, allow_inf_nan=False, description="the same as a part of all runs")
    exclude_dags: list[Name] = Field(default_factory=list, max_length=100, description="patterns of Dags left alone")
    exclude_connections: list[Name] = Field(default_factory=list, max_length=100)
    reason: Reason | None = None
    dry_run: bool = Field(True, description="only say what would be stopped; the default")
    timeout: Seconds = Field(30.0, description="seconds in which each stop has to be confirmed")


class TestAct(Question):
    """Which connection is tried."""

    __test__ = False  # it is no test of pytest's

    conn_id: Name = Field(description="id of the connection")
    timeout: Seconds = Field(30.0, description="seconds for which the answer waits for a worker's")


class Limit(BaseModel):
    """A limit of a run; the first that passes stops it."""

    at: str
    left: int = Field(description="seconds until then; below 0 once it has passed")


class Run(BaseModel):
    """A run that may be alive, as Airflow's records have it."""

    dag_id: str
    dag_run_id: str
    task_id: str
    map_index: int
    try_number: int | None
    owner_state: str
    dag_run_state: str | None
    vendor: str | None
    conn_id: str | None
    run_id: str | None
    url: str | None
    started_at: str | None
    age: int | None = Field(description="seconds since it was started")
    vendor_state: str | None = Field(description="the vendor's word that was recorded last, when it changed")
    vendor_state_at: str | None
    limits: dict[str, Limit] = Field(description="of max_runtime and execution_timeout those that its task has")
    stop: dict[str, Any] | None = Field(description="the stop that was recorded")
    standing: str = Field(description="owned, orphan or unclear")
    why: str


class Runs(BaseModel):
    """Runs that may be alive, the oldest first."""

    runs: list[Run]
    total: int


class Event(BaseModel):
    """Something that happened to a run."""

    event: str | None = Field(None, description="started, taken_over, state, stop, pause, resume, ended, ...")
    at: str | None = None
    by: str | None = Field(None, description="which process, or which user")
    why: str | None = None
    outcome: str | None = None
    seconds: float | None = None
    state: str | None = None
    vendor_state: str | None = Field(None, description="the vendor's own word")
    run_id: str | None = None
    try_number: int | None = None
    error: str | None = None


class ShownRun(Run):
    """All that is known of a run."""

    execution_timeout: float | None = Field(description="seconds; null if the task has none, or that is not known")
    now: str = Field(description="the vendor's word now, or why it was not asked")
    history: list[Event] = Field(description="what happened to the runs of its task instance, the oldest first")
    wiped: str | None = Field(description="what is missing there of earlier attempts")


class ShownRuns(BaseModel):
    """All that is known of runs."""

    runs: list[ShownRun]


class Done(BaseModel):
    """What became of one run."""

    task: str
    run: str
    done: str
    outcome: str | None
    seconds: float | None
    error: str | None


class Doings(BaseModel):
    """What became of each run that was meant."""

    runs: list[Done]
    may_be_alive: bool = Field(description="true if one was not seen to be over")
    dag_run_ids: list[str] = Field(description="the runs of the maintenance Dag that have a part in it")


class Swept(BaseModel):
    """What a sweep found out about a run."""

    task: str
    run: str
    finding: str
    why: str
    vendor_state: str | None
    outcome: str | None
    error: str | None


class SweepAnswer(BaseModel):
    """What a sweep came to."""

    runs: list[Swept]
    refused: str | None = Field(None, description="why nothing was stopped though there are orphans")
    may_be_alive: bool
    dag_run_id: str | None = Field(None, description="the run of the maintenance Dag that does it, if one does")


class Tried(BaseModel):
    """What the test of a connection has shown."""

    worked: bool | None = Field(description="null if the answer is not there yet")
    said: str
    dag_run_id: str | None = None


class Refusal(BaseModel):
    """Why nothing was done."""

    detail: Any
