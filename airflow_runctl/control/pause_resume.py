"""Resumes or pauses a run, and looks whether it did."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from airflow_runctl.control.stop import LOOK_EVERY, PROBLEMS
from airflow_runctl.exceptions import BadAnswer, TransportError
from airflow_runctl.metrics import count_error
from airflow_runctl.runs import ExternalRun, RunState, RunStatus
from airflow_runctl.vendors.base import Flow, Pause, Vendor


@dataclass(frozen=True, slots=True)
class Change:
    """Something a run can be told to do besides stopping.

    :param done: the outcome when it was seen to have done it.
    :param ask: the vendor's operation.
    :param is_done: tells from a look whether it did.
    """

    done: str
    ask: Callable[[Vendor, ExternalRun], Flow[None]]
    is_done: Callable[[RunState], bool]


RESUME: Final = Change("resumed", lambda vendor, run: vendor.ask_resume(run), lambda s: s is not RunState.SUSPENDED)
PAUSE: Final = Change("paused", lambda vendor, run: vendor.ask_pause(run), lambda s: s is RunState.SUSPENDED)

ALREADY_FINISHED: Final = "already_finished"
REQUESTED: Final = "requested"


@dataclass(frozen=True, slots=True)
class ChangeResult:
    """What a change came to.

    :param outcome: the change's ``done``, ``already_finished`` or ``requested`` (not seen in time).
    :param status: the last look.
    :param seconds: how long it took.
    """

    outcome: str
    status: RunStatus | None
    seconds: float


def change(vendor: Vendor, run: ExternalRun, what: Change, *, timeout: float) -> Flow[ChangeResult]:
    """Tell ``run`` to do ``what``, and look until it did.

    An answer that leaves open whether it was carried out (a 5xx, none at all) is believed only if a look confirms it.

    :param timeout: seconds to look for; 0 asks and does not wait.
    """
    began = time.time()
    refused: Exception | None = None
    try:
        yield from what.ask(vendor, run)
    except PROBLEMS as error:
        if not _is_unclear(error):
            raise
        count_error(vendor.name, error)
        refused = error
    status: RunStatus | None = None
    while True:
        try:
            status = yield from vendor.status(run)
        except PROBLEMS as error:
            count_error(vendor.name, error)
            status = None
        outcome = _outcome(what, status)
        if refused is not None and outcome == RESUME.done and status is not None and vendor.may_be_suspended(status):
            outcome = REQUESTED  # a word that may mean paused proves no resume
        if outcome != REQUESTED or time.time() - began + LOOK_EVERY > timeout:
            if refused is not None and outcome == REQUESTED:
                raise refused
            return ChangeResult(outcome, status, round(time.time() - began, 3))
        yield Pause(LOOK_EVERY)


def _is_unclear(error: Exception) -> bool:
    """Return True for an error after which the vendor may have done what it was told."""
    if isinstance(error, TransportError):
        return error.sent
    return isinstance(error, BadAnswer) or getattr(error, "status", 0) >= 500


def _outcome(what: Change, status: RunStatus | None) -> str:
    if status is None:
        return REQUESTED
    if what.is_done(status.state):
        return what.done
    return ALREADY_FINISHED if status.state.is_terminal else REQUESTED
