"""Pytest fixtures for testing Dags that start runs: the vendors' stand-ins, and trouble on request.

In the ``conftest.py`` at the root of the tests::

    pytest_plugins = ["airflow_runctl.testing"]

The project tests itself with them. Importing this module imports neither Airflow nor an HTTP library. A Dag's test:
docs/how-to/testing.md.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any, Final

import pytest

from airflow_runctl.sandbox.client import Sandbox

SETTLING_TIME: Final = "0.2"
"""Seconds for which a run that was found in SnapLogic's list has to stay the only one; the sandbox lists at once."""

FAILED: Final = {"snaplogic": "Failed", "axiom": "Failure", "vectorshift": "failed", "bctrl": "failed"}
"""Each vendor's word for a run that failed."""

NETWORK_VARIABLES: Final = (
    *("http_proxy", "https_proxy", "all_proxy", "no_proxy"),
    *("requests_ca_bundle", "curl_ca_bundle", "ssl_cert_file"),
)

Row = dict[str, Any]


class Vendors:
    """The four vendors' stand-ins, as one test sees them.

    A run is named by what it is a run of: the name or path of a SnapLogic task, the name of an axiom.ai automation,
    the id of a VectorShift pipeline, a bctrl alias, browser name or agent. What is said of it here holds for runs that
    are started afterwards, by whoever starts them.

    :param sandbox: the stand-ins' process; for all that is not said here.
    """

    def __init__(self, sandbox: Sandbox) -> None:
        self.sandbox = sandbox
        self.connections = connection_rows(sandbox)
        """Connection id to the connection in Airflow's JSON form, credentials of the stand-ins included."""

    def hangs(self, vendor: str, name: str) -> None:
        """Let runs of ``name`` never end by themselves.

        :param vendor: ``snaplogic``, ``axiom``, ``vectorshift`` or ``bctrl``.
        :param name: what they are runs of.
        """
        self.sandbox.behave(vendor, name, run_seconds=None)

    def lasts(self, vendor: str, name: str, seconds: float = 0.0, result: Any = None) -> None:
        """Let runs of ``name`` end well.

        :param vendor: ``snaplogic``, ``axiom``, ``vectorshift`` or ``bctrl``.
        :param name: what they are runs of.
        :param seconds: from the start to the end; 0 by default. A bctrl runtime or browser never ends well by itself.
        :param result: what the run gives back, where the vendor has such a thing; anything that JSON knows.
        """
        self.sandbox.behave(vendor, name, run_seconds=seconds, result=result)

    def fails(self, vendor: str, name: str, message: str | None = None, seconds: float = 0.0) -> None:
        """Let runs of ``name`` fail.

        :param vendor: ``snaplogic``, ``axiom``, ``vectorshift`` or ``bctrl``.
        :param name: what they are runs of.
        :param message: the vendor's reason; none by default.
        :param seconds: from the start to the end; 0 by default.
        """
        self.sandbox.behave(vendor, name, run_seconds=seconds, end=FAILED[vendor], message=message)

    def stop_fails(self, vendor: str, times: int | None = None, status: int = 503) -> None:
        """Let the vendor refuse to stop runs; they go on.

        :param vendor: ``snaplogic``, ``axiom``, ``vectorshift`` or ``bctrl``.
        :param times: how many requests to stop are refused; all by default.
        :param status: HTTP status of the refusal; 503 by default.
        """
        self.sandbox.fault(vendor, "stop", "status", status=status, count=times)

    def stop_does_nothing(self, vendor: str, name: str) -> None:
        """Let the vendor accept a stop of runs of ``name`` that never comes to anything.

        :param vendor: ``snaplogic``, ``axiom``, ``vectorshift`` or ``bctrl``.
        :param name: what they are runs of.
        """
        self.sandbox.behave(vendor, name, stop_seconds=None)

    def runs(self, **filters: str | int) -> list[Row]:
        """Return every run that was started, oldest first: ``vendor``, ``name``, ``state``, ``open``, ``history`` ...

        :param filters: ``vendor``, ``name``, ``state``, ``run_id``, ``open`` (1 or 0).
        """
        return self.sandbox.runs(**filters)

    def alive(self, **filters: str | int) -> list[Row]:
        """Return the runs that are not over.

        :param filters: as for :meth:`runs`.
        """
        return self.sandbox.open_runs(**filters)


def connection_rows(sandbox: Sandbox) -> dict[str, Row]:
    """Return the connections that lead to a sandbox, such that no time is lost.

    :param sandbox: the stand-ins' process.
    :return: connection id to the connection in Airflow's JSON form.
    """
    rows = {name.removeprefix("AIRFLOW_CONN_").lower(): json.loads(text) for name, text in sandbox.connections.items()}
    for row in rows.values():
        if row["conn_type"] == "snaplogic":
            row["extra"]["settling_time"] = SETTLING_TIME
    return rows


def without_proxies(environment: pytest.MonkeyPatch) -> None:
    """Take proxies and CA files of the machine out of the way to the sandbox.

    :param environment: where they come back from afterwards.
    """
    for name in NETWORK_VARIABLES:
        environment.delenv(name, raising=False)
        environment.delenv(name.upper(), raising=False)


@pytest.fixture(scope="session")
def sandbox() -> Iterator[Sandbox]:
    """The four vendors' stand-ins: a process on a port of its own, for the whole session."""
    with Sandbox.spawn() as spawned:
        yield spawned


@pytest.fixture
def vendors(sandbox: Sandbox, monkeypatch: pytest.MonkeyPatch) -> Vendors:
    """The stand-ins with nothing in them, reached by the default connections for as long as the test takes.

    ``snaplogic_default``, ``axiom_default``, ``vectorshift_default`` and ``bctrl_default``; ``snaplogic_jwt`` and
    ``bctrl_browsers`` besides. They stand in the environment, which goes before the connections of Airflow's database.
    """
    sandbox.reset()
    found = Vendors(sandbox)
    without_proxies(monkeypatch)
    for name, row in found.connections.items():
        monkeypatch.setenv(f"AIRFLOW_CONN_{name.upper()}", json.dumps(row))
    return found


@pytest.fixture
def brisk(monkeypatch: pytest.MonkeyPatch) -> None:
    """Look often: a test need not wait as long as a person's money can.

    The pauses of this package between two looks, and before what failed is tried again, in the process of the test.
    """
    from airflow_runctl.control import identity, siblings, stop, stop_dag_run
    from airflow_runctl.transport import retry
    from airflow_runctl.vendors.axiom import vendor as axiom
    from airflow_runctl.vendors.snaplogic import trigger

    monkeypatch.setattr(trigger, "ANSWER_WAIT", 0.02)
    monkeypatch.setattr(trigger, "LOOK_EVERY", 0.1)
    monkeypatch.setattr(axiom, "LOOK_EVERY", 0.1)
    monkeypatch.setattr(trigger, "AMBIGUOUS_WAIT", 1.0)
    monkeypatch.setattr(stop, "LOOK_EVERY", 0.05)
    monkeypatch.setattr(identity, "LOOK_AGAIN", 0.1)
    monkeypatch.setattr(siblings, "LOOK_EVERY", 0.05)
    monkeypatch.setattr(siblings, "LOOK_AROUND", 1.0)
    monkeypatch.setattr(stop_dag_run, "LOOK_AGAIN", 0.1)
    monkeypatch.setattr(retry, "_backoff", lambda state: 0.05)
