"""What the README and the docs show is what the tests run."""

import re

import pytest

from tests.places import ROOT

SHOWN = re.compile(r"<!-- (\S+\.py) -->\n```python\n(.*?)```", re.DOTALL)
PAGES = ["README.md", "docs/from-sla-miss-callback.md", "docs/many-starts.md", "docs/testing.md"]


@pytest.mark.parametrize("page", PAGES)
def test_the_dags_on_a_page_are_files_that_the_tests_run(page: str) -> None:
    shown = SHOWN.findall((ROOT / page).read_text())
    assert shown
    for file, text in shown:
        assert text == (ROOT / file).read_text(), f"copy {file} into {page}"
