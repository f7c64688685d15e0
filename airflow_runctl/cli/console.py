"""The console script ``runctl``; and what both doors do with a command: run it, and turn what comes into a code."""

from __future__ import annotations

import argparse
import logging
import sys
from collections.abc import Sequence
from importlib import import_module

from airflow_runctl import __version__
from airflow_runctl.cli.definition import COMMANDS, Command
from airflow_runctl.cli.exit_codes import ExitCode
from airflow_runctl.exceptions import AirflowRefused, RunctlError, WrongArgument


def main(argv: Sequence[str] | None = None) -> int:
    """Run a command, and return its exit code."""
    arguments = parser().parse_args(argv)
    level = logging.INFO if getattr(arguments, "verbose", False) else logging.WARNING
    logging.basicConfig(stream=sys.stderr, level=level, format="%(levelname)s %(message)s")
    # What it retries is said once, by whom it keeps from an answer.
    logging.getLogger("urllib3").setLevel(logging.ERROR)
    # One line for each stop, with its outcome.
    logging.getLogger("airflow_runctl.control").setLevel(logging.INFO)
    return run(arguments.command, arguments)


def parser() -> argparse.ArgumentParser:
    """Return what reads the arguments."""
    made = argparse.ArgumentParser(
        prog="runctl", description="Lists, stops, resumes and sweeps the runs that Airflow has started elsewhere."
    )
    made.add_argument("--version", action="version", version=f"airflow-runctl {__version__}")
    commands = made.add_subparsers(required=True, metavar="COMMAND")
    for command in COMMANDS:
        one = commands.add_parser(
            command.name, help=command.help, description=f"{command.help}. {command.description or ''}".strip()
        )
        for argument in command.arguments:
            one.add_argument(*argument.flags, **argument.settings)
        one.set_defaults(command=command)
    return made


def run(command: Command, arguments: argparse.Namespace) -> int:
    """Run a command; an error becomes one line and an exit code, never a stack trace."""
    try:
        function = getattr(import_module(f"airflow_runctl.cli.{command.module}"), command.function)
        code: int = function(arguments)
        return code
    except AirflowRefused as error:
        return _failed(error, ExitCode.REFUSED)
    except WrongArgument as error:
        return _failed(error, ExitCode.WRONG_USE)
    except RunctlError as error:
        return _failed(error, ExitCode.FAILED)
    except ModuleNotFoundError as error:
        missing = f"{error.name} is not installed: pip install 'airflow-runctl[cli]'"
        return _failed(RunctlError(missing), ExitCode.FAILED)
    except KeyboardInterrupt:
        print("Interrupted. What was told to stop by then may go on to its end.", file=sys.stderr)
        return ExitCode.INTERRUPTED
    except BrokenPipeError:
        sys.stderr.close()
        return ExitCode.FAILED
    except Exception as error:
        logging.getLogger(__name__).info("What nobody foresaw", exc_info=True)
        unforeseen = f"{type(error).__name__}: {error}. Nobody foresaw this: -v shows where. A run may be alive."
        return _failed(RunctlError(unforeseen), ExitCode.MAY_BE_ALIVE)


def _failed(error: Exception, code: ExitCode) -> int:
    print(f"runctl: {error}", file=sys.stderr)
    return code


if __name__ == "__main__":
    sys.exit(main())
