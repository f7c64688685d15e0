"""What the README shows is what the tests run."""

import re
from pathlib import Path

ROOT = Path(__file__).parents[2]


def test_the_dag_in_the_readme_is_an_example_that_the_tests_run():
    readme = (ROOT / "README.md").read_text()
    shown = re.findall(r"<!-- (example_dags/\S+\.py) -->\n```python\n(.*?)```", readme, re.DOTALL)
    assert shown
    for file, text in shown:
        assert text == (ROOT / file).read_text(), f"copy {file} into the README"
