"""A task instance and its context: key, tries, start, task loop, and what a user has made of it."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any, Final

from airflow_runctl.compat import database
from airflow_runctl.compat.release import IS_AIRFLOW_2
from airflow_runctl.runs import TaskKey

if TYPE_CHECKING:
    from airflow.sdk import Context


def task_key(ti: Any) -> TaskKey:
    """Return the key of a task instance, whichever class stands for it."""
    return TaskKey(ti.dag_id, ti.run_id, ti.task_id, getattr(ti, "map_index", -1))


def is_in_task_loop(context: Context) -> bool:
    """Return True in a task loop (3.4 and newer), where one key names the task instances of all passes."""
    from_server = getattr(context["ti"], "_ti_context_from_server", None)
    return getattr(from_server, "loop", None) is not None


def further_try_is_coming(context: Context) -> bool:
    """Return True if Airflow would try the task again should it fail now.

    A task's own ``retry_policy`` decides by the error, which nobody knows yet: then the careful answer
    is False, since a run that is left for a try that never comes is an orphan.
    """
    ti = context["ti"]
    if getattr(context["task"], "retry_policy", None) is not None:
        return False
    return bool(ti.try_number <= (ti.max_tries or 0))


def start_date(context: Context) -> datetime:
    """Return when this attempt began; deferral keeps it."""
    moment: datetime = context["ti"].start_date
    return moment


def lead_over_core(limit: timedelta) -> timedelta:
    """Return how long before ``execution_timeout`` a trigger has to act, to be ahead of Airflow itself.

    Airflow 3 does not enforce it while a task is deferred. 2.11 does: it takes the trigger away, and a task that
    comes back later fails before any method of ours, or with an ``on_kill`` that knows no run.
    """
    return min(limit / 10, LONGEST_LEAD) if IS_AIRFLOW_2 else timedelta(0)


LONGEST_LEAD: Final = timedelta(seconds=30)


def context_of_lost_resumption() -> Context | None:
    """Return the context of a task that came back from a deferral and is ended before any method of ours ran.

    For ``on_kill`` on Airflow 2.11, where ``execution_timeout`` includes the deferral: an operator that comes back
    too late is a fresh one that knows no run. Elsewhere, and for a task that was not deferred, ``None``.
    """
    if not IS_AIRFLOW_2:
        return None
    from airflow.exceptions import AirflowException as NoContext
    from airflow.providers.common.compat.sdk import get_current_context

    try:
        context: Any = get_current_context()
    except NoContext:
        return None
    return context if context["ti"].next_method else None


def is_marked(ti: Any) -> bool:
    """Return True if a user has marked or cleared a running task, of which its process has not heard yet.

    To be asked before a deferral: Airflow 3 refuses that by itself, 2.11 would write over what the user did.
    """
    if not IS_AIRFLOW_2:
        return False
    states = database.task_states_in_database(ti.dag_id, ti.run_id, task_key(ti)).values()
    return not USERS_STATES.isdisjoint(states)


USERS_STATES: Final = frozenset({"failed", "success", "skipped", "removed", "restarting"})
"""What a user, or ``dagrun_timeout``, makes of a running task."""
