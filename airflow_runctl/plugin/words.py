"""What is asked of the API and what it answers: no field is given out that is not named here."""

from __future__ import annotations

from dataclasses import replace
from typing import Annotated, Any, Final

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, StringConstraints

from airflow_runctl.control.inventory import Scope
from airflow_runctl.control.sweep import LOOK_AGAIN, MIN_AGE, MOST, SHARE
from airflow_runctl.runs import TaskKey

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


class Place(Question):
    """One run, and the task instance that it belongs to."""

    dag_id: Name
    dag_run_id: Name
    task_id: Name
    map_index: MapIndex = -1
    run_id: RunId

    @property
    def key(self) -> TaskKey:
        """The task instance."""
        return TaskKey(self.dag_id, self.dag_run_id, self.task_id, self.map_index)


class Act(Filters):
    """Which runs something is done with, and how."""

    runs: list[Place] = Field(
        default_factory=list, max_length=100, description="exactly these, as far as the rest means them too"
    )
    reason: Reason | None = Field(None, description="why; for the log, the records and the note of the task")
    dry_run: bool = Field(False, description="only say which runs are meant")
    timeout: Seconds = Field(
        30.0, description="seconds for which the answer waits for the end; GET /runs tells of what comes later"
    )

    def scope(self) -> Scope:
        """Return the same in the inventory's words; which of several places is meant is not in them."""
        scope = super().scope()
        if not self.runs:
            return scope
        named = frozenset(place.run_id for place in self.runs)
        return replace(scope, runs=named & scope.runs if scope.runs else named)

    def means(self, where: TaskKey, run_id: object) -> bool:
        """Return True if a run of the scope is meant."""
        return not self.runs or any((place.key, place.run_id) == (where, run_id) for place in self.runs)


class Window(Question):
    """Which days are summed up."""

    days: int = Field(7, ge=1, le=90, description="how many days back")
    dag_id: Name | None = Field(None, description="only runs of this Dag")


class Where(Question):
    """Which Dag run is told of, or which task instance."""

    dag_id: Name
    dag_run_id: Name
    task_id: Name | None = None
    map_index: MapIndex | None = None


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


class Archives(Question):
    """Of which Dag's archived attempts is asked, or of which task instance's."""

    dag_id: Name | None = Field(None, description="only of this Dag; else of all that the user may sweep")
    dag_run_id: Name | None = None
    task_id: Name | None = None
    map_index: MapIndex | None = None

    def scope(self) -> Scope:
        """Return the same in the inventory's words."""
        return Scope(dag_id=self.dag_id, run_id=self.dag_run_id, task_id=self.task_id, map_index=self.map_index)


class OverThere(Question):
    """The handle of an archived attempt whose run is over."""

    dag_id: Name
    dag_run_id: Name
    task_id: Name
    map_index: MapIndex = -1
    try_number: int = Field(ge=0, le=2**31 - 1, description="the attempt")
    digest: str = Field(pattern="^[0-9a-f]{64}$", description="SHA-256 of the handle's token")

    @property
    def key(self) -> TaskKey:
        """The task instance."""
        return TaskKey(self.dag_id, self.dag_run_id, self.task_id, self.map_index)


class LetGo(Question):
    """Which handles are taken out, since their runs are over."""

    over: list[OverThere] = Field(max_length=100)


class TestAct(Question):
    """Which connection is tried."""

    __test__ = False  # it is no test of pytest's

    conn_id: Name = Field(description="id of the connection")
    timeout: Seconds = Field(30.0, description="seconds for which the answer waits for a worker's")


class Limit(BaseModel):
    """A limit of a run; the first that passes stops it."""

    at: str
    left: int = Field(description="seconds until then; below 0 once it has passed")


class Deadline(BaseModel):
    """A deadline of the Dag run."""

    since: str = Field(description="from when it counts")
    until: str


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
    what: str | None = Field(description="name of what it is a run of: a pipeline, task, automation, agent or browser")
    run_id: str | None
    url: str | None
    started_at: str | None
    age: int | None = Field(description="seconds since it was started")
    vendor_state: str | None = Field(description="the vendor's word that was recorded last, when it changed")
    vendor_state_at: str | None
    limits: dict[str, Limit] = Field(description="of max_runtime and execution_timeout those that its task has")
    state: str | None = Field(description="the same in this package's words, such as running or suspended")
    began_at: str | None = Field(description="when the latest attempt of its task began")
    deadlines: list[Deadline] = Field(description="of the Dag run, if that goes on")
    may_stop: bool = Field(description="true if the user may edit the task instances of the Dag")
    ends_task: bool = Field(description="true if its task is alive: a stop marks that as failed, and no retry comes")
    needs_way: bool = Field(description="true if a stop has to speak to the vendor, as a resume always has: GET /ways")
    by_hand: dict[str, str] = Field(description="the commands that stop and resume it on a worker")
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
    now_state: str | None = Field(description="the same in this package's words, if the vendor was asked")
    now_at: str | None = Field(description="when it was asked; whoever asks a little later is told the same")


class ShownRuns(BaseModel):
    """All that is known of runs."""

    runs: list[ShownRun]


class WaysNow(BaseModel):
    """What can be done from here."""

    here: bool = Field(description="true if the API server may speak to vendors")
    why: str | None = Field(description="why nothing but the stop through a task can be done from here, if so")


class Record(BaseModel):
    """What Airflow's records still have of the runs of a task instance."""

    dag_id: str
    dag_run_id: str
    task_id: str
    map_index: int
    vendor: str | None
    conn_id: str | None
    what: str | None = Field(description="name of what it is a run of: a pipeline, task, automation, agent or browser")
    run_id: str | None
    url: str | None
    started_at: str | None
    state: str | None = Field(description="what was recorded last")
    vendor_state: str | None
    recorded_at: str | None
    stop: dict[str, Any] | None = Field(description="the stop that was recorded")
    events: list[Event] = Field(description="what happened, the oldest first, as far as it is recorded")
    live: Run | None = Field(description="the run, if it may be alive")


class Records(BaseModel):
    """What became of runs."""

    records: list[Record]
    is_all: bool = Field(description="false if there are more")


class Stops(BaseModel):
    """How many stops came to the same."""

    reason: str
    outcome: str | None
    count: int
    median: float | None = Field(description="seconds from asking to the outcome")


class Lengths(BaseModel):
    """How long runs took that are over."""

    vendor: str
    state: str
    count: int
    median: float | None = Field(description="seconds from the start to the record of the end")
    longest: float | None


class Summary(BaseModel):
    """What the records of some days come to."""

    since: str
    records: int
    is_all: bool = Field(description="false if there are more; then the latest are summed up")
    stops: list[Stops]
    lengths: list[Lengths]


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


class ArchivedHandle(BaseModel):
    """What an archived attempt left."""

    dag_id: str
    dag_run_id: str
    task_id: str
    map_index: int
    try_number: int = Field(description="the attempt")
    handle: dict[str, Any] = Field(description="the sealed handle, as it lies in the XCom")
    has_other: bool = Field(description="true if the latest attempt holds another one")


class ArchivedHandles(BaseModel):
    """What archived attempts left, the latest first; none below Airflow 3.4."""

    handles: list[ArchivedHandle]
    is_all: bool = Field(description="false if there are more")


class Tried(BaseModel):
    """What the test of a connection has shown."""

    worked: bool | None = Field(description="null if the answer is not there yet")
    said: str
    dag_run_id: str | None = None


class Refusal(BaseModel):
    """Why nothing was done."""

    detail: Any
