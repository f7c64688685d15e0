"""Starts that nobody heard the end of: the tasks are over, and a run of them may be alive. Reported, and never stopped.

A start is written ahead, in the audit record of its task; the handle follows once the run is known. Where a task failed
in between, its next attempt or a Dag-level callback looks for the run. Here is looked for what both have missed: it is
found by the search keys that were written ahead, or it is one of the candidates that the task has named. That is an
inference, and rests on nothing that is sealed for this run: a person decides.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Iterable, Mapping
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from typing import Any, Final, Protocol

from airflow_runctl.control.identity import search_lost
from airflow_runctl.control.inventory import AT_ONCE, Scope, Source
from airflow_runctl.control.records import AMBIGUOUS, AUDIT_KEY, STARTING, search_in
from airflow_runctl.control.stop_many import Connections, Target
from airflow_runctl.exceptions import RunctlError, StartUncertain
from airflow_runctl.runs import TaskKey, printable
from airflow_runctl.transport.retry import Patience
from airflow_runctl.vendors.base import Started

log = logging.getLogger(__name__)

LOOK_BACK: Final = timedelta(days=1)
"""How long ago a task may have failed."""

MOST: Final = 500
"""Failed tasks whose records are read; whatever their operators, nothing tells ours from others."""

PATIENCE: Final = Patience(total=15.0, answer=15.0)


class FailedTasks(Protocol):
    """Who knows which tasks have failed."""

    async def failed_since(self, since: datetime, scope: Scope, most: int) -> list[TaskKey]:
        """Return the task instances that have failed since then, the latest first, at most so many."""


@dataclass(frozen=True, slots=True)
class LostStart:
    """A start of which nobody knows what came.

    :param where: the task instance that made it.
    :param candidates: ids of the runs of which one may be its own.
    :param why: what is known.
    """

    where: TaskKey
    candidates: tuple[str, ...]
    why: str

    def out(self) -> dict[str, Any]:
        """Return plain JSON."""
        return {
            "task": str(self.where),
            "run": ", ".join(printable(run_id, 300) for run_id in self.candidates) or None,
            "finding": "lost start",
            "why": self.why,
        }


@dataclass(frozen=True, slots=True)
class LostStarts:
    """Looks for them.

    :param source: where records are read.
    :param failed: who knows which tasks have failed.
    :param opened: reads each connection once.
    :param known: ids of the runs that have an owner, or had one.
    """

    source: Source
    failed: FailedTasks
    opened: Connections
    known: AbstractSet[str]

    async def find(self, scope: Scope, recorded: Iterable[TaskKey]) -> list[LostStart]:
        """Return the starts of which a run may be alive.

        :param recorded: task instances whose run is known.
        :raises RunctlError: if it is not said which tasks have failed.
        """
        places = await self.failed.failed_since(datetime.now(UTC) - LOOK_BACK, scope, MOST)
        turns = asyncio.Semaphore(AT_ONCE)

        async def look(where: TaskKey) -> LostStart | None:
            async with turns:
                return await self._look(where)

        found = await asyncio.gather(*map(look, set(places) - set(recorded)))
        return sorted((one for one in found if one is not None), key=lambda one: str(one.where))

    async def _look(self, where: TaskKey) -> LostStart | None:
        try:
            stored = await self.source.stored(AUDIT_KEY, where)
            audit = stored.value if stored and isinstance(stored.value, Mapping) else {}
            if audit.get("state") == AMBIGUOUS:
                return await self._ambiguous(where, audit)
            if audit.get("state") == STARTING and isinstance(audit.get("start"), Mapping):
                return await self._written_ahead(where, audit["start"])
        except RunctlError as error:
            return LostStart(where, (), f"what it has started is not known: {error}")
        except Exception as error:
            log.exception("What %s has started cannot be looked for", where)
            return LostStart(where, (), f"what it has started is not known: {type(error).__name__}")
        return None

    async def _ambiguous(self, where: TaskKey, audit: Mapping[str, Any]) -> LostStart | None:
        """Return the candidates that are alive, as far as the vendor tells."""
        names = audit.get("candidates")
        candidates = tuple(str(name) for name in names) if isinstance(names, list) else ()
        access = await self.opened.access(str(audit.get("vendor")), str(audit.get("conn_id")))
        alive = candidates
        if access.vendor.filters:
            live = {one.run_id for one in await access.adrive(access.vendor.live_runs({}), PATIENCE)}
            alive = tuple(name for name in candidates if name in live and name not in self.known)
        return LostStart(where, alive, "one of these may be its own, and nothing tells which") if alive else None

    async def _written_ahead(self, where: TaskKey, start: Mapping[str, Any]) -> LostStart | None:
        """Return the run that a start has made which was lost before it could record one; ``None`` if none is alive."""
        target = await self.opened.open(start, where)

        async def owned(run_ids: frozenset[str]) -> frozenset[str]:
            return run_ids & self.known

        access, run = target.access, target.run
        flow = search_lost(access.vendor, search_in(run), run.started_at, until=time.time())
        try:
            found = await access.adrive(flow, PATIENCE, owned=owned)
        except StartUncertain as error:
            return LostStart(where, error.candidates, str(error))
        except NotImplementedError as error:
            return LostStart(where, (), str(error))
        if found is None or not await self._is_alive(target, found):
            return None
        why = "it was lost while it started this run: so it seems by what was written ahead"
        return LostStart(where, (found.run_id,), why)

    async def _is_alive(self, target: Target, found: Started) -> bool:
        vendor = target.access.vendor
        run = replace(target.run, run_id=found.run_id, ids=found.ids)
        if not vendor.can_look(run):
            return True
        return (await target.access.adrive(vendor.status(run), PATIENCE)).state.is_live
