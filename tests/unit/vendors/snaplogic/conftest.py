"""What the tests of SnapLogic share."""

import pytest

from airflow_runctl.hooks.base import Access
from airflow_runctl.sandbox.client import Sandbox
from tests.unit.clients import Client
from tests.unit.vendors.snaplogic.runs import started


@pytest.fixture
def ruuid(client: Client, snaplogic: Access, box: Sandbox) -> str:
    """A run that hangs."""
    return started(client, snaplogic, "early-hang").run_id
