"""Sweeping from a Dag: finds the runs whose owner is over, and stops them."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import timedelta
from typing import TYPE_CHECKING, Any

from airflow_runctl.arguments.reading import read_given, read_rendered
from airflow_runctl.compat import BaseHook, BaseOperator, BlockingChannel
from airflow_runctl.exceptions import RunctlError
from airflow_runctl.runs import StopReason

if TYPE_CHECKING:
    from airflow.sdk import Context

    from airflow_runctl.control.findings import Sweep


class SweepRunsOperator(BaseOperator):
    """Finds runs that are alive at their vendors though their owner is over, and stops them.

    A task cannot see other Dags' tasks: it asks Airflow's REST API, as the user of a connection, which needs the extra
    ``cli`` on the worker. What a sweep stops, and what keeps it from that: docs/how-to/operating.md. Airflow 3 only.

    :param airflow_conn_id: connection to this Airflow: its host is the address of the API server; login and password
        are a user's, or the password is a token. ``airflow_api`` by default.
    :param report_only: only say what would be stopped; the default.
    :param min_age: seconds, or a ``timedelta``, that a run has to be old; 30 minutes by default.
    :param look_again: seconds between the two looks, 30 by default.
    :param max_orphans: how many orphans there may be, 20 by default; if there are more, none is stopped.
    :param max_share: which part of all runs that may be alive may be orphans, 0.5 by default; of up to five none is
        taken.
    :param only_dag_id: only runs of this Dag.
    :param only_vendor: only runs at this vendor.
    :param exclude_dags: patterns (``*``, ``?``) of Dags whose runs are left alone.
    :param exclude_connections: the same of connections.
    :param stop_timeout: seconds in which each stop has to be confirmed, 60 by default.
    :param stop_reason: a text for the logs and the audit records.
    """

    template_fields: Sequence[str] = ("airflow_conn_id", "stop_reason")

    def __init__(
        self,
        *,
        airflow_conn_id: str = "airflow_api",
        report_only: bool = True,
        min_age: float | timedelta = 1800.0,
        look_again: float | timedelta = 30.0,
        max_orphans: int = 20,
        max_share: float = 0.5,
        only_dag_id: str | None = None,
        only_vendor: str | None = None,
        exclude_dags: Sequence[str] = (),
        exclude_connections: Sequence[str] = (),
        stop_timeout: float | timedelta = 60.0,
        stop_reason: str | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.airflow_conn_id = airflow_conn_id
        self.report_only = report_only
        self.min_age: Any = min_age
        self.look_again: Any = look_again
        self.max_orphans = max_orphans
        self.max_share = max_share
        self.only_dag_id = only_dag_id
        self.only_vendor = only_vendor
        self.exclude_dags = exclude_dags
        self.exclude_connections = exclude_connections
        self.stop_timeout: Any = stop_timeout
        self.stop_reason = stop_reason
        read_given(self, SweepRunsOperator)

    def execute(self, context: Context) -> dict[str, Any]:
        """Sweep.

        :returns: a dict with ``runs`` (each with ``task``, ``run``, ``finding``, ``why``, ``vendor_state``, ``outcome``
            and ``error``; those that have an owner are left out) and ``strangers``, live runs at a vendor that Airflow
            does not know (``vendor``, ``conn_id``, ``run_id``, ``vendor_state``), and ``lost_starts``, of which a run
            may be alive (``task``, ``run``, ``why``).
        :raises RunctlError: if there are too many orphans to be believed, if a run is in doubt, and if one that was to
            be stopped may be alive. What can be stopped was stopped by then.
        """
        from airflow_runctl.transport.aio import in_own_loop

        read_rendered(self)
        sweep = in_own_loop(self._sweeper().run(dry_run=self.report_only))
        self._log(sweep)
        if said := self._alarms(sweep):
            raise RunctlError(" ".join(said))
        from airflow_runctl.control.findings import Finding

        runs = [swept.out() for swept in sweep.runs if swept.finding is not Finding.OWNED]
        strangers = [stranger.out() for stranger in sweep.strangers]
        return {"runs": runs, "strangers": strangers, "lost_starts": [start.out() for start in sweep.starts]}

    def _sweeper(self) -> Any:
        from airflow_runctl.control.inventory import Scope
        from airflow_runctl.control.stop import StopNote
        from airflow_runctl.control.sweep import Rules, Sweeper
        from airflow_runctl.rest.calls import Calls
        from airflow_runctl.rest.channel import RestChannel
        from airflow_runctl.rest.login import login_of
        from airflow_runctl.rest.source import AirflowRest

        rules = Rules(
            min_age=self.min_age,
            look_again=self.look_again,
            most=self.max_orphans,
            share=self.max_share,
            exclude_dags=self.exclude_dags,
            exclude_connections=self.exclude_connections,
            timeout=self.stop_timeout,
        )
        try:
            rest = AirflowRest(Calls(login_of(BaseHook.get_connection(self.airflow_conn_id))))
        except ModuleNotFoundError as error:
            raise RunctlError(
                f"{error.name} is not installed on this worker: pip install 'airflow-runctl[cli]'. Nothing was done."
            ) from error
        note = StopNote(StopReason.LEFTOVER, f"task {self.task_id}", self.stop_reason)
        scope = Scope(vendor=self.only_vendor, dag_id=self.only_dag_id)
        channel = RestChannel(rest, BlockingChannel(writable=False))
        return Sweeper(rest, channel, rules, note, scope, failed=rest, archive=rest, told=self.log.info)

    def _log(self, sweep: Sweep) -> None:
        from airflow_runctl.control.findings import Finding

        for swept in sweep.runs:
            level = self.log.debug if swept.finding is Finding.OWNED else self.log.info
            level("%s of %s: %s, %s", swept.name, swept.known.where, swept.finding.value, swept.why)
        for stranger in sweep.strangers:
            self.log.warning("Not known to Airflow, and left alone: %s", stranger.out())
        for start in sweep.starts:
            self.log.warning("Left alone: a run that %s may have started, %s", start.where, start.out())
        for why in sweep.unlisted:
            self.log.info("%s", why)
        if self.report_only and sweep.orphans:
            self.log.warning("report_only: %d orphans would be stopped", len(sweep.orphans))

    def _alarms(self, sweep: Sweep) -> list[str]:
        """Return a sentence for whatever needs a person."""
        from airflow_runctl.control.findings import Finding

        said = [f"{sweep.refused}."] if sweep.refused else []
        said += sweep.failures()
        return said + [
            f"{swept.name} of {swept.known.where} may be alive: {swept.why}"
            for swept in sweep.runs
            if swept.finding is Finding.DOUBT
        ]
