"""Which tasks of a Dag run a name means."""

import pytest

from airflow_runctl.control.task_names import named_among, tasks_in, unknown_among

THERE = tasks_in(["load", "t_0", "t_12", "group.one", "group.inner.two", "grouped"])


@pytest.mark.parametrize(
    ("name", "meant"),
    [
        ("load", {"load"}),
        ("t", {"t"}),
        ("t_0", {"t_0"}),
        ("group", {"group.one", "group.inner.two"}),
        ("group.inner", {"group.inner.two"}),
        ("group.one", {"group.one"}),
        ("lo", set()),
        ("inner", set()),
    ],
)
def test_name_means_a_task_an_instance_of_a_mapped_one_or_those_of_a_group(name: str, meant: set[str]) -> None:
    assert named_among([name], THERE) == meant
    assert unknown_among([name], THERE) == (set() if meant else {name})
