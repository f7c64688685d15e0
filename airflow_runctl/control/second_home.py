"""A second home for what an attempt leaves to the next, where the clear of its task does not delete it (Airflow 3.4).

The first one, the task state store, is the task instance's own. Into this one, Airflow's Variables, any task may
write, and what it holds leads to a run: so it is sealed, and bound to its task instance. Each attempt has a Variable of
its own while its run may be alive: whoever sees that run to be over deletes it, and never that of a later attempt.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any, Final

from airflow_runctl.compat import CLEARS_FORGET, Channel, Variables, attempt_of, prefix_of, variable_of
from airflow_runctl.control.records import STARTING
from airflow_runctl.control.seal import handle_of, open_handle
from airflow_runctl.exceptions import HandleError
from airflow_runctl.hooks.base import Access
from airflow_runctl.runs import ExternalRun, Owner

Record = Mapping[str, Any]

KIND: Final = "record"


class SecondHome:
    """The second home of one task instance, as an attempt on its worker reads and writes it.

    It does nothing where clears delete nothing.

    :param owner: the attempt.
    :param access: the connection that seals.
    """

    def __init__(self, owner: Owner, access: Access) -> None:
        self._owner = owner
        self._access = access
        self._variables = Variables()
        self._own = variable_of(owner.key, owner.try_number)
        self._left: set[str] = set()
        """Names of what earlier attempts have kept."""

    def read(self) -> Record | None:
        """Return the record of the last attempt before this one, if a clear has left one.

        :raises HandleError: if there is one that does not open.
        """
        if not CLEARS_FORGET:
            return None
        self._left = {name for name in self._variables.names(prefix_of(self._owner.key)) if attempt_of(name)}
        kept = None
        for name in sorted(self._left, key=attempt_of, reverse=True):
            if (kept := self._variables.get(name)) is not None:
                break
        if kept is None:
            return None
        try:
            sealed = open_handle(kept if isinstance(kept, Mapping) else {}, self._access, found_at=self._owner.key)
            record: Record = json.loads(sealed.ids[KIND])
        except (HandleError, KeyError) as error:
            raise HandleError(f"{error} Variable {name!r} says so; delete it once no such run is alive.") from error
        return record

    def left_by(self, try_number: int) -> None:
        """Take note that an attempt before this one may have kept something; what this one keeps replaces it."""
        self._left.add(variable_of(self._owner.key, try_number))

    def keep(self, record: Record) -> None:
        """Keep the record of a run that may be alive."""
        if not CLEARS_FORGET:
            return
        shown = record["handle"] or {}
        began = shown.get("started_at")
        sealed = ExternalRun(
            vendor=self._access.vendor.name,
            conn_id=self._access.conn_id,
            run_id=shown.get("run_id", STARTING),
            url=shown.get("url"),
            started_at=datetime.fromisoformat(began) if began else datetime.now(UTC),
            ids={KIND: json.dumps(record)},
            owner=self._owner,
        )
        description = f"airflow-runctl: a run of {self._owner.key} that may be alive"
        self._variables.set(self._own, handle_of(sealed, self._access), description)
        self._delete(self._left - {self._own})

    def forget(self) -> None:
        """Let go of what is kept."""
        if CLEARS_FORGET:
            self._delete({self._own, *self._left})

    def _delete(self, names: set[str]) -> None:
        for name in names:
            self._variables.delete(name)
        self._left -= names


async def forget(channel: Channel, owner: Owner) -> None:
    """Let go of what an attempt, and those before it, have kept of a run that is over, or of a start without one.

    A further try learns of it from the task state store, and an attempt after a clear has no need to.
    """
    if not CLEARS_FORGET:
        return
    for name in await channel.variables(prefix_of(owner.key)):
        if 0 < attempt_of(name) <= owner.try_number:
            await channel.delete_variable(name)
