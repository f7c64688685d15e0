"""``make kill-paths`` takes code out; each path's code and tests must be where the list says."""

import re

import pytest

from tests.kill_paths import PATHS, KillPath
from tests.places import PACKAGE, ROOT


@pytest.mark.parametrize("path", PATHS, ids=lambda path: path.what)
def test_a_kill_path_names_code_that_is_there_once_and_tests_that_are_there(path: KillPath) -> None:
    assert (PACKAGE / path.file).read_text().count(path.code) == 1, f"{path.code!r} in {path.file}"
    assert path.instead != path.code
    file, words = path.tests
    tests = re.findall(r"^(?:async )?def (test_\w+)", (ROOT / "tests/unit" / file).read_text(), re.MULTILINE)
    # -k would be asked for the same; collecting the tests for it takes seconds.
    for word in words.split(" or "):
        assert any(word in test for test in tests), f"no test in {file} has {word!r} in its name"
