"""What the pages for contributors name is there: files, headings, targets of make."""

import re
from pathlib import Path

import pytest

from tests.places import DOCS, PACKAGE, ROOT

PAGES = sorted([*ROOT.glob("*.md"), *DOCS.rglob("*.md")])
CODE = re.compile(r"^```.*?^```", re.DOTALL | re.MULTILINE)
LINK = re.compile(r"\]\(([^)\s]+)\)")
NAMED = re.compile(r"`([\w./-]*/[\w./-]+|\w+\.(?:py|md|toml))`")
TARGET = re.compile(r"(?:^|`|\$ )make ([a-z][a-z-]+)", re.MULTILINE)
INCLUDED = re.compile(r"^```\{include\} (\S+)$", re.MULTILINE)
PAGES_OF_FILES = [DOCS / "explanation/architecture.md", ROOT / "CONTRIBUTING.md"]
TO_BE_MADE = {"build/docs", "constraints/airflow-3.5.txt", "constraints/caps-3.5.txt"}
"""What CONTRIBUTING.md says will come to be."""


def anchors(page: Path) -> set[str]:
    """Return the anchors of a page's headings, as a code host makes them."""
    text = page.read_text()
    headings = re.findall(r"^#+ (.+)$", CODE.sub("", text), re.MULTILINE)
    included = {anchor for file in INCLUDED.findall(text) for anchor in anchors((page.parent / file).resolve())}
    return included | {re.sub(r"[^\w -]", "", heading.lower()).replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_the_links_of_a_page_lead_somewhere(page: Path) -> None:
    for link in LINK.findall(CODE.sub("", page.read_text())):
        if link.startswith(("http://", "https://")):
            continue
        file, _, anchor = link.partition("#")
        target = (page.parent / file).resolve() if file else page
        assert target.exists(), link
        assert not anchor or anchor in anchors(target), link


@pytest.mark.parametrize("page", PAGES_OF_FILES, ids=lambda page: str(page.relative_to(ROOT)))
def test_the_files_that_a_page_names_are_there(page: Path) -> None:
    named = set(NAMED.findall(page.read_text())) - TO_BE_MADE
    assert named
    places = (ROOT, PACKAGE, ROOT / "tests" / "unit", page.parent)
    assert [name for name in sorted(named) if not any((place / name).exists() for place in places)] == []


def test_what_decides_is_in_the_file_that_architecture_names() -> None:
    """Each row of the table: the names in its second column stand in one of the files that the row names."""
    rows = re.findall(
        r"^\| ([^|]+) \| ([^|]+) \| [^|]*\|$", (DOCS / "explanation/architecture.md").read_text(), re.MULTILINE
    )
    rows = [row for row in rows if row[0] != "X"]
    assert len(rows) > 10
    for what, where in rows:
        spans = re.findall(r"`([^`]+)`", where)
        files = [file for span in spans if "/" in span or span.endswith(".py") for file in files_of(span)]
        assert files, what
        text = "".join(file.read_text() for file in files)
        for name in (span for span in spans if "/" not in span and not span.endswith(".py")):
            assert re.search(rf"\b{re.escape(name.rpartition('.')[2])}\b", text), f"{what}: {name}"


def files_of(path: str) -> list[Path]:
    """Return the files that a path of the table means: ``<vendor>`` is each of the four."""
    found = sorted(PACKAGE.glob(path.replace("<vendor>", "*") + ("*.py" if path.endswith("/") else "")))
    assert found, path
    return found


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_the_targets_of_make_on_a_page_are_in_the_makefile(page: Path) -> None:
    known = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    assert set(TARGET.findall(page.read_text())) <= known


def test_contributing_says_where_each_part_of_control_is_tested() -> None:
    rows = [line for line in (ROOT / "CONTRIBUTING.md").read_text().splitlines() if line.startswith("| `")]
    named = {name for row in rows for name in re.findall(r"`(\w+)`", row.split("|")[1])}
    parts = {file.stem for file in (PACKAGE / "control").glob("*.py")} - {"__init__"}
    assert parts <= named


def test_no_page_says_that_something_is_still_to_be_done() -> None:
    assert {page.name for page in PAGES if "TODO" in page.read_text()} == set()
