"""Whose turn it is to start: one at a time, in the order in which they came, past those that were lost."""

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import pytest

from airflow_runctl.compat import IS_AIRFLOW_2
from airflow_runctl.control import siblings as module
from airflow_runctl.control.records import TURN_KEY
from airflow_runctl.control.siblings import Siblings
from airflow_runctl.exceptions import RunStopped
from airflow_runctl.runs import TaskKey
from airflow_runctl.sandbox.client import eventually
from tests.fakes.airflow_3 import FakeAirflow

pytestmark = [
    pytest.mark.usefixtures("brisk"),
    pytest.mark.skipif(IS_AIRFLOW_2, reason="the fake of Airflow 2 has no states of mapped tasks that do not run"),
]

ORDERS = {"pipeline": "load-orders", "project": "/Acme/projects/sales"}


def nothing() -> None: ...


class Line:
    """Items of a mapped task, each in a thread, that start the same pipeline."""

    def __init__(self, fake: FakeAirflow) -> None:
        self.fake = fake
        self.inside: list[int] = []
        self.most = 0
        self.order: list[int] = []
        self.threads: dict[int, threading.Thread] = {}
        self.errors: list[BaseException] = []

    def siblings(self, index: int) -> Siblings:
        self.fake.states[f"start_{index}"] = "running"
        return Siblings(TaskKey(self.fake.dag_id, self.fake.run_id, "start", index), frozenset({"start"}))

    def start(
        self, index: int, doing: Callable[[], object] = lambda: time.sleep(0.02), wanted: Callable[[], None] = nothing
    ) -> None:
        mine = self.siblings(index)

        def run() -> None:
            try:
                with mine.turn(ORDERS, wanted):
                    self.inside.append(index)
                    self.most = max(self.most, len(self.inside))
                    self.order.append(index)
                    doing()
                    self.inside.remove(index)
            except BaseException as error:
                self.errors.append(error)

        self.threads[index] = threading.Thread(target=run, daemon=True)
        self.threads[index].start()

    def turn(self, index: int) -> dict[str, float] | None:
        turn: dict[str, float] | None = self.fake.xcom("start", TURN_KEY, index)
        return turn

    def wait(self) -> None:
        for thread in self.threads.values():
            thread.join(30)
            assert not thread.is_alive()


@pytest.fixture
def line(fake: FakeAirflow) -> Line:
    return Line(fake)


@contextmanager
def held(line: Line, index: int) -> Iterator[threading.Event]:
    """Let an item hold its turn."""
    done = threading.Event()
    line.start(index, lambda: done.wait(20))
    eventually(lambda: index in line.inside)
    try:
        yield done
    finally:
        done.set()


def test_of_twenty_that_come_at_once_one_starts_at_a_time(line: Line) -> None:
    for index in range(20):
        line.start(index)
    line.wait()
    assert line.errors == []
    assert sorted(line.order) == list(range(20))
    assert line.most == 1
    assert [line.turn(index) for index in range(20)] == [None] * 20


def test_turns_come_in_the_order_of_coming(line: Line) -> None:
    with held(line, 9):
        for index in (3, 1, 2):
            line.start(index)
            eventually(lambda index=index: (line.turn(index) or {"since": 1}).get("since") is None)
    line.wait()
    assert line.order == [9, 3, 1, 2]


def test_task_that_is_over_is_waited_for_no_longer(line: Line) -> None:
    """Its process was killed: what it wrote stays until its next try."""
    with held(line, 0):
        line.start(1)
        eventually(lambda: line.turn(1) is not None)
        line.fake.states["start_0"] = "up_for_retry"
        eventually(lambda: 1 in line.order)
    line.wait()


def test_turn_that_lasts_too_long_is_passed_over(line: Line, monkeypatch: pytest.MonkeyPatch) -> None:
    """A worker was lost, and Airflow has not noticed yet."""
    monkeypatch.setattr(module, "LONGEST_TURN", 0.5)
    monkeypatch.setattr(module, "LOOK_AROUND", 0.1)
    with held(line, 0):
        line.start(1)
        eventually(lambda: 1 in line.order)
    line.wait()


def test_those_before_one_that_do_not_take_their_turn_are_passed_over(
    line: Line, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "LONGEST_IDLE", 0.3)
    monkeypatch.setattr(module, "LOOK_AROUND", 0.1)
    lost = {"came": time.time() - 60, "alike": ORDERS, "since": None}
    line.fake.states["start_0"] = "running"
    line.fake.put_xcom("start", TURN_KEY, lost, 0)
    line.start(1)
    line.wait()
    assert line.order == [1]


@pytest.mark.parametrize(
    ("alike", "waits"),
    [
        ({"pipeline": "other", "project": ORDERS["project"]}, False),
        ({"pipeline": "load-orders", "project": "/Acme/projects/other"}, False),
        ({"pipeline": None, "project": ORDERS["project"]}, True),
        ({"pipeline": None, "project": None}, True),
    ],
)
def test_only_those_wait_whose_runs_could_be_taken_for_each_others(
    line: Line, alike: dict[str, str | None], waits: bool
) -> None:
    line.fake.states["other"] = "running"
    turn = {"came": time.time() - 1, "alike": alike, "since": time.time()}
    line.fake.put_xcom("other", TURN_KEY, turn)
    mine = Siblings(TaskKey(line.fake.dag_id, line.fake.run_id, "start"), frozenset({"other"}), time.sleep)
    looked: list[int] = []

    def wanted() -> None:
        looked.append(1)
        if len(looked) > 3:
            raise RunStopped("enough")

    if waits:
        with pytest.raises(RunStopped), mine.turn(ORDERS, wanted):
            pytest.fail("it had to wait")
    else:
        with mine.turn(ORDERS, wanted):
            pass
    assert line.fake.xcom("start", TURN_KEY) is None


def test_start_that_is_not_wanted_any_more_leaves_the_line(line: Line) -> None:
    wanted = threading.Event()

    def refuse() -> None:
        if wanted.is_set():
            raise RunStopped("killed")

    with held(line, 0):
        line.start(1, wanted=refuse)
        eventually(lambda: line.turn(1) is not None)
        wanted.set()
        line.threads[1].join(20)
        assert line.turn(1) is None
    line.wait()
    assert [type(error) for error in line.errors] == [RunStopped]
    assert line.order == [0]


@pytest.mark.parametrize(
    "value", [None, 7, "x", {}, {"alike": {}}, {"came": "x", "alike": {}}, {"came": 1, "alike": 2}]
)
def test_odd_record_of_a_turn_is_none(line: Line, value: object) -> None:
    line.fake.states["start_0"] = "running"
    line.fake.put_xcom("start", TURN_KEY, value, 0)
    line.start(1)
    line.wait()
    assert line.order == [1]


def test_nobody_is_asked_where_nobody_could_be_in_the_way(fake: FakeAirflow) -> None:
    where = TaskKey(fake.dag_id, fake.run_id, "start")
    for mine, alike in ((Siblings(where), ORDERS), (Siblings(where, frozenset({"other"})), None)):
        with mine.turn(alike, nothing):
            pass
    assert fake.sent("SetXCom") == []
    assert fake.sent("GetTaskStates") == []
