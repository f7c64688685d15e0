"""Runs that only an archived attempt knows of: from Airflow 3.4 on a clear, or a retry, archives one with its XComs.

Mostly the attempt after it has ended that run, or goes on with it, and the handle of the one before stays behind. So
such a handle says less than others. It is a candidate only if the attempt was archived in the last days, and if no
record of its task instance says that its run is over, or is followed under another handle; and a sweep that acts takes
it out once its vendor says that the run is over, as everybody does with a handle of their own.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Collection, Iterable, Mapping, Sequence
from datetime import timedelta
from typing import Any, Final, Protocol

from airflow_runctl.control.inventory import (
    COMES,
    FOLLOWS,
    OVER,
    KnownRun,
    LastAttempt,
    Left,
    Scope,
    Source,
    Standing,
    after_its_dag_run,
    whatever_its_task_does,
)
from airflow_runctl.exceptions import RunctlError
from airflow_runctl.runs import AUDIT_KEY, HANDLE_KEY, Ownership, TaskKey, state_in

LOOK_BACK: Final = timedelta(days=7)
"""How long ago an attempt may have been archived."""

MOST: Final = 100
"""Candidates of a sweep; each takes a question to its vendor."""

READ: Final = 1000
"""Handles among which they are looked for, the latest."""

BESIDE: Final = (HANDLE_KEY, AUDIT_KEY)
"""Keys of what is read of a task instance together with a handle that an archived attempt holds."""


class Archive(Protocol):
    """Who can read what archived attempts hold."""

    async def left(self, scope: Scope) -> tuple[list[Left], bool]:
        """Return the candidates, the latest first, no more than ``MOST``; and whether those are all.

        :raises RunctlError: if that cannot be told.
        """

    async def let_go(self, over: Sequence[Left]) -> None:
        """Take out handles of runs that were seen to be over."""


def candidate(
    where: TaskKey, try_number: int, handle: Any, beside: Iterable[tuple[str, Any]], latest: Mapping[str, Any]
) -> Left | None:
    """Return what an archived attempt holds, unless the records of its task instance say that it is of no use.

    :param handle: what lies under ``HANDLE_KEY``.
    :param beside: key and value of what all attempts have recorded.
    :param latest: the same of the latest attempt.
    """
    if not isinstance(handle, Mapping) or any(_is_end_of(handle, value) for key, value in beside if key == AUDIT_KEY):
        return None
    other = latest.get(HANDLE_KEY)
    if isinstance(other, Mapping) and _is_of_same_run(handle, other):
        return None
    return Left(where, try_number, handle, other is not None)


def _is_end_of(handle: Mapping[str, Any], audit: Any) -> bool:
    """Return True if an audit record says that the run of a handle is over."""
    if not isinstance(audit, Mapping) or any(audit.get(name) != handle.get(name) for name in ("run_id", "started_at")):
        return False
    state = state_in(audit)
    return state is not None and state.is_terminal


def _is_of_same_run(one: Mapping[str, Any], other: Mapping[str, Any]) -> bool:
    return all(one.get(name) == other.get(name) for name in ("vendor", "conn_id", "run_id"))


def latest_of_each(left: Iterable[Left]) -> list[Left]:
    """Return the candidates, of a run that several attempts have followed the last one's."""
    found: dict[tuple[Any, ...], Left] = {}
    for one in left:
        run = (one.where, *(str(one.handle.get(name)) for name in ("vendor", "conn_id", "run_id", "started_at")))
        if run not in found or found[run].try_number < one.try_number:
            found[run] = one
    return list(found.values())


def standing_of_left(
    left: Left, attempt: LastAttempt | None, dag_run: str | None, ownership: Ownership | None
) -> tuple[Standing, str]:
    """Return whether the run of an archived attempt has an owner, and why.

    :param attempt: the latest attempt of its task.
    :param dag_run: the state of its Dag run.
    :param ownership: whose run it is, as its opened handle says; ``None`` if it was not opened.
    """
    if (told := whatever_its_task_does(attempt, ownership)) is not None:
        return told
    assert attempt is not None, "of a task that is gone was told"
    state = attempt.state
    if state in COMES:
        return Standing.OWNED, f"its task is {state or 'not scheduled'}: the next attempt decides on it"
    if state in FOLLOWS and not left.has_other:
        return Standing.OWNED, f"its task is {state}: this attempt may decide on it"
    if ownership is None:
        return Standing.UNCLEAR, f"attempt {left.try_number} left it, and its handle was not opened"
    if ownership is Ownership.DAG_RUN:
        return after_its_dag_run(dag_run, ownership)
    follows = "another run" if left.has_other else "none"
    return Standing.ORPHAN, (
        f"attempt {left.try_number} left it, and attempt {attempt.try_number} ({state}) has recorded {follows}"
    )


class LeftRuns:
    """The runs that only archived attempts know of, as the inventory shows runs.

    :param source: where the facts of task instances come from.
    :param archive: who can read what archived attempts hold.
    """

    def __init__(self, source: Source, archive: Archive) -> None:
        self._source = source
        self._archive = archive
        self._dag_runs: dict[tuple[str, str], asyncio.Task[str | None]] = {}

    async def runs(
        self, scope: Scope, elsewhere: Callable[[], Awaitable[Collection[str]]]
    ) -> tuple[list[KnownRun], bool]:
        """Return them, and whether those are all.

        :param elsewhere: returns the ids of runs that are known by other handles; those are not looked for here.
        :raises RunctlError: if Airflow does not say.
        """
        found, is_all = await self._archive.left(scope)
        meant = [one for one in latest_of_each(found) if scope.has_place(one.where) and scope.has_handle(one.handle)]
        ids = await elsewhere() if meant else ()
        asking = (self._known(one) for one in meant if str(one.handle.get("run_id")) not in ids)
        return list(await asyncio.gather(*asking)), is_all

    async def again(self, known: KnownRun) -> KnownRun | None:
        """Return the same run as it is now; ``None`` if its handle is gone, or a record has another word of it."""
        where = known.where
        scope = Scope(dag_id=where.dag_id, run_id=where.run_id, task_id=where.task_id, map_index=where.map_index)
        found, _ = await self._archive.left(scope)
        for one in latest_of_each(found):
            if one.where == where and one.handle.get("token") == known.handle.get("token"):
                return await self._known(one)
        return None

    async def _known(self, left: Left) -> KnownRun:
        """Return a run with its owner's state; what cannot be read of it hides no other."""
        where = left.where
        try:
            attempt = await self._source.attempt(where)
            is_over = attempt is not None and attempt.state in OVER
            dag_run = await self._dag_run(where.dag_id, where.run_id) if is_over else None
        except RunctlError as error:
            said = f"{error} A run may be alive."
            return KnownRun(where, left.handle, None, None, Standing.UNCLEAR, "", unread=said, left=left)
        standing, why = standing_of_left(left, attempt, dag_run, None)
        return KnownRun(where, left.handle, attempt, dag_run, standing, why, left=left)

    async def _dag_run(self, dag_id: str, run_id: str) -> str | None:
        """Return the state of a Dag run, asked for once."""
        key = dag_id, run_id
        if key not in self._dag_runs:
            self._dag_runs[key] = asyncio.create_task(self._source.dag_run_state(*key))
        return await asyncio.shield(self._dag_runs[key])
