"""What the unit tests share: an own home for Airflow, both HTTP clients, connections to the sandbox, a fake Airflow.

The sandbox itself, and short waits, come from ``airflow_runctl/testing.py``.
"""

from __future__ import annotations

import gc
import os
import tempfile
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

# What is imported and collected stays to the end. To look through all of it for garbage, while it comes and again and
# again afterwards, took a sixth of all tests' time.
gc.disable()

# Before anything imports Airflow, which writes its configuration there.
_HOME = tempfile.TemporaryDirectory(prefix="runctl-unit-")
os.environ["AIRFLOW_HOME"] = _HOME.name
os.environ["AIRFLOW__CORE__LOAD_EXAMPLES"] = "False"
os.environ["HYPOTHESIS_NO_PLUGINS"] = "1"  # trio's takes half a second of each process

import pytest  # noqa: E402

from airflow_runctl.sandbox.client import Sandbox  # noqa: E402
from airflow_runctl.testing import without_proxies  # noqa: E402

if TYPE_CHECKING:
    from airflow_runctl.hooks.base import Access
    from tests.fakes.airflow_3 import FakeAirflow
    from tests.unit.clients import Client
    from tests.unit.connections import Connections

# What imports Airflow is imported where it is used: the process that only hands tests out can do without.

LONGEST = (
    "test_no_orphan_and_no_wrong_stop_whatever_happens",
    "test_runs_for_which_the_vendor_hangs_hold_up_and_hide_no_others",
    "test_process_that_has_just_begun_loads_nothing_between_its_first_look_and_a_stop",
)

TOGETHER = {
    "unit/plugin/test_command_line.py": "client",
    "unit/cli/": "client",
    "unit/operators/test_sweep.py": "client",
    "unit/plugin/": "application",
    "unit/test_odd_answers.py": "flows",
    "unit/package/test_versions_parse.py": "modules",
}
"""What one process runs, by where it is: the first that comes takes seconds of CPU to make what all of them share
(Airflow's client, its application, the flows of all vendors, a process that has loaded all modules)."""


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Begin with what takes longest, and let a task that hangs be killed.

    At the end all other processes would wait for the longest. And an operator holds back SIGALRM, with which
    pytest-timeout ends a test otherwise.
    """
    items.sort(key=lambda item: (_together(item.nodeid) is None, getattr(item, "originalname", "") not in LONGEST))
    for item in items:
        if "fake" in getattr(item, "fixturenames", ()) and item.get_closest_marker("timeout") is None:
            item.add_marker(pytest.mark.timeout(item.config.getoption("timeout") or 180, method="thread"))


def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> Any:
    """Hand tests out in the order above: all cases of a function at once, or all that is ``TOGETHER``.

    One by one, each would be a message, and the search for the next one would look through all before it.
    """
    from xdist.scheduler import LoadScopeScheduling

    class InLots(LoadScopeScheduling):
        def _split_scope(self, nodeid: str) -> str:
            function = nodeid.partition("[")[0]
            return _together(nodeid) or (nodeid if function.endswith(LONGEST) else function)

    config.option.loadscopereorder = False
    return InLots(config, log)


def _together(nodeid: str) -> str | None:
    return next((lot for place, lot in TOGETHER.items() if place in nodeid), None)


def pytest_collection_finish() -> None:
    gc.freeze()
    gc.enable()


@pytest.fixture(autouse=True, scope="session")
def _plain_network() -> Iterator[None]:
    """Proxies and CA files of the machine must not come between a test and its sandbox."""
    with pytest.MonkeyPatch.context() as environment:
        without_proxies(environment)
        yield


@pytest.fixture
def box(sandbox: Sandbox) -> Sandbox:
    """The sandbox, with nothing in it."""
    sandbox.reset()
    return sandbox


# -- both HTTP clients -----------------------------------------------------------------------------------


@pytest.fixture(params=["requests", "aiohttp"])
def client(request: pytest.FixtureRequest) -> Client:
    from tests.unit.clients import Client

    return Client(request.param)


# -- connections -----------------------------------------------------------------------------------------


@pytest.fixture
def connections(box: Sandbox) -> Connections:
    from tests.unit.connections import Connections

    return Connections(box)


@pytest.fixture
def snaplogic(connections: Connections) -> Access:
    return connections.access("snaplogic_default")


@pytest.fixture
def axiom(connections: Connections) -> Access:
    return connections.access("axiom_default")


# -- Airflow ---------------------------------------------------------------------------------------------

CONTEXT_VARIABLES = ("DAG_ID", "TASK_ID", "RUN_ID", "MAP_INDEX", "TRY_NUMBER", "LOGICAL_DATE", "DAG_OWNER")
CONTEXT_VARIABLES_OF_2 = ("DAG_RUN_ID", "EXECUTION_DATE", "DAG_EMAIL")


@pytest.fixture
def fake(connections: Connections, monkeypatch: pytest.MonkeyPatch) -> Iterator[FakeAirflow]:
    """An Airflow that knows the sandbox's connections."""
    from airflow_runctl.compat import IS_AIRFLOW_2

    if IS_AIRFLOW_2:
        from tests.fakes.airflow_2 import FakeAirflow, in_place
    else:
        from tests.fakes.airflow_3 import FakeAirflow, in_place  # type: ignore[assignment]

    with pytest.MonkeyPatch.context() as environment:
        # The task runner exports the context of each task.
        for name in (*CONTEXT_VARIABLES, *CONTEXT_VARIABLES_OF_2):
            environment.setenv(f"AIRFLOW_CTX_{name}", "")
        with in_place(FakeAirflow()) as airflow:
            airflow.connections = dict(connections.rows)
            yield airflow
