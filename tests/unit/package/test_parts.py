"""``.ci/parts.py``, on which every check of the Makefile hangs: a part that fails fails the whole, and is named."""

import subprocess
import sys
from pathlib import Path

import pytest

from tests.places import ROOT

PYTEST = "echo '\\033[32m===== \\033[1m3 passed\\033[0m, 1 skipped in 2.0s (0:00:02) =====\\033[0m'"


COMMAND = [sys.executable, str(ROOT / ".ci/parts.py"), "make it"]


def check(*parts: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([*COMMAND, *parts], capture_output=True, text=True, timeout=60, check=False)


@pytest.mark.parametrize("parts", [("a=true", "b=false", "c=true"), ("a=true", "+b=exit 3", "c=true")])
def test_a_part_that_fails_fails_the_check_once_the_others_have_run(parts: tuple[str, ...]) -> None:
    done = check(*parts, "d=echo said by d")
    assert done.returncode == 1
    assert "said by d" in done.stdout
    assert "make it: FAILED (b) in 0 s (a 0 s, b 0 s, c 0 s, d 0 s)\n0 passed, 1 failed\n" in done.stdout


def test_a_check_says_what_its_parts_took_and_how_many_tests_passed() -> None:
    done = check(f"a={PYTEST}", f"+b={PYTEST}")
    assert done.returncode == 0, done.stdout
    assert done.stdout.endswith("make it: passed in 0 s (a 0 s, b 0 s)\n6 passed, 0 failed, 2 skipped\n")


@pytest.mark.timeout(60)
def test_a_part_is_heard_while_it_runs_and_the_one_beside_it_when_it_is_through(tmp_path: Path) -> None:
    go, over = tmp_path / "go", tmp_path / "over"
    first = f"a=echo a begins; until test -e {go} -a -e {over}; do sleep 0.05; done; echo a ends"
    with subprocess.Popen(
        [*COMMAND, first, f"+b=echo said by b; touch {over}"], stdout=subprocess.PIPE, text=True
    ) as it:
        assert it.stdout is not None
        heard = [next(it.stdout) for _ in range(2)]
        go.touch()
        heard += it.stdout
    assert heard[:4] == ["make it: a, b\n", "a begins\n", "a ends\n", "said by b\n"]
