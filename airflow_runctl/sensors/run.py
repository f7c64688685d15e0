"""``ExternalRunSensor``: waits for a run of any vendor, which somebody else started and owns."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import timedelta
from typing import TYPE_CHECKING, Any, Final, NoReturn

from airflow_runctl.arguments.kinds import is_nothing
from airflow_runctl.arguments.reading import read_given, read_rendered
from airflow_runctl.compat import (
    CLEARS_FORGET,
    AirflowFailException,
    AirflowSensorTimeout,
    AirflowSkipException,
    AirflowTaskTimeout,
    BaseSensorOperator,
    BlockingChannel,
    PokeReturnValue,
    TaskStore,
    conf,
    lead_over_core,
    mask_secret,
    start_date,
    task_key,
    task_store,
)
from airflow_runctl.exceptions import CannotStop, HandleError, RunctlError, RunFailed, WrongArgument
from airflow_runctl.links import COLOR, ExternalRunLink
from airflow_runctl.operators.handles import handles_in, opened, plain, refuse_nothing, tasks_of
from airflow_runctl.operators.secret_fields import hidden, revealed
from airflow_runctl.runs import HANDLE_KEY, SECRET_IDS, ExternalRun, RunState, RunStatus, StopOutcome, StopReason

if TYPE_CHECKING:
    from airflow.sdk import Context

    from airflow_runctl.control.seal import Handle
    from airflow_runctl.control.stop_many import Connections, Report, Target
    from airflow_runctl.control.watch import Sight, Watched

MEMORY_KEY: Final = "airflow_runctl_sensor"


class ExternalRunSensor(BaseSensorOperator):
    """Waits until a run has succeeded, or is in another state that is wanted.

    The run is named by a handle, or by the vendor's own ids; exactly one of the two. The sensor does not own
    it: the run goes on when the sensor is killed, fails or times out, unless ``stop_on_timeout`` is set.

    ``poke_interval`` (60 s by default), ``timeout``, ``soft_fail``, ``never_fail``, ``silent_fail``, ``mode``,
    ``exponential_backoff`` and ``max_wait`` are those of every Airflow sensor. ``timeout`` and
    ``execution_timeout`` hold deferred too. ``soft_fail`` skips when the run failed or the time is up, not
    when the vendor cannot be reached: looks that fail are ridden out for a while (``[runctl] ride_out``,
    600 s; with ``silent_fail`` until ``timeout``).

    :param external_run: a handle, or what a start operator returned; of a task of this Dag run. For several
        runs use ``expand(external_run=...)``. (templated)
    :param vendor: name of the vendor, as in ``snaplogic``, for a run that is named by ``ids``.
    :param ids: the vendor's own ids of the run, by name: ``ruuid`` at SnapLogic; ``pipeline_id`` and ``run_id`` at
        VectorShift; ``workspace_id`` and ``alias``, or ``task_id``, at bctrl; at axiom.ai, which gives runs no
        id, ``name`` and ``after`` (``created_at`` of the last report that is older than the run). The run may
        belong to another Dag run, or to nobody. (templated; credentials in it are never shown)
    :param conn_id: id of the Airflow connection, for ``ids``; the vendor's default id if left out. (templated)
    :param target_states: the states that are waited for: any of queued, running, stopping, suspended,
        succeeded (the default), failed, stopped.
    :param stop_on_timeout: stop the run when the sensor's time is up; False by default.
    :param stop_timeout: seconds in which that stop has to be confirmed, 60 by default.
    :param deferrable: wait in the triggerer instead of on the worker; Airflow's ``default_deferrable``.
    :returns: a dict with ``run_id``, ``state``, ``vendor_state``, ``url``, ``result``.
    :raises RunFailed: if the run is over, and in none of ``target_states``.
    :raises AirflowSensorTimeout: if the time is up. Airflow does not retry after it.
    """

    template_fields: Sequence[str] = ("external_run", "ids", "conn_id")
    operator_extra_links = (ExternalRunLink(),)
    ui_color = COLOR

    def __init__(
        self,
        *,
        external_run: Any = None,
        vendor: str | None = None,
        ids: Mapping[str, Any] | str | None = None,
        conn_id: str | None = None,
        target_states: Sequence[str] = (RunState.SUCCEEDED.value,),
        stop_on_timeout: bool = False,
        stop_timeout: float | timedelta = 60.0,
        deferrable: bool = conf.getboolean("operators", "default_deferrable", fallback=False),
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.external_run = external_run
        self.vendor = vendor
        self.ids: Any = ids
        self.conn_id = conn_id
        self.target_states = target_states
        self.stop_on_timeout = stop_on_timeout
        self.stop_timeout: Any = stop_timeout
        self.deferrable = deferrable
        self._check_arguments()
        read_given(self, ExternalRunSensor)
        self._uses_ids = external_run is None
        self._started_by = tasks_of(external_run)
        self._target: Target | None = None
        self._sight: Sight | None = None
        self._alarm_at: float | None = None

    def _check_arguments(self) -> None:
        name = f"{type(self).__name__} {self.task_id!r}"
        named = [field for field in ("vendor", "ids", "conn_id") if getattr(self, field) is not None]
        if bool(named) == (self.external_run is not None) or (named and not {"vendor", "ids"} <= {*named}):
            given = ["external_run", *named] if self.external_run is not None else named
            raise ValueError(
                f"{name}: give exactly one of external_run (a handle names its own connection), and vendor with ids "
                f"(and conn_id); {' and '.join(given) or 'neither'} was given."
            )

    def _do_render_template_fields(self, parent: Any, *args: Any, **kwargs: Any) -> None:
        """Render, then hide credentials before Airflow shows the rendered fields."""
        super()._do_render_template_fields(parent, *args, **kwargs)
        if parent is self and self._uses_ids:
            ids = self._rendered_ids()
            secret = {name: hidden(value) for name, value in ids.items() if name in SECRET_IDS}
            self.ids = {**ids, **secret}

    def _rendered_ids(self) -> Mapping[str, Any]:
        try:
            ids = plain(self.ids)
        except HandleError:
            ids = None
        empty = [name for name, value in ids.items() if is_nothing(value)] if isinstance(ids, Mapping) else []
        if isinstance(ids, Mapping) and ids and not empty:
            return ids
        which = f" ({', '.join(empty)} came to nothing)" if empty else ""
        raise WrongArgument(
            f"ids of sensor {self.task_id!r} is a dict of the vendor's own ids, none of them empty{which}. "
            "Nothing was sent."
        )

    # -- the wait ------------------------------------------------------------------------------------------

    def execute(self, context: Context) -> dict[str, Any]:
        """Wait for the run: here, in the triggerer, or rescheduled."""
        read_rendered(self)
        if not self._uses_ids:
            refuse_nothing(self, self._started_by)
        with self._failing_as_told():
            self._target = asyncio.run(self._open(context))
            self._greet(context, self._target.run)
            watched = self._watch_deferred(context) if self.deferrable else self._watch_here(context)
            return self._conclude(context, self._target.handle, watched)

    def execute_complete(self, context: Context, event: Mapping[str, Any]) -> dict[str, Any]:
        """Go on after the deferral, with what the trigger saw.

        :param event: see :class:`~airflow_runctl.triggers.sensor.ExternalRunSensorTrigger`.
        """
        from airflow_runctl.control.watch import Watched

        with self._failing_as_told():
            return self._conclude(context, event[HANDLE_KEY], Watched.read(event))

    def poke(self, context: Context) -> PokeReturnValue:
        """Look once. It is done also with a run that ended otherwise than hoped for: that is said afterwards."""
        from airflow_runctl.control.watch import POLL_PATIENCE

        target = self._target = self._target or asyncio.run(self._open(context))
        sight = self._sight = self._sight or self._recall(context)
        before = sight.bad_since
        try:
            flow = sight.look(target.access.vendor, target.run)
            watched = target.access.drive(flow, POLL_PATIENCE, listener=self._heard)
        except KeyError as missing:
            if not self._uses_ids:
                raise
            raise HandleError(
                f"A run at {target.access.vendor.label} is not named by {', '.join(target.run.ids)} alone: "
                f"ids lacks {missing}."
            ) from missing
        if sight.bad_since != before:
            self._remember(context, sight)
        if watched is None and self._alarm_at is not None and time.monotonic() > self._alarm_at:
            # Python drops what the alarm's handler raises while it finalizes an object.
            raise AirflowTaskTimeout("execution_timeout has passed, and its alarm was lost")
        return PokeReturnValue(watched is not None, watched)

    def _watch_here(self, context: Context) -> Watched:
        """Let Airflow poke, in its loop or rescheduled; what it says of a time that is up becomes a limit."""
        from airflow_runctl.control.watch import Watched

        if self.execution_timeout is not None:
            self._alarm_at = time.monotonic() + self.execution_timeout.total_seconds()
        try:
            watched: Watched = super().execute(context)
        except AirflowTaskTimeout:
            return Watched(limit=StopReason.EXECUTION_TIMEOUT)
        except (AirflowSensorTimeout, AirflowSkipException) as error:
            if isinstance(error.__cause__, AirflowTaskTimeout):
                return Watched(limit=StopReason.EXECUTION_TIMEOUT)
            if error.__cause__ is not None:  # never_fail: an error of poke
                raise
            return Watched(limit=StopReason.SENSOR_TIMEOUT)
        return watched

    def _watch_deferred(self, context: Context) -> Watched:
        """Look once, then wait in the triggerer.

        No ``timeout`` for ``defer``: when it passed, Airflow would call no method of ours.
        """
        from airflow_runctl.triggers.sensor import ExternalRunSensorTrigger

        watched: Watched | None = self.poke(context).xcom_value
        if watched is not None:
            return watched
        assert self._target is not None, "poke opens it"
        trigger = ExternalRunSensorTrigger(
            external_run=dict(self._target.handle),
            poll_interval=self.poke_interval,
            limits=self._limits(context),
            ride_out=self._ride_out(),
            target_states=self.target_states,
            backoff_since=time.time() if self.exponential_backoff else None,
            max_wait=self.max_wait.total_seconds() if self.max_wait else None,
        )
        self.defer(trigger=trigger, method_name="execute_complete")
        raise AssertionError("defer does not return")

    def _limits(self, context: Context) -> dict[str, float]:
        """Return the wall-clock limits, which deferral does not move."""
        began = start_date(context).timestamp()
        limits = {StopReason.SENSOR_TIMEOUT.value: began + self.timeout}
        if self.execution_timeout is not None:
            limit = self.execution_timeout - lead_over_core(self.execution_timeout)
            limits[StopReason.EXECUTION_TIMEOUT.value] = began + limit.total_seconds()
        return limits

    def _ride_out(self) -> float:
        from airflow_runctl.control.watch import RIDE_OUT, configured_ride_out

        # Longer than there is time: bad looks alone do not end it then.
        return self.timeout + RIDE_OUT if self.silent_fail else configured_ride_out()

    def _heard(self, what: object) -> None:
        if isinstance(what, RunStatus):
            self.log.info("%s (%s)", what.vendor_state, what.state.value)
        elif isinstance(what, Exception):
            self.log.debug("A bad poll: %s", what)

    # -- what a rescheduled sensor remembers ---------------------------------------------------------------

    def _memory(self, context: Context) -> TaskStore | None:
        """Return where a rescheduled sensor, a new process for each look, can leave something.

        Below Airflow 3.3 there is no such place: there bad looks are ridden out until ``timeout``.
        """
        return task_store(context) if self.reschedule and not self.deferrable else None

    def _recall(self, context: Context) -> Sight:
        from airflow_runctl.control.watch import Sight

        sight = Sight(frozenset(map(RunState, self.target_states)), self._ride_out())
        store = self._memory(context)
        left = store.get(MEMORY_KEY) if store else None
        if isinstance(left, Mapping) and left.get("try_number") == context["ti"].try_number:
            sight.bad_since = left.get("bad_since")
        return sight

    def _remember(self, context: Context, sight: Sight) -> None:
        if store := self._memory(context):
            store.set(MEMORY_KEY, {"bad_since": sight.bad_since, "try_number": context["ti"].try_number})

    # -- which run -----------------------------------------------------------------------------------------

    async def _open(self, context: Context, handle: Handle | None = None) -> Target:
        """Return the run; ``handle`` is that of the same run before a deferral."""
        from airflow_runctl.control.stop_many import Connections

        connections = Connections(BlockingChannel(writable=True))
        if self._uses_ids:
            return await (connections.open(handle, None) if handle else self._named(connections, context))
        if handle is None:
            handles = handles_in(self.external_run, self._started_by, context)
            if len(handles) > 1:
                raise HandleError(
                    f"external_run of sensor {self.task_id!r} holds {len(handles)} runs; a sensor waits for one. "
                    "Use ExternalRunSensor.partial(...).expand(external_run=...)."
                )
            handle = handles[0]
        return await opened(connections, handle, context)

    async def _named(self, connections: Connections, context: Context) -> Target:
        """Return the run that ``ids`` name. A trigger's arguments must not hold them in clear: they are sealed."""
        from airflow_runctl.control.seal import handle_of
        from airflow_runctl.control.stop_many import Target
        from airflow_runctl.hooks.base import hook_class
        from airflow_runctl.vendors.base import Started

        assert self.vendor is not None, "checked when the Dag is parsed"
        conn_id = self.conn_id or hook_class(self.vendor).default_conn_name
        access = await connections.access(self.vendor, conn_id)
        ids = {name: str(revealed(value)) for name, value in self.ids.items()}
        run_id = ids.get("run_id") or " ".join(value for name, value in ids.items() if name not in SECRET_IDS)
        url = access.vendor.run_url(access.endpoint.base_url, Started(run_id, ids))
        # The same at each look of a rescheduled sensor.
        began = context["dag_run"].start_date or start_date(context)
        run = ExternalRun(self.vendor, conn_id, run_id, url, began, ids)
        if not access.vendor.can_look(run):
            raise HandleError(f"At {access.vendor.label} nothing can be seen of a run by its {', '.join(ids)} alone.")
        return Target(run, access, handle_of(run, access))

    def _greet(self, context: Context, run: ExternalRun) -> None:
        """Say which run it is, and let the task's button open it."""
        from airflow_runctl.control.ledger import keep_link

        for name in SECRET_IDS & run.ids.keys():
            mask_secret(run.ids[name])
        keep_link(run, task_key(context["ti"]))
        self.log.info("Waiting for %s run %s %s", run.vendor, run.run_id, run.url or "")

    # -- the end -------------------------------------------------------------------------------------------

    def _conclude(self, context: Context, handle: Handle, watched: Watched) -> dict[str, Any]:
        """Turn what the watching came to into a result or an error."""
        from airflow_runctl.control.seal import words_of

        name = words_of(handle)
        if watched.lost is not None:
            raise RunctlError(f"{name} was lost sight of: {watched.lost}")
        status = watched.status or self._at_limit(context, handle, name, watched.limit)
        if CLEARS_FORGET and status.state.is_terminal and not self._uses_ids:
            self._let_go(context, handle)
        if status.state in self.target_states:
            return {
                "run_id": handle["run_id"],
                "state": status.state.value,
                "vendor_state": status.vendor_state,
                "url": handle["url"],
                "result": status.result,
            }
        because = f": {status.message}" if status.message else ""
        raise RunFailed(f"{name} is {status.vendor_state}{because}. Waited for: {self._wanted}.")

    def _let_go(self, context: Context, handle: Handle) -> None:
        """Let go of what is kept of a run that its own task does not watch, now that it is over."""
        from airflow_runctl.control.recording import quietly
        from airflow_runctl.control.second_home import forget
        from airflow_runctl.transport.aio import in_own_loop

        async def let_go() -> None:
            run = (self._target or await self._open(context, handle)).run
            if run.owner is not None:
                await forget(BlockingChannel(writable=True), run.owner)

        in_own_loop(quietly("forget the record of a run that is over", let_go()))

    def _at_limit(self, context: Context, handle: Handle, name: str, limit: StopReason | None) -> RunStatus:
        """Stop the run if that is wanted, and raise; return its state if it got to its end first."""
        came = "It was left alone."
        if self.stop_on_timeout:
            from airflow_runctl.control.stop_many import failures
            from airflow_runctl.transport.aio import in_own_loop

            report: Report = in_own_loop(self._stop(context, handle))
            if said := failures([report], confirmed=True):
                raise CannotStop(f"The time is up. {said[0]}")
            result = report.result
            if result is not None and result.status is not None and result.outcome is StopOutcome.ALREADY_FINISHED:
                return result.status
            came = f"It was stopped ({result.outcome.value}, {result.seconds:.1f} s)." if result else ""
        self._raise_time_is_up(name, limit, came)

    def _raise_time_is_up(self, name: str, limit: StopReason | None, came: str) -> NoReturn:
        if limit is StopReason.EXECUTION_TIMEOUT:
            raise AirflowTaskTimeout(f"execution_timeout passed, and {name} was not {self._wanted}. {came}")
        raise AirflowSensorTimeout(f"{name} was not {self._wanted} within {self.timeout:.0f} s. {came}")

    @property
    def _wanted(self) -> str:
        return " or ".join(self.target_states)

    async def _stop(self, context: Context, handle: Handle) -> Report:
        from airflow_runctl.control.stop import StopNote
        from airflow_runctl.control.stop_many import stop_target

        target = self._target or await self._open(context, handle)
        note = StopNote(StopReason.SENSOR_TIMEOUT, f"sensor {self.task_id}")
        report: Report = await stop_target(BlockingChannel(writable=True), target, note, self.stop_timeout)
        return report

    @contextmanager
    def _failing_as_told(self) -> Iterator[None]:
        """Skip instead of failing, where ``soft_fail`` or ``never_fail`` says so."""
        try:
            yield
        except (RunFailed, AirflowSensorTimeout, AirflowTaskTimeout, AirflowFailException) as error:
            self._skip_if(self.soft_fail or self.never_fail, error)
            raise
        except RunctlError as error:
            self._skip_if(self.never_fail, error)
            raise

    def _skip_if(self, told: bool, error: BaseException) -> None:
        if told:
            self.log.warning("%s", error)
            raise AirflowSkipException(str(error)) from error
