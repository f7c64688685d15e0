"""Fixtures that unit tests and system tests share."""

from collections.abc import Iterator

import pytest

from airflow_runctl.sandbox.client import Sandbox


@pytest.fixture(scope="session")
def sandbox() -> Iterator[Sandbox]:
    """The four vendors' stand-ins, on a port of their own for the whole session."""
    with Sandbox.spawn() as spawned:
        yield spawned
