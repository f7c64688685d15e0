"""Finds the runs that slipped through every net, and stops them: what is alive at its vendor, and whose owner is over.

A sweep acts on nobody's word but its own, so it has to be surer than everybody else. A run is stopped only if

1. its handle opens, and was sealed for the place that it was found at;
2. its owner is over: the task attempt, or the Dag run for ``wait_for_completion=False``; never with ``leave_running``;
3. it is old enough, by the time that is sealed, and neither its Dag nor its connection is excluded;
4. its vendor, asked now, says that it is alive;
5. all of that was so at two looks, and the owner is asked once more right before the stop;
6. there are not so many such runs that rather Airflow's answers are to be doubted.

Any doubt, of Airflow or of a vendor, leaves a run alone, and is said. Runs at a vendor that Airflow does not know are
reported where the vendor can list; nothing ever stops them.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from fnmatch import fnmatchcase
from typing import Final

from airflow_runctl.compat import Channel
from airflow_runctl.control import audit
from airflow_runctl.control.archive import Archive, LeftRuns, standing_of_left
from airflow_runctl.control.findings import Finding, Sweep, Swept
from airflow_runctl.control.inventory import ALL, Inventory, KnownRun, Scope, Source, Standing, standing_of
from airflow_runctl.control.lost_starts import FailedTasks, LostStart, LostStarts
from airflow_runctl.control.stop import PROBLEMS, StopNote
from airflow_runctl.control.stop_many import Connections, Target, record_end, stop_target
from airflow_runctl.control.strangers import Stranger, strangers
from airflow_runctl.exceptions import NotFound, RunctlError
from airflow_runctl.runs import Ownership, StopOutcome, StopResult
from airflow_runctl.transport.retry import Patience

log = logging.getLogger(__name__)

MIN_AGE: Final = 1800.0
"""Seconds that a run has to be old by default."""

LOOK_AGAIN: Final = 30.0
"""Seconds between the two looks by default: more than a clear takes to become an attempt."""

MOST: Final = 20
"""Orphans that a sweep stops by default."""

SHARE: Final = 0.5
"""Part of all runs that may be alive which may be orphans by default."""

NOT_BELIEVED: Final = 5
"""Times that number, of owners that are over, at which not even the vendors are asked."""

DOUBTED: Final = "Airflow's answers are doubted, and none was stopped"

LOOK_PATIENCE: Final = Patience(total=15.0, answer=15.0)
"""For one look at a run."""

FEW: Final = 5
"""Orphans of which no share is taken: one of one is no alarm."""


@dataclass(frozen=True, slots=True)
class Rules:
    """What keeps a sweep from harm.

    :param min_age: seconds that a run has to be old.
    :param look_again: seconds between the two looks.
    :param most: how many orphans there may be; if there are more, none is stopped.
    :param share: which part of the runs that may be alive may be orphans; of up to ``FEW`` none is taken.
    :param exclude_dags: patterns (``*``, ``?``) of Dags whose runs are left alone.
    :param exclude_connections: the same of connections.
    :param timeout: seconds in which each stop has to be confirmed.
    """

    min_age: float = MIN_AGE
    look_again: float = LOOK_AGAIN
    most: int = MOST
    share: float = SHARE
    exclude_dags: Sequence[str] = ()
    exclude_connections: Sequence[str] = ()
    timeout: float = 60.0

    def too_many(self, orphans: int, known: int) -> str | None:
        """Return why so many orphans are not to be believed, if they are not."""
        if orphans > self.most:
            return f"{orphans} runs look like orphans, more than {self.most}"
        if orphans > FEW and orphans > self.share * known:
            return f"{orphans} of the {known} runs that may be alive look like orphans, more than {self.share:.0%}"
        return None


@dataclass(frozen=True, slots=True)
class Sweeper:
    """Sweeps.

    :param source: where the facts come from.
    :param channel: how this process asks Airflow for connections, and records what it does.
    :param rules: what keeps it from harm.
    :param note: why runs are stopped, and by whom.
    :param scope: which runs are looked at.
    :param connections: further connections whose vendors' lists are compared, as vendor and id.
    :param failed: who knows which tasks have failed; ``None`` looks for no lost starts.
    :param archive: who can read what archived attempts hold (Airflow 3.4); ``None`` looks at no such handle.
    :param told: told what is done.
    :param progress: told how many runs of how many were looked at.
    """

    source: Source
    channel: Channel
    rules: Rules
    note: StopNote
    scope: Scope = ALL
    connections: frozenset[tuple[str, str]] = frozenset()
    failed: FailedTasks | None = None
    archive: Archive | None = None
    told: Callable[[str], None] = log.info
    progress: Callable[[int, int], None] = lambda done, of: None

    async def run(
        self,
        *,
        dry_run: bool = True,
        agreed: Callable[[Sequence[Swept]], Awaitable[bool]] | None = None,
        known: Sequence[KnownRun] | None = None,
    ) -> Sweep:
        """Look twice; stop what is an orphan both times, unless there are too many.

        :param dry_run: only say what would be stopped.
        :param agreed: asked before anything is stopped.
        :param known: the runs of the scope, if they have just been read; whoever is to be stopped is asked about anew.
        :raises RunctlError: if Airflow does not say which runs there are. Then nothing was done.
        """
        opened = Connections(self.channel)
        if known is None:
            known = await Inventory(self.source, self.progress).runs(self.scope)
        found = list(await asyncio.gather(*(self._judge(opened, run) for run in known)))
        if refused := self._not_even_asked(found):
            return Sweep(found, refused=refused)
        left, not_seen = await self._left(opened, found)
        found = list(await asyncio.gather(*map(self._ask_vendor, [*found, *left])))
        found = await self._without_what_is_over(found, dry_run=dry_run)
        first_strangers, unlisted = await self._strangers(opened, found)
        if first_strangers or _orphans(found):
            self.told(f"{_counted(found)}; a second look in {self.rules.look_again:.0f} s")
            await asyncio.sleep(self.rules.look_again)
            found = list(await asyncio.gather(*map(self._look_again, found)))
        lasting = await self._lasting(opened, found, first_strangers)
        starts, unseen = await self._starts(opened, found)
        sweep = Sweep(found, lasting, [*not_seen, *unlisted, *unseen], starts, self._too_many(found))
        for orphan in sweep.orphans:
            if orphan.target is not None:
                audit.orphan_found(orphan.target.run, orphan.status, by=self.note.by)
        if dry_run or sweep.refused:
            return sweep
        if sweep.orphans and agreed is not None and not await agreed(sweep.orphans):
            return replace(sweep, refused="It was not agreed to: none was stopped")
        return replace(sweep, runs=list(await asyncio.gather(*map(self._act, found))))

    # -- looking -----------------------------------------------------------------------------------------

    def _not_even_asked(self, found: Sequence[Swept]) -> str | None:
        """Return why not even the vendors are asked: so many owners cannot be over."""
        if (apparent := _orphans(found)) <= NOT_BELIEVED * self.rules.most:
            return None
        return f"{apparent} runs look like orphans, far more than {self.rules.most}: {DOUBTED}"

    async def _judge(self, opened: Connections, known: KnownRun) -> Swept:
        """Judge a run by Airflow's word and its handle's; its vendor is not asked yet."""
        if known.standing is Standing.OWNED:
            return Swept(known, Finding.OWNED, known.why)
        if known.unread:
            return Swept(known, Finding.DOUBT, known.unread)
        if excluded := self._excluded(known.where.dag_id, str(known.handle.get("conn_id"))):
            return Swept(known, Finding.LEFT_ALONE, excluded)
        try:
            target = await opened.open(known.handle, known.where)
        except RunctlError as error:
            return Swept(known, Finding.DOUBT, str(error))
        except Exception as error:
            log.exception("The handle of %s cannot be judged", known.where)
            return Swept(known, Finding.DOUBT, f"{type(error).__name__}: {error}")
        return self._judge_opened(known, target)

    def _judge_opened(self, known: KnownRun, target: Target) -> Swept:
        facts = known.attempt, known.dag_run, _ownership(target)
        standing, why = standing_of_left(known.left, *facts) if known.left else standing_of(*facts)
        if standing is Standing.UNCLEAR:
            return Swept(known, Finding.DOUBT, why, target)
        if standing is Standing.OWNED:
            return Swept(known, Finding.OWNED, why, target)
        age = (datetime.now(UTC) - target.run.started_at).total_seconds()
        if age < self.rules.min_age:
            why = f"{why}, and it is {age:.0f} s old, less than {self.rules.min_age:.0f}"
            return Swept(known, Finding.LEFT_ALONE, why, target)
        return Swept(known, Finding.ORPHAN, why, target)

    def _excluded(self, dag_id: str, conn_id: str) -> str | None:
        for what, name, patterns in (
            ("Dag", dag_id, self.rules.exclude_dags),
            ("connection", conn_id, self.rules.exclude_connections),
        ):
            if any(fnmatchcase(name, pattern) for pattern in patterns):
                return f"{what} {name!r} is excluded"
        return None

    async def _ask_vendor(self, swept: Swept) -> Swept:
        """Ask the vendor whether an apparent orphan is alive; without an answer it is left alone."""
        if swept.finding is not Finding.ORPHAN or swept.target is None:
            return swept
        known, target = swept.known, swept.target
        vendor = target.access.vendor
        if not vendor.can_look(target.run):
            return Swept(known, Finding.DOUBT, f"{swept.why}, and {vendor.label} does not say if it is alive", target)
        if known.left is not None and known.left.has_other and vendor.looks_by_name:
            why = f"{swept.why}, which {vendor.label} does not tell from it"
            return Swept(known, Finding.LEFT_ALONE, why, target)
        try:
            status = await target.access.adrive(vendor.status(target.run), LOOK_PATIENCE)
        except PROBLEMS as error:
            if known.left is not None and isinstance(error, NotFound):
                # It may have ended long ago; of a handle that somebody follows that would be a doubt.
                return Swept(known, Finding.LEFT_ALONE, f"{vendor.label} finds no such run", target)
            return Swept(known, Finding.DOUBT, f"{swept.why}, and {vendor.label} does not say: {error}", target)
        except Exception as error:
            log.exception("%s cannot be looked at", swept.name)
            return Swept(known, Finding.DOUBT, f"{swept.why}; {type(error).__name__}: {error}", target)
        finding = Finding.ORPHAN if status.state.is_live else Finding.OVER
        why = swept.why if status.state.is_live else f"{vendor.label} says {status.vendor_state}"
        return Swept(known, finding, why, target, status)

    async def _look_again(self, swept: Swept) -> Swept:
        if swept.finding is not Finding.ORPHAN:
            return swept
        return await self._ask_vendor(await self._owner_now(swept))

    async def _owner_now(self, swept: Swept) -> Swept:
        """Ask Airflow again about an orphan's owner."""
        assert swept.target is not None, "only what was opened is an orphan"
        try:
            known = await self._known_again(swept.known, _ownership(swept.target))
        except Exception as error:
            said = str(error) if isinstance(error, RunctlError) else type(error).__name__
            return Swept(swept.known, Finding.DOUBT, f"Airflow did not say a second time: {said}", swept.target)
        if known is None:
            return Swept(swept.known, Finding.OVER, "its handle is gone: it ended, or another attempt began")
        return self._judge_opened(known, swept.target)

    async def _known_again(self, known: KnownRun, ownership: Ownership | None) -> KnownRun | None:
        if known.left is None or self.archive is None:
            return await Inventory(self.source).again(known, ownership)
        return await LeftRuns(self.source, self.archive).again(known)

    def _too_many(self, found: Sequence[Swept]) -> str | None:
        why = self.rules.too_many(_orphans(found), len(found))
        return f"{why}: {DOUBTED}" if why else None

    # -- what only archived attempts know of ------------------------------------------------------------------

    async def _left(self, opened: Connections, found: Sequence[Swept]) -> tuple[list[Swept], list[str]]:
        """Return the runs that only archived attempts know of, and why there may be more."""
        if self.archive is None:
            return [], []

        async def elsewhere() -> frozenset[str]:
            return _known_ids(found) | await self._ids_beyond_the_scope()

        try:
            known, is_all = await LeftRuns(self.source, self.archive).runs(self.scope, elsewhere)
        except RunctlError as error:
            return [], [f"What archived attempts left was not looked at: {error}"]
        not_seen = [] if is_all else ["Of what archived attempts left, only the latest was looked at."]
        return list(await asyncio.gather(*(self._judge(opened, run) for run in known))), not_seen

    async def _without_what_is_over(self, found: Sequence[Swept], *, dry_run: bool) -> list[Swept]:
        """Leave out what archived attempts left and is over, as most of it is; a sweep that acts lets it go."""
        over = [one.known.left for one in found if one.finding is Finding.OVER and one.known.left is not None]
        if over and not dry_run and self.archive is not None:
            try:
                await self.archive.let_go(over)
            except RunctlError as error:
                self.told(f"{len(over)} handles of runs that are over stay with archived attempts: {error}")
        return [one for one in found if one.finding is not Finding.OVER or one.known.left is None]

    # -- what Airflow does not know --------------------------------------------------------------------------

    async def _strangers(self, opened: Connections, found: Sequence[Swept]) -> tuple[list[Stranger], list[str]]:
        used = {(str(one.known.handle.get("vendor")), str(one.known.handle.get("conn_id"))) for one in found}
        wanted = {(vendor, conn_id) for vendor, conn_id in used | self.connections if self._is_listed(vendor, conn_id)}
        return await strangers(opened, wanted, _known_ids(found))

    def _is_listed(self, vendor: str, conn_id: str) -> bool:
        return self.scope.vendor in (None, vendor) and self.scope.conn_id in (None, conn_id)

    async def _lasting(self, opened: Connections, found: Sequence[Swept], first: Sequence[Stranger]) -> list[Stranger]:
        """Return those that Airflow does not know by now either: what has just begun is recorded a moment later."""
        if not first:
            return []
        known = await Inventory(self.source).runs()
        ids = _known_ids(found) | _ids(known)
        second, _ = await strangers(opened, {(one.vendor, one.conn_id) for one in first}, ids)
        before = {(one.vendor, one.run_id) for one in first}
        return [one for one in second if (one.vendor, one.run_id) in before]

    async def _starts(self, opened: Connections, found: Sequence[Swept]) -> tuple[list[LostStart], list[str]]:
        if self.failed is None:
            return [], []
        try:
            ids = _known_ids(found) | await self._ids_beyond_the_scope()
            looking = LostStarts(self.source, self.failed, opened, ids)
            return await looking.find(self.scope, [swept.known.where for swept in found]), []
        except RunctlError as error:
            return [], [f"Lost starts were not looked for: {error}"]

    async def _ids_beyond_the_scope(self) -> frozenset[str]:
        return frozenset() if self.scope == ALL else _ids(await Inventory(self.source).runs())

    # -- stopping ----------------------------------------------------------------------------------------

    async def _act(self, swept: Swept) -> Swept:
        """Stop an orphan; of a run that is over at its vendor record the end, so that nobody looks at it again."""
        if swept.finding is Finding.ORPHAN:
            return await self._stop(swept)
        if swept.finding is Finding.OVER and swept.target is not None and swept.status is not None:
            ended = StopResult(StopOutcome.ALREADY_FINISHED, swept.status, 0.0)
            await record_end(self.channel, swept.target, ended, swept.known.stop)
        return swept

    async def _stop(self, swept: Swept) -> Swept:
        """Stop an orphan, if it is one still."""
        now = await self._owner_now(swept)
        if now.finding is not Finding.ORPHAN or now.target is None:
            return now

        async def still_wanted() -> bool:
            return (await self._owner_now(swept)).finding is Finding.ORPHAN

        self.told(f"{now.name} of {now.known.where}: stopping it, since {now.why}")
        report = await stop_target(
            self.channel,
            now.target,
            self.note,
            self.rules.timeout,
            records=now.known.left is None,
            still_wanted=still_wanted,
        )
        if now.known.left is not None and report.result is not None and report.result.outcome is StopOutcome.STOPPED:
            # No record of its own says it.
            audit.ended(now.target.run, report.result.status, self.note.by, stopped=True)
        return Swept(now.known, Finding.ORPHAN, now.why, now.target, swept.status, report)


def _ownership(target: Target) -> Ownership | None:
    return target.run.owner.ownership if target.run.owner else None


def _known_ids(found: Iterable[Swept]) -> frozenset[str]:
    """Return every id under which a vendor may list a known run; a stranger that bears one is not reported."""
    ids = {str(swept.known.handle.get("run_id")) for swept in found}
    return frozenset(ids | {swept.target.run.run_id for swept in found if swept.target})


def _ids(known: Iterable[KnownRun]) -> frozenset[str]:
    return frozenset(str(run.handle.get("run_id")) for run in known)


def _orphans(found: Iterable[Swept]) -> int:
    return sum(swept.finding is Finding.ORPHAN for swept in found)


def _counted(found: Sequence[Swept]) -> str:
    return f"{len(found)} runs may be alive, {_orphans(found)} of them look like orphans"
