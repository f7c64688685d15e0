"""What a process watches it stops without reading a handle first; all else that is recorded is stopped too."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any, TypeVar

import pytest

from airflow_runctl.compat import IS_AIRFLOW_2, TriggererChannel
from airflow_runctl.control.stop import StopNote
from airflow_runctl.control.stop_dag_run import DagRunStop
from airflow_runctl.control.stop_many import Report
from airflow_runctl.control.watched_here import watched, watched_in
from airflow_runctl.operators.snaplogic import SnapLogicTriggerTaskOperator
from airflow_runctl.runs import StopReason, TaskKey
from airflow_runctl.sandbox.client import Sandbox
from airflow_runctl.transport.aio import in_own_loop
from airflow_runctl.triggers.run import ExternalRunTrigger
from tests.fakes.airflow_3 import FakeAirflow

pytestmark = [
    pytest.mark.usefixtures("brisk"),
    pytest.mark.skipif(IS_AIRFLOW_2, reason="a triggerer of Airflow 2 calls no callbacks"),
]

T = TypeVar("T")


class Triggerer:
    """Tasks that are deferred, their triggers, and a deadline's callback in the same event loop."""

    def __init__(self, fake: FakeAirflow, box: Sandbox) -> None:
        self.fake, self.box = fake, box
        box.behave("snaplogic", "early-hang", stop_seconds=0.02)

    def start(self, task_id: str, try_number: int = 1) -> ExternalRunTrigger:
        with self.fake.dag():
            operator = SnapLogicTriggerTaskOperator(
                task_id=task_id, task_path="projects/sales/early-hang", deferrable=True, poll_interval=60.0
            )
        attempt = self.fake.run(operator, try_number=try_number)
        assert attempt.deferral is not None, attempt.said
        trigger: ExternalRunTrigger = self.fake.trigger_of(attempt.deferral, attempt)
        return trigger

    def while_watched(self, triggers: list[ExternalRunTrigger], doing: Callable[[], Awaitable[T]]) -> T:
        """Do something while all of them have looked at their runs, and watch."""

        async def watch(trigger: ExternalRunTrigger) -> None:
            async for _ in trigger.run():
                return

        async def both() -> T:
            self.box.clear_requests()
            watching = [asyncio.create_task(watch(trigger)) for trigger in triggers]
            while len(await asyncio.to_thread(self.box.requests, operation="status")) < len(triggers):
                await asyncio.sleep(0.02)
            try:
                return await doing()
            finally:
                for one in watching:
                    one.cancel()
                await asyncio.gather(*watching, return_exceptions=True)

        return in_own_loop(both())

    async def deadline(self, **more: Any) -> list[Report]:
        note = StopNote(StopReason.DEADLINE, "triggerer")
        return await DagRunStop(
            TriggererChannel(), self.fake.dag_id, self.fake.run_id, note, timeout=5.0, patience=0.0, **more
        ).run()

    def open(self) -> list[bool]:
        return [run["open"] for run in self.box.runs()]


@pytest.fixture
def triggerer(fake: FakeAirflow, box: Sandbox) -> Triggerer:
    return Triggerer(fake, box)


def test_what_is_watched_here_is_stopped_though_no_handle_can_be_read(triggerer: Triggerer, box: Sandbox) -> None:
    triggers = [triggerer.start("one"), triggerer.start("two")]

    async def silent() -> list[Report]:
        for message in ("GetXCom", "GetTaskStates"):
            triggerer.fake.refuse(message)
        return await triggerer.deadline()

    reports = triggerer.while_watched(triggers, silent)
    assert triggerer.open() == [False, False]
    assert sorted(str(report.where) for report in reports) == ["harvest/manual__1/one", "harvest/manual__1/two"]
    assert [report.error for report in reports] == [None, None]


def test_each_run_is_told_once_and_reported_once(triggerer: Triggerer, box: Sandbox) -> None:
    watched, unwatched = triggerer.start("one"), triggerer.start("two")
    reports = triggerer.while_watched([watched], triggerer.deadline)
    assert unwatched is not watched
    assert triggerer.open() == [False, False]
    assert [run["stop_requests"] for run in box.runs()] == [1, 1]
    assert len(reports) == 2


def test_run_of_a_later_attempt_is_not_hidden_by_one_that_is_still_watched(triggerer: Triggerer, box: Sandbox) -> None:
    earlier = triggerer.start("one")
    for records in (triggerer.fake.xcoms, triggerer.fake.store, triggerer.fake.variables):
        records.clear()
    triggerer.start("one", try_number=2)
    assert len(box.runs()) == 2
    reports = triggerer.while_watched([earlier], triggerer.deadline)
    assert triggerer.open() == [False, False]
    assert len(reports) == 2


def test_stop_that_fails_over_a_connection_of_before_is_tried_over_that_of_now(
    triggerer: Triggerer, box: Sandbox
) -> None:
    trigger = triggerer.start("one")

    async def changed() -> list[Report]:
        target = trigger._target
        assert target is not None
        object.__setattr__(target.access.vendor, "headers", {"Authorization": "Basic b2xkOm9sZA=="})
        return await triggerer.deadline()

    reports = triggerer.while_watched([trigger], changed)
    assert triggerer.open() == [False]
    assert [report.error for report in reports] == [None]


def test_other_tasks_and_other_dag_runs_are_left_alone(triggerer: Triggerer, box: Sandbox) -> None:
    triggers = [triggerer.start("one"), triggerer.start("two")]
    triggerer.while_watched(triggers, lambda: triggerer.deadline(task_ids=frozenset({"two"})))
    assert triggerer.open() == [True, False]


def test_dry_run_stops_nothing(triggerer: Triggerer, box: Sandbox) -> None:
    trigger = triggerer.start("one")
    reports = triggerer.while_watched([trigger], lambda: triggerer.deadline(dry_run=True))
    assert triggerer.open() == [True]
    assert len(reports) == 1


def test_run_that_is_not_watched_any_more_is_forgotten(triggerer: Triggerer, box: Sandbox) -> None:
    trigger = triggerer.start("one")

    async def nothing() -> None: ...

    triggerer.while_watched([trigger], nothing)
    triggerer.fake.xcoms.clear()
    assert in_own_loop(triggerer.deadline()) == []
    assert triggerer.open() == [True]


def test_watcher_that_leaves_is_not_looked_for_among_all_others() -> None:
    """Else the ends of ten times as many runs take a hundred times as long."""

    class Watched:
        def __eq__(self, other: object) -> bool:
            raise AssertionError("compared")

    where = TaskKey("d", "r", "t")
    targets: list[Any] = [Watched() for _ in range(3)]
    first, second, third = (watched(where, target) for target in targets)
    for one in (first, second, third):
        one.__enter__()
    third.__exit__(None, None, None)
    assert [id(target) for _, target in watched_in("d", "r", None)] == [id(target) for target in targets[:2]]
    for one in (second, first):
        one.__exit__(None, None, None)
    assert watched_in("d", "r", None) == []
