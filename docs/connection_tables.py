"""Writes the tables of fields in docs/reference/connections.md, as the forms have them: run it after a change."""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from airflow_runctl.provider_info import CONNECTION_TYPES

PAGE = Path(__file__).with_name("reference") / "connections.md"
PLACE = re.compile(r"(<!-- fields of (\w+)[^>]*-->\n).*?(<!-- end -->)", re.DOTALL)
STANDARD = {"host": "Host", "login": "Login", "password": "Password", "port": "Port", "schema": "Schema"}


def rows(form: dict[str, Any]) -> Iterator[tuple[str, str, str]]:
    """Yield label, place in the connection and meaning of each field that the form shows."""
    behaviour = form["ui-field-behaviour"]
    for name, title in STANDARD.items():
        if name not in behaviour["hidden-fields"]:
            meaning = f"Empty: `{behaviour['placeholders']['host']}`." if name == "host" else ""
            yield behaviour["relabeling"].get(name, title), f"`{name}`", meaning
    for name, field in form["conn-fields"].items():
        schema = field["schema"]
        notes = ["Required."] if schema["type"] == "string" else []
        notes += ["Secret."] if schema.get("format") == "password" else []
        yield field["label"], f"extra `{name}`", " ".join([*notes, field["description"]])


def table(conn_type: str) -> str:
    """Return the table of one connection type."""
    form: dict[str, Any] = next(row for row in CONNECTION_TYPES if row["connection-type"] == conn_type)
    lines = ["| In the form | In the connection | Meaning |", "|---|---|---|"]
    return "\n".join([*lines, *(f"| {' | '.join(row)} |".replace("|  |", "| |") for row in rows(form))])


def filled_in(page: str) -> str:
    """Return the page with each table as the metadata has it now."""
    return PLACE.sub(lambda place: f"{place[1]}{table(place[2])}\n{place[3]}", page)


if __name__ == "__main__":
    PAGE.write_text(filled_in(PAGE.read_text()))
