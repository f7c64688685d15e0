"""Starts the run of an attempt: writes ahead, sends the start once, makes the run the attempt's own.

A start whose answer leaves open whether a run was made is never sent again: the error says that a run may be alive.
"""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Callable
from contextlib import suppress
from datetime import UTC, datetime
from typing import Final, NoReturn

from airflow_runctl.compat import AirflowFailException, AirflowTaskTimeout, redact
from airflow_runctl.control import audit
from airflow_runctl.control.attempt import BY, Attempt
from airflow_runctl.exceptions import (
    BadAnswer,
    LoginRefused,
    NotFound,
    RateLimited,
    RunctlError,
    RunStopped,
    StartRefused,
    StartUncertain,
    TransportError,
    VendorError,
)
from airflow_runctl.runs import ExternalRun, printable
from airflow_runctl.vendors.base import StartPlan, without_keys_to_a_run

SURE: Final = (StartRefused, LoginRefused, NotFound, RateLimited)
"""Answers to a start that surely mean that no run was made."""

LONGEST_NAME: Final = 200
"""Characters of the name of what is started."""


def fingerprint_of(plan: StartPlan) -> str:
    """Return the digest of what is started; also a check, before anything is, that it can be sent."""
    try:
        text = json.dumps(plan.arguments, sort_keys=True)
    except (TypeError, ValueError) as error:
        raise AirflowFailException(f"The arguments of the run cannot be sent as JSON: {error}") from None
    return hashlib.sha256(text.encode()).hexdigest()


def what_of(plan: StartPlan) -> str | None:
    """Return the name of what is started as it is stored: cut, without what Airflow masks or what looks secret."""
    if not plan.what:
        return None
    return printable(without_keys_to_a_run(str(redact(str(plan.what)))), LONGEST_NAME)


def start(attempt: Attempt, plan: StartPlan, not_after: datetime | None) -> ExternalRun:
    """Write ahead, send the start once, record the run before anything else.

    :param not_after: start nothing from then on.
    :raises StartUncertain: if a run may have been made, and a further try can look for it.
    :raises AirflowFailException: if a run may have been made, and no further try could tell.
    """

    def still_wanted() -> None:
        attempt.refuse_if_killed()
        if not_after is not None and datetime.now(UTC) >= not_after:
            raise AirflowTaskTimeout("execution_timeout passed before the run was started; nothing was started")

    began = time.time()
    try:
        with attempt.siblings.turn(plan.alike, still_wanted, attempt.ledger.waiting_to_start):
            attempt.refuse_if_stopped()
            run = _start(attempt, plan, still_wanted)
    except BaseException as error:
        if attempt.run is None:
            _tell_of_failure(attempt, error, began)
        raise
    attempt.obey_what_came_meanwhile(run)
    return run


def _tell_of_failure(attempt: Attempt, error: BaseException, began: float) -> None:
    access = attempt.access
    audit.not_started(access.vendor.name, access.conn_id, attempt.ledger.where, BY, error, time.time() - began)


def _start(attempt: Attempt, plan: StartPlan, still_wanted: Callable[[], None]) -> ExternalRun:
    search = attempt.drive(plan.prepare())
    still_wanted()
    try:
        attempt.ledger.starting(search, attempt.terms.owner)
    except Exception:
        with suppress(Exception):
            attempt.ledger.nothing_started()  # a part of it may have been written
        raise
    try:
        attempt.refuse_if_killed()
        began = datetime.now(UTC)  # not before: max_runtime counts from it, and Airflow may have taken its time
        started = attempt.drive(plan.start(search))
    except (*SURE, RunStopped):
        attempt.ledger.nothing_started()
        raise
    except TransportError as error:
        if error.sent:
            _fail_uncertain(attempt, error)
        attempt.ledger.nothing_started()
        raise
    except (StartUncertain, VendorError, BadAnswer) as error:
        _fail_uncertain(attempt, error)
    attempt.started = started
    run = attempt.run_of(started, began, attempt.ledger.fingerprint)
    try:
        attempt.adopt(run, started.authority)
    finally:
        audit.started(run, BY, time.time() - began.timestamp())
    return run


def _fail_uncertain(attempt: Attempt, error: RunctlError) -> NoReturn:
    """A further try looks for the run by the search keys; where it could not, it must not come."""
    text = str(error)
    if not isinstance(error, StartUncertain):
        label = attempt.access.vendor.label
        text = f"{label} was told to start a run. {text} It may be alive; it is not started again."
    candidates = getattr(error, "candidates", ())
    if candidates:
        attempt.ledger.ambiguous(candidates)
    if candidates or not attempt.ledger.survives_retries:
        raise AirflowFailException(text) from error
    raise StartUncertain(text) from error
