"""Which runs an ``external_run`` names: a handle, what a start returned, a list of either, as text too."""

from __future__ import annotations

import ast
import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from airflow_runctl.arguments.kinds import is_nothing
from airflow_runctl.arguments.reading import name_of
from airflow_runctl.compat import AirflowSkipException, task_key
from airflow_runctl.exceptions import HandleError, WrongArgument
from airflow_runctl.runs import HANDLE_KEY

if TYPE_CHECKING:
    from airflow.sdk import Context

    from airflow_runctl.control.seal import Handle
    from airflow_runctl.control.stop_many import Connections, Target


def tasks_of(value: Any) -> list[str]:
    """Return the ids of the tasks whose output ``value`` is, if it is one."""
    references: Callable[[], Iterable[tuple[Any, str]]] | None = getattr(value, "iter_references", None)
    return [operator.task_id for operator, _ in references()] if references else []


def refuse_nothing(task: Any, started_by: Sequence[str]) -> None:
    """Refuse an ``external_run`` whose template came to nothing where nobody can say what that means.

    The output of a task means that nothing was started, and so does anything in a teardown: that is a skip.

    :raises WrongArgument: it names the field.
    """
    if is_nothing(task.external_run) and not started_by and not task.is_teardown:
        raise WrongArgument(
            f"{name_of(task)}: external_run came out of its template as {task.external_run!r}. Nothing was sent. Give "
            "the output of the start operator itself (external_run=start.output), or make this task a teardown, if "
            "it may be that nothing was started: it is skipped then."
        )


def handles_in(value: Any, started_by: Sequence[str], context: Context) -> list[Handle]:
    """Return the handles in a rendered ``external_run``: one, or those of a list.

    :param started_by: tasks whose output it was (:func:`tasks_of`); if they returned nothing, because they
        failed or were killed, it is what they left.
    :raises AirflowSkipException: if nothing was started, so that there is no handle.
    """
    value = plain(value)
    values = list(value) if isinstance(value, Sequence) and not isinstance(value, str) else [value]
    handles = [_handle_in(item) for item in values if item] or _left_by(started_by, context)
    if not handles:
        raise AirflowSkipException("There is no external_run: nothing was started, so there is nothing to do.")
    return handles


def _left_by(started_by: Sequence[str], context: Context) -> list[Handle]:
    """Return the handles of start tasks that returned nothing: they failed, or were killed."""
    ti: Any = context["ti"]
    found = [ti.xcom_pull(task_ids=task_id, key=HANDLE_KEY) for task_id in started_by]
    flat = [item for value in found for item in (value if isinstance(value, list) else [value])]
    return [item for item in flat if isinstance(item, Mapping)]


async def opened(connections: Connections, handle: Handle, context: Context) -> Target:
    """Open a handle; it must come from this Dag run."""
    target = await connections.open(handle, None)
    owner, here = target.run.owner, task_key(context["ti"])
    if owner is None or (owner.key.dag_id, owner.key.run_id) != (here.dag_id, here.run_id):
        raise HandleError(
            f"The handle of run {target.run.run_id} belongs to {owner.key if owner else 'no task'}, not to a "
            f"task of this Dag run ({here.dag_id}/{here.run_id}). Nothing was done. To act on the run of another "
            "Dag run give the vendor's own ids."
        )
    return target


def plain(value: Any) -> Any:
    """Return what a template turned into text as what it was: a handle, a list, nothing."""
    if not isinstance(value, str):
        return value
    if is_nothing(value):
        return None
    for read in (json.loads, ast.literal_eval):
        try:
            return read(value)
        except (ValueError, SyntaxError):
            continue
    raise HandleError("external_run is a text that is no handle: give the handle itself, or what a start returned.")


def _handle_in(value: Any) -> Handle:
    """Return the handle in ``value``: a handle, or what a start operator returned."""
    value = plain(value)
    if isinstance(value, Mapping):
        inner = value.get(HANDLE_KEY, value)
        if isinstance(inner, Mapping) and {"vendor", "conn_id", "token"} <= inner.keys():
            return inner
    raise HandleError(
        f"external_run holds {type(value).__name__}, which is no handle: give a handle (XCom key {HANDLE_KEY!r}), "
        "or what a start operator returned."
    )
