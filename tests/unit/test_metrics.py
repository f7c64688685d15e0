"""What is counted reaches Airflow's metrics, and whatever goes wrong there is not the run's business."""

import asyncio
import logging
import os
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack
from typing import Any

import pytest

from airflow_runctl import metrics
from airflow_runctl.compat import IS_AIRFLOW_2
from airflow_runctl.exceptions import (
    BadAnswer,
    CannotStop,
    LoginRefused,
    NotFound,
    NotItsTurn,
    RateLimited,
    RunctlError,
    RunFailed,
    StartRefused,
    StartUncertain,
    TransportError,
    VendorError,
)
from airflow_runctl.metrics import POLLS, RUNS_ENDED, SLOW_RUNS, STOP_DURATION, STOPS, Kind
from airflow_runctl.runs import RunState, StopOutcome, StopReason, TaskKey
from tests.servers.statsd import FLAVOURS, SIDES, Statsd, statsd_of

KEY = TaskKey("harvest", "manual__2026", "group.load", 3)


@pytest.fixture
def within(monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    with ExitStack() as stack:
        yield lambda *args: stack.enter_context(statsd_of(monkeypatch, *args))


@pytest.fixture
def statsd(within: Any) -> Statsd:
    server: Statsd = within()
    return server


TAGGED = {
    "plain": [
        "runctl.stops.axiom.deadline.stopped:1|c",
        "runctl.polls.axiom:2|c",
        "runctl.stop_duration.axiom.deadline:1500.000000|ms",
    ],
    "influxdb": [
        "runctl.stops,vendor=axiom,reason=deadline,outcome=stopped,dag_id=harvest,task_id=group.load:1|c",
        "runctl.polls,vendor=axiom:2|c",
        "runctl.stop_duration,vendor=axiom,reason=deadline:1500.000000|ms",
    ],
    "datadog": [
        "runctl.stops:1|c|#vendor:axiom,reason:deadline,outcome:stopped,dag_id:harvest,task_id:group.load",
        "runctl.polls:2|c|#vendor:axiom",
        # Airflow 2.11 sends seconds to Datadog, unless [metrics] timer_unit_consistency is set.
        f"runctl.stop_duration:{'1.5' if IS_AIRFLOW_2 else '1500.0'}|ms|#vendor:axiom,reason:deadline",
    ],
}


@pytest.mark.parametrize("side", SIDES)
@pytest.mark.parametrize("flavour", FLAVOURS)
def test_what_is_counted_arrives_at_a_statsd_server(within: Any, flavour: str, side: str) -> None:
    statsd = within(flavour, side)

    metrics.count_poll("axiom")
    metrics.count_poll("axiom")
    metrics.count(STOPS, KEY, vendor="axiom", reason="deadline", outcome="stopped")
    metrics.took(STOP_DURATION, 1.5, KEY, vendor="axiom", reason="deadline")

    assert sorted(statsd.lines()) == sorted(TAGGED[flavour])


def test_nothing_is_kept_where_airflow_sends_no_metrics() -> None:
    metrics.forget()
    before = threading.active_count()
    metrics.count(STOPS, KEY, vendor="axiom", reason="deadline", outcome="stopped")
    metrics.count_poll("axiom")
    metrics.hand_on(10)
    assert threading.active_count() == before
    assert len(metrics._sender().polls) == 0


def test_each_kind_of_a_tag_has_few_values() -> None:
    """Whatever is in the table is either one of our words or the Dag's and the task's name."""
    known = {"vendor", "reason", "outcome", "state", "kind"}
    assert {tag for metric in metrics.METRICS for tag in metric.tags} == known
    assert len({metric.name for metric in metrics.METRICS}) == len(metrics.METRICS)
    assert all(metric.name.startswith("runctl.") for metric in metrics.METRICS)


@pytest.mark.parametrize("metric", metrics.METRICS, ids=lambda metric: metric.name)
@pytest.mark.parametrize("has_tags", [True, False])
def test_no_name_is_longer_than_airflow_takes_however_long_the_ids(metric: metrics.Metric, has_tags: bool) -> None:
    longest = {
        "vendor": "acme_runs_of_the_east",
        "reason": max(StopReason, key=len).value,
        "outcome": max([*StopOutcome, metrics.CONFIRMED_LATE], key=len),
        "state": max(RunState, key=len).value,
        "kind": max([said for said, _ in metrics.ERROR_KINDS.values()], key=len),
    }
    given = {tag: longest[tag] for tag in metric.tags}
    where = TaskKey("d" * 250, "manual__1", "t" * 250)

    name, tags = metrics.addressed(metric, where, given, has_tags=has_tags)

    assert len(name + "".join(f",{tag}={value}" for tag, value in (tags or {}).items())) < 250
    assert tags is None or tuple(tags) == metric.all_tags
    assert all(tags[tag] == value for tag, value in given.items()) if tags else given["vendor"] in name


def test_ids_in_other_scripts_arrive_all_the_same(statsd: Statsd) -> None:
    where = TaskKey("ernte,täglich", "manual__1", "lade=alle")
    metrics.count(SLOW_RUNS, where, vendor="acme.runs")
    assert statsd.lines() == ["runctl.slow_runs,vendor=acme.runs,dag_id=ernte_t_glich,task_id=lade_alle:1|c"]


def test_a_point_in_a_value_is_no_new_part_of_a_name(within: Any) -> None:
    statsd = within("plain")
    metrics.count(RUNS_ENDED, KEY, vendor="acme.runs", state="failed")
    assert statsd.lines() == ["runctl.runs_ended.acme_runs.failed:1|c"]


def test_a_run_without_a_task_has_the_same_tags(statsd: Statsd) -> None:
    metrics.count(SLOW_RUNS, None, vendor="axiom")
    assert statsd.lines() == ["runctl.slow_runs,vendor=axiom,dag_id=-,task_id=-:1|c"]


@pytest.mark.usefixtures("statsd")
def test_an_airflow_that_hangs_as_it_counts_holds_nobody_up(monkeypatch: pytest.MonkeyPatch) -> None:
    """Neither who counts, nor for more than its time who waits at the end; nor an event loop."""
    hangs, counting = threading.Event(), threading.Event()

    def hang(*_: Any) -> None:
        counting.set()
        hangs.wait(30)

    monkeypatch.setattr(metrics, "add_to_counter", hang)
    metrics.count(SLOW_RUNS, KEY, vendor="axiom")
    assert counting.wait(10)

    async def loop_goes_on() -> int:
        for _ in range(1000):
            metrics.count(SLOW_RUNS, KEY, vendor="axiom")
            metrics.count_poll("axiom")
            await asyncio.sleep(0)
        return 1000

    assert asyncio.run(loop_goes_on()) == 1000
    began = time.monotonic()
    metrics.hand_on(0.05)
    assert time.monotonic() - began < 20
    assert not hangs.is_set(), "it still hangs"
    hangs.set()


def test_an_airflow_that_cannot_count_is_said_once(
    statsd: Statsd, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def fail(*_: Any) -> None:
        raise OSError("no route")

    with monkeypatch.context() as broken:
        broken.setattr(metrics, "add_to_counter", fail)
        with caplog.at_level(logging.WARNING):
            for _ in range(3):
                metrics.count(SLOW_RUNS, KEY, vendor="axiom")
            metrics.hand_on(10)
    assert caplog.text.count("Could not count runctl.slow_runs") == 1

    metrics.count(SLOW_RUNS, KEY, vendor="axiom")
    assert len(statsd.lines()) == 1, "and it goes on"


def test_settings_without_sense_are_no_end_of_a_task(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setenv("AIRFLOW__METRICS__STATSD_ON", "perhaps")
    metrics.forget()
    try:
        metrics.count(SLOW_RUNS, KEY, vendor="axiom")
        assert "Nothing is counted" in caplog.text
    finally:
        metrics.forget()


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork here")
@pytest.mark.filterwarnings("ignore:This process")
def test_a_forked_process_counts_too(statsd: Statsd) -> None:
    """As Airflow's workers, triggerers and Dag processors are; the thread of the parent is not in it."""
    metrics.count(SLOW_RUNS, KEY, vendor="axiom")
    metrics.hand_on(10)
    child = os.fork()
    if child == 0:
        try:
            metrics.count(SLOW_RUNS, KEY, vendor="snaplogic")
            metrics.hand_on(10)
        finally:
            os._exit(0)
    os.waitpid(child, 0)
    assert [line.split(",")[1] for line in statsd.lines()] == ["vendor=axiom", "vendor=snaplogic"]


KINDS: list[tuple[Exception, str | None]] = [
    (LoginRefused("x", status=401), "login_refused"),
    (NotFound("x", status=404), "not_found"),
    (RateLimited("x", status=429), "rate_limited"),
    (StartRefused("x", status=400), "start_refused"),
    (StartUncertain("x"), "start_uncertain"),
    (VendorError("x", status=409), "refused"),
    (VendorError("x", status=503), "server_error"),
    (BadAnswer("x"), "bad_answer"),
    (TransportError("x", sent=True), "no_answer"),
    (NotItsTurn(), None),
    (CannotStop("x"), None),
    (RunFailed("x"), None),
    (RunctlError("x"), None),
    (ValueError("x"), None),
]


@pytest.mark.parametrize(("error", "kind"), KINDS, ids=lambda value: type(value).__name__ if value else None)
def test_an_error_of_a_vendor_is_counted_by_its_kind(error: Exception, kind: str | None) -> None:
    assert metrics.kind_of(error) == kind


def test_an_error_that_is_raised_on_is_counted_once(statsd: Statsd) -> None:
    error = NotFound("x", status=404)
    metrics.count_error("axiom", error)
    metrics.count_error("axiom", error)
    metrics.count_error("axiom", NotFound("x", status=404))
    assert statsd.lines() == ["runctl.vendor_errors,vendor=axiom,kind=not_found:1|c"] * 2


def test_timers_take_no_time_that_was_not() -> None:
    """The clocks of two machines may differ by more than a stop takes."""
    assert STOP_DURATION.kind is Kind.TIMER
    noted: list[Any] = []
    sender = type("Sender", (), {"put": staticmethod(noted.append)})
    metrics._current, before = sender, metrics._current  # type: ignore[assignment]
    try:
        metrics.took(STOP_DURATION, -3.0, vendor="axiom", reason="deadline")
    finally:
        metrics._current = before
    assert [note.amount for note in noted] == [0.0]


def test_polls_are_added_up(statsd: Statsd) -> None:
    assert POLLS.all_tags == ("vendor",), "one datagram for all looks of a vendor"
    for vendor in ("axiom", "axiom", "snaplogic", "axiom"):
        metrics.count_poll(vendor)
    assert sorted(statsd.lines()) == ["runctl.polls,vendor=axiom:3|c", "runctl.polls,vendor=snaplogic:1|c"]
