"""A look at a run for whoever asks: once for all who look at the same time, and no more often than a vendor bears."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, Final

from airflow_runctl.control.inventory import SAME, KnownRun
from airflow_runctl.runs import RunStatus, printable

FRESH: Final = 5.0
"""Seconds for which a look is told to others."""

MOST: Final = 60
"""Looks a minute, of all runs and users of this process."""

TOO_MANY: Final = "not asked: too many looks in the last minute. Ask again in a moment."


@dataclass(frozen=True, slots=True)
class Look:
    """What a look has shown.

    :param said: the vendor's word, or why there is none.
    :param state: the same in this package's words, if there is one.
    :param at: when; ISO 8601.
    """

    said: str
    state: str | None = None
    at: str | None = None


@dataclass(slots=True)
class Looks:
    """Looks of one process.

    :param look: asks a vendor.
    """

    look: Callable[[KnownRun], Awaitable[RunStatus | str]]
    _made: dict[Any, tuple[float, asyncio.Task[Look]]] = field(default_factory=dict)

    async def at(self, run: KnownRun) -> Look:
        """Return a look at a run: a new one, or one that somebody else had just now."""
        now, key = time.monotonic(), (run.where, *(str(run.handle.get(name)) for name in SAME))
        self._made = {one: made for one, made in self._made.items() if now - made[0] < 60}
        began, task = self._made.get(key, (0.0, None))
        if task is None or now - began > FRESH or task.get_loop() is not asyncio.get_running_loop():
            if len(self._made) >= MOST:
                return Look(TOO_MANY)
            task = asyncio.create_task(self._new(run))
            self._made[key] = (now, task)
        return await asyncio.shield(task)

    async def _new(self, run: KnownRun) -> Look:
        status = await self.look(run)
        if isinstance(status, str):
            return Look(status)
        said = f"{printable(status.vendor_state)} ({status.state.value})"
        return Look(said, status.state.value, datetime.now(UTC).isoformat())
