"""The two HTTP clients that drive flows, with one way to use them."""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from airflow_runctl.hooks.base import Access
from airflow_runctl.transport.aio import close_session
from airflow_runctl.transport.retry import Patience
from airflow_runctl.vendors.base import Flow


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
        owned: Callable[[frozenset[str]], frozenset[str]] = lambda run_ids: frozenset(),
    ) -> Any:
        """Drive ``flow`` to its end; ``heard`` gets what it tells, ``owned`` says which runs are another task's."""
        if self.name == "requests":
            return access.drive(flow, patience, listener=heard, owned=owned)

        async def is_owned(run_ids: frozenset[str]) -> frozenset[str]:
            return owned(run_ids)

        async def hear(what: object) -> None:
            heard(what)

        async def go() -> Any:
            try:
                return await access.adrive(flow, patience, listener=hear, owned=is_owned)
            finally:
                await close_session()

        return asyncio.run(go())
