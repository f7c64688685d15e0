"""``.ci/parts.py``, on which every check of the Makefile hangs: a part that fails fails the whole, and is named."""

import subprocess
import sys

import pytest

from tests.places import ROOT

PYTEST = "echo '\\033[32m===== \\033[1m3 passed\\033[0m, 1 skipped in 2.0s (0:00:02) =====\\033[0m'"


def check(*parts: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, str(ROOT / ".ci/parts.py"), "make it", *parts]
    return subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)


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
