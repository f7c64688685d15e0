"""The garbage collector waits while many stops are under way, no longer than it has to, and others may turn it off."""

import asyncio
import gc
import time
from collections.abc import Iterator
from contextlib import ExitStack

import pytest

from airflow_runctl.control import garbage
from airflow_runctl.control.garbage import collected_after, collected_later

MANY = 10


@pytest.fixture(autouse=True)
def collected(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setattr(garbage, "MANY", MANY)
    gc.enable()
    yield
    assert garbage._under_way == 0
    gc.enable()


def under_way(count: int) -> ExitStack:
    stops = ExitStack()
    for _ in range(count):
        stops.enter_context(collected_later())
    return stops


def test_it_waits_while_many_stops_are_under_way_and_goes_on_when_most_are_over() -> None:
    with under_way(MANY - 1):
        assert gc.isenabled()
    few, rest = under_way(MANY // 2), under_way(MANY)
    assert not gc.isenabled()
    rest.close()
    assert not gc.isenabled()
    few.close()
    assert gc.isenabled()


def test_it_goes_on_after_a_while_though_many_stops_hang(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(garbage, "LONGEST", 0.01)
    with under_way(2 * MANY):
        until = time.monotonic() + 10
        while not gc.isenabled():
            assert time.monotonic() < until
            time.sleep(0.001)
        with under_way(MANY):
            assert gc.isenabled(), "one time for each crowd"


def test_it_stays_off_where_somebody_else_has_turned_it_off() -> None:
    gc.disable()
    with under_way(2 * MANY):
        pass
    assert not gc.isenabled()


def test_a_stop_that_fails_counts_no_longer() -> None:
    stops = under_way(MANY)
    with pytest.raises(ZeroDivisionError), stops:
        raise ZeroDivisionError
    assert gc.isenabled()


def test_a_task_counts_before_its_first_step_and_no_longer_once_it_is_over_or_cancelled() -> None:
    async def fail() -> None:
        raise ZeroDivisionError

    async def stopping() -> None:
        tasks = [collected_after(asyncio.create_task(asyncio.sleep(0))) for _ in range(MANY - 2)]
        tasks.append(collected_after(asyncio.create_task(fail())))
        assert gc.isenabled()
        tasks.append(collected_after(asyncio.create_task(asyncio.sleep(60))))
        assert not gc.isenabled()
        tasks[-1].cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        assert gc.isenabled()

    asyncio.run(stopping())
