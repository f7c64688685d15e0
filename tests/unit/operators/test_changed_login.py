"""A credential that changes while a run is watched: the run is watched and stopped with the one that is right by now.

The vendor refuses what the watcher was begun with, and Airflow's connection has what it takes.
"""

import asyncio
from datetime import timedelta
from typing import Any

import pytest

from airflow_runctl.control.attempt import Attempt
from airflow_runctl.control.watch import Watched
from airflow_runctl.hooks.base import Access
from airflow_runctl.runs import StopOutcome, StopReason
from airflow_runctl.sandbox.client import Sandbox
from airflow_runctl.transport.aio import in_own_loop
from airflow_runctl.triggers.run import ExternalRunTrigger
from tests.unit.later import Later
from tests.unit.operators.tasks import Tasks

pytestmark = pytest.mark.usefixtures("brisk")


def outdate(access: Access) -> None:
    """Put another credential in the place of the one that the vendor takes."""
    object.__setattr__(access.vendor, "headers", {"Authorization": "Basic b2xkOm9sZA=="})


def deferred(tasks: Tasks, **more: Any) -> ExternalRunTrigger:
    attempt = tasks.fake.run(tasks.snaplogic(deferrable=True, **more))
    assert attempt.deferral is not None, attempt.said
    trigger: ExternalRunTrigger = tasks.fake.trigger_of(attempt.deferral, attempt)
    trigger.ride_out = 10.0
    return trigger


async def watched_with_the_old_one(trigger: ExternalRunTrigger, tasks: Tasks) -> "asyncio.Task[Watched]":
    """Begin to watch, and outdate the credential after the first look."""

    async def watch() -> Watched:
        async for event in trigger.run():
            return Watched.read(event.payload)
        raise AssertionError("no event")

    tasks.box.clear_requests()
    watching = asyncio.create_task(watch())
    while not await asyncio.to_thread(tasks.box.requests, operation="status"):
        await asyncio.sleep(0.02)
    assert trigger._target is not None
    outdate(trigger._target.access)
    return watching


def test_deferred_task_goes_on_watching(tasks: Tasks, box: Sandbox) -> None:
    trigger = deferred(tasks)

    async def go() -> Watched:
        watching = await watched_with_the_old_one(trigger, tasks)
        await asyncio.to_thread(box.set_run, box.runs()[0]["run_id"], "Completed")
        return await asyncio.wait_for(watching, 20)

    watched = in_own_loop(go())
    assert watched.status is not None
    assert watched.status.vendor_state == "Completed"


def test_limit_of_a_deferred_task_stops_its_run(tasks: Tasks, box: Sandbox) -> None:
    trigger = deferred(tasks, max_runtime=timedelta(seconds=1.5), poll_interval=30.0)

    async def go() -> Watched:
        return await asyncio.wait_for(await watched_with_the_old_one(trigger, tasks), 20)

    watched = in_own_loop(go())
    assert watched.limit is StopReason.MAX_RUNTIME
    assert watched.stop is not None
    assert watched.stop.outcome is StopOutcome.STOPPED
    assert box.open_runs() == []


def test_kill_of_a_deferred_task_stops_its_run(tasks: Tasks, box: Sandbox) -> None:
    trigger = deferred(tasks, poll_interval=30.0)

    async def go() -> None:
        watching = await watched_with_the_old_one(trigger, tasks)
        tasks.fake.states["start"] = "failed"
        await trigger.on_kill()
        watching.cancel()
        await asyncio.gather(watching, return_exceptions=True)

    in_own_loop(go())
    assert box.open_runs() == []
    assert box.runs()[0]["stop_requests"] == 1


@pytest.mark.parametrize("limit", [None, timedelta(seconds=1.5)], ids=["watch", "limit"])
def test_task_on_a_worker_goes_on_watching_and_keeps_its_limit(
    tasks: Tasks, box: Sandbox, limit: timedelta | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    attempts: list[Attempt] = []
    drive = Attempt.drive_renewing

    def noted(attempt: Attempt, *args: Any) -> Any:
        attempts.append(attempt)
        return drive(attempt, *args)

    monkeypatch.setattr(Attempt, "drive_renewing", noted)

    def go_on() -> None:
        outdate(attempts[0].access)
        if limit is None:
            box.set_run(box.runs()[0]["run_id"], "Completed")

    interval = 0.05 if limit is None else 30.0
    with Later(lambda: attempts and box.requests(operation="status"), go_on):
        attempt = tasks.run(lambda **more: tasks.snaplogic(max_runtime=limit, poll_interval=interval, **more))
    assert box.open_runs() == []
    if limit is None:
        assert attempt.state == "success", attempt.said
    else:
        assert "it was stopped (stopped" in attempt.said


def test_login_that_is_refused_over_the_same_connection_is_an_error_as_before(tasks: Tasks, box: Sandbox) -> None:
    tasks.fake.connections["snaplogic_default"]["password"] = "wrong-password"
    attempt = tasks.run(tasks.snaplogic)
    assert attempt.state == "failed"
    assert box.runs() == []
