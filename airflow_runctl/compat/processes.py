"""Which of Airflow's processes this is, where nothing public tells them apart, and how long it may work."""

from __future__ import annotations

import logging
import os
import sys
import threading

from airflow_runctl.compat.names import conf
from airflow_runctl.compat.release import IS_AIRFLOW_2


def in_dag_processor() -> bool:
    """Return True in the process that runs a Dag's callbacks and those of tasks whose worker is lost.

    In Airflow 3 its supervisor decodes other messages than a task's; in 2.11 its thread has a name. Nothing
    public tells the processes apart.
    """
    if IS_AIRFLOW_2:
        return threading.current_thread().name.startswith("DagFileProcessor")
    from airflow.sdk.execution_time import task_runner

    decoder = getattr(getattr(task_runner, "SUPERVISOR_COMMS", None), "body_decoder", None)
    return "DagFileParseRequest" in repr(getattr(decoder, "_type", decoder))


def dag_file_seconds() -> float:
    """Return the seconds after which the Dag processor kills a process, callbacks included."""
    section = "core" if IS_AIRFLOW_2 else "dag_processor"
    return float(conf.getint(section, "dag_file_processor_timeout", fallback=50))


def connections_as_a_server() -> None:
    """Let this process read the connections of the metadata database too, as Airflow's own commands do.

    Without this word a command of Airflow 3.2 and newer finds only those of its environment and of secrets backends.
    """
    os.environ["_AIRFLOW_PROCESS_CONTEXT"] = "server"


def logs_to_stderr() -> None:
    """Take Airflow's logging off the standard output, which is for results; 3.3 does so for its own commands."""
    for handler in logging.getLogger().handlers:
        if not isinstance(handler, logging.StreamHandler) or handler.stream is not sys.stdout:
            continue
        if hasattr(handler, "_use_stderr"):  # Airflow 2's, whose stream cannot be set
            handler._use_stderr = True
        else:
            handler.setStream(sys.stderr)
