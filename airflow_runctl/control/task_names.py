"""Which tasks a name means among those that there are: a task, an instance of a mapped one, a group."""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Final

MAPPED: Final = re.compile(r"_\d+$")
"""What stands behind the task's id where the states of tasks name an instance of a mapped one."""


def tasks_in(states: Iterable[str]) -> frozenset[str]:
    """Return the tasks that the states of a Dag run name; ``t_0`` may be a task, or an instance of a mapped ``t``."""
    names = frozenset(states)
    return names | {MAPPED.sub("", name) for name in names}


def named_among(wanted: Iterable[str], there: frozenset[str]) -> frozenset[str]:
    """Return the tasks that are meant: a group means those in it."""
    return frozenset(task for name in wanted for task in there if _means(name, task))


def unknown_among(wanted: Iterable[str], there: frozenset[str]) -> frozenset[str]:
    """Return the names that mean none of the tasks."""
    return frozenset(name for name in wanted if not any(_means(name, task) for task in there))


def _means(name: str, task: str) -> bool:
    return task == name or task.startswith(f"{name}.")
