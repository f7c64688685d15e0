"""The site as a whole: its order, for which versions its pages hold, what the reference leaves out."""

import ast
import re
import runpy
from pathlib import Path

import airflow
import pytest
import yaml

from tests.places import DOCS, PACKAGE, ROOT

PAGES = sorted(DOCS.rglob("*.md"))
HOLDS = re.compile(r"\A# [^\n]+\n\n\*Holds for Airflow ((?:\d\.\d+)(?:, \d\.\d+)*)\.\*\n")
TABLES = runpy.run_path(str(DOCS / "reference_tables.py"))
MAKEFILE = (ROOT / "Makefile").read_text()


def supported() -> list[str]:
    versions = [word for name in ("NEWEST", "OTHERS") for word in re.findall(rf"^{name} := (.*)$", MAKEFILE, re.M)]
    return sorted(" ".join(versions).split(), key=lambda version: [*map(int, version.split("."))])


def held(page: Path) -> list[str]:
    found = HOLDS.match(page.read_text())
    assert found, f"{page}: below the title: *Holds for Airflow 3.2, 3.3.*"
    return found[1].split(", ")


def name_of(page: Path) -> str:
    return str(page.relative_to(DOCS))


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_a_page_says_for_which_supported_versions_it_holds(page: Path) -> None:
    assert [version for version in supported() if version in held(page)] == held(page)


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_a_page_holds_for_no_version_for_which_its_dags_are_not(page: Path) -> None:
    """What a Dag imports tells which Airflow it needs."""
    shown = re.findall(r"\{literalinclude\} (\S+\.py)", page.read_text())
    needs = {
        r"from airflow\.sdk import .*\bDeadline": "3.2",
        r"from airflow\.sdk import": "3.1",
        r'on_retry="resume"': "3.3",
    }
    for file in shown:
        if "airflow_2" in file or page.stem == "from-sla-miss-callback":  # which shows both, each below its version
            continue
        text = (page.parent / file).read_text()
        for pattern, version in needs.items():
            older = supported()[: supported().index(version)]
            assert not (re.search(pattern, text) and set(older) & set(held(page))), f"{file} needs {version}"


def test_each_page_has_its_place_in_the_order() -> None:
    placed = set()
    for index in DOCS.rglob("index.md"):
        for tree in re.findall(r"```\{toctree\}\n(.*?)```", index.read_text(), re.DOTALL):
            placed |= {index.parent / f"{line}.md" for line in tree.split() if not line.startswith(":")}
    assert set(PAGES) - placed == {DOCS / "index.md"}


def test_the_page_of_records_has_every_key() -> None:
    page = (DOCS / "reference" / "records.md").read_text()
    files = [PACKAGE / "runs.py", *(PACKAGE / "control").glob("*.py")]
    keys = {
        key
        for file in files
        for key in re.findall(r'^\w*KEY: Final = "((?:external_run|airflow_runctl|_link)\w*)"', file.read_text(), re.M)
    }
    assert len(keys) > 5
    assert {key for key in keys if f"`{key}`" not in page} == set()


def test_the_order_is_that_of_the_ways_in_which_pages_are_read() -> None:
    captions = re.findall(r"^:caption: (.*)$", (DOCS / "index.md").read_text(), re.MULTILINE)
    assert captions == ["Tutorial", "How-to", "Explanation", "Reference"]


@pytest.mark.parametrize("page", TABLES["PAGES"])
def test_the_tables_of_the_reference_are_those_of_the_code(page: str) -> None:
    text = (DOCS / "reference" / page).read_text()
    assert TABLES["filled_in"](text) == text, "run docs/reference_tables.py"
    assert re.findall(r"<!-- (\w+), written by docs/reference_tables", text) == TABLES["PAGES"][page]


def test_each_diagram_is_drawn_as_it_is_now() -> None:
    pictures = runpy.run_path(str(DOCS / "mermaid_pictures.py"))
    drawn = {pictures["picture_of"](source) for source in pictures["sources"]()}
    assert drawn == set((DOCS / "diagrams").glob("*.svg")), "docs/mermaid_pictures.py says how to draw them"


# -- what the reference documents --------------------------------------------------------------------------

DOCUMENTED = set(
    re.findall(
        r"^\.\. auto(?:class|exception|function):: (\S+)$",
        "\n".join(page.read_text() for page in (DOCS / "reference").glob("*.md")),
        re.MULTILINE,
    )
)
FACES = ("operators", "sensors", "triggers", "hooks")
NOT_FOR_DAGS = {"hooks.forms", "hooks.settings", "hooks.trial", "operators.start_arguments", "operators.secret_fields"}
NOT_FOR_DAGS |= {"operators.handles", "operators.lineage"}


def public_classes(file: Path) -> set[str]:
    module = ".".join(file.relative_to(ROOT).with_suffix("").parts)
    tree = ast.parse(file.read_text())
    return {
        f"{module}.{node.name}"
        for node in tree.body
        if isinstance(node, ast.ClassDef) and not node.name.startswith("_")
    }


def test_the_reference_has_every_class_that_a_dag_can_name() -> None:
    files = [file for face in FACES for file in (PACKAGE / face).glob("*.py") if file.stem != "__init__"]
    files = [file for file in files if f"{file.parent.name}.{file.stem}" not in NOT_FOR_DAGS]
    wanted = {name for file in [*files, PACKAGE / "links.py"] for name in public_classes(file)}
    wanted |= {"airflow_runctl.notifications.StopRunsNotifier", "airflow_runctl.policy.stop_runs_of_ended_dag_runs"}
    assert wanted - DOCUMENTED == set()


def test_the_reference_has_every_exception_with_what_to_do() -> None:
    page = (DOCS / "reference" / "exceptions.md").read_text()
    told = set(re.findall(r"autoexception:: (\S+)\n[^`]*```\n\n\*\*What to do\.\*\* \w", page))
    assert told == public_classes(PACKAGE / "exceptions.py")


# -- pages that other files name ---------------------------------------------------------------------------

CODE = [
    *(
        file
        for folder in ("airflow_runctl", "demo", "docs", "example_dags", "tests")
        for file in (ROOT / folder).rglob("*.py")
    ),
    ROOT / "pyproject.toml",
    *(ROOT / ".github").rglob("*.*"),
]


def test_the_pages_that_code_names_are_there() -> None:
    named = {(name, file) for file in CODE for name in re.findall(r"\bdocs/[\w/.-]+\.(?:md|png)\b", file.read_text())}
    assert {f"{file.relative_to(ROOT)}: {name}" for name, file in named if not (ROOT / name).exists()} == set()


# -- settings of Airflow -----------------------------------------------------------------------------------

OF_2_11 = {
    ("scheduler", "min_file_process_interval"),
    ("core", "dag_file_processor_timeout"),
    ("metrics", "timer_unit_consistency"),
}
"""What pages name for Airflow 2.11 alone."""
OF_OTHERS = {"runctl", "fab"}
"""Sections of this package, and of a provider that is not installed here."""


def test_the_settings_of_airflow_that_a_page_names_are_there() -> None:
    """A setting that was renamed is set for nothing, without a word."""
    known = yaml.safe_load((Path(airflow.__file__).parent / "config_templates" / "config.yml").read_text())
    options = {(section, name) for section, row in known.items() for name in row["options"]}
    named = {
        where
        for page in PAGES
        for where in re.findall(r"`\[(\w+)\]\s+(\w+)`", page.read_text())
        if where[0] not in OF_OTHERS
    }
    assert len(named) > 10
    assert named - options == OF_2_11
