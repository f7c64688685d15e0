"""The first page of each folder of vendors names what lies in it, and is nothing but that page."""

import ast
import re
from pathlib import Path

import pytest

from tests.places import PACKAGE, ROOT

PAGES = sorted((PACKAGE / "vendors").rglob("__init__.py"))


def parts_of(folder: Path) -> set[str]:
    files = {file.name for file in folder.glob("*.py")} - {"__init__.py"}
    return files | {f"{inner.parent.name}/" for inner in folder.glob("*/__init__.py")}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.parent.relative_to(ROOT)))
def test_a_first_page_names_each_part_once(page: Path) -> None:
    listed = [line for line in (ast.get_docstring(ast.parse(page.read_text())) or "").splitlines() if line[:2] == "- "]
    named = [name for line in listed for name in re.findall(r"``([\w/.]+)``", line.partition(": ")[0])]
    assert sorted(named) == sorted(parts_of(page.parent))


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.parent.relative_to(ROOT)))
def test_a_first_page_imports_nothing(page: Path) -> None:
    # import-linter sees no circle between a package and a module in it; so none can begin here.
    assert len(ast.parse(page.read_text()).body) == 1
