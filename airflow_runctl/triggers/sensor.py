"""Watches a run for a sensor, which does not own it: nothing here ever stops a run."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Any

from airflow_runctl.arguments.reading import odd_among_given
from airflow_runctl.control.stop_many import Target
from airflow_runctl.control.watch import POLL_INTERVAL, RIDE_OUT, Watched, follow
from airflow_runctl.runs import RunState, TaskKey
from airflow_runctl.triggers.run import BY, ExternalRunTrigger
from airflow_runctl.vendors.base import Flow


class ExternalRunSensorTrigger(ExternalRunTrigger):
    """Follows a run until it is in a state that a sensor waits for, over, lost, or past a limit.

    :param external_run: the run's handle; its secrets are sealed.
    :param poll_interval: seconds between two looks.
    :param limits: wall-clock limits, reason to Unix time: ``sensor_timeout``, ``execution_timeout``.
    :param ride_out: seconds for which bad polls in a row are put up with.
    :param target_states: states that are waited for.
    :param backoff_since: wait as long as has been waited since then (Unix time), at least ``poll_interval``;
        ``None`` for equal intervals. A moment, not a count: a restart of the triggerer does not lose it.
    :param max_wait: longest interval, in seconds; ``None`` for no limit.
    """

    def __init__(
        self,
        external_run: dict[str, Any],
        poll_interval: float = POLL_INTERVAL,
        limits: dict[str, float] | None = None,
        ride_out: float = RIDE_OUT,
        target_states: Sequence[str] = (RunState.SUCCEEDED.value,),
        backoff_since: float | None = None,
        max_wait: float | None = None,
    ) -> None:
        super().__init__(external_run, poll_interval, limits, stop_on_kill=False, ride_out=ride_out)
        self.target_states = target_states
        self.backoff_since = backoff_since
        self.max_wait = max_wait
        self._odd |= odd_among_given(self, ExternalRunSensorTrigger)
        self.target_states = list(self.target_states)

    def serialize(self) -> tuple[str, dict[str, Any]]:
        """Return the class path and the arguments, all of them plain JSON."""
        path, arguments = super().serialize()
        for owners_only in ("stop_on_kill", "stop_timeout", "warn_at", "warn_callback"):
            del arguments[owners_only]
        more = {name: getattr(self, name) for name in ("target_states", "backoff_since", "max_wait")}
        return path, {**arguments, **more}

    def _follow(self, target: Target) -> Flow[Watched]:
        return follow(
            target.access.vendor,
            target.run,
            by=BY,
            poll_interval=self._pause,
            limits=self.limits,
            stop_timeout=None,
            ride_out=self.ride_out,
            ends=frozenset(map(RunState, self.target_states)),
        )

    def _where(self) -> TaskKey | None:
        """Return no task instance: the one that is deferred on this trigger is not the run's owner."""
        return None

    def _pause(self) -> float:
        waited = 0.0 if self.backoff_since is None else time.time() - self.backoff_since
        longest = float("inf") if self.max_wait is None else self.max_wait
        return min(max(self.poll_interval, waited), longest)
