"""A stand-in for bctrl: two generations of one API at one host, told apart by path.

Generation W (workspaces, workspaces.py) is the one in the documentation, generation B (browsers and agent
tasks, browsers.py and tasks.py) the one that the official client 0.3.0 speaks. This file joins them.
"""

from __future__ import annotations

from airflow_runctl.sandbox.bctrl.account import Account
from airflow_runctl.sandbox.bctrl.browsers import Browsers
from airflow_runctl.sandbox.bctrl.runs import SPACE, page
from airflow_runctl.sandbox.bctrl.tasks import Tasks
from airflow_runctl.sandbox.bctrl.workspaces import Workspaces
from airflow_runctl.sandbox.wire import Answer, Call, Route, as_json


class Bctrl(Account):
    """All that is served of bctrl."""

    def __init__(self, seed: str) -> None:
        super().__init__(seed)
        self.workspaces = Workspaces(self)
        self.browsers = Browsers(self)
        self.tasks = Tasks(self)
        self.parts = (self.browsers,)
        self.routes = (
            *self.workspaces.routes,
            *self.browsers.routes,
            *self.tasks.routes,
            Route("GET", "v1/spaces", "spaces", self.list_spaces),
            Route("GET", "v1/auth/whoami", "whoami", self.whoami),
        )

    async def whoami(self, call: Call) -> Answer:
        """[unknown] What it says; it is here as a connection test."""
        return as_json({"accountId": "acc-1", "spaceId": SPACE})

    async def list_spaces(self, call: Call) -> Answer:
        return page(call, [SPACE], str, lambda space: {"object": "space", "id": space, "name": "default"})
