"""``make kill-paths`` takes code out; each path's code and test file must be where the list says, once."""

import pytest

from tests.kill_paths import PATHS, KillPath
from tests.places import PACKAGE, ROOT


@pytest.mark.parametrize("path", PATHS, ids=lambda path: path.what)
def test_a_kill_path_names_code_that_is_there_once_and_a_test_file(path: KillPath) -> None:
    assert (PACKAGE / path.file).read_text().count(path.code) == 1, f"{path.code!r} in {path.file}"
    assert path.instead != path.code
    assert (ROOT / "tests/unit" / path.tests[0]).is_file()
