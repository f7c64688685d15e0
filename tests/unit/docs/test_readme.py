"""What the README shows is what the tests run, and it leads to each part of the site."""

import re

from tests.places import DOCS, ROOT

SHOWN = re.compile(r"<!-- (\S+\.py) -->\n```python\n(.*?)```", re.DOTALL)
README = (ROOT / "README.md").read_text()


def test_the_dags_on_the_page_are_files_that_the_tests_run() -> None:
    shown = SHOWN.findall(README)
    assert shown
    for file, text in shown:
        assert text == (ROOT / file).read_text(), f"copy {file} into README.md"
    assert len(shown) == README.count("```python"), "each Dag says which file it is"


def test_the_readme_is_read_in_a_minute_and_leads_to_each_part_of_the_site() -> None:
    assert len(README.splitlines()) <= 100
    linked = set(re.findall(r"\]\(docs/([\w/.-]+)\)", README))
    assert {"index.md", "tutorial/first-stopped-run.md"} <= linked
    assert {f"{folder.name}/index.md" for folder in DOCS.iterdir() if (folder / "index.md").exists()} <= linked
