"""What a sweep says: of each run what it is, why, and what was done about it."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

from airflow_runctl.control.inventory import KnownRun
from airflow_runctl.control.lost_starts import LostStart
from airflow_runctl.control.seal import describe, name_of
from airflow_runctl.control.stop_many import Report, Target, failures
from airflow_runctl.control.strangers import Stranger
from airflow_runctl.runs import RunStatus


class Finding(StrEnum):
    """What a sweep says of a run."""

    OWNED = "owned"
    LEFT_ALONE = "left_alone"
    DOUBT = "doubt"
    OVER = "over"
    ORPHAN = "orphan"


@dataclass(frozen=True, slots=True)
class Swept:
    """What a sweep found out about a run, and what it did.

    :param known: the run, as Airflow's records have it.
    :param finding: what it is.
    :param why: why.
    :param target: the run behind its handle, if that opened.
    :param status: the vendor's word for it.
    :param report: what became of its stop; ``None`` if nothing was done.
    """

    known: KnownRun
    finding: Finding
    why: str
    target: Target | None = field(default=None, repr=False)
    status: RunStatus | None = None
    report: Report | None = None

    @property
    def name(self) -> str:
        """Words for the run."""
        return name_of(self.target.run) if self.target else describe(self.known.handle)

    @property
    def may_be_alive(self) -> bool:
        """True if it may be alive and should not be."""
        if self.finding is Finding.DOUBT:
            return True
        if self.finding is not Finding.ORPHAN:
            return False
        return self.report is None or self.report.result is None or not self.report.result.is_over

    def out(self) -> dict[str, Any]:
        """Return plain JSON."""
        result = self.report.result if self.report else None
        return {
            "task": str(self.known.where),
            "run": self.name,
            "finding": self.finding.value,
            "why": self.why,
            "vendor_state": self.status.vendor_state if self.status else None,
            "outcome": result.outcome.value if result else None,
            "error": self.report.error if self.report else None,
        }


@dataclass(frozen=True, slots=True)
class Sweep:
    """What a sweep came to.

    :param runs: every run that may be alive, with what was found.
    :param strangers: live runs at a vendor that Airflow does not know.
    :param unlisted: why a vendor's list could not be compared, or failed tasks not be looked through.
    :param starts: starts of which a run may be alive that nobody owns.
    :param refused: why nothing was stopped though there are orphans.
    """

    runs: list[Swept]
    strangers: list[Stranger] = field(default_factory=list)
    unlisted: list[str] = field(default_factory=list)
    starts: list[LostStart] = field(default_factory=list)
    refused: str | None = None

    @property
    def orphans(self) -> list[Swept]:
        """The runs whose owner is over."""
        return [swept for swept in self.runs if swept.finding is Finding.ORPHAN]

    @property
    def may_be_alive(self) -> bool:
        """True if a run may be alive that should not be, as far as Airflow knows."""
        return bool(self.starts) or any(swept.may_be_alive for swept in self.runs)

    def failures(self) -> list[str]:
        """Return a sentence for each run that should have been stopped and may be alive."""
        return failures([swept.report for swept in self.runs if swept.report], confirmed=True)
