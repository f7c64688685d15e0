"""Writes the tables of settings, commands, stops and vendors in docs/reference from the code: run it after a change."""

import re
import sys
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

HERE = Path(__file__).parent
sys.path.insert(0, str(HERE.parent))

from airflow_runctl.cli.definition import COMMANDS, Argument, Command  # noqa: E402
from airflow_runctl.cli.exit_codes import ExitCode  # noqa: E402
from airflow_runctl.control.stop_note import StopNote  # noqa: E402
from airflow_runctl.provider_info import get_provider_info  # noqa: E402
from airflow_runctl.runs import StopReason  # noqa: E402
from tests.unit.vendors.capabilities import table  # noqa: E402

PLACE = re.compile(r"(<!-- (\w+), written by docs/reference_tables.py -->\n).*?(<!-- end -->)", re.DOTALL)
FIELD = re.compile(r":param (\w+): (.*?)(?=\n\s*:param|\n\s*$|\Z)", re.DOTALL)


def documented(holder: Any) -> Iterator[tuple[str, str]]:
    """Yield name and meaning of each ``:param:`` of a docstring."""
    for name, words in FIELD.findall(holder.__doc__ or ""):
        yield name, " ".join(words.split()).replace("``", "`")


def after_each_member(enum: Any) -> Mapping[str, str]:
    """Return what stands below each member of an enum in its source."""
    import inspect

    found = re.findall(r'^    (\w+) = [^\n]*\n    """(.*?)"""', inspect.getsource(enum), re.MULTILINE | re.DOTALL)
    return {name: " ".join(words.split()) for name, words in found}


def settings() -> Iterator[str]:
    """Yield the options of ``[runctl]``."""
    info: Any = get_provider_info()
    yield "| Option of `[runctl]` | Type | Default | What it says |"
    yield "|---|---|---|---|"
    for name, option in info["config"]["runctl"]["options"].items():
        yield f"| `{name}` | {option['type']} | `{option['default']}` | {option['description']} |"


def names_of(argument: Argument) -> str:
    """Return an argument as it is typed."""
    settings = argument.settings
    metavar = settings.get("metavar")
    if not argument.flags[0].startswith("-"):
        return f"`{metavar or argument.flags[0].upper()}`" + (" ..." if settings.get("nargs") == "*" else "")
    value = "" if settings.get("action") == "store_true" else metavar or argument.flags[-1].lstrip("-").upper()
    return ", ".join(f"`{flag}`" for flag in argument.flags) + (f" `{value.replace('-', '_')}`" if value else "")


def one_command(command: Command) -> Iterator[str]:
    """Yield the section of one command."""
    yield f"## runctl {command.name}"
    yield ""
    yield f"{command.help}. {command.description or ''}".strip()
    yield ""
    yield "| Argument | What it says |"
    yield "|---|---|"
    for argument in command.arguments:
        said = argument.settings["help"]
        more = " More than one may be given." if argument.settings.get("action") == "append" else ""
        yield f"| {names_of(argument)} | {said[0].upper()}{said[1:]}.{more} |"


def commands() -> Iterator[str]:
    """Yield the sections of all commands."""
    for number, command in enumerate(COMMANDS):
        yield from [""] if number else []
        yield from one_command(command)


def exit_codes() -> Iterator[str]:
    """Yield the exit codes of the commands."""
    meanings = after_each_member(ExitCode)
    yield "| Exit code | Means |"
    yield "|---|---|"
    for code in ExitCode:
        yield f"| {code.value} | {meanings[code.name]} |"


def stop_note() -> Iterator[str]:
    """Yield the fields of a stop in an audit record."""
    yield "| Field of `stop` | What it is |"
    yield "|---|---|"
    recorded = StopNote(StopReason.KILLED, "").out()
    for name, words in documented(StopNote):
        if name in recorded:
            yield f"| `{name}` | {words} |"


def stop_reasons() -> Iterator[str]:
    """Yield the reasons of a stop."""
    yield "| Reason | Is it final? |"
    yield "|---|---|"
    for reason in StopReason:
        yield f"| `{reason.value}` | {'yes' if reason.is_final else 'no'} |"


def capabilities() -> Iterator[str]:
    """Yield what each vendor can do."""
    yield table()


PARTS: Mapping[str, Callable[[], Iterator[str]]] = {
    part.__name__: part for part in (settings, commands, exit_codes, stop_note, stop_reasons, capabilities)
}
PAGES = {
    "settings.md": ["settings"],
    "command-line.md": ["commands", "exit_codes"],
    "records.md": ["stop_note", "stop_reasons"],
    "vendors.md": ["capabilities"],
}


def filled_in(page: str) -> str:
    """Return the page with each part as the code has it now."""
    return PLACE.sub(lambda place: f"{place[1]}{chr(10).join(PARTS[place[2]]())}\n{place[3]}", page)


if __name__ == "__main__":
    for page in (HERE / "reference" / name for name in PAGES):
        page.write_text(filled_in(page.read_text()))
