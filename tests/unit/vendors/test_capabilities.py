"""Each cell of the table of capabilities in docs/reference/vendors.md, spoken over HTTP to the sandbox."""

from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from typing import Any

import pytest

from airflow_runctl.hooks.base import Access
from airflow_runctl.runs import ExternalRun, RunState
from airflow_runctl.vendors.base import Operation
from airflow_runctl.vendors.bctrl.api import RuntimeStart
from airflow_runctl.vendors.snaplogic.trigger import TriggeredTask
from airflow_runctl.vendors.vectorshift.start import PipelineRun
from tests.places import DOCS
from tests.unit.vendors.capabilities import VENDORS, table

CONNECTIONS = {
    "SnapLogic": "snaplogic_default",
    "axiom.ai": "axiom_default",
    "VectorShift": "vectorshift_default",
    "bctrl, api=workspaces": "bctrl_default",
    "bctrl, api=browsers": "bctrl_browsers",
}
WORKSPACE = "77aa0c1e-5b7d-4f5e-9d43-2f6c1b8a9e10"

PLANS: Mapping[str, Callable[[Any], Any]] = {
    "SnapLogic": lambda v: v.trigger(TriggeredTask("/Acme/projects/sales/early-hang")),
    "axiom.ai": lambda v: v.trigger("Hang"),
    "VectorShift": lambda v: v.run_pipeline(PipelineRun("pl-hang")),
    "bctrl, api=workspaces": lambda v: v.start_runtime(
        RuntimeStart(workspace_id=WORKSPACE, alias="shop", driver="playwright")
    ),
    "bctrl, api=browsers": lambda v: v.start_runtime(RuntimeStart(name="shop")),
}

LISTS: Mapping[str, Callable[[Any], Any]] = {
    "SnapLogic": lambda v: v.list_runs(state="Started"),
    "axiom.ai": lambda v: v.reports(5),
    "VectorShift": lambda v: v.list_runs("pl-hang"),
    "bctrl, api=workspaces": lambda v: v.list_runtimes(WORKSPACE),
    "bctrl, api=browsers": lambda v: v.list_browsers(),
}


class Subject:
    """One vendor, and a run of it that hangs."""

    def __init__(self, name: str, access: Access, client: Any, box: Any) -> None:
        self.name, self.access, self.client, self.box = name, access, client, box
        self.vendor: Any = access.vendor

    def drive(self, flow: Any) -> Any:
        return self.client.drive(self.access, flow)

    def start(self) -> ExternalRun:
        plan = PLANS[self.name](self.vendor)
        started = self.drive(plan.start(self.drive(plan.prepare())))
        now = datetime.now(UTC)
        return ExternalRun(self.vendor.name, self.access.conn_id, started.run_id, None, now, started.ids)

    def eventually(self, done: Callable[[], bool]) -> None:
        from airflow_runctl.sandbox.client import eventually

        eventually(done, 20)


def check_start(subject: Subject) -> None:
    subject.start()
    assert len(subject.box.open_runs(vendor=subject.vendor.name)) == 1


def check_watch(subject: Subject) -> None:
    run = subject.start()
    subject.eventually(lambda: subject.drive(subject.vendor.status(run)).state is RunState.RUNNING)


def check_stop(subject: Subject) -> None:
    subject.drive(subject.vendor.ask_stop(subject.start()))
    subject.eventually(lambda: not subject.box.open_runs(vendor=subject.vendor.name))


def check_pause(subject: Subject) -> None:
    subject.drive(subject.vendor.ask_pause(subject.start()))
    (seen,) = subject.box.runs(vendor=subject.vendor.name)
    assert "pause asked" in [entry["event"] for entry in seen["history"]]


def check_resume(subject: Subject) -> None:
    run = subject.start()
    if subject.name == "bctrl, api=browsers":
        subject.drive(subject.vendor.ask_stop(run))
        subject.eventually(lambda: not subject.box.open_runs(vendor="bctrl"))
        subject.drive(subject.vendor.ask_resume(run))
        assert len(subject.box.open_runs(vendor="bctrl")) == 1
        return
    (seen,) = subject.box.runs(vendor=subject.vendor.name)
    subject.box.set_run(seen["run_id"], state={"SnapLogic": "Suspended", "VectorShift": "paused"}[subject.name])
    subject.drive(subject.vendor.ask_resume(run))
    (seen,) = subject.box.runs(vendor=subject.vendor.name)
    assert seen["resume_requests"] == 1


def check_list(subject: Subject) -> None:
    subject.start()
    subject.eventually(lambda: bool(subject.drive(LISTS[subject.name](subject.vendor))))


def check_test(subject: Subject) -> None:
    assert "Reached" in subject.drive(subject.vendor.test())


CHECKS: Mapping[Operation, Callable[[Subject], None]] = {
    Operation.START: check_start,
    Operation.WATCH: check_watch,
    Operation.STOP: check_stop,
    Operation.PAUSE: check_pause,
    Operation.RESUME: check_resume,
    Operation.LIST: check_list,
    Operation.TEST: check_test,
}


@pytest.fixture
def subject(request, connections, client, box) -> Subject:
    return Subject(request.param, connections.access(CONNECTIONS[request.param]), client, box)


CELLS = [
    (name, operation) for name, vendor in VENDORS.items() for operation in Operation if operation in vendor.operations
]
BLANKS = [(name, op) for name in VENDORS for op in (Operation.PAUSE, Operation.RESUME) if (name, op) not in CELLS]


@pytest.mark.parametrize(("subject", "operation"), CELLS, indirect=["subject"])
def test_a_capability_works(subject: Subject, operation: Operation) -> None:
    CHECKS[operation](subject)


@pytest.mark.parametrize(("subject", "operation"), BLANKS, indirect=["subject"])
def test_what_a_vendor_cannot_do_says_so(subject: Subject, operation: Operation) -> None:
    run = subject.start()
    ask = subject.vendor.ask_pause if operation is Operation.PAUSE else subject.vendor.ask_resume
    with pytest.raises(NotImplementedError, match=f"cannot {operation.value} a run"):
        subject.drive(ask(run))


def test_the_page_of_vendors_shows_the_table_as_the_code_has_it() -> None:
    page = (DOCS / "reference" / "vendors.md").read_text()
    assert table() in page, "run docs/reference_tables.py"
