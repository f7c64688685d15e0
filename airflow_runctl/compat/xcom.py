"""XComs of any task instance, by blocking calls: on the worker, in the Dag processor, and in threads."""

from __future__ import annotations

from typing import Any

from airflow_runctl.compat.names import XCom
from airflow_runctl.compat.release import IS_AIRFLOW_2
from airflow_runctl.compat.stores import addressed
from airflow_runctl.runs import TaskKey


def get_xcom(key: str, where: TaskKey) -> Any:
    """Return the XCom ``key`` of a task instance, or ``None``."""
    if IS_AIRFLOW_2:
        return XCom.get_one(**address(key, where))
    # Not ``XCom.get_one``: on 3.1 and 3.2 that warns, in the task's log, of each XCom that is not there.
    comms, message = addressed("GetXCom", **address(key, where))
    answer = comms.send(message)
    return None if answer.value is None else XCom.deserialize_value(answer)


def set_xcom(key: str, value: Any, where: TaskKey) -> None:
    """Store an XCom."""
    XCom.set(value=value, **address(key, where))


def delete_xcom(key: str, where: TaskKey) -> None:
    """Delete an XCom; a missing one is no error."""
    if not IS_AIRFLOW_2:
        XCom.delete(**address(key, where))
        return
    from airflow.utils.session import create_session

    with create_session() as session:
        rows = XCom.get_many(
            key=key,
            dag_ids=where.dag_id,
            run_id=where.run_id,
            task_ids=where.task_id,
            map_indexes=where.map_index,
            session=session,
        )
        # Each by itself: a custom backend clears up behind it.
        XCom.delete(rows.all(), session=session)


def address(key: str, where: TaskKey) -> dict[str, Any]:
    return {
        "key": key,
        "dag_id": where.dag_id,
        "run_id": where.run_id,
        "task_id": where.task_id,
        "map_index": where.map_index,
    }
