"""What a command shows: rows as Airflow's own commands print them, what goes on, and questions."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final

from airflow_runctl.exceptions import WrongArgument
from airflow_runctl.runs import printable

Row = Mapping[str, Any]

WIDTH: Final = 200
"""Columns of a table that is not on a terminal, as in Airflow."""


def print_rows(rows: Sequence[Row], output: str, columns: Sequence[str] | None = None) -> None:
    """Print rows on the standard output.

    :param output: ``table``, ``plain``, ``json`` or ``yaml``.
    :param columns: what a table shows of them; JSON and YAML show everything.
    """
    PRINTERS[output](rows, columns)


def print_row(row: Row, output: str) -> None:
    """Print all of one row: a line for each field, or as JSON and YAML."""
    if output in ("json", "yaml"):
        print_rows([row], output)
    else:
        print_rows([{"field": name, "value": value} for name, value in row.items()], output)


def _json(rows: Sequence[Row], columns: Sequence[str] | None) -> None:
    print(json.dumps([dict(row) for row in rows]))


def _yaml(rows: Sequence[Row], columns: Sequence[str] | None) -> None:
    import yaml

    print(yaml.safe_dump([dict(row) for row in rows], sort_keys=False), end="")


def _table(rows: Sequence[Row], columns: Sequence[str] | None) -> None:
    from rich.box import ASCII_DOUBLE_HEAD
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    if not rows:
        print("No data found")
        return
    columns = columns or list(rows[0])
    table = Table(box=ASCII_DOUBLE_HEAD, show_edge=False, pad_edge=False)
    for column in columns:
        # Nothing is cut: half an id, typed into the next command, is the id of no run.
        table.add_column(column, overflow="fold")
    for row in rows:
        # As text: what stands in it was written by others, and is no markup.
        table.add_row(*(Text(_cell(row.get(column))) for column in columns))
    Console(width=None if sys.stdout.isatty() else WIDTH).print(table)


def _plain(rows: Sequence[Row], columns: Sequence[str] | None) -> None:
    from tabulate import tabulate

    if not rows:
        print("No data found")
        return
    columns = columns or list(rows[0])
    cells = [[_cell(row.get(column)) for column in columns] for row in rows]
    print(tabulate(cells, headers=list(columns), tablefmt="plain", disable_numparse=True))


PRINTERS: Final[Mapping[str, Callable[[Sequence[Row], Sequence[str] | None], None]]] = {
    "table": _table,
    "plain": _plain,
    "json": _json,
    "yaml": _yaml,
}


def _cell(value: object) -> str:
    if value is None:
        return ""
    return printable(json.dumps(value) if isinstance(value, dict | list) else value, 400)


STEPS: Final = ((86400, "d"), (3600, "h"), (60, "m"), (1, "s"))


def span(seconds: float | None) -> str:
    """Return a time for people, in its two largest units: ``2h 5m``."""
    if seconds is None:
        return ""
    left, said = max(round(seconds), 0), []
    for size, unit in STEPS:
        if left >= size:
            said.append(f"{left // size}{unit}")
            left %= size
    return " ".join(said[:2]) or "0s"


def say(text: str) -> None:
    """Say what goes on, on the standard error output: the standard output is the result's."""
    print(printable(text, 1000), file=sys.stderr, flush=True)


def progress(done: int, of: int) -> None:
    """Say how far it is, where somebody looks on."""
    if sys.stderr.isatty() and of > 1:
        end = "\n" if done == of else ""
        print(f"\r{done} of {of} runs looked at", end=end, file=sys.stderr, flush=True)


def ask(question: str) -> bool:
    """Ask, and return whether the answer is yes.

    :raises WrongArgument: if nobody is there to answer.
    """
    if not sys.stdin.isatty():
        raise WrongArgument("Nobody is there to be asked: give --yes to stop without a question. Nothing was done.")
    print(f"{question} [y/N] ", end="", file=sys.stderr, flush=True)
    return sys.stdin.readline().strip().lower() in {"y", "yes"}
