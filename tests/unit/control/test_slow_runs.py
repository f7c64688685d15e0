"""``warn_after`` reports a run that takes long, and leaves it alone; ``max_runtime`` stops it later."""

import asyncio
import contextlib
import threading
import time
from collections.abc import Iterator
from datetime import timedelta
from functools import partial
from types import SimpleNamespace
from typing import Any

import pytest

from airflow_runctl.control import slow_runs, watch
from airflow_runctl.operators.axiom import AxiomTriggerRunOperator
from airflow_runctl.runs import TaskKey
from airflow_runctl.sandbox.client import Sandbox, eventually
from airflow_runctl.transport.aio import close_session
from tests.fakes.airflow_3 import FakeAirflow
from tests.fakes.airflow_any import Attempt
from tests.unit.control import slow_callbacks
from tests.unit.control.slow_callbacks import HEARD, AsyncTeller, Teller, fail, tell, tell_async

pytestmark = pytest.mark.usefixtures("brisk")

MODES = ["worker", "deferred"]
SOON = timedelta(seconds=0.3)
LATER = timedelta(hours=1)


@pytest.fixture(autouse=True)
def _nothing_heard() -> Iterator[None]:
    HEARD.clear()
    yield
    HEARD.clear()


@pytest.fixture
def counted(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, TaskKey]]:
    found: list[tuple[str, TaskKey]] = []
    monkeypatch.setattr(slow_runs.audit, "slow", lambda vendor, where: found.append((vendor, where)))
    return found


@pytest.fixture
def an_hour_passes_when_heard(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever watches the run finds an hour gone once its slowness was reported, however long that takes."""
    hour = LATER.total_seconds()
    monkeypatch.setattr(watch, "time", SimpleNamespace(time=lambda: time.time() + (hour if HEARD else 0.0)))


@pytest.fixture
def ends_when_heard(box: Sandbox) -> Iterator[None]:
    """A run that ends well once its slowness was reported, however long that takes."""
    box.behave("axiom", "Hang", run_seconds=None)

    def end() -> None:
        with contextlib.suppress(TimeoutError):
            eventually(lambda: HEARD, 30)
        box.set_run(box.runs()[0]["run_id"], "Success")

    thread = threading.Thread(target=end)
    thread.start()
    yield
    thread.join()


def run(fake: FakeAirflow, mode: str, **more: Any) -> Attempt:
    """Run a task to its end; the log of a trigger is that of its task."""

    def made() -> AxiomTriggerRunOperator:
        with fake.dag():
            return AxiomTriggerRunOperator(
                task_id="start", name="Hang", poll_interval=0.05, deferrable=mode == "deferred", **more
            )

    attempt = fake.run(made())
    if attempt.deferral is None:
        return attempt

    async def event() -> Any:
        try:
            came = (await anext(fake.trigger_of(attempt.deferral, attempt).run())).payload
            wanted = more.get("warn_callback") is not None
            async with asyncio.timeout(30):
                while wanted and not HEARD:
                    await asyncio.sleep(0.01)
            return came
        finally:
            await close_session()

    return fake.run(made(), deferral=attempt.deferral, event=asyncio.run(event()))


@pytest.mark.usefixtures("ends_when_heard")
@pytest.mark.parametrize("mode", MODES)
def test_a_slow_run_is_reported_once_and_left_alone(
    fake: FakeAirflow, box: Sandbox, counted: list[Any], mode: str, caplog: pytest.LogCaptureFixture
) -> None:
    attempt = run(fake, mode, warn_after=SOON, warn_callback=tell)

    assert attempt.state == "success", attempt.said
    (made,) = box.runs()
    assert made["stop_requests"] == 0
    ((channel, context),) = HEARD
    assert channel == "ops"
    assert (context["dag_id"], context["run_id"], context["task_id"]) == (fake.dag_id, fake.run_id, "start")
    assert context["dag_run"]["dag_id"] == fake.dag_id
    assert context["external_run"]["vendor"] == "axiom"
    assert context["seconds"] >= SOON.total_seconds()
    assert "token" not in str(context)
    assert box.seed not in str(context)
    assert counted == [("axiom", TaskKey(fake.dag_id, fake.run_id, "start"))]


@pytest.mark.usefixtures("an_hour_passes_when_heard")
@pytest.mark.parametrize("mode", MODES)
def test_warn_after_and_max_runtime_are_two_arguments(fake: FakeAirflow, box: Sandbox, mode: str) -> None:
    box.behave("axiom", "Hang", stop_seconds=0.02)

    attempt = run(fake, mode, warn_after=SOON, max_runtime=LATER, warn_callback=tell)

    assert "took longer than max_runtime; it was stopped" in attempt.said
    assert [channel for channel, _ in HEARD] == ["ops"]
    assert [made["open"] for made in box.runs()] == [False]


@pytest.mark.parametrize("mode", MODES)
def test_a_run_that_ends_in_time_is_not_reported(
    fake: FakeAirflow, box: Sandbox, counted: list[Any], mode: str
) -> None:
    box.behave("axiom", "Hang", run_seconds=0.1, end="Success")

    assert run(fake, mode, warn_after=timedelta(hours=1)).state == "success"

    assert counted == []


@pytest.mark.usefixtures("ends_when_heard")
@pytest.mark.parametrize("mode", MODES)
def test_a_callback_that_fails_changes_nothing_of_how_the_task_ends(
    fake: FakeAirflow, mode: str, caplog: pytest.LogCaptureFixture
) -> None:
    assert run(fake, mode, warn_after=SOON, warn_callback=fail).state == "success"

    assert [channel for channel, _ in HEARD] == ["fail"]
    assert eventually(lambda: "The callback tests.unit.control.slow_callbacks.fail of a slow run failed" in caplog.text)


@pytest.mark.usefixtures("an_hour_passes_when_heard")
def test_a_callback_that_hangs_does_not_keep_a_worker_from_the_limit(
    fake: FakeAirflow, box: Sandbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    release = asyncio.Event()
    monkeypatch.setattr(slow_runs, "CALLBACK_SECONDS", 0.1)

    async def hang(context: dict[str, Any]) -> None:
        HEARD.append(("hangs", context))
        await release.wait()

    hang.__module__, hang.__qualname__ = slow_callbacks.__name__, "hang"
    monkeypatch.setattr(slow_callbacks, "hang", hang, raising=False)

    attempt = run(fake, "worker", warn_after=SOON, max_runtime=LATER, warn_callback=hang)

    assert "took longer than max_runtime; it was stopped" in attempt.said
    assert [channel for channel, _ in HEARD] == ["hangs"]


@pytest.mark.usefixtures("ends_when_heard")
@pytest.mark.parametrize(
    ("given", "heard"),
    [
        (tell, "ops"),
        ("tests.unit.control.slow_callbacks.tell", "ops"),
        (partial(tell, channel="night"), "night"),
        (tell_async, "async"),
        (partial(Teller, text="{{ task_id }} of {{ dag_run.dag_id }} is slow"), "start of harvest is slow"),
        (partial(AsyncTeller, text="{{ task_id }} is slow"), "start is slow"),
    ],
    ids=["function", "path", "partial", "coroutine", "notifier", "async notifier"],
)
def test_what_a_callback_can_be(fake: FakeAirflow, given: Any, heard: str) -> None:
    assert run(fake, "deferred", warn_after=SOON, warn_callback=given).state == "success"

    assert [said for said, _ in HEARD] == [heard]


@pytest.mark.parametrize(
    ("more", "said"),
    [
        ({"warn_after": 60}, "warn_after is 60 (int); give a timedelta above zero"),
        ({"warn_after": SOON, "wait_for_completion": False}, "warn_after needs wait_for_completion=True"),
        ({"warn_callback": tell}, "warn_callback goes with warn_after"),
        ({"warn_after": LATER, "max_runtime": SOON}, "is not below max_runtime"),
        ({"warn_after": SOON, "warn_callback": lambda context: None}, "cannot be imported by the triggerer"),
        ({"warn_after": SOON, "warn_callback": Teller(text="x")}, "cannot be imported by the triggerer"),
        ({"warn_after": SOON, "warn_callback": "no.such.module"}, "cannot be called from another process"),
        (
            {"warn_after": SOON, "warn_callback": "tests.unit.control.slow_callbacks.HEARD"},
            "is nothing that can be called",
        ),
        ({"warn_after": SOON, "warn_callback": partial(tell, channel=object())}, "cannot be called from another"),
    ],
)
def test_a_warning_that_makes_no_sense_is_refused_when_the_dag_is_parsed(more: dict[str, Any], said: str) -> None:
    with pytest.raises(ValueError, match="AxiomTriggerRunOperator 't'") as seen:
        AxiomTriggerRunOperator(task_id="t", name="x", **more)
    assert said in str(seen.value)
