"""``make demo`` as a user runs it: its own processes, its exit code, and nothing left behind."""

import os
import re
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from demo.release import RELEASE
from tests.system.versions import essential

ROOT = Path(__file__).parents[2]
FIRST = "deadline_stops_hung_runs" if RELEASE.has_deadlines else "sla_miss_stops_hung_runs"
STORIES = (FIRST, "max_runtime_while_deferred", "execution_timeout_on_worker")


@pytest.fixture
def temporary() -> Iterator[Path]:
    """A folder for all temporary files of a demo; the path of a Unix socket in it must not pass 107 characters."""
    with tempfile.TemporaryDirectory(prefix="demo-") as folder:
        yield Path(folder)


def processes_of(temporary: Path) -> Iterator[psutil.Process]:
    """What still runs of a demo: all of it has that folder, or one below it, in its environment."""
    for process in psutil.process_iter():
        try:
            is_of_it = process.environ().get("TMPDIR", "").startswith(str(temporary))
            if is_of_it and process.status() != psutil.STATUS_ZOMBIE:
                yield process
        except (psutil.Error, OSError):
            continue


def start(temporary: Path, database: str | None) -> subprocess.Popen[str]:
    environment = {name: value for name, value in os.environ.items() if name != "RUNCTL_TEST_DB"}
    return subprocess.Popen(
        [sys.executable, "-m", "demo", *(["--database", database] if database else [])],
        cwd=ROOT,
        env={**environment, "TMPDIR": str(temporary), "COLUMNS": "140"},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    )


@essential
def test_the_demo_shows_that_every_run_was_stopped_and_leaves_nothing(temporary: Path, plain_database: str | None):
    demo = start(temporary, plain_database)
    out, _ = demo.communicate(timeout=500)

    assert demo.returncode == 0, out
    assert "Open runs at the vendors: 0. Every run was really stopped." in out
    for story in STORIES:
        assert story in out
    for line in ("started", "stop asked", "stop confirmed", "passes", "task load_orders: failed", "open runs: 0"):
        assert line in out
    assert len(re.findall("stop confirmed", out)) == (4 if RELEASE.has_deadlines else 3)
    assert list(processes_of(temporary)) == []
    assert list(temporary.iterdir()) == []


def test_ctrl_c_ends_the_demo_and_leaves_nothing(temporary: Path, plain_database: str | None):
    demo = start(temporary, plain_database)
    assert demo.stdout is not None
    for line in demo.stdout:
        if "alive at the vendors" in line:
            break
    os.killpg(demo.pid, signal.SIGINT)
    out, _ = demo.communicate(timeout=60)

    assert demo.returncode == 130, out
    assert list(processes_of(temporary)) == []
    assert list(temporary.iterdir()) == []
