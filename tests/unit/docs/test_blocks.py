"""Each block of a page is a file that tests run, or says by its look that none does; what it shows makes sense."""

import configparser
import re
import shlex
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml

from airflow_runctl.cli.console import parser
from tests.places import DOCS, ROOT

PAGES = sorted(DOCS.rglob("*.md"))
BLOCK = re.compile(r"^( *)```([^\n]*)\n(.*?)^\1```$", re.DOTALL | re.MULTILINE)

SHOWN_ONLY = {"console", "ini", "yaml", "text"}
"""What is shown and not run: a terminal, a part of a file of somebody else, a tree of files."""
NO_CODE = {"{toctree}", "{include}", "{eval-rst}", "mermaid"}
RUN = (ROOT / "example_dags", DOCS / "dags", DOCS / "dag_test", ROOT / "tests", DOCS / "tutorial")
"""Where the files lie that tests run: test_examples.py, test_late_loads.py, test_whose_run.py and test_dag_tests.py in
tests/system, test_how_to_dags.py here."""


def blocks(page: Path) -> Iterator[tuple[str, str]]:
    for _, kind, text in BLOCK.findall(page.read_text()):
        yield kind, text


def of_kind(kind: str) -> list[tuple[Path, str]]:
    return [(page, text) for page in PAGES for found, text in blocks(page) if found == kind]


def commands() -> Iterator[str]:
    """Yield what is typed at a prompt, in one line each."""
    for _, text in of_kind("console"):
        line = ""
        for part in text.splitlines():
            if part.lstrip().startswith(("$ ", "> ")):
                line = part.lstrip()[2:] if part.lstrip()[0] == "$" else line + part.lstrip()[2:]
                if line.endswith("\\"):
                    line = line[:-1]
                    continue
                yield line


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(DOCS)))
def test_each_block_is_a_file_that_is_run_or_says_that_it_is_not(page: Path) -> None:
    for kind, text in blocks(page):
        name, _, argument = kind.partition(" ")
        if name == "{literalinclude}":
            file = (page.parent / argument).resolve()
            assert file.exists(), argument
            assert any(file.is_relative_to(folder) for folder in RUN), argument
        elif name == "{code-block}":
            assert text.startswith(":class: not-run\n"), text
        else:
            assert kind in SHOWN_ONLY or name in NO_CODE, f"{kind or 'a block without a language'}: {text[:80]}"


def test_no_block_is_overlooked() -> None:
    """Each fence of a page opens or closes one that the tests above see."""
    for page in PAGES:
        fences = len(re.findall(r"^ *```", page.read_text(), re.MULTILINE))
        assert fences == 2 * len(list(blocks(page))), page


def test_what_no_test_runs_says_so_on_the_page() -> None:
    assert re.search(
        r'div\.not-run::after \{\s*content: "[^"]*no test runs', (DOCS / "_static" / "site.css").read_text()
    )


def test_what_is_typed_at_a_prompt_is_a_command() -> None:
    lines = list(commands())
    assert len(lines) > 30
    script = "\n".join(re.sub(r"<[^>]*>", "PLACE", line) for line in lines)
    done = subprocess.run(["bash", "-n"], input=script, capture_output=True, text=True, timeout=60, check=False)
    assert done.stderr == ""


@pytest.mark.parametrize(
    "line", sorted({found[0] for line in commands() if (found := re.search(r"\brunctl (?!$).*", line))})
)
def test_a_command_of_ours_takes_what_a_page_gives_it(line: str) -> None:
    words = shlex.split(re.split(r" [|>]| \|\|", line)[0], comments=True)
    assert words[0] == "runctl"
    if words[1:] != ["--version"] and words[1] not in {"ride_out"}:
        parser().parse_args(words[1:])


@pytest.mark.parametrize(("page", "text"), of_kind("ini"), ids=lambda value: getattr(value, "stem", ""))
def test_a_setting_on_a_page_can_be_read(page: Path, text: str) -> None:
    read = configparser.ConfigParser()
    read.read_string(re.sub(r"^ +", "", text, flags=re.MULTILINE))
    assert read.sections()


@pytest.mark.parametrize(("page", "text"), of_kind("yaml"), ids=lambda value: getattr(value, "stem", ""))
def test_yaml_on_a_page_can_be_read(page: Path, text: str) -> None:
    assert yaml.safe_load(text)
