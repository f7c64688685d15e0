"""The only room that knows which Airflow this is: 2.11, or 3.1 and newer.

What differs in substance between versions, or between Airflow's processes, is a constant or a function here, and the
rest of the package imports it from here. In the order in which one reads it:

- ``release.py``: which Airflow; the constants that say what it has.
- ``names.py``: Airflow's classes and exceptions, from wherever this version has them.
- ``task.py``: a task instance and its context.
- ``stores.py``: what a task instance keeps for the attempts after it.
- ``signals.py``: what interrupts a task.
- ``xcom.py``: XComs, by blocking calls.
- ``metrics.py``, ``tracing.py``: Airflow's metrics, and spans below its own.
- ``processes.py``: which of Airflow's processes this is.
- ``channels.py``: how each process asks Airflow, from an event loop too.
- ``loading.py``: loading what asking Airflow needs, before it is needed.
- ``lineage.py``: OpenLineage's facet of a run; imported only where lineage is on.
- ``database.py``: what only the metadata database of 2.11 tells.
- ``dags.py``: for the Dag that the package ships.
- ``api_server.py``, ``tables.py``, ``archive.py``, ``page_tables.py``: who asks Airflow 3, and what they may; its
  tables, what archived attempts hold there (3.4), and what only the page asks of them. Only the API server loads them.
"""

from airflow_runctl.compat.channels import (
    BlockingChannel,
    Channel,
    TriggererChannel,
    callback_channel,
    dag_run_state_for_task,
    in_nobodys_name,
    is_refused_as_over,
)
from airflow_runctl.compat.database import unfinished_dag_runs
from airflow_runctl.compat.loading import load_channel
from airflow_runctl.compat.metrics import add_to_counter, add_to_timer, metrics_are_on, metrics_carry_tags
from airflow_runctl.compat.names import (
    AirflowException,
    AirflowFailException,
    AirflowSensorTimeout,
    AirflowSkipException,
    AirflowTaskTimeout,
    BaseHook,
    BaseNotifier,
    BaseOperator,
    BaseOperatorLink,
    BaseSensorOperator,
    BaseTrigger,
    PokeReturnValue,
    TaskDeferralError,
    TaskDeferralTimeout,
    TaskDeferred,
    TriggerEvent,
    XCom,
    conf,
    mask_secret,
    redact,
)
from airflow_runctl.compat.processes import connections_as_a_server, dag_file_seconds, in_dag_processor, logs_to_stderr
from airflow_runctl.compat.release import (
    AIRFLOW,
    CLEARS_FORGET,
    HAS_TASK_STORE,
    IS_AIRFLOW_2,
    TRIGGERS_HEAR_OF_KILLS,
)
from airflow_runctl.compat.signals import alarm_held_back, kill_held_back, when_airflow_was_told
from airflow_runctl.compat.stores import TaskStore, Variables, attempt_of, prefix_of, task_store, variable_of
from airflow_runctl.compat.task import (
    context_of_lost_resumption,
    further_try_is_coming,
    is_in_task_loop,
    is_marked,
    lead_over_core,
    start_date,
    task_key,
)
from airflow_runctl.compat.tracing import carry_trace, tell_span
from airflow_runctl.compat.xcom import delete_xcom, get_xcom, set_xcom

__all__ = [
    "AIRFLOW",
    "CLEARS_FORGET",
    "HAS_TASK_STORE",
    "IS_AIRFLOW_2",
    "TRIGGERS_HEAR_OF_KILLS",
    "AirflowException",
    "AirflowFailException",
    "AirflowSensorTimeout",
    "AirflowSkipException",
    "AirflowTaskTimeout",
    "BaseHook",
    "BaseNotifier",
    "BaseOperator",
    "BaseOperatorLink",
    "BaseSensorOperator",
    "BaseTrigger",
    "BlockingChannel",
    "Channel",
    "PokeReturnValue",
    "TaskDeferralError",
    "TaskDeferralTimeout",
    "TaskDeferred",
    "TaskStore",
    "TriggerEvent",
    "TriggererChannel",
    "Variables",
    "XCom",
    "add_to_counter",
    "add_to_timer",
    "alarm_held_back",
    "attempt_of",
    "callback_channel",
    "carry_trace",
    "conf",
    "connections_as_a_server",
    "context_of_lost_resumption",
    "dag_file_seconds",
    "dag_run_state_for_task",
    "delete_xcom",
    "further_try_is_coming",
    "get_xcom",
    "in_dag_processor",
    "in_nobodys_name",
    "is_in_task_loop",
    "is_marked",
    "is_refused_as_over",
    "kill_held_back",
    "lead_over_core",
    "load_channel",
    "logs_to_stderr",
    "mask_secret",
    "metrics_are_on",
    "metrics_carry_tags",
    "prefix_of",
    "redact",
    "set_xcom",
    "start_date",
    "task_key",
    "task_store",
    "tell_span",
    "unfinished_dag_runs",
    "variable_of",
    "when_airflow_was_told",
]
