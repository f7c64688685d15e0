"""What every operator shares that acts on a run which exists: stop, pause, resume."""

from __future__ import annotations

import asyncio
from abc import abstractmethod
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any, ClassVar

from airflow_runctl.arguments.kinds import is_nothing
from airflow_runctl.arguments.reading import read_given, read_rendered
from airflow_runctl.compat import BaseOperator, BlockingChannel
from airflow_runctl.exceptions import HandleError, RunctlError
from airflow_runctl.operators.handles import handles_in, opened, plain, refuse_nothing, tasks_of
from airflow_runctl.operators.secret_fields import hidden
from airflow_runctl.runs import ExternalRun, RunStatus, StopOutcome, StopReason

if TYPE_CHECKING:
    from airflow.sdk import Context

    from airflow_runctl.control.seal import Handle
    from airflow_runctl.control.stop_many import Connections, Report, Target


class ExistingRunOperator(BaseOperator):
    """Acts on runs that exist, named by the vendor's own ids or by a handle; exactly one of the two.

    :param conn_id: id of the Airflow connection, for runs that are named by ids. A handle names its own.
    :param ids: the vendor's own ids, by name; those that were not given are ``None``.
    :param external_run: a handle, what a start operator returned, or a list of either.
    :param stop_timeout: seconds in which the run has to be seen to do what it was told, 60 by default.
    """

    vendor: ClassVar[str]
    """Name of the vendor, as its hook's entry point has it."""

    secret_fields: ClassVar[frozenset[str]] = frozenset()
    """Template fields that hold a credential."""

    def __init__(
        self,
        *,
        conn_id: str,
        ids: Mapping[str, Any],
        external_run: Any = None,
        stop_timeout: float | timedelta = 60.0,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.conn_id = conn_id
        self.external_run = external_run
        self.stop_timeout: Any = stop_timeout
        given = [name for name, value in ids.items() if value is not None]
        if bool(given) == (external_run is not None):
            raise ValueError(
                f"{type(self).__name__} {self.task_id!r}: give exactly one of external_run and "
                f"the ids of the run ({', '.join(ids)}); {', '.join(given) or 'neither'} "
                f"{'and external_run were' if given else 'was'} given."
            )
        read_given(self, ExistingRunOperator)
        self._started_by = tasks_of(external_run)
        self._by_ids = external_run is None

    def _do_render_template_fields(self, parent: Any, *args: Any, **kwargs: Any) -> None:
        """Render, then hide credentials before Airflow shows the rendered fields."""
        super()._do_render_template_fields(parent, *args, **kwargs)
        for name in self.secret_fields if parent is self else ():
            value = getattr(self, name, None)
            if not is_nothing(value):
                setattr(self, name, hidden(value))

    def execute(self, context: Context) -> Any:
        """Act on every run.

        :returns: a dict with ``run_id``, ``outcome``, ``state``, ``vendor_state`` and ``seconds``; a list of
            them if ``external_run`` was a list.
        """
        from airflow_runctl.transport.aio import in_own_loop

        read_rendered(self)
        handles, is_list = self._handles(context)
        results = in_own_loop(self._act_on_all(context, handles))
        return results if is_list else results[0]

    async def _act_on_all(self, context: Context, handles: list[Handle] | None) -> list[dict[str, Any]]:
        from airflow_runctl.control.stop_many import Connections

        connections = Connections(BlockingChannel(writable=True))
        wanted: list[Handle | None] = [None] if handles is None else [*handles]

        async def act_on(handle: Handle | None) -> dict[str, Any]:
            named = self._named(connections) if handle is None else self._opened(connections, handle, context)
            return await self.act(await named)

        # One run that cannot be acted on must not keep the others alive.
        came = await asyncio.gather(*map(act_on, wanted), return_exceptions=True)
        return _all_or_first_error(came)

    @abstractmethod
    async def act(self, target: Target) -> dict[str, Any]:
        """Act on one run, and return what came of it."""

    @abstractmethod
    def named_run(self) -> tuple[str, Mapping[str, str]]:
        """Return the run's name and the vendor's ids, from the operator's rendered arguments."""

    # -- which runs ----------------------------------------------------------------------------------------

    def _handles(self, context: Context) -> tuple[list[Handle] | None, bool]:
        """Return the handles to act on, or ``None`` for a run that is named by ids; and if it was a list.

        :raises AirflowSkipException: if nothing was started, so that there is no handle.
        """
        if self._uses_ids():
            return None, False
        refuse_nothing(self, self._started_by)
        value = plain(self.external_run)
        is_list = isinstance(value, Sequence) and not isinstance(value, str)
        return handles_in(value, self._started_by, context), is_list

    def _uses_ids(self) -> bool:
        return self._by_ids

    async def _named(self, connections: Connections) -> Target:
        from airflow_runctl.control.stop_many import Target

        access = await connections.access(self.vendor, self.conn_id)
        run_id, ids = self.named_run()
        run = ExternalRun(self.vendor, self.conn_id, run_id, None, datetime.now(UTC), ids)
        return Target(run, access, {})

    async def _opened(self, connections: Connections, handle: Handle, context: Context) -> Target:
        """Open a handle; it must come from this vendor and from this Dag run."""
        if handle.get("vendor") != self.vendor:
            raise HandleError(
                f"This is the handle of a run at {handle.get('vendor')!r}; {type(self).__name__} acts on runs at "
                f"{self.vendor!r} only. Nothing was done."
            )
        return await opened(connections, handle, context)


class StopRunOperator(ExistingRunOperator):
    """Stops runs and waits until they are seen to be over.

    :param wait_for_stop: wait for the confirmation; if False the outcome may be ``requested``.
    :param stop_reason: a text for the logs and the audit record.
    """

    def __init__(self, *, wait_for_stop: bool = True, stop_reason: str | None = None, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.wait_for_stop = wait_for_stop
        self.stop_reason = stop_reason
        read_given(self, StopRunOperator)

    async def act(self, target: Target) -> dict[str, Any]:
        """Stop one run."""
        from airflow_runctl.control.stop import StopNote
        from airflow_runctl.control.stop_many import failures, stop_target

        note = StopNote(StopReason.BY_HAND, f"task {self.task_id}", self.stop_reason)
        timeout = self.stop_timeout if self.wait_for_stop else 0.0
        report: Report = await stop_target(BlockingChannel(writable=True), target, note, timeout)
        confirmed = self.wait_for_stop and target.access.vendor.can_look(target.run)
        if said := failures([report], confirmed=confirmed):
            raise RunctlError(said[0])
        assert report.result is not None
        return _outcome(target.run, report.result.outcome, report.result.status, report.result.seconds)


class SearchStopOperator(StopRunOperator):
    """Stops runs that are named by ids, by handles, or by what they have in common; exactly one of the three.

    A search refuses without a filter, with a filter that a template made empty, and when more runs match than
    ``max_runs``. It leaves out runs of which the vendor does not say what a filter asks for.

    :param search: filters, name to the exact value wanted: stop every live run that matches all of them.
    :param report_only: with ``search``: only return the runs that match; their ``outcome`` is ``None``.
    :param max_runs: with ``search``: how many runs may match, 20 by default.
    """

    filters: ClassVar[frozenset[str]]
    """Names of the filters that the vendor's runs can be searched by."""

    def __init__(
        self,
        *,
        ids: Mapping[str, Any],
        external_run: Any = None,
        search: Mapping[str, Any] | None = None,
        report_only: bool = False,
        max_runs: int = 20,
        **kwargs: Any,
    ) -> None:
        named = any(value is not None for value in (*ids.values(), external_run))
        super().__init__(ids={**ids, "search": search}, external_run=external_run, **kwargs)
        self.search = search
        self.report_only = report_only
        self.max_runs = max_runs
        read_given(self, SearchStopOperator)
        name = f"{type(self).__name__} {self.task_id!r}"
        if search is not None and named:
            raise ValueError(f"{name}: give either search or the runs themselves, not both.")
        if report_only and search is None:
            raise ValueError(f"{name}: report_only goes only with search.")
        if isinstance(search, Mapping):
            self._check_filters(name, search)

    def _check_filters(self, name: str, search: Mapping[str, Any]) -> None:
        if not search:
            raise ValueError(f"{name}: search has no filter; it would stop every run there is.")
        if unknown := sorted(set(search) - self.filters):
            raise ValueError(
                f"{name}: runs cannot be searched by {', '.join(unknown)}, only by {', '.join(sorted(self.filters))}."
            )

    def execute(self, context: Context) -> Any:
        """Stop the runs.

        :returns: as :meth:`ExistingRunOperator.execute`; with ``search`` a list, empty if nothing matches.
        """
        if self.search is None:
            return super().execute(context)
        read_rendered(self)
        from airflow_runctl.transport.aio import in_own_loop

        return in_own_loop(self._stop_matching(self.search))

    async def _stop_matching(self, search: Any) -> list[dict[str, Any]]:
        from airflow_runctl.control.stop import StopNote
        from airflow_runctl.control.stop_by_search import outcomes, stop_matching
        from airflow_runctl.control.stop_many import Connections

        if not isinstance(search, Mapping):
            raise RunctlError(f"search is {type(search).__name__}, not a dict of filters. Nothing was stopped.")
        note = StopNote(StopReason.BY_HAND, f"task {self.task_id}", self.stop_reason)
        timeout = self.stop_timeout if self.wait_for_stop else 0.0
        access = await Connections(BlockingChannel(writable=True)).access(self.vendor, self.conn_id)
        matches = await stop_matching(
            access, search, note, report_only=self.report_only, max_runs=self.max_runs, timeout=timeout
        )
        for match in matches:
            self.log.info("%s run %s matched (%s)", self.vendor, match.run.run_id, match.vendor_state)
        return outcomes(matches, confirmed=self.wait_for_stop)


class ChangeRunOperator(ExistingRunOperator):
    """Resumes or pauses runs, and waits until they are seen to do so."""

    change: ClassVar[str]
    """Name of the change in :mod:`airflow_runctl.control.pause_resume`."""

    async def act(self, target: Target) -> dict[str, Any]:
        """Resume or pause one run."""
        from airflow_runctl.control.remember import remembered

        owner = target.run.owner
        where = owner.key if owner else None
        return await remembered(BlockingChannel(writable=True), where, self._change(target))

    async def _change(self, target: Target) -> dict[str, Any]:
        from airflow_runctl.control import audit, pause_resume

        what, by = getattr(pause_resume, self.change), f"task {self.task_id}"
        flow = pause_resume.change(target.access.vendor, target.run, what, timeout=self.stop_timeout)
        try:
            result = await target.access.adrive(flow)
        except RunctlError as error:
            audit.refused(self.change.lower(), target.run, by, error)
            raise
        audit.told_to(self.change.lower(), target.run, by, result.outcome, result.status, result.seconds)
        self.log.info("%s run %s: %s in %.1f s", self.vendor, target.run.run_id, result.outcome, result.seconds)
        return _outcome(target.run, result.outcome, result.status, result.seconds)


def _all_or_first_error(came: Sequence[dict[str, Any] | BaseException]) -> list[dict[str, Any]]:
    """Return what came of all runs, or raise the first error with the others as its notes."""
    errors = [item for item in came if isinstance(item, BaseException)]
    if not errors:
        return [item for item in came if not isinstance(item, BaseException)]
    first, *others = errors
    for other in others:
        first.add_note(f"And also: {other}")
    raise first


def _outcome(run: ExternalRun, outcome: StopOutcome | str, status: RunStatus | None, seconds: float) -> dict[str, Any]:
    return {
        "run_id": run.run_id,
        "outcome": str(outcome),
        "state": status.state.value if status else None,
        "vendor_state": status.vendor_state if status else None,
        "seconds": seconds,
    }
