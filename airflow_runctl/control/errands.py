"""What a person has asked Airflow's API server to do: done there, or by a task of the maintenance Dag, in one way.

An errand for a task travels as the configuration of its Dag run, which others may read, and which whoever may start
that Dag can write as they like. So it holds no handle, only places and a digest of what is sealed there; and a run is
only touched if the handle that lies at its place is that one, opens, and was sealed for the place.
"""

from __future__ import annotations

import asyncio
import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from enum import StrEnum
from typing import Any, Final

from airflow_runctl.compat import Channel
from airflow_runctl.control.archive import Archive
from airflow_runctl.control.by_hand import Hand
from airflow_runctl.control.end_owner import Ended
from airflow_runctl.control.inventory import ALL, Inventory, KnownRun, Scope
from airflow_runctl.control.stop import StopNote
from airflow_runctl.control.sweep import Finding, Rules, Sweep, Sweeper
from airflow_runctl.exceptions import ConnectionUnreadable, WrongArgument
from airflow_runctl.hooks.base import hook_class
from airflow_runctl.runs import (
    MAINTENANCE_DAG,
    MAINTENANCE_TASK,
    OUTCOME_KEY,
    StopReason,
    TaskKey,
    digest_of,
    printable,
)

DAG_ID: Final = MAINTENANCE_DAG
TASK_ID: Final = MAINTENANCE_TASK
__all__ = ["DAG_ID", "OUTCOME_KEY", "TASK_ID", "Act", "Errand", "digest_of", "do", "ended", "named", "sweeper", "swept"]


class Act(StrEnum):
    """What can be asked for."""

    STOP = "stop"
    RESUME = "resume"
    SWEEP = "sweep"
    TEST = "test"


@dataclass(frozen=True, slots=True)
class Errand:
    """Something to be done.

    :param act: what.
    :param runs: the places of the runs that are meant, each with the digest of its handle.
    :param reason: why, as the person said.
    :param timeout: seconds in which an end has to be confirmed.
    :param rules: what keeps a sweep from harm.
    :param dry_run: of a sweep, only say what would be stopped.
    :param conn_id: the connection that is tested.
    """

    act: Act
    runs: Mapping[TaskKey, str] = field(default_factory=dict, repr=False)
    reason: str | None = None
    timeout: float = 60.0
    rules: Rules = field(default_factory=Rules)
    dry_run: bool = True
    conn_id: str = ""

    def out(self) -> dict[str, Any]:
        """Return plain JSON."""
        return {
            "act": self.act.value,
            "runs": [
                [where.dag_id, where.run_id, where.task_id, where.map_index, digest]
                for where, digest in self.runs.items()
            ],
            "reason": self.reason,
            "timeout": self.timeout,
            "rules": {**asdict(self.rules)},
            "dry_run": self.dry_run,
            "conn_id": self.conn_id,
        }

    @classmethod
    def read(cls, value: Any) -> Errand:
        """Return what ``out`` gave.

        :raises WrongArgument: if it is nothing of that kind.
        """
        try:
            runs = {
                TaskKey(str(place[0]), str(place[1]), str(place[2]), int(place[3])): str(place[4])
                for place in value["runs"]
            }
            timeout = float(value["timeout"])
            if not 0 <= timeout < math.inf:
                raise ValueError("timeout")
            return cls(
                Act(value["act"]),
                runs,
                printable(value["reason"], 500) if value["reason"] else None,
                timeout,
                Rules(**value["rules"]),
                value["dry_run"] is not False,
                str(value["conn_id"]),
            )
        except (KeyError, TypeError, ValueError, IndexError) as error:
            raise WrongArgument(
                f"The configuration of this Dag run is no errand ({type(error).__name__}). The Dag is run by the API "
                "of airflow-runctl (docs/how-to/operating.md), not by hand. Nothing was done."
            ) from error


def named(runs: Sequence[KnownRun]) -> dict[TaskKey, str]:
    """Return what an errand names runs by."""
    return {run.where: digest_of(run.handle) for run in runs}


async def do(errand: Errand, hand: Hand) -> dict[str, Any]:
    """Do an errand.

    :param hand: the person's hand; its source knows no places but those of the errand.
    :returns: plain JSON: ``runs`` and ``may_be_alive``; of a sweep ``refused`` too; of a test ``worked`` and ``said``.
    """
    if errand.act is Act.TEST:
        worked, said = await tried(hand.channel, errand.conn_id)
        return {"worked": worked, "said": said, "may_be_alive": False}
    if errand.act is Act.SWEEP:
        return swept(await sweeper(hand, errand.rules).run(dry_run=errand.dry_run))
    known = {run.where: run for run in await Inventory(hand.source).runs()}
    act = hand.stop if errand.act is Act.STOP else hand.resume

    async def one(where: TaskKey, digest: str) -> Ended:
        run = known.get(where)
        if run is not None and run.unread:
            # Such as of another team's Dag ([core] multi_team): that is no word about the run.
            return Ended(where, f"the run of {where}", "nothing", error=f"{run.unread} Nothing was done")
        if run is None or digest_of(run.handle) != digest:
            gone = "its handle is gone: it ended, or another attempt has it by now. Nothing was done"
            return Ended(where, f"the run of {where}", "nothing", error=gone)
        return await act(run)

    return ended(await asyncio.gather(*(one(*meant) for meant in errand.runs.items())))


def sweeper(hand: Hand, rules: Rules, scope: Scope = ALL, archive: Archive | None = None) -> Sweeper:
    """Return what sweeps for a person.

    :param archive: who can read what archived attempts hold; a task can not.
    """
    note = StopNote(StopReason.LEFTOVER, hand.by, hand.text)
    return Sweeper(hand.source, hand.channel, rules, note, scope, archive=archive, told=hand.told)


def ended(runs: Sequence[Ended]) -> dict[str, Any]:
    """Return plain JSON of what became of runs."""
    return {"runs": [run.out() for run in runs], "may_be_alive": any(run.may_be_alive for run in runs)}


def swept(sweep: Sweep) -> dict[str, Any]:
    """Return plain JSON of a sweep. Live runs that Airflow does not know are left out: here they may be another's."""
    runs = [one.out() for one in sweep.runs if one.finding is not Finding.OWNED]
    return {"runs": runs, "refused": sweep.refused, "may_be_alive": sweep.may_be_alive}


async def tried(channel: Channel, conn_id: str) -> tuple[bool, str]:
    """Reach the vendor of a connection; return whether that worked, and what was seen.

    :raises RunctlError: if the connection cannot be read here, or is none of a vendor's.
    """
    try:
        conn, _ = await channel.connection(conn_id)
    except Exception as error:
        raise ConnectionUnreadable(f"Connection {conn_id!r} cannot be read ({type(error).__name__}).") from error
    hook = hook_class(conn.conn_type)(conn_id)
    return await asyncio.to_thread(hook.test_connection)
