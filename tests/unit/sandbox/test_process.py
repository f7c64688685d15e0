"""The sandbox as a process: what it prints, and that it leaves nothing behind."""

import json
import os
import shlex
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from urllib.error import URLError
from urllib.request import urlopen

import pytest

from airflow_runctl.sandbox.client import END_SECONDS, Sandbox, eventually
from tests.places import ROOT

COMMAND = [sys.executable, "-m", "airflow_runctl.sandbox"]
CONNECTIONS = [
    "AIRFLOW_CONN_SNAPLOGIC_DEFAULT",
    "AIRFLOW_CONN_SNAPLOGIC_JWT",
    "AIRFLOW_CONN_AXIOM_DEFAULT",
    "AIRFLOW_CONN_VECTORSHIFT_DEFAULT",
    "AIRFLOW_CONN_BCTRL_DEFAULT",
    "AIRFLOW_CONN_BCTRL_BROWSERS",
]


def gone(pid: int) -> bool:
    """Tell whether the process is over; one that nobody has waited for yet counts as over."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z"
    except FileNotFoundError:
        return True


@pytest.fixture
def by_hand() -> Iterator[subprocess.Popen[str]]:
    process = subprocess.Popen(
        [*COMMAND, "--seed", "marker7", "--prefix", "gateway/one"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        cwd=ROOT,
    )
    yield process
    process.kill()
    process.communicate()


def test_it_prints_where_it_listens_and_the_connections(by_hand: subprocess.Popen[str]) -> None:
    assert by_hand.stdout
    lines = [by_hand.stdout.readline().rstrip("\n") for _ in range(1 + len(CONNECTIONS))]
    url = lines[0].removeprefix("sandbox listening on ")
    assert url.startswith("http://127.0.0.1:")
    assert url.endswith("/gateway/one")
    # As a shell reads them.
    found = dict(shlex.split(line)[0].split("=", 1) for line in lines[1:])
    assert list(found) == CONNECTIONS
    connections = {name: json.loads(text) for name, text in found.items()}
    assert connections["AIRFLOW_CONN_AXIOM_DEFAULT"]["host"] == f"{url}/axiom/api/v3"
    assert connections["AIRFLOW_CONN_VECTORSHIFT_DEFAULT"]["host"] == f"{url}/vectorshift/v1"
    assert connections["AIRFLOW_CONN_SNAPLOGIC_DEFAULT"]["extra"]["org"] == "Acme"
    assert connections["AIRFLOW_CONN_BCTRL_DEFAULT"]["extra"] == {"api": "workspaces"}
    assert connections["AIRFLOW_CONN_BCTRL_BROWSERS"]["extra"] == {"api": "browsers"}
    assert all("marker7" in connection["password"] for connection in connections.values())
    assert "marker7" in connections["AIRFLOW_CONN_SNAPLOGIC_DEFAULT"]["extra"]["task_token"]
    with urlopen(f"{url}/_sandbox/runs", timeout=10) as answer:
        assert json.load(answer) == {"open": 0, "runs": []}


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_signal_ends_it_cleanly(by_hand: subprocess.Popen[str], number: signal.Signals) -> None:
    assert by_hand.stdout
    by_hand.stdout.readline()
    by_hand.send_signal(number)
    _, errors = by_hand.communicate(timeout=10)
    assert (by_hand.returncode, errors) == (0, "")


def test_seed_with_other_characters_is_refused() -> None:
    done = subprocess.run(
        [*COMMAND, "--seed", "a-b"], capture_output=True, text=True, cwd=ROOT, timeout=30, check=False
    )
    assert done.returncode == 2
    assert "letters and digits" in done.stderr


def test_spawned_sandbox_knows_its_url_seed_and_connections() -> None:
    with Sandbox.spawn(seed="marker8", prefix="/deep/er") as sandbox:
        assert sandbox.url.endswith("/deep/er")
        assert sandbox.seed == "marker8"
        assert list(sandbox.connections) == CONNECTIONS
        assert sandbox.runs() == []
        begun = time.monotonic()
    # Well before it would have to be killed.
    assert time.monotonic() - begun < END_SECONDS / 2
    assert gone(sandbox.pid)
    with pytest.raises(URLError):
        sandbox.runs()


def test_random_seeds_differ() -> None:
    with Sandbox.spawn() as one, Sandbox.spawn() as other:
        assert one.seed != other.seed


def test_error_in_the_block_ends_the_child() -> None:
    with pytest.raises(ZeroDivisionError), Sandbox.spawn() as sandbox:
        raise ZeroDivisionError
    assert gone(sandbox.pid)


PARENT = """
import os, signal, sys
from airflow_runctl.sandbox.client import Sandbox
sandbox = Sandbox.spawn()
print(sandbox.pid, flush=True)
{end}
"""


@pytest.mark.parametrize(
    "end",
    [
        "os.kill(os.getpid(), signal.SIGKILL)",
        "os.kill(os.getpid(), signal.SIGINT); sys.stdin.read()",
        "raise ValueError",
        "os._exit(1)",
        "",
    ],
)
def test_child_ends_when_its_parent_dies(end: str) -> None:
    parent = subprocess.run(
        [sys.executable, "-c", PARENT.format(end=end)],
        capture_output=True,
        text=True,
        cwd=ROOT,
        timeout=60,
        check=False,
    )
    child = int(parent.stdout)
    try:
        assert eventually(lambda: gone(child))
    except TimeoutError:
        os.kill(child, signal.SIGKILL)
        raise
