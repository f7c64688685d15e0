"""What a script learns from a command: its exit code."""

from __future__ import annotations

from enum import IntEnum


class ExitCode(IntEnum):
    """Exit codes; docs/how-to/operating.md has them as a table."""

    DONE = 0
    """All that was asked for was done, and nothing is known to be alive that should not be."""
    FAILED = 1
    """It could not be done: Airflow or a vendor does not answer, or answers badly. Nothing was stopped."""
    WRONG_USE = 2
    """The arguments make no sense, or the question was not answered with yes. Nothing was done."""
    MAY_BE_ALIVE = 3
    """A run may be alive that should not be: an orphan, a stop that was refused or not confirmed, a doubt."""
    REFUSED = 4
    """Airflow does not take the login, or that lacks a right. Nothing was done."""
    TOO_MANY = 5
    """A sweep found so many orphans that it stopped none."""
    INTERRUPTED = 130
    """Ctrl-C."""
