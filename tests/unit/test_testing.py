"""What ``airflow_runctl.testing`` offers does what it says, for every vendor."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import pytest

from airflow_runctl.hooks.base import hook_class
from airflow_runctl.runs import ExternalRun, RunState, StopOutcome
from airflow_runctl.sandbox.client import eventually
from airflow_runctl.testing import Vendors
from airflow_runctl.vendors.base import StartPlan
from airflow_runctl.vendors.bctrl.api import TaskStart
from airflow_runctl.vendors.snaplogic.trigger import TriggeredTask
from airflow_runctl.vendors.vectorshift.start import PipelineRun
from tests.unit.clients import Client
from tests.unit.driven import Driven

pytestmark = pytest.mark.usefixtures("brisk")


class Start(NamedTuple):
    """A run of something that the sandbox knows only from here.

    :param name: what it is a run of.
    :param plan: how the vendor starts it.
    """

    conn_id: str
    vendor: str
    name: str
    plan: Callable[[Any], StartPlan]


STARTS = [
    Start("snaplogic_default", "snaplogic", "early", lambda v: v.trigger(TriggeredTask("projects/sales/early"))),
    Start("axiom_default", "axiom", "Prices", lambda v: v.trigger("Prices")),
    Start("vectorshift_default", "vectorshift", "pl-prices", lambda v: v.run_pipeline(PipelineRun("pl-prices"))),
    Start("bctrl_browsers", "bctrl", "shopper", lambda v: v.run_task(TaskStart("shopper", "find the price"))),
]
each_vendor = pytest.mark.parametrize("start", STARTS, ids=lambda start: start.vendor)


def begun(vendors: Vendors, start: Start) -> tuple[Driven, ExternalRun]:
    """Start a run over a connection that Airflow finds by itself."""
    access = hook_class(start.vendor)(start.conn_id).access
    at = Driven(vendors.sandbox, access, Client("requests"))
    return at, at.carry_out(start.plan(access.vendor))


@each_vendor
def test_a_run_hangs_until_it_is_stopped(vendors: Vendors, start: Start) -> None:
    vendors.hangs(start.vendor, start.name)
    at, run = begun(vendors, start)
    assert [row["vendor"] for row in vendors.alive()] == [start.vendor]
    assert at.stop(run).outcome is StopOutcome.STOPPED
    assert vendors.alive() == []
    assert len(vendors.runs()) == 1


@each_vendor
@pytest.mark.parametrize(("how", "state"), [("lasts", RunState.SUCCEEDED), ("fails", RunState.FAILED)])
def test_a_run_ends_as_it_was_told(vendors: Vendors, start: Start, how: str, state: RunState) -> None:
    getattr(vendors, how)(start.vendor, start.name)
    at, run = begun(vendors, start)
    assert eventually(lambda: (status := at.status(run)).state.is_terminal and status).state is state
    assert vendors.alive() == []


@each_vendor
def test_a_stop_fails_as_often_as_was_said(vendors: Vendors, start: Start) -> None:
    vendors.hangs(start.vendor, start.name)
    vendors.stop_fails(start.vendor, times=1, status=500)
    at, run = begun(vendors, start)
    assert at.stop(run).outcome is StopOutcome.STOPPED
    assert [seen["status"] for seen in vendors.sandbox.requests(operation="stop")][:1] == [500]


@each_vendor
def test_a_stop_that_does_nothing_is_not_taken_for_one(vendors: Vendors, start: Start) -> None:
    vendors.hangs(start.vendor, start.name)
    vendors.stop_does_nothing(start.vendor, start.name)
    at, run = begun(vendors, start)
    assert at.stop(run, timeout=0.3).outcome is StopOutcome.REQUESTED
    assert len(vendors.alive(vendor=start.vendor)) == 1


def test_a_test_begins_with_nothing(vendors: Vendors) -> None:
    assert vendors.runs() == []
    assert vendors.sandbox.faults() == []
