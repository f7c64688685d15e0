"""docs/reference/connections.md says what is so."""

import re
import runpy
from typing import Any

import pytest
from airflow.models import Connection

from airflow_runctl.compat import IS_AIRFLOW_2
from airflow_runctl.hooks.base import hook_class
from tests.places import DOCS

PAGE = (DOCS / "reference/connections.md").read_text()
TYPES = ["snaplogic", "axiom", "vectorshift", "bctrl"]


def test_the_tables_are_those_of_the_forms() -> None:
    script = runpy.run_path(str(DOCS / "connection_tables.py"))
    assert script["filled_in"](PAGE) == PAGE, "run docs/connection_tables.py"
    assert re.findall(r"<!-- fields of (\w+)", PAGE) == TYPES


def examples(conn_type: str) -> dict[str, list[str]]:
    lines = re.findall(
        rf"^\$ (.*{conn_type}_default.*) '(.*)'$|^\$ export (\w+)='(.*)'$", PAGE, re.IGNORECASE | re.MULTILINE
    )
    found: dict[str, list[str]] = {"uri": [], "json": []}
    for _, added, variable, defined in lines:
        text = added or defined
        if text.startswith((conn_type, f'{{"conn_type": "{conn_type}"')):
            assert not variable or variable == f"AIRFLOW_CONN_{conn_type.upper()}_DEFAULT"
            found["json" if text.startswith("{") else "uri"].append(text)
    return found


@pytest.mark.parametrize("conn_type", TYPES)
def test_all_examples_of_a_type_are_the_same_connection(conn_type: str) -> None:
    found = examples(conn_type)
    assert {form: len(texts) for form, texts in found.items()} == {"uri": 2, "json": 2}
    conns: list[Any] = [Connection(conn_id="x", uri=text) for text in found["uri"]]
    conns += [Connection.from_json(text, conn_id="x") for text in found["json"]]
    accesses = [hook_class(conn_type).access_of(conn, conn.extra_dejson) for conn in conns]
    assert accesses[1:] == accesses[:-1]
    default = Connection(conn_id="x", conn_type=conn_type, login="a", password="b", extra={"org": "Acme"})
    default_access = hook_class(conn_type).access_of(default, default.extra_dejson)
    assert accesses[0].endpoint == default_access.endpoint, "the example names the vendor's own address"


@pytest.mark.parametrize(("field", "hidden"), [("task_token", True), ("proxies", True), ("seal_key", False)])
def test_airflow_hides_the_secrets_of_an_extra_as_the_page_says(field: str, hidden: bool) -> None:
    """It goes by their names; how the form marks them does not matter to it."""
    masker = pytest.importorskip(
        "airflow.utils.log.secrets_masker" if IS_AIRFLOW_2 else "airflow._shared.secrets_masker"
    )
    assert masker.should_hide_value_for_key(field) is hidden
