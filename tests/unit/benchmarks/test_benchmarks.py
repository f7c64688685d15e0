"""The benchmarks are there to be run: their parts load without the peers, and each of ours runs with five runs."""

import json
from collections.abc import Iterator
from importlib import import_module
from pathlib import Path

import pytest

from airflow_runctl.hooks.base import Access
from tests.benchmarks import kills, page, snaplogic, stopping, watching
from tests.benchmarks.rows import Point, Row
from tests.places import ROOT
from tests.servers.many_runs import ManyRuns, run_ids
from tests.unit.clients import Client

PARTS = sorted(file.stem for file in (ROOT / "tests" / "benchmarks").glob("*.py") if file.stem != "__init__")
ROW = Row("stop 5 runs", 1.5, 1.0, "bare", "s", "1.25 x", False, 2)


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[ManyRuns]:
    """A vendor in this process, and this process as it was: a benchmark has one of its own."""
    monkeypatch.setattr(snaplogic, "quiet", lambda: None)
    monkeypatch.setenv("AIRFLOW_CONN_SNAPLOGIC_DEFAULT", "")
    with ManyRuns() as serving:
        yield serving


@pytest.mark.parametrize("part", PARTS)
def test_part_loads_without_the_peers(part: str) -> None:
    import_module(f"tests.benchmarks.{part}")


def test_first_page_names_each_part() -> None:
    said = str(import_module("tests.benchmarks").__doc__)
    assert [part for part in PARTS if f"``{part}``" not in said] == []


@pytest.mark.parametrize("measure", [stopping.ours, stopping.bare])
def test_both_stop_all_runs(server: ManyRuns, measure: object) -> None:
    assert callable(measure)
    assert measure(server.url, 5) > 0
    assert server.stopped == set(run_ids(5))
    assert [seen.what for seen in server.seen].count("look") == 10


@pytest.mark.parametrize("who", [watching.OURS, watching.BARE])
def test_watching_is_measured(server: ManyRuns, who: str) -> None:
    found = watching.watching(who, server.url, runs=5, interval=0.05, seconds=0.2)
    assert found.cpu > 0
    assert 0 < found.requests <= 2 * 5
    assert server.stopped == set()


def test_cleared_tasks_have_their_runs_stopped(server: ManyRuns, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(kills, "LOOK_EVERY", 0.1)
    stopped, _ = kills.kill(kills.OURS, server.url, runs=5, again=True)
    assert stopped == 5


def test_server_lists_runs_page_by_page_and_counts(server: ManyRuns, client: Client) -> None:
    access: Access = snaplogic.connect(server.url)
    server.answer(b"GET", "/_server/begin", "runs=1500")
    live = client.drive(access, access.vendor.live_runs({"invoker": "triggered"}))
    assert [run.run_id for run in live] == run_ids(1500)
    told = json.loads(server.answer(b"GET", "/_server/seen") or b"")
    assert told["told"] == 1500
    assert set(told) == {"told", "stopped", "list"}


def test_table_shows_what_was_not_held(capsys: pytest.CaptureFixture[str]) -> None:
    page.show([ROW], [Point("time", "ours", 1_000, 0.5, "s")])
    shown = capsys.readouterr().out
    assert all(cell in shown for cell in ("stop 5 runs", "1.50 s", "1.50 x", "NOT HELD", "1,000 runs", "0.50 s"))


def test_figures_on_the_page_are_replaced_and_nothing_else(tmp_path: Path) -> None:
    file = tmp_path / "page.md"
    file.write_text(f"before\n{page.BEGIN}\nold\n{page.END}\nafter\n")
    page.write(page.markdown({"cores": "2"}, [ROW], []), file)
    text = file.read_text()
    assert text.startswith(f"before\n{page.BEGIN}\n\ncores: 2.\n\n| same work | ours |")
    assert "| stop 5 runs | 1.50 s | 1.00 s | bare | 1.50 x | 1.25 x | NOT HELD |" in text
    assert text.endswith(f"{page.END}\nafter\n")
    assert "old" not in text


def test_page_has_the_marks() -> None:
    text = page.PAGE.read_text()
    assert text.index(page.BEGIN) < text.index(page.END)
