"""Which arguments of a start do not go together, or are warned about, when the Dag is parsed.

What each may be by itself is in :mod:`airflow_runctl.arguments.table`.
"""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

from airflow_runctl.compat import HAS_TASK_STORE
from airflow_runctl.exceptions import RetriesStartAnew


@dataclass(frozen=True, slots=True)
class StartArguments:
    """Arguments that every operator has which starts a run, and that can be checked before anything is rendered.

    :param name: operator and task, for messages; the others are named as the operator names them.
    """

    name: str
    wait_for_completion: bool
    leave_running: bool
    max_runtime: timedelta | None
    warn_after: timedelta | None
    warn_callback: Any
    on_retry: str
    retries: int | None


def check(given: StartArguments) -> None:
    """Look at an operator's arguments.

    :raises ValueError: if they make no sense; it says which, of which task, and why.
    """
    name = given.name
    if given.leave_running and given.wait_for_completion:
        raise ValueError(f"{name}: leave_running=True goes only with wait_for_completion=False.")
    _check_limits(given)
    if not HAS_TASK_STORE:
        _check_retries(given)


def _check_limits(given: StartArguments) -> None:
    name = given.name
    for limit in ("max_runtime", "warn_after"):
        value = getattr(given, limit)
        if value is not None and not given.wait_for_completion:
            raise ValueError(f"{name}: {limit} needs wait_for_completion=True; nobody would look at the clock.")
    soft, hard = given.warn_after, given.max_runtime
    if soft is None and given.warn_callback is not None:
        raise ValueError(f"{name}: warn_callback goes with warn_after, which says when.")
    if soft is not None and hard is not None and soft >= hard:
        raise ValueError(f"{name}: warn_after ({soft}) is not below max_runtime ({hard}).")


def _check_retries(given: StartArguments) -> None:
    """Say what no retry can do where nothing that a try has stored survives it."""
    name = given.name
    if given.on_retry == "resume":
        raise ValueError(f"{name}: on_retry='resume' needs Airflow 3.3: below, a retry knows of no earlier run.")
    if given.retries:
        warnings.warn(
            f"{name} has retries. Below Airflow 3.3 a retry knows of no earlier run: should the task's process be "
            "killed (SIGKILL, out of memory, a lost worker) while its run is alive, the retry starts another one "
            "beside it, and nobody stops the first. Set retries=0 where that must not be.",
            RetriesStartAnew,
            stacklevel=4,
        )
