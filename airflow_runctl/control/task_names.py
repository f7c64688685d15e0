"""Which tasks a name means among those that there are: a task, an instance of a mapped one, a group."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from typing import Final

UNMAPPED: Final = -1
MAPPED: Final = re.compile(r"(.+)_(\d+)")
"""How the states of tasks name an instance of a mapped one."""


def instances_named(name: str) -> Iterator[tuple[str, int]]:
    """Yield what a name among the states of tasks can mean, as task id and map index.

    ``t_0`` is a task, or an instance of a mapped ``t``.
    """
    yield name, UNMAPPED
    if mapped := MAPPED.fullmatch(name):
        yield mapped[1], int(mapped[2])


def tasks_in(states: Iterable[str]) -> frozenset[str]:
    """Return the tasks that the states of a Dag run may name."""
    return frozenset(task_id for name in states for task_id, _ in instances_named(name))


def named_among(wanted: Iterable[str], there: frozenset[str]) -> frozenset[str]:
    """Return the tasks that are meant: a group means those in it."""
    return frozenset(task for name in wanted for task in there if _means(name, task))


def unknown_among(wanted: Iterable[str], there: frozenset[str]) -> frozenset[str]:
    """Return the names that mean none of the tasks."""
    return frozenset(name for name in wanted if not any(_means(name, task) for task in there))


def _means(name: str, task: str) -> bool:
    return task == name or task.startswith(f"{name}.")
