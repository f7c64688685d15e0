"""The table of all public arguments: of which kind each is, whether it may be left out, whether it is templated.

A class has the arguments of its own row and of the classes that it is made of; a row of its own comes before theirs.
A method of a hook, or a function, has a row under its name.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import Enum
from typing import Final

from airflow_runctl.arguments.kinds import (
    ANYTHING,
    BOOL,
    FILTERS,
    HANDLES,
    IDS,
    LIMITS,
    MAP,
    METHOD,
    MOMENT,
    ON_RETRY,
    PATTERNS,
    PROMPT,
    REMARK,
    ROWS,
    SECONDS,
    SECONDS_OR_ZERO,
    SHARE,
    SPAN,
    STATES,
    TASK_IDS,
    TEXT,
    VERSION,
    WHOLE,
    Kind,
    choice,
)


class Empty(Enum):
    """What it means that the template of an argument came to nothing."""

    REFUSED = "nothing is sent, and the error names it"
    LEFT_OUT = "it counts as not given"
    NO_HANDLE = "nothing was started, which is looked at when handles are opened"


@dataclass(frozen=True, slots=True)
class Argument:
    """One argument.

    :param kind: what its value may be.
    :param optional: it may be ``None``.
    :param templated: it is a template field: until it is rendered a template, or the output of a task, may stand there.
    :param secret: messages do not show its value.
    :param empty: what it means that its template came to nothing.
    :param called: the name by which a user gives it, if that is another; ``{vendor}`` is the operator's vendor.
    """

    kind: Kind
    optional: bool = False
    templated: bool = False
    secret: bool = False
    empty: Empty = Empty.REFUSED
    called: str | None = None


FLAG: Final = Argument(BOOL)
WAIT: Final = Argument(SECONDS)
WAIT_OR_ZERO: Final = Argument(SECONDS_OR_ZERO)
LIMIT: Final = Argument(SPAN, optional=True)
CONN_ID: Final = Argument(TEXT, templated=True, called="{vendor}_conn_id")
NAME: Final = Argument(TEXT, templated=True)
ID: Final = Argument(TEXT, optional=True, templated=True)
SECRET_ID: Final = Argument(TEXT, optional=True, templated=True, secret=True)
REFINEMENT: Final = Argument(TEXT, optional=True, templated=True, empty=Empty.LEFT_OUT)
OPTIONS: Final = Argument(MAP, optional=True, templated=True, secret=True, empty=Empty.LEFT_OUT)
WHY: Final = Argument(REMARK, optional=True, templated=True, empty=Empty.LEFT_OUT)
RUNS: Final = Argument(HANDLES, optional=True, templated=True, secret=True, empty=Empty.NO_HANDLE)
ANY: Final = Argument(ANYTHING, optional=True)
SAID: Final = Argument(TEXT)
MAYBE: Final = Argument(TEXT, optional=True)

ARGUMENTS: Final[Mapping[str, Mapping[str, Argument]]] = {
    # -- operators that start a run ----------------------------------------------------------------------
    "StartRunOperator": {
        "conn_id": CONN_ID,
        "wait_for_completion": FLAG,
        "leave_running": FLAG,
        "deferrable": FLAG,
        "poll_interval": WAIT,
        "max_runtime": LIMIT,
        "warn_after": LIMIT,
        "warn_callback": ANY,
        "stop_on_kill": FLAG,
        "on_retry": Argument(ON_RETRY),
        "stop_timeout": WAIT,
    },
    "SnapLogicTriggerTaskOperator": {
        "task_path": ID,
        "task_url": SECRET_ID,
        "parameters": OPTIONS,
        "body": Argument(ANYTHING, optional=True, templated=True, secret=True, empty=Empty.LEFT_OUT),
        "method": Argument(METHOD),
        "pipeline_name": REFINEMENT,
        "project_path": REFINEMENT,
        "returns_ruuid": FLAG,
    },
    "AxiomTriggerRunOperator": {
        "name": NAME,
        "data": Argument(ROWS, optional=True, templated=True, secret=True, empty=Empty.LEFT_OUT),
    },
    "VectorShiftRunPipelineOperator": {
        "pipeline_id": NAME,
        "inputs": OPTIONS,
        "files": Argument(MAP, optional=True, templated=True, empty=Empty.LEFT_OUT),
        "version": REFINEMENT,
    },
    "BctrlStartRuntimeOperator": {
        "workspace_id": ID,
        "alias": ID,
        "kind": NAME,
        "driver": REFINEMENT,
        "launch": OPTIONS,
        "browser_id": ID,
        "name": REFINEMENT,
        "space_id": REFINEMENT,
        "options": OPTIONS,
    },
    "BctrlRunTaskOperator": {
        "agent": NAME,
        "input": Argument(PROMPT, templated=True, secret=True),
        "version": Argument(VERSION, optional=True, templated=True, empty=Empty.LEFT_OUT),
        "options": OPTIONS,
    },
    # -- operators that act on a run that exists ---------------------------------------------------------
    "ExistingRunOperator": {"conn_id": CONN_ID, "external_run": RUNS, "stop_timeout": WAIT},
    "StopRunOperator": {"wait_for_stop": FLAG, "stop_reason": WHY},
    "SearchStopOperator": {
        "search": Argument(FILTERS, optional=True, templated=True),
        "report_only": FLAG,
        "max_runs": Argument(WHOLE),
    },
    "ChangeRunOperator": {"stop_timeout": WAIT_OR_ZERO},
    "SnapLogicStopTaskOperator": {"ruuid": ID, "disable_task": REFINEMENT},
    "SnapLogicResumeTaskOperator": {"ruuid": ID},
    "AxiomStopRunOperator": {"pid": ID, "pw": SECRET_ID, "viewer_url": SECRET_ID, "name": REFINEMENT},
    "_PipelineRunOperator": {"pipeline_id": ID, "run_id": ID},
    "BctrlStopRuntimeOperator": {"workspace_id": ID, "alias": ID, "browser_id": ID, "agent_task_id": ID},
    "SweepRunsOperator": {
        "airflow_conn_id": Argument(TEXT, templated=True),
        "report_only": FLAG,
        "min_age": WAIT_OR_ZERO,
        "look_again": WAIT_OR_ZERO,
        "max_orphans": Argument(WHOLE),
        "max_share": Argument(SHARE),
        "only_dag_id": MAYBE,
        "only_vendor": MAYBE,
        "exclude_dags": Argument(PATTERNS),
        "exclude_connections": Argument(PATTERNS),
        "stop_timeout": WAIT,
        "stop_reason": WHY,
    },
    # -- the sensor, the triggers, the notifier ----------------------------------------------------------
    "ExternalRunSensor": {
        "external_run": RUNS,
        "vendor": MAYBE,
        "ids": Argument(IDS, optional=True, templated=True, secret=True),
        "conn_id": ID,
        "target_states": Argument(STATES),
        "stop_on_timeout": FLAG,
        "stop_timeout": WAIT,
        "deferrable": FLAG,
        "poke_interval": WAIT,
    },
    "ExternalRunTrigger": {
        "external_run": Argument(MAP, secret=True),
        "poll_interval": WAIT,
        "limits": Argument(LIMITS, optional=True),
        "stop_timeout": WAIT,
        "stop_on_kill": FLAG,
        "ride_out": WAIT_OR_ZERO,
        "warn_at": Argument(MOMENT, optional=True),
        "warn_callback": ANY,
    },
    "ExternalRunSensorTrigger": {
        "target_states": Argument(STATES),
        "backoff_since": Argument(MOMENT, optional=True),
        "max_wait": Argument(SECONDS, optional=True),
    },
    "StopRunsNotifier": {
        "task_ids": Argument(TASK_IDS, optional=True, templated=True),
        "stop_reason": WHY,
        "wait_for_stop": FLAG,
        "stop_timeout": WAIT,
        "dry_run": FLAG,
    },
    # -- hooks, and what is called from plain Python -----------------------------------------------------
    "RunHook": {"conn_id": MAYBE},
    "SnapLogicHook.get_quota": {"kind": Argument(choice("daily", "concurrent"), optional=True), "at": ANY},
    "SnapLogicHook.enable_task": {"task_path": SAID},
    "SnapLogicHook.disable_task": {"task_path": SAID},
    "AxiomHook.get_reports": {"count": Argument(WHOLE)},
    "VectorShiftHook.list_runs": {
        "pipeline_id": SAID,
        "status": Argument(choice("in_progress", "success", "failure"), optional=True),
    },
    "BctrlHook.list_runtimes": {"workspace_id": SAID},
    "BctrlHook.list_runs": {"browser_id": MAYBE},
    "stop_all_matching": {
        "filters": ANY,
        "report_only": FLAG,
        "max_runs": Argument(WHOLE),
        "stop_timeout": WAIT_OR_ZERO,
        "stop_reason": Argument(REMARK, optional=True),
    },
}
