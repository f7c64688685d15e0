"""What Airflow 3.2 and newer is told of the commands, for ``airflow runctl`` (provider key ``cli``).

Airflow calls this at every start of ``airflow``, whatever the command. So it imports only what Airflow has loaded by
then, and nothing of ours but data; a command is loaded when it is run. If two commands have one name, none of Airflow's
starts any more: where the name is taken, ``airflow runctl`` is left out, and the console script remains.
"""

from __future__ import annotations

import logging
import sys
from functools import partial
from typing import TYPE_CHECKING, Any, Final

from airflow_runctl.cli.definition import COMMANDS, Command

if TYPE_CHECKING:
    from airflow.cli.cli_config import CLICommand

log = logging.getLogger(__name__)

NAME: Final = "runctl"


def get_commands() -> list[CLICommand]:
    """Return the group of commands; nothing if another one has its name."""
    from airflow.cli.cli_config import ActionCommand, Arg, GroupCommand, core_commands

    # Core's, and those of the providers that were asked before this one.
    parser: Any = sys.modules.get("airflow.cli.cli_parser")
    taken = {command.name for command in (*core_commands, *getattr(parser, "airflow_commands", ()))}
    if NAME in taken:
        log.warning("airflow %s is another's command: use the console script of this name", NAME)
        return []
    made: Any = Arg
    actions = [
        ActionCommand(
            name=command.name,
            help=command.help,
            description=command.description,
            func=partial(_run, command),
            args=[made(flags=argument.flags, **argument.settings) for argument in command.arguments],
        )
        for command in COMMANDS
    ]
    return [
        GroupCommand(name=NAME, help="Runs that Airflow has started elsewhere: list, stop, sweep", subcommands=actions)
    ]


def _run(command: Command, arguments: Any) -> None:
    from airflow_runctl.cli.console import run

    sys.exit(run(command, arguments))
