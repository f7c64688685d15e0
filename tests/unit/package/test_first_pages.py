"""The first page of each folder of the package names what lies in it, and is nothing but that page."""

import ast
import re
from pathlib import Path

import pytest

from tests.places import PACKAGE, ROOT

PAGES = sorted(PACKAGE.glob("*/**/__init__.py"))
EXPORTS = {PACKAGE / "compat" / "__init__.py"}
"""Pages that hold names too: whoever asks ``compat`` need not know which of its files has the answer."""

LISTED = re.compile(r"^(?:- )?((?:``[\w/.]+``(?:, )?)+)", re.MULTILINE)


def parts_of(folder: Path) -> set[str]:
    files = {file.name for ending in ("py", "js") for file in folder.glob(f"*.{ending}")} - {"__init__.py"}
    return files | {f"{inner.parent.name}/" for inner in folder.glob("*/__init__.py")}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.parent.relative_to(ROOT)))
def test_a_first_page_names_each_part_once(page: Path) -> None:
    text = ast.get_docstring(ast.parse(page.read_text())) or ""
    named = [name for line in LISTED.findall(text) for name in re.findall(r"``([\w/.]+)``", line)]
    assert sorted(named) == sorted(parts_of(page.parent))


@pytest.mark.parametrize("page", sorted(set(PAGES) - EXPORTS), ids=lambda page: str(page.parent.relative_to(ROOT)))
def test_a_first_page_imports_nothing(page: Path) -> None:
    # import-linter sees no circle between a package and a module in it; so none can begin here.
    assert len(ast.parse(page.read_text()).body) == 1
