"""A record may take a second of a stop's time: then the stop goes first, and the record follows."""

import asyncio
import threading
import time
from collections.abc import Callable
from datetime import timedelta
from types import SimpleNamespace
from typing import Any

import pytest

from airflow_runctl.compat import IS_AIRFLOW_2
from airflow_runctl.control.records import AUDIT_KEY
from airflow_runctl.notifications import StopRunsNotifier
from airflow_runctl.operators.snaplogic import SnapLogicTriggerTaskOperator
from airflow_runctl.sandbox.client import Sandbox
from airflow_runctl.transport.aio import close_session
from tests.fakes.airflow_3 import FakeAirflow
from tests.fakes.airflow_any import event_of

pytestmark = pytest.mark.usefixtures("brisk")

LIMIT = 1.0
LATEST = 1.0 + 0.6
"""Seconds: what a record may take, and what a machine that has much else to do may add."""


class Late:
    """An Airflow that answers no record of an intent before the run was told to stop, or never within ``seconds``."""

    def __init__(self, fake: FakeAirflow, box: Sandbox, seconds: float = 15.0) -> None:
        self.fake, self.box, self.seconds = fake, box, seconds
        self.asked_at: float | None = None
        self.stopped_after: float | None = None
        self.fails = False
        fake.on_message = self.hear

    def hear(self, message: Any) -> None:
        stop = message.value.get("stop") if is_audit(message) else None
        if not stop or stop["outcome"] is not None or self.asked_at is not None:
            return
        self.asked_at = time.monotonic()
        while time.monotonic() - self.asked_at < self.seconds:
            if self.box.requests(operation="stop"):
                self.stopped_after = time.monotonic() - self.asked_at
                break
            time.sleep(0.02)
        if self.fails:
            raise ConnectionError("the API server is away")


def is_audit(message: Any) -> bool:
    return type(message).__name__ == "SetXCom" and message.key == AUDIT_KEY and isinstance(message.value, dict)


@pytest.fixture
def late(fake: FakeAirflow, box: Sandbox, monkeypatch: pytest.MonkeyPatch) -> Late:
    box.behave("snaplogic", "early-hang", stop_seconds=0.02)
    made = Late(fake, box)
    if not IS_AIRFLOW_2:

        async def asend(message: Any) -> Any:
            return await asyncio.to_thread(fake.send, message)

        monkeypatch.setattr(fake, "asend", asend)
    return made


def operator(fake: FakeAirflow, **more: Any) -> Any:
    with fake.dag():
        return SnapLogicTriggerTaskOperator(
            task_id="start",
            task_path="projects/sales/early-hang",
            **{"poll_interval": 0.05, "stop_timeout": 5.0, **more},
        )


def on_the_worker(fake: FakeAirflow, box: Sandbox) -> str:
    attempt = fake.run(operator(fake, max_runtime=timedelta(seconds=LIMIT)))
    return attempt.said


def in_the_triggerer(fake: FakeAirflow, box: Sandbox) -> str:
    attempt = fake.run(operator(fake, deferrable=True, max_runtime=timedelta(seconds=LIMIT)))
    return str(event_of(fake, attempt))


def in_a_deadlines_callback(fake: FakeAirflow, box: Sandbox) -> str:
    fake.run(operator(fake, deferrable=True))
    context: Any = {"dag_run": {"dag_id": "harvest", "dag_run_id": "manual__1"}, "deadline": {"id": "d"}}

    async def call() -> str:
        try:
            return await StopRunsNotifier(stop_timeout=5.0, context=context).async_notify(context)
        finally:
            await close_session()

    return asyncio.run(call())


def in_a_workers_callback(fake: FakeAirflow, box: Sandbox) -> str:
    fake.run(operator(fake, deferrable=True))
    context: Any = {"dag_run": SimpleNamespace(dag_id="harvest", run_id="manual__1")}
    StopRunsNotifier(stop_timeout=5.0).notify(context)
    return ""


EVERYWHERE = pytest.mark.parametrize(
    "stop", [on_the_worker, in_the_triggerer, in_a_deadlines_callback, in_a_workers_callback]
)


@EVERYWHERE
@pytest.mark.parametrize("fails", [False, True], ids=["answers late", "does not answer"])
def test_stop_goes_first_where_airflow_does_not_answer_and_the_record_follows(
    late: Late, fake: FakeAirflow, box: Sandbox, stop: Callable[[FakeAirflow, Sandbox], str], fails: bool
) -> None:
    late.fails = fails
    stop(fake, box)
    assert [run["open"] for run in box.runs()] == [False]
    assert late.stopped_after is not None, "the stop waited for Airflow"
    assert 0.3 < late.stopped_after < LATEST
    assert fake.xcom("start", AUDIT_KEY)["stop"]["outcome"] == "stopped", "the later record is the last"


@EVERYWHERE
def test_intent_is_recorded_before_the_stop_where_airflow_answers(
    fake: FakeAirflow, box: Sandbox, stop: Callable[[FakeAirflow, Sandbox], str]
) -> None:
    box.behave("snaplogic", "early-hang", stop_seconds=0.02)
    recorded: list[tuple[Any, int]] = []

    def hear(message: Any) -> None:
        if is_audit(message) and message.value.get("stop"):
            recorded.append((message.value["stop"]["outcome"], len(box.requests(operation="stop"))))

    fake.on_message = hear
    stop(fake, box)
    assert recorded[0] == (None, 0)
    assert recorded[1] == ("stopped", 1)


def test_nothing_else_is_asked_of_airflow_while_a_record_is_under_way_on_the_worker(
    late: Late, fake: FakeAirflow, box: Sandbox
) -> None:
    """Its channel knows no two questions at once: one would get the other's answer."""
    under_way, most = 0, 0
    hear, lock = fake.on_message, threading.Lock()

    def count(message: Any) -> None:
        nonlocal under_way, most
        with lock:
            under_way += 1
            most = max(most, under_way)
        hear(message)
        with lock:
            under_way -= 1

    fake.on_message = count
    on_the_worker(fake, box)
    assert late.stopped_after is not None
    assert most == 1
