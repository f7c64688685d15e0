"""The commands of ``runctl`` and their arguments, as data: both doors are made of them.

Airflow loads this at every start of ``airflow``, whatever the command: it imports nothing but the standard library.
"""

from __future__ import annotations

import argparse
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final

UNITS: Final = {"": 1, "s": 1, "m": 60, "h": 3600, "d": 86400}


def seconds(text: str) -> float:
    """Return the seconds in ``90``, ``90s``, ``30m``, ``2h`` or ``1d``."""
    match = re.fullmatch(r"(\d+(?:\.\d+)?)([smhd]?)", text.strip())
    if not match:
        raise argparse.ArgumentTypeError(f"{text!r} is no duration: 90, 90s, 30m, 2h or 1d")
    return float(match[1]) * UNITS[match[2]]


def share(text: str) -> float:
    """Return a part of one, as ``0.5`` or ``50%``."""
    try:
        part = float(text.removesuffix("%")) / (100 if text.endswith("%") else 1)
    except ValueError:
        part = -1.0
    if not 0 <= part <= 1:
        raise argparse.ArgumentTypeError(f"{text!r} is no part of a whole: 0.5 or 50%")
    return part


def count(text: str) -> int:
    """Return a number of runs."""
    if not text.isdecimal():
        raise argparse.ArgumentTypeError(f"{text!r} is no number of runs")
    return int(text)


@dataclass(frozen=True, slots=True)
class Argument:
    """An argument of a command.

    :param flags: its names.
    :param settings: what ``argparse`` is told of it.
    """

    flags: tuple[str, ...]
    settings: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Command:
    """A command.

    :param name: its name.
    :param help: one line.
    :param module: the module of this folder that has it.
    :param function: what is called with the arguments, and returns an exit code.
    :param arguments: its arguments.
    :param description: more about it.
    """

    name: str
    help: str
    module: str
    function: str
    arguments: tuple[Argument, ...]
    description: str | None = None


def _argument(*flags: str, **settings: Any) -> Argument:
    return Argument(flags, settings)


RUNS = _argument("runs", nargs="*", metavar="RUN_ID", help="ids of the runs at their vendors, as 'list' shows them")
FILTERS = (
    _argument("--vendor", help="only runs at this vendor, such as snaplogic"),
    _argument("--conn-id", help="only runs of this Airflow connection"),
    _argument("--dag-id", help="only runs of this Dag"),
    _argument("--dag-run-id", help="only runs of this Dag run"),
    _argument("--task-id", help="only runs of this task"),
    _argument("--map-index", type=int, help="only runs of this mapped task instance"),
    _argument("--state", help="only runs whose owner is in this state, such as failed; none before it is scheduled"),
    _argument("--orphans", action="store_true", help="only runs whose owner is over, or whose owner is not clear"),
)
OUTPUT = _argument(
    "-o",
    "--output",
    choices=("table", "json", "yaml", "plain"),
    default="table",
    metavar="(table, json, yaml, plain)",
    help="output format. Allowed values: json, yaml, plain, table (default: table)",
)
API_URL = _argument(
    "--api-url",
    help="address of Airflow's API server; by default that of the environment of airflowctl (AIRFLOW_CLI_ENVIRONMENT), "
    "or AIRFLOW__API__BASE_URL",
)
VERBOSE = _argument("-v", "--verbose", action="store_true", help="say more on the standard error output")
ASKING = (API_URL, VERBOSE)

DRY_RUN = _argument("--dry-run", action="store_true", help="only say what would be done")
YES = _argument("-y", "--yes", action="store_true", help="do not ask")
REASON = _argument("--reason", help="why; for logs, records and the task's note")
TIMEOUT = _argument(
    "--timeout",
    type=seconds,
    default=60.0,
    metavar="DURATION",
    help="how long the end of a run is waited for, such as 90s (default: 60s)",
)

WHERE_FROM: Final = (
    "The token is taken from AIRFLOW_CLI_TOKEN, from the keyring entry of airflowctl, or asked for, never from an "
    "argument."
)

COMMANDS: Final = (
    Command(
        "list",
        "List the runs that may be alive, as Airflow knows them",
        "listing",
        "list_runs",
        (RUNS, *FILTERS, OUTPUT, *ASKING),
        f"Lists every run that may be alive, with its owner. Exit code 3 if one has no owner. {WHERE_FROM}",
    ),
    Command(
        "show",
        "Show all that is known of runs that may be alive",
        "listing",
        "show_runs",
        (RUNS, *FILTERS, OUTPUT, *ASKING),
        "Shows runs in full; asks their vendors, or Airflow's API server to do so.",
    ),
    Command(
        "stop",
        "Stop runs, and see that they are stopped",
        "acting",
        "stop_runs",
        (RUNS, *FILTERS, REASON, TIMEOUT, DRY_RUN, YES, OUTPUT, *ASKING),
        "A run whose task is alive is stopped through its task, which is marked as failed; any other directly. Where "
        "its connection cannot be read, Airflow's API server is asked to. Exit code 3 if one may be alive.",
    ),
    Command(
        "resume",
        "Resume suspended runs",
        "acting",
        "resume_runs",
        (RUNS, *FILTERS, TIMEOUT, DRY_RUN, YES, OUTPUT, *ASKING),
        "Where the connection of the runs cannot be read, Airflow's API server is asked to.",
    ),
    Command(
        "sweep",
        "Find runs whose owner is over, and with --yes stop them",
        "sweeping",
        "sweep_runs",
        (
            *FILTERS[:5],
            _argument(
                "--min-age", type=seconds, default=1800.0, metavar="DURATION", help="age of a run (default: 30m)"
            ),
            _argument(
                "--look-again",
                type=seconds,
                default=30.0,
                metavar="DURATION",
                help="time between the two looks (default: 30s)",
            ),
            _argument(
                "--max-orphans",
                type=count,
                default=20,
                metavar="NUMBER",
                help="if more are found, none is stopped (default: 20)",
            ),
            _argument(
                "--max-share",
                type=share,
                default=0.5,
                metavar="PART",
                help="if more than this part of the runs that may be alive is orphaned, none is stopped (default: 0.5)",
            ),
            _argument("--exclude-dag", action="append", default=[], metavar="PATTERN", help="leave Dags alone (a*)"),
            _argument(
                "--exclude-connection", action="append", default=[], metavar="PATTERN", help="leave connections alone"
            ),
            REASON,
            TIMEOUT,
            DRY_RUN,
            _argument("-y", "--yes", action="store_true", help="stop the orphans; without it nothing is stopped"),
            OUTPUT,
            *ASKING,
        ),
        "Looks twice, and names the runs that are alive at their vendors though their owner is over. Exit code 3 if "
        "one may be alive, 5 if there are too many to be believed.",
    ),
    Command(
        "test",
        "Test a connection",
        "trying",
        "test_connection",
        (_argument("conn_id", help="id of the Airflow connection"), *ASKING),
        "Reaches the vendor with the connection's credential. Where that cannot be read, Airflow's API server is asked "
        "to.",
    ),
    Command(
        "sandbox",
        "Serve stand-ins for the vendors, for trying out",
        "trying",
        "serve_sandbox",
        (
            _argument("--host", default="127.0.0.1", help="address to listen at (default: 127.0.0.1)"),
            _argument("--port", default="0", type=str, help="port to listen at; a free one by default"),
        ),
        "Prints the connections to use it with, and serves until Ctrl-C.",
    ),
)
