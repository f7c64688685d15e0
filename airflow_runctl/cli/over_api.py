"""What acts where the connections cannot be read here: ``/runctl`` in Airflow's API server, followed to the end."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Final

from airflow_runctl.cli.screen import say
from airflow_runctl.control import end_owner
from airflow_runctl.control.end_owner import Ended, recorded_outcome
from airflow_runctl.control.inventory import KnownRun
from airflow_runctl.exceptions import AirflowRefused, RunctlError
from airflow_runctl.rest.runctl_api import LONGEST_WAIT, NoApi, RunctlApi
from airflow_runctl.rest.source import AirflowRest
from airflow_runctl.runs import MAINTENANCE_DAG, MAINTENANCE_TASK, OUTCOME_KEY, StopOutcome, TaskKey

if TYPE_CHECKING:
    from airflow_runctl.control.stop_many import Connections

GONE: Final = "The API server finds no such run any more; it may be alive."

AT_ONCE: Final = 100
"""Ids of runs that the API takes in one question."""

DAG_RUN_ENDED: Final = frozenset({"success", "failed"})


def connections_here(rest: AirflowRest) -> Connections | None:
    """Return what reads connections on this machine; ``None`` where Airflow is not installed."""
    try:
        from airflow_runctl.cli.reach import channel_of
        from airflow_runctl.control.stop_many import Connections
    except ImportError:
        return None
    return Connections(channel_of(rest))


async def unreadable_here(opened: Connections | None, runs: Iterable[KnownRun]) -> set[str]:
    """Return those connections of some runs that cannot be read on this machine; all where Airflow is not installed."""
    used = {(str(run.handle["vendor"]), str(run.handle["conn_id"])) for run in runs if _is_named(run)}
    if opened is None:
        return {conn_id for _, conn_id in used}
    from airflow_runctl.exceptions import ConnectionUnreadable

    closed = set()
    for vendor, conn_id in used:
        try:
            await opened.access(vendor, conn_id)
        except ConnectionUnreadable:
            closed.add(conn_id)
        except Exception:  # noqa: S112
            continue  # whatever it is, whoever opens the handle says so of that run
    return closed


def _is_named(run: KnownRun) -> bool:
    return all(isinstance(run.handle.get(name), str) for name in ("vendor", "conn_id", "run_id"))


def over_the_api(conn_ids: Iterable[str]) -> str:
    """Return the one line that says over which way something is done."""
    ids = ", ".join(repr(conn_id) for conn_id in sorted(conn_ids))
    return f"Over Airflow's API server, since connection {ids} cannot be read here."


@dataclass(frozen=True, slots=True)
class OverApi:
    """The acts over the API.

    :param rest: Airflow's own API, by which the ends are seen.
    :param api: the API that acts.
    :param reason: why, as the person said.
    :param timeout: seconds in which an end has to be seen.
    """

    rest: AirflowRest
    api: RunctlApi
    reason: str | None
    timeout: float

    async def act(self, act: str, runs: Sequence[KnownRun]) -> list[Ended]:
        """Stop or resume runs, and follow that to its end.

        :param act: ``stop`` or ``resume``.
        :raises NoApi: if there is no such API. Nothing was done.
        :raises AirflowRefused: if nothing was done for want of a right.
        """
        until = time.monotonic() + self.timeout
        came = await asyncio.gather(*(self._of_one_dag(act, part, until) for part in _parts(runs)))
        refused = [error for _, error in came if error is not None]
        if len(refused) == len(came) and refused:
            raise refused[0]
        return [end for ended, _ in came for end in ended]

    async def _of_one_dag(
        self, act: str, runs: Sequence[KnownRun], until: float
    ) -> tuple[list[Ended], RunctlError | None]:
        """Return what became of runs of one Dag and connection; an error if they were not even tried."""
        first = runs[0]
        body = {
            "run_id": [str(run.handle["run_id"]) for run in runs],
            **{name: first.handle[name] for name in ("vendor", "conn_id")},
            "dag_id": first.where.dag_id,
            "reason": self.reason,
            "timeout": min(self.timeout, LONGEST_WAIT),
        }
        try:
            answer = await self.api.do(act, body, to=f"{act} runs of {first.where.dag_id}", seconds=LONGEST_WAIT)
        except (NoApi, AirflowRefused) as error:
            return [_undone(run, error) for run in runs], error
        except RunctlError as error:
            return [_undone(run, error) for run in runs], None
        said = {one["task"]: one for one in answer.get("runs") or ()}
        ids = list(answer.get("dag_run_ids") or ())
        ends = [self._followed(act, run, said.get(str(run.where)), ids, until) for run in runs]
        return list(await asyncio.gather(*ends)), None

    async def _followed(
        self, act: str, run: KnownRun, said: dict[str, Any] | None, dag_run_ids: Sequence[str], until: float
    ) -> Ended:
        """Look until the end of a run is seen, or the time is up."""
        ended = _read(run, said) if said else Ended(run.where, _name(run), "nothing", error=GONE)
        if said is not None and ended.outcome != StopOutcome.REQUESTED:
            return ended
        began = time.monotonic()
        while True:
            later = await self._later(act, run, dag_run_ids)
            if later is not None:
                passed = round((ended.seconds or 0.0) + time.monotonic() - began, 1)
                return replace(later, how=ended.how, seconds=later.seconds or passed)
            if time.monotonic() + end_owner.LOOK_EVERY > until:
                return ended
            await asyncio.sleep(end_owner.LOOK_EVERY)

    async def _later(self, act: str, run: KnownRun, dag_run_ids: Sequence[str]) -> Ended | None:
        """Return what a run came to, by its records or by what a task of the maintenance Dag has left."""
        if act == "stop":
            outcome = await recorded_outcome(self.rest, run)
            return None if outcome is None else Ended(run.where, _name(run), "", outcome)
        for dag_run_id in dag_run_ids:
            left: dict[str, Any] = await self.outcome_of(dag_run_id) or {}
            for one in left.get("runs") or ():
                if one["task"] == str(run.where):
                    return _read(run, one)
        return None

    async def outcome_of(self, dag_run_id: str) -> dict[str, Any] | None:
        """Return what a run of the maintenance Dag came to; ``None`` while it is not known."""
        where = TaskKey(MAINTENANCE_DAG, dag_run_id, MAINTENANCE_TASK)
        is_over = await self.rest.dag_run_state(MAINTENANCE_DAG, dag_run_id) in DAG_RUN_ENDED
        stored = await self.rest.stored(OUTCOME_KEY, where)
        if stored is not None and isinstance(stored.value, dict):
            return stored.value
        return {"failed": "its task ended without a word"} if is_over else None

    async def awaited_outcome(self, dag_run_id: str, seconds: float) -> dict[str, Any]:
        """Wait for what a run of the maintenance Dag comes to.

        :raises RunctlError: if it fails, or is not seen in time.
        """
        say(f"{MAINTENANCE_DAG} {dag_run_id} does it; waiting for what it comes to")
        until = time.monotonic() + seconds
        while (outcome := await self.outcome_of(dag_run_id)) is None:
            if time.monotonic() + end_owner.LOOK_EVERY > until:
                raise RunctlError(
                    f"{MAINTENANCE_DAG} {dag_run_id} goes on with it. What it comes to will lie in the XCom "
                    f"{OUTCOME_KEY!r} of its task {MAINTENANCE_TASK!r}."
                )
            await asyncio.sleep(end_owner.LOOK_EVERY)
        if "failed" in outcome:
            raise RunctlError(f"{MAINTENANCE_DAG} {dag_run_id}: {outcome['failed']}")
        return outcome


def _parts(runs: Sequence[KnownRun]) -> list[list[KnownRun]]:
    """Return the runs by Dag and connection, in parts that the API takes."""
    groups: dict[tuple[str, ...], list[KnownRun]] = {}
    for run in runs:
        key = (run.where.dag_id, str(run.handle["vendor"]), str(run.handle["conn_id"]))
        groups.setdefault(key, []).append(run)
    return [group[at : at + AT_ONCE] for group in groups.values() for at in range(0, len(group), AT_ONCE)]


def _name(run: KnownRun) -> str:
    return f"run {run.run_id} (unverified)"


def _undone(run: KnownRun, error: RunctlError) -> Ended:
    return Ended(run.where, _name(run), "nothing", error=f"{error} The run may be alive.")


def _read(run: KnownRun, said: dict[str, Any]) -> Ended:
    return Ended(run.where, said["run"], said["done"], said["outcome"], said["seconds"], said["error"])
