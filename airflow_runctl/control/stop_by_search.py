"""Stops every live run that matches given filters: what is left of somebody's mistake, or of a lost handle.

A search names no run, so it is the one stop that can hit what nobody meant. It refuses without a filter,
with an empty one, and when more runs match than it was told to expect.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, Final

from airflow_runctl.arguments.reading import read_call
from airflow_runctl.compat import BlockingChannel
from airflow_runctl.control.stop import STOP_TIMEOUT, StopNote
from airflow_runctl.control.stop_many import Report, Target, failures, stop_target
from airflow_runctl.exceptions import RunctlError
from airflow_runctl.hooks.base import Access, RunHook
from airflow_runctl.runs import ExternalRun, StopReason
from airflow_runctl.vendors.base import Flow, Hurry, Rank, Started, Vendor

MAX_RUNS: Final = 20
"""How many runs may match by default."""


@dataclass(frozen=True, slots=True)
class Match:
    """A run that matched.

    :param run: the run.
    :param vendor_state: the vendor's word for it when it was found.
    :param report: what became of its stop; ``None`` if it was only looked for.
    """

    run: ExternalRun
    vendor_state: str
    report: Report | None = None

    def out(self) -> dict[str, Any]:
        """Return plain JSON, in the words of the stop operators; nothing has become of a run that was only found."""
        result = self.report.result if self.report else None
        status = result.status if result else None
        return {
            "run_id": self.run.run_id,
            "outcome": result.outcome.value if result else None,
            "state": status.state.value if status else None,
            "vendor_state": status.vendor_state if status else self.vendor_state,
            "seconds": result.seconds if result else None,
        }


def matching(vendor: Vendor, filters: Mapping[str, Any], *, max_runs: int = MAX_RUNS) -> Flow[list[Started]]:
    """Return the live runs that match every filter, by name of the run.

    :param filters: name to the exact value wanted; the vendor says which names it takes.
    :param max_runs: how many may match.
    :raises RunctlError: without a filter, with an empty or unknown one, and if more runs match.
    """
    _check(vendor, filters)
    yield Hurry(Rank.LOOK_BEFORE)
    found = yield from vendor.live_runs({name: str(value) for name, value in filters.items()})
    if len(found) > max_runs:
        some = ", ".join(sorted(started.run_id for started in found)[:5])
        raise RunctlError(
            f"{len(found)} live {vendor.label} runs match {_said(filters)}, more than max_runs={max_runs}: {some}, ... "
            "None was stopped: narrow the filters, or raise max_runs if all of them are meant."
        )
    return sorted(found, key=lambda started: started.run_id)


def _check(vendor: Vendor, filters: Mapping[str, Any]) -> None:
    empty = sorted(name for name, value in filters.items() if value is None or not str(value).strip())
    if not filters or empty:
        which = f"{', '.join(empty)} has none" if empty else "there is none"
        raise RunctlError(
            f"A search for {vendor.label} runs needs a filter, and every filter a value ({which}): it would match "
            "everything. Nothing was stopped."
        )
    if unknown := sorted(set(filters) - vendor.filters):
        raise RunctlError(
            f"{vendor.label} runs cannot be searched by {', '.join(unknown)} over this connection; "
            f"{', '.join(sorted(vendor.filters)) or 'nothing'} can be used. Nothing was stopped."
        )


def _said(filters: Mapping[str, Any]) -> str:
    return ", ".join(f"{name}={value!r}" for name, value in sorted(filters.items()))


async def stop_matching(
    access: Access,
    filters: Mapping[str, Any],
    note: StopNote,
    *,
    report_only: bool = False,
    max_runs: int = MAX_RUNS,
    timeout: float = STOP_TIMEOUT,
) -> list[Match]:
    """Stop every live run that matches, all at once.

    :param access: the connection that reaches them.
    :param filters: see :func:`matching`.
    :param note: why, and by whom.
    :param report_only: only say which runs match.
    :param max_runs: how many may match; with ``report_only`` too, so that a trial tells what the true one will do.
    :param timeout: seconds in which each stop has to be confirmed; 0 does not wait.
    :returns: the runs, each with what became of it.
    """
    found = await access.adrive(matching(access.vendor, filters, max_runs=max_runs))
    now = datetime.now(UTC)
    runs = [ExternalRun(access.vendor.name, access.conn_id, one.run_id, None, now, one.ids) for one in found]
    if report_only:
        return [Match(run, one.vendor_state) for run, one in zip(runs, found, strict=True)]
    # Nobody's runs, as far as is known here: there is no owner to leave a record for.
    channel = BlockingChannel(writable=False)
    reports = await asyncio.gather(*(stop_target(channel, Target(run, access, {}), note, timeout) for run in runs))
    return [Match(run, one.vendor_state, report) for run, one, report in zip(runs, found, reports, strict=True)]


def stop_all_matching(
    hook: RunHook,
    filters: Mapping[str, Any],
    *,
    report_only: bool = False,
    max_runs: int = MAX_RUNS,
    stop_timeout: float | timedelta = STOP_TIMEOUT,
    stop_reason: str | None = None,
) -> list[dict[str, Any]]:
    """Stop every live run that matches, from plain Python: ``stop_all_matching(BctrlHook(), {"name": "shop"})``.

    :param hook: the hook of the connection.
    :param filters: name to the exact value wanted; the vendor's ``filters`` says which names it takes.
    :param report_only: only say which runs match.
    :param max_runs: how many may match; if more do, nothing is stopped.
    :param stop_timeout: seconds in which each stop has to be confirmed; 0 does not wait.
    :param stop_reason: a text for the logs.
    :returns: a dict for each run, with ``run_id``, ``outcome``, ``state``, ``vendor_state`` and ``seconds``.
    :raises RunctlError: without a filter, if too many match, and if one of them may still be alive.
    """
    from airflow_runctl.transport.aio import in_own_loop

    given = read_call(
        "stop_all_matching",
        filters=filters,
        report_only=report_only,
        max_runs=max_runs,
        stop_timeout=stop_timeout,
        stop_reason=stop_reason,
    )
    timeout = given["stop_timeout"]
    note = StopNote(StopReason.BY_HAND, "hook", stop_reason)
    doing = stop_matching(hook.access, filters, note, report_only=report_only, max_runs=max_runs, timeout=timeout)
    return outcomes(in_own_loop(doing), confirmed=timeout > 0)


def outcomes(matches: list[Match], *, confirmed: bool) -> list[dict[str, Any]]:
    """Return what became of each run.

    :param confirmed: count a stop that was only requested as a failure.
    :raises RunctlError: if one of them may still be alive; it names those, and what was stopped.
    """
    said = failures([match.report for match in matches if match.report], confirmed=confirmed)
    if said:
        over = [match.run.run_id for match in matches if match.report and match.report.result]
        raise RunctlError(
            f"{' '.join(said)} Of {len(matches)} runs that matched, stopped: {', '.join(over) or 'none'}."
        )
    return [match.out() for match in matches]


__all__ = ["MAX_RUNS", "Match", "matching", "outcomes", "stop_all_matching", "stop_matching"]
