"""What is known of runs that may be alive: whose they are, and what was recorded of them, by what was never opened."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from airflow_runctl.control.inventory import (
    AT_ONCE,
    Inventory,
    KnownRun,
    LastAttempt,
    Scope,
    Standing,
    Stored,
    standing_of,
)
from airflow_runctl.exceptions import AirflowUnreachable
from airflow_runctl.runs import AUDIT_KEY, HANDLE_KEY, Ownership, TaskKey

BEGAN = datetime(2026, 1, 1, tzinfo=UTC)
HANDLE = {
    "vendor": "axiom",
    "conn_id": "axiom_default",
    "run_id": "Prices 1",
    "url": "https://page",
    "started_at": BEGAN.isoformat(),
    "token": "2sealed",
}
OWNED, ORPHAN, UNCLEAR = Standing.OWNED, Standing.ORPHAN, Standing.UNCLEAR


@dataclass
class Facts:
    """A source in memory."""

    xcoms: dict[tuple[TaskKey, str], Any] = field(default_factory=dict)
    attempts: dict[TaskKey, LastAttempt] = field(default_factory=dict)
    dag_run: str | None = "running"
    at_once: int = 0
    most_at_once: int = 0
    asked: list[str] = field(default_factory=list)

    async def places(self, key: str, scope: Scope) -> list[TaskKey]:
        return [where for where, name in self.xcoms if name == key]

    async def stored(self, key: str, where: TaskKey) -> Stored | None:
        self.asked.append(key)
        self.at_once += 1
        self.most_at_once = max(self.most_at_once, self.at_once)
        await asyncio.sleep(0)
        self.at_once -= 1
        return Stored(self.xcoms[where, key], BEGAN) if (where, key) in self.xcoms else None

    async def attempt(self, where: TaskKey) -> LastAttempt | None:
        if where.task_id == "unreadable":
            raise AirflowUnreachable("Airflow does not answer.")
        return self.attempts.get(where)

    async def dag_run_state(self, dag_id: str, run_id: str) -> str | None:
        self.asked.append("dag_run")
        return self.dag_run

    async def time_limit(self, where: TaskKey) -> float | None:
        return None

    def add(self, task_id: str = "load", state: str | None = "running", **shown: Any) -> TaskKey:
        where = TaskKey("nightly", "r1", task_id)
        self.xcoms[where, HANDLE_KEY] = {**HANDLE, **shown}
        self.attempts[where] = LastAttempt(state, 1)
        return where


def known(facts: Facts) -> list[KnownRun]:
    return asyncio.run(Inventory(facts).runs())


@pytest.mark.parametrize(
    ("state", "dag_run", "standing", "said"),
    [
        ("running", None, OWNED, "its task is running"),
        ("up_for_retry", None, OWNED, "the next attempt finds it"),
        (None, None, OWNED, "its task is not scheduled"),
        ("failed", "running", ORPHAN, "its task is over (failed)"),
        ("success", "running", OWNED, "its Dag run running"),
        ("success", "success", UNCLEAR, "it may be nobody's to end"),
        ("success", None, UNCLEAR, "the state of its Dag run is None"),
        ("gone fishing", None, UNCLEAR, "no state that is known here"),
    ],
)
def test_whose_a_run_is_whose_handle_was_not_opened(
    state: str | None, dag_run: str | None, standing: Standing, said: str
) -> None:
    came, why = standing_of(LastAttempt(state, 1), dag_run, None)
    assert came is standing
    assert said in why


@pytest.mark.parametrize(
    ("state", "dag_run", "ownership", "standing"),
    [
        ("failed", "running", Ownership.TASK, ORPHAN),
        ("skipped", "failed", Ownership.TASK, ORPHAN),
        ("upstream_failed", "failed", Ownership.TASK, ORPHAN),
        ("removed", "success", Ownership.TASK, ORPHAN),
        ("success", "success", Ownership.TASK, ORPHAN),
        ("running", None, Ownership.TASK, OWNED),
        ("deferred", None, Ownership.TASK, OWNED),
        ("restarting", None, Ownership.TASK, OWNED),
        ("up_for_reschedule", None, Ownership.TASK, OWNED),
        (None, None, Ownership.TASK, OWNED),
        ("scheduled", None, Ownership.TASK, OWNED),
        ("queued", None, Ownership.TASK, OWNED),
        ("up_for_retry", None, Ownership.TASK, OWNED),
        ("a state of Airflow 4", "running", Ownership.TASK, UNCLEAR),
        ("success", "running", Ownership.DAG_RUN, OWNED),
        ("success", "queued", Ownership.DAG_RUN, OWNED),
        ("failed", "running", Ownership.DAG_RUN, OWNED),
        ("success", "success", Ownership.DAG_RUN, ORPHAN),
        ("success", "failed", Ownership.DAG_RUN, ORPHAN),
        ("success", "of Airflow 4", Ownership.DAG_RUN, UNCLEAR),
        ("success", None, Ownership.DAG_RUN, UNCLEAR),
        ("success", "success", Ownership.NOBODY, OWNED),
        ("failed", "failed", Ownership.NOBODY, OWNED),
    ],
)
def test_whose_a_run_is_whose_handle_was_opened(
    state: str | None, dag_run: str | None, ownership: Ownership, standing: Standing
) -> None:
    assert standing_of(LastAttempt(state, 1), dag_run, ownership)[0] is standing


def test_a_task_instance_that_is_gone_leaves_it_unclear() -> None:
    assert standing_of(None, "failed", Ownership.TASK)[0] is UNCLEAR


def test_nobodys_run_is_never_an_orphan() -> None:
    for state in ("failed", "success", "removed"):
        assert standing_of(LastAttempt(state, 1), "failed", Ownership.NOBODY)[0] is OWNED


def test_a_dag_run_is_asked_for_only_where_a_task_is_over() -> None:
    facts = Facts()
    facts.add("running", "running")
    known(facts)
    assert "dag_run" not in facts.asked
    facts.add("over", "success")
    known(facts)
    assert facts.asked.count("dag_run") == 1


def test_the_oldest_comes_first_and_a_handle_without_a_time_last() -> None:
    facts = Facts()
    facts.add("young", started_at=(BEGAN + timedelta(hours=1)).isoformat())
    facts.add("odd", started_at="2026-01-01T00:00:00")
    facts.add("old")
    assert [run.where.task_id for run in known(facts)] == ["old", "young", "odd"]


def test_what_was_recorded_of_an_earlier_run_is_not_told_of_this_one() -> None:
    facts = Facts()
    where = facts.add()
    stop = {"reason": "user", "by": "trigger", "asked_at": "", "outcome": "requested", "seconds": 1.0}
    facts.xcoms[where, AUDIT_KEY] = {**HANDLE, "state": "running", "vendor_state": "Busy", "stop": stop}
    [run] = known(facts)
    assert run.seen == ("Busy", BEGAN)
    assert run.stop is not None
    facts.xcoms[where, AUDIT_KEY] |= {"run_id": "Prices 0"}
    [run] = known(facts)
    assert (run.seen, run.stop) == ((None, None), None)


def test_what_is_shown_holds_nothing_that_reaches_the_run() -> None:
    facts = Facts()
    facts.add(left_by=2)
    [run] = known(facts)
    shown = run.out(BEGAN + timedelta(minutes=5))
    assert (shown["age"], shown["standing"]) == (300, "owned")
    assert "left by attempt 2" in shown["why"]
    assert "2sealed" not in str(shown)
    assert "2sealed" not in repr(run)


def test_one_run_that_cannot_be_read_hides_no_other() -> None:
    facts = Facts()
    facts.add("unreadable")
    facts.add("load")
    runs = {run.where.task_id: run for run in known(facts)}
    assert runs["load"].standing is OWNED
    assert runs["unreadable"].standing is UNCLEAR
    assert runs["unreadable"].unread == "Airflow does not answer. A run may be alive."


def test_a_source_is_asked_a_few_things_at_once() -> None:
    facts = Facts()
    for number in range(100):
        facts.add(f"load_{number}")
    told: list[tuple[int, int]] = []
    asyncio.run(Inventory(facts, lambda done, of: told.append((done, of))).runs())
    assert facts.most_at_once <= AT_ONCE
    assert told[-1] == (100, 100)


@pytest.mark.parametrize(("change", "same"), [({}, True), ({"token": "2other"}, False), ({"left_by": 1}, False)])
def test_a_run_is_looked_at_again_only_if_it_is_the_same(change: dict[str, Any], same: bool) -> None:
    facts = Facts()
    where = facts.add(state="failed")
    [run] = known(facts)
    facts.xcoms[where, HANDLE_KEY] = {**HANDLE, **change}
    again = asyncio.run(Inventory(facts).again(run, Ownership.TASK))
    assert (again is not None) == same
    del facts.xcoms[where, HANDLE_KEY]
    assert asyncio.run(Inventory(facts).again(run)) is None


@pytest.mark.parametrize("state", [["stopped"], {"stopped": 1}, 7, "nonsense", None])
def test_a_state_that_is_none_hides_no_run(state: Any) -> None:
    """Whoever may write XComs can write an audit record."""
    facts = Facts()
    where = facts.add()
    stop = {"reason": ["by_hand"], "asked_at": BEGAN.isoformat(), "seconds": "long"}
    shown = {name: HANDLE[name] for name in ("run_id", "started_at")}
    facts.xcoms[where, AUDIT_KEY] = {**shown, "state": state, "vendor_state": "Ended", "stop": stop}
    [run] = known(facts)
    assert run.out(BEGAN)["vendor_state"] is None
    assert "ended" not in [event["event"] for event in run.history]
