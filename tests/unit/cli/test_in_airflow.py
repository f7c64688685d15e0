"""``airflow runctl``: the same commands, where Airflow lets a provider add commands (3.2 and newer)."""

from __future__ import annotations

import argparse
import sys
from typing import Any

import pytest

from airflow_runctl.cli.definition import COMMANDS
from airflow_runctl.cli.exit_codes import ExitCode
from airflow_runctl.compat import AIRFLOW
from tests.servers.airflow_rest import AirflowServer
from tests.unit.cli.conftest import Shell
from tests.unit.cli.test_listing import place, plain_handle

pytestmark = pytest.mark.skipif(AIRFLOW < (3, 2), reason="a provider can add no commands")


@pytest.fixture
def get_commands() -> Any:
    from airflow_runctl.cli.in_airflow import get_commands

    return get_commands


def test_airflow_is_told_of_every_command_with_all_its_arguments(get_commands: Any) -> None:
    [group] = get_commands()
    assert group.name == "runctl"
    assert [(one.name, len(one.args)) for one in group.subcommands] == [(c.name, len(c.arguments)) for c in COMMANDS]


def test_airflow_takes_them_as_they_are(
    get_commands: Any, server: AirflowServer, shell: Shell, capsys: pytest.CaptureFixture[str]
) -> None:
    """Its own functions make the parser, and call what is to be called."""
    from airflow.cli import cli_parser

    server.add(place(2), plain_handle(2), "failed")
    parser = argparse.ArgumentParser()
    [group] = get_commands() or [_known(cli_parser)]
    cli_parser._add_command(parser.add_subparsers(), group)
    arguments = parser.parse_args(["runctl", "list", "-o", "json", "--orphans"])
    with pytest.raises(SystemExit) as ended:
        arguments.func(arguments)
    assert ended.value.code == ExitCode.MAY_BE_ALIVE
    assert '"run_id": "run-2"' in capsys.readouterr().out


def _known(cli_parser: Any) -> Any:
    return cli_parser.ALL_COMMANDS_DICT["runctl"]


@pytest.mark.parametrize("where", ["core", "another provider"])
def test_a_name_that_is_taken_is_left_to_its_owner(
    get_commands: Any, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, where: str
) -> None:
    """Two commands of one name would keep every command of Airflow from starting."""
    from airflow.cli import cli_config

    taken = cli_config.GroupCommand(name="runctl", help="another's", subcommands=[])
    if where == "core":
        monkeypatch.setattr(cli_config, "core_commands", [*cli_config.core_commands, taken])
    else:
        parser = argparse.Namespace(airflow_commands=[*cli_config.core_commands, taken])
        monkeypatch.setitem(sys.modules, "airflow.cli.cli_parser", parser)  # type: ignore[misc]
    assert get_commands() == []
    assert "airflow runctl is another's command" in caplog.text
