"""Doing on a worker what a person has asked Airflow's API server for; the maintenance Dag is made of it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from airflow_runctl.compat import BaseOperator, BlockingChannel, dag_run_state_for_task
from airflow_runctl.exceptions import RunctlError

if TYPE_CHECKING:
    from airflow.sdk import Context


class DoErrandOperator(BaseOperator):
    """Does the errand that is the configuration of its Dag run, for the user who started that.

    What it came to lies in its XCom ``outcome``, also if it fails.
    """

    def execute(self, context: Context) -> None:
        """Do it.

        :raises WrongArgument: if the configuration is no errand.
        :raises RunctlError: if a run may be alive that was to be stopped.
        """
        from airflow_runctl.control.by_hand import Hand
        from airflow_runctl.control.channel_source import ChannelSource, Nobody
        from airflow_runctl.control.errands import OUTCOME_KEY, Errand, do
        from airflow_runctl.control.stop_many import Connections
        from airflow_runctl.transport.aio import in_own_loop

        dag_run: Any = context["dag_run"]
        errand = Errand.read(dag_run.conf)
        # Not from the configuration, which whoever starts the Dag can write.
        user = getattr(dag_run, "triggering_user_name", None) or "somebody"
        channel = BlockingChannel(writable=True)
        source = ChannelSource(channel, dag_run_state_for_task, errand.runs)
        by = f"{user} over the maintenance Dag"
        hand = Hand(source, Nobody(), channel, Connections(channel), by, errand.reason, errand.timeout, self.log.info)
        try:
            outcome = in_own_loop(do(errand, hand))
        except RunctlError as error:
            context["ti"].xcom_push(key=OUTCOME_KEY, value={"failed": str(error)})
            raise
        context["ti"].xcom_push(key=OUTCOME_KEY, value=outcome)
        self._tell(outcome)

    def _tell(self, outcome: Mapping[str, Any]) -> None:
        for run in outcome.get("runs", ()):
            self.log.info("%s", run)
        if "said" in outcome:
            self.log.info("%s", outcome["said"])
        if outcome["may_be_alive"]:
            raise RunctlError(
                "A run may be alive that should not be; the lines above and the XCom 'outcome' say which."
            )
