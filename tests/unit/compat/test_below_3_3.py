"""Below Airflow 3.3 all that a trigger hears of a kill is that it is cancelled; it stops its run if Airflow agrees.

Airflow also cancels triggers that move to another triggerer, or whose triggerer ends: then nothing may be stopped.
"""

import asyncio
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from airflow_runctl.control import ownership
from airflow_runctl.control.watch import Watched
from airflow_runctl.sandbox.client import Sandbox, eventually
from airflow_runctl.triggers import run as module
from airflow_runctl.triggers.run import ExternalRunTrigger
from airflow_runctl.triggers.sensor import ExternalRunSensorTrigger
from tests.fakes.airflow_3 import FakeAirflow
from tests.unit.triggers.test_run import Deferred

pytestmark = pytest.mark.usefixtures("brisk", "deaf")

VENDORS = ["snaplogic", "axiom"]


@pytest.fixture
def deaf(monkeypatch: pytest.MonkeyPatch) -> None:
    """On 3.3 too, let Airflow call no ``on_kill``."""
    monkeypatch.setattr(module, "TRIGGERS_HEAR_OF_KILLS", False)


@pytest.fixture
def deferred(fake: FakeAirflow, box: Sandbox) -> Iterator[Deferred]:
    box.behave("snaplogic", "early-hang", stop_seconds=0.02)
    box.behave("axiom", "Hang", stop_seconds=0.02)
    yield Deferred(fake, box)
    assert box.seed not in fake.everything()


def looked(box: Sandbox) -> Callable[[], bool]:
    """Return what tells whether the trigger has looked at its run from now on."""
    before = len(box.requests(operation="status"))
    return lambda: len(box.requests(operation="status")) > before


def cancel(
    deferred: Deferred,
    trigger: ExternalRunTrigger,
    happens: Callable[[], object] = lambda: None,
    again_when: Callable[[], object] | None = None,
) -> None:
    """Let a trigger watch, let something happen, and cancel the trigger, as a triggerer does; see that it ends so.

    :param again_when: cancel it once more as soon as this holds.
    """

    async def main() -> None:
        watching = asyncio.create_task(anext(trigger.run()))  # type: ignore[arg-type]
        await asyncio.to_thread(eventually, looked(deferred.box))
        happens()
        watching.cancel("once")
        if again_when is not None:
            await asyncio.to_thread(eventually, again_when)
            assert not watching.done()
            watching.cancel("twice")
        with pytest.raises(asyncio.CancelledError, match="once" if again_when is None else "twice"):
            await watching
        while module._going_on:
            await asyncio.sleep(0.05)

    deferred.go(main)


def marks(deferred: Deferred, state: str | None) -> Callable[[], None]:
    """Return what a user does who marks the task so, or clears it."""

    def mark() -> None:
        deferred.fake.states["start"] = state

    return mark


@pytest.mark.parametrize("vendor", VENDORS)
@pytest.mark.parametrize("state", ["failed", "success", "skipped", None, "scheduled", "queued"])
def test_cancelled_trigger_stops_the_run_of_a_task_that_was_marked_or_cleared(
    deferred: Deferred, box: Sandbox, vendor: str, state: str | None
) -> None:
    cancel(deferred, deferred.start(vendor), marks(deferred, state))
    assert box.open_runs() == []
    stop = deferred.audit()["stop"]
    assert (stop["reason"], stop["by"], stop["outcome"]) == ("user", "triggerer", "stopped")
    assert deferred.handle() is None


def test_cancelled_trigger_stops_the_run_though_a_new_attempt_has_begun(deferred: Deferred, box: Sandbox) -> None:
    def clear() -> None:
        deferred.fake.xcoms.clear()
        deferred.fake.states["start"] = "running"

    cancel(deferred, deferred.start(), clear)
    assert box.open_runs() == []


def test_trigger_that_is_cancelled_before_it_has_looked_stops_the_run_too(deferred: Deferred, box: Sandbox) -> None:
    trigger = deferred.start()
    deferred.fake.states["start"] = "failed"

    async def main() -> None:
        row = deferred.fake.connections.pop("snaplogic_default")
        watching = asyncio.create_task(anext(trigger.run()))  # type: ignore[arg-type]
        await asyncio.sleep(0.3)
        deferred.fake.connections["snaplogic_default"] = row
        watching.cancel()
        with pytest.raises(asyncio.CancelledError):
            await watching

    deferred.go(main)
    assert box.requests(operation="stop") != []
    assert box.open_runs() == []


@pytest.mark.parametrize("state", ["deferred", "running"])
def test_cancelled_trigger_whose_task_still_follows_the_run_stops_nothing(
    deferred: Deferred, box: Sandbox, state: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The triggerer ends, or the trigger moves to another one: that one goes on with the run."""
    monkeypatch.setattr(ownership, "WIPE_SECONDS", 0.2)
    trigger = deferred.start()
    handle = deferred.handle()
    cancel(deferred, trigger, marks(deferred, state))
    assert deferred.only()["stop_requests"] == 0
    assert deferred.handle() == handle

    moved = ExternalRunTrigger(**trigger.serialize()[1])
    moved.task_instance = trigger.task_instance
    box.set_run(deferred.only()["run_id"], "Completed")
    assert Watched.read(deferred.event(moved)).status is not None


def test_cancelled_trigger_stops_nothing_if_airflow_cannot_be_asked(
    deferred: Deferred, box: Sandbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "ASK_OWNER_TRIES", 2)

    def mark_and_go_away() -> None:
        deferred.fake.states["start"] = "failed"
        deferred.fake.refuse("GetTaskStates")

    cancel(deferred, deferred.start(), mark_and_go_away)
    assert deferred.only()["stop_requests"] == 0
    assert "Airflow does not say who follows it" in deferred.logged("error")[0]


def test_cancelled_trigger_leaves_the_run_alone_if_told_so(deferred: Deferred, box: Sandbox) -> None:
    cancel(deferred, deferred.start(stop_on_kill=False), marks(deferred, "failed"))
    assert deferred.only()["stop_requests"] == 0


def test_second_cancel_does_not_cut_the_stop_off(deferred: Deferred, box: Sandbox) -> None:
    """A triggerer cancels again with each look at its list of triggers, about a second apart."""
    box.behave("snaplogic", "early-hang", stop_seconds=0.8)
    cancel(
        deferred,
        deferred.start(),
        marks(deferred, "failed"),
        again_when=lambda: box.requests(operation="stop"),
    )
    assert box.open_runs() == []
    assert deferred.audit()["stop"]["outcome"] == "stopped"
    assert deferred.handle() is None


def test_second_cancel_before_airflow_has_answered_does_not_cut_the_stop_off(deferred: Deferred, box: Sandbox) -> None:
    trigger = deferred.start()

    async def main() -> None:
        watching = asyncio.create_task(anext(trigger.run()))  # type: ignore[arg-type]
        await asyncio.to_thread(eventually, looked(box))
        deferred.fake.states["start"] = "failed"
        watching.cancel()
        while not module._going_on:
            await asyncio.sleep(0)
        watching.cancel()
        with pytest.raises(asyncio.CancelledError):
            await watching
        while module._going_on:
            await asyncio.sleep(0.05)

    deferred.go(main)
    assert box.open_runs() == []
    assert deferred.handle() is None


def test_cancelled_sensor_stops_nothing(deferred: Deferred, box: Sandbox) -> None:
    """It is not the owner of what it looks at."""
    trigger: Any = ExternalRunSensorTrigger(
        external_run=deferred.start().external_run, target_states=["succeeded"], poll_interval=0.05
    )
    cancel(deferred, trigger, marks(deferred, "failed"))
    assert deferred.only()["stop_requests"] == 0
    assert deferred.handle() is not None
