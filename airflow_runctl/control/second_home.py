"""A second home for what an attempt leaves to the next, where the clear of its task does not delete it (Airflow 3.4).

The first one, the task state store, is the task instance's own. Into this one any task may write, and what it holds
leads to a run: so it is sealed, and bound to its task instance. It is kept while a run may be alive. Whoever sees that
run to be over lets it go: the attempt itself; a callback, a trigger, a stop or a sensor if no attempt is left to do so.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any, Final

from airflow_runctl.compat import Channel, clear_proof
from airflow_runctl.control.ownership import GONE, state_of
from airflow_runctl.control.records import OVER, STARTING
from airflow_runctl.control.seal import handle_of, open_handle
from airflow_runctl.exceptions import HandleError
from airflow_runctl.hooks.base import Access
from airflow_runctl.runs import ExternalRun, Owner, TaskKey

Record = Mapping[str, Any]

KIND: Final = "record"

NO_ATTEMPT_LEFT: Final = frozenset({"success", "failed", "skipped", "upstream_failed", "removed", GONE})
"""States of a task instance of which no attempt is under way, and none to come by itself."""


class SecondHome:
    """The second home of one task instance, as its worker reads and writes it; without use where a clear takes nothing.

    :param owner: the attempt.
    :param access: the connection that seals.
    """

    def __init__(self, owner: Owner, access: Access) -> None:
        self._owner = owner
        self._access = access
        self._home = clear_proof(owner.key)

    def read(self) -> Record | None:
        """Return the record that a clear has left, if there is one.

        :raises HandleError: if there is one that does not open.
        """
        kept = self._home.get() if self._home else None
        if self._home is None or kept is None:
            return None
        try:
            sealed = open_handle(kept if isinstance(kept, Mapping) else {}, self._access, found_at=self._owner.key)
            record: Record = json.loads(sealed.ids[KIND])
        except (HandleError, KeyError) as error:
            raise HandleError(
                f"{error} Variable {self._home.name!r} says so; delete it once no such run is alive."
            ) from error
        return record

    def keep(self, record: Record) -> None:
        """Keep the record of a run that may be alive; forget it once its run is over."""
        if self._home is None:
            return
        if record["phase"] == OVER:
            self.forget()
            return
        shown = record["handle"] or {}
        began = shown.get("started_at")
        self._home.set(
            handle_of(
                ExternalRun(
                    vendor=self._access.vendor.name,
                    conn_id=self._access.conn_id,
                    run_id=shown.get("run_id", STARTING),
                    url=shown.get("url"),
                    started_at=datetime.fromisoformat(began) if began else datetime.now(UTC),
                    ids={KIND: json.dumps(record)},
                    owner=self._owner,
                ),
                self._access,
            )
        )

    def forget(self) -> None:
        """Let go of what is kept."""
        if self._home is not None:
            self._home.delete()


async def forget(channel: Channel, where: TaskKey, run_id: str = STARTING) -> None:
    """Let go of what is kept of a run that is over, or of a start, unless an attempt is left that has to hear of it.

    :param where: the task instance that owns the run.
    :param run_id: the run; a start that was lost is kept without one.
    """
    kept = await channel.beyond_clears(where)
    if not isinstance(kept, Mapping) or kept.get("run_id") not in (run_id, STARTING):
        return
    if await state_of(channel, where) in NO_ATTEMPT_LEFT:
        await channel.forget_beyond_clears(where)
