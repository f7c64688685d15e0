"""What the unit tests share: an own home for Airflow, both HTTP clients, connections to the sandbox, a fake Airflow."""

import asyncio
import json
import os
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

# Before anything imports Airflow, which writes its configuration there.
_HOME = tempfile.TemporaryDirectory(prefix="runctl-unit-")
os.environ["AIRFLOW_HOME"] = _HOME.name
os.environ["AIRFLOW__CORE__LOAD_EXAMPLES"] = "False"

import pytest  # noqa: E402

from airflow_runctl.compat import IS_AIRFLOW_2  # noqa: E402
from airflow_runctl.hooks.base import Access, RunHook  # noqa: E402
from airflow_runctl.hooks.base import hook_class as hook_of  # noqa: E402
from airflow_runctl.sandbox.client import Sandbox  # noqa: E402
from airflow_runctl.transport.aio import close_session  # noqa: E402
from airflow_runctl.transport.retry import Patience  # noqa: E402
from airflow_runctl.vendors.base import Flow  # noqa: E402

if IS_AIRFLOW_2:
    from tests.fakes.airflow_2 import FakeAirflow, in_place
else:
    from tests.fakes.airflow_3 import FakeAirflow, in_place  # type: ignore[assignment]

LONGEST = ("test_property_of_runs.py", "test_wheel.py", "test_versions_parse.py")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Begin with what takes longest, and let a task that hangs be killed.

    At the end all other processes would wait for the longest. And an operator holds back SIGALRM, with which
    pytest-timeout ends a test otherwise.
    """
    items.sort(key=lambda item: item.path.name not in LONGEST)
    for item in items:
        if "fake" in getattr(item, "fixturenames", ()) and item.get_closest_marker("timeout") is None:
            item.add_marker(pytest.mark.timeout(item.config.getoption("timeout") or 180, method="thread"))


NETWORK_VARIABLES = (
    *("http_proxy", "https_proxy", "all_proxy", "no_proxy"),
    *("requests_ca_bundle", "curl_ca_bundle", "ssl_cert_file"),
)


@pytest.fixture(autouse=True)
def _plain_network(monkeypatch: pytest.MonkeyPatch) -> None:
    """Proxies and CA files of the machine must not come between a test and its sandbox."""
    for name in NETWORK_VARIABLES:
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.upper(), raising=False)


@pytest.fixture
def box(sandbox: Sandbox) -> Iterator[Sandbox]:
    """The sandbox, with nothing in it."""
    sandbox.reset()
    yield sandbox
    sandbox.reset()


# -- both HTTP clients -----------------------------------------------------------------------------------


@dataclass(frozen=True)
class Client:
    """One of the two HTTP clients that drive flows."""

    name: str

    def drive(
        self,
        access: Access,
        flow: Flow[Any],
        patience: Patience | None = None,
        heard: Callable[[object], None] = lambda what: None,
    ) -> Any:
        """Drive ``flow`` to its end; ``heard`` gets what it tells."""
        if self.name == "requests":
            return access.drive(flow, patience, listener=heard)

        async def hear(what: object) -> None:
            heard(what)

        async def go() -> Any:
            try:
                return await access.adrive(flow, patience, listener=hear)
            finally:
                await close_session()

        return asyncio.run(go())


@pytest.fixture(params=["requests", "aiohttp"])
def client(request: pytest.FixtureRequest) -> Client:
    return Client(request.param)


# -- connections -----------------------------------------------------------------------------------------


class Connections:
    """The sandbox's connections, as they are or with changes."""

    def __init__(self, sandbox: Sandbox) -> None:
        self.rows: dict[str, dict[str, Any]] = {
            name.removeprefix("AIRFLOW_CONN_").lower(): json.loads(text) for name, text in sandbox.connections.items()
        }

    def row(self, conn_id: str, extra: dict[str, Any] | None = None, **changes: Any) -> dict[str, Any]:
        """Return a connection in Airflow's JSON form; an ``extra`` of ``None`` is taken out."""
        row = {**self.rows[conn_id], **changes}
        merged = {**row.get("extra", {}), **(extra or {})}
        return {**row, "extra": {name: value for name, value in merged.items() if value is not None}}

    def access(self, conn_id: str, extra: dict[str, Any] | None = None, **changes: Any) -> Access:
        """Return what the connection gives access to."""
        from airflow.providers.common.compat.sdk import Connection

        row = self.row(conn_id, extra, **changes)
        hook: type[RunHook] = hook_of(row["conn_type"])
        fields = {**row, "extra": json.dumps(row["extra"])}
        conn = Connection(conn_id=conn_id, **fields)
        return hook.access_of(conn, conn.extra_dejson)


@pytest.fixture
def connections(box: Sandbox) -> Connections:
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
    with pytest.MonkeyPatch.context() as environment:
        # The task runner exports the context of each task.
        for name in (*CONTEXT_VARIABLES, *CONTEXT_VARIABLES_OF_2):
            environment.setenv(f"AIRFLOW_CTX_{name}", "")
        with in_place(FakeAirflow()) as airflow:
            airflow.connections = dict(connections.rows)
            yield airflow


@pytest.fixture
def brisk(monkeypatch: pytest.MonkeyPatch) -> None:
    """Look often: a test need not wait as long as a person's money can."""
    from airflow_runctl.control import stop, stop_dag_run
    from airflow_runctl.transport import retry
    from airflow_runctl.vendors.axiom import vendor as axiom
    from airflow_runctl.vendors.snaplogic import trigger

    monkeypatch.setattr(trigger, "ANSWER_WAIT", 0.02)
    monkeypatch.setattr(trigger, "LOOK_EVERY", 0.05)
    monkeypatch.setattr(axiom, "LOOK_EVERY", 0.1)
    monkeypatch.setattr(stop, "LOOK_EVERY", 0.05)
    monkeypatch.setattr(stop_dag_run, "LOOK_AGAIN", 0.1)
    monkeypatch.setattr(retry, "_backoff", lambda state: 0.05)
