"""What the tests of the operators share."""

from collections.abc import Iterator

import pytest

from airflow_runctl.sandbox.client import Sandbox
from tests.fakes.airflow_3 import FakeAirflow
from tests.unit.operators.tasks import Tasks


@pytest.fixture
def tasks(fake: FakeAirflow, box: Sandbox, caplog: pytest.LogCaptureFixture) -> Iterator[Tasks]:
    """Tasks; wherever they leave anything, no secret of the sandbox may be in it."""
    box.behave("snaplogic", "early-hang", stop_seconds=0.02)
    box.behave("axiom", "Hang", stop_seconds=0.02)
    yield Tasks(fake, box)
    assert box.seed not in fake.everything()
    assert box.seed not in caplog.text


@pytest.fixture
def suspends(box: Sandbox) -> None:
    box.behave("snaplogic", "early-hang", suspend_after_seconds=0.1, message="no disk")
