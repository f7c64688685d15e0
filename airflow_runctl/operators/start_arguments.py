"""What an operator that starts a run refuses, or warns about, when the Dag is parsed."""

from __future__ import annotations

import warnings
from datetime import timedelta
from typing import TYPE_CHECKING, Final

from airflow_runctl.compat import HAS_TASK_STORE
from airflow_runctl.exceptions import RetriesStartAnew

if TYPE_CHECKING:
    from airflow_runctl.operators.base import StartRunOperator

ON_RETRY: Final = ("reattach", "resume", "restart")


def check(operator: StartRunOperator) -> None:
    """Look at an operator's arguments.

    :raises ValueError: if they make no sense; it says which, of which task, and why.
    """
    name = f"{type(operator).__name__} {operator.task_id!r}"
    if operator.on_retry not in ON_RETRY:
        raise ValueError(f"{name}: on_retry is {operator.on_retry!r}; it can be {', '.join(ON_RETRY)}.")
    if operator.leave_running and operator.wait_for_completion:
        raise ValueError(f"{name}: leave_running=True goes only with wait_for_completion=False.")
    if operator.poll_interval <= 0 or operator.stop_timeout <= 0:
        raise ValueError(f"{name}: poll_interval and stop_timeout are seconds above 0.")
    _check_limits(operator, name)
    if not HAS_TASK_STORE:
        _check_retries(operator, name)


def _check_limits(operator: StartRunOperator, name: str) -> None:
    for limit in ("max_runtime", "warn_after"):
        value = getattr(operator, limit)
        if value is not None and not isinstance(value, timedelta):
            raise ValueError(f"{name}: {limit} is a timedelta, not {type(value).__name__}.")
        if value is not None and not operator.wait_for_completion:
            raise ValueError(f"{name}: {limit} needs wait_for_completion=True; nobody would look at the clock.")
    soft, hard = operator.warn_after, operator.max_runtime
    if soft is None and operator.warn_callback is not None:
        raise ValueError(f"{name}: warn_callback goes with warn_after, which says when.")
    if soft is not None and hard is not None and soft >= hard:
        raise ValueError(f"{name}: warn_after ({soft}) is not below max_runtime ({hard}).")
    operator.warning()


def _check_retries(operator: StartRunOperator, name: str) -> None:
    """Say what no retry can do where nothing that a try has stored survives it."""
    if operator.on_retry == "resume":
        raise ValueError(f"{name}: on_retry='resume' needs Airflow 3.3: below, a retry knows of no earlier run.")
    if operator.retries:
        warnings.warn(
            f"{name} has retries. Below Airflow 3.3 a retry knows of no earlier run: should the task's process be "
            "killed (SIGKILL, out of memory, a lost worker) while its run is alive, the retry starts another one "
            "beside it, and nobody stops the first. Set retries=0 where that must not be.",
            RetriesStartAnew,
            stacklevel=4,
        )
