"""What is recorded of a stop: plain words, which whoever shows or reads records needs, without Airflow or a vendor."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from airflow_runctl.runs import ExternalRun, StopOutcome, StopReason, printable

LONGEST_TEXT: Final = 300
"""How many characters of a reason that stands in a record are told: whoever may write XComs could have put it there."""


@dataclass(frozen=True, slots=True)
class StopNote:
    """What is recorded of a stop: first the intent, then, with an outcome, the end.

    :param reason: why.
    :param by: which process asks.
    :param text: what the user gave as the reason, if anything.
    :param asked_at: when, ISO 8601.
    :param outcome: what it came to; ``None`` while it is only meant.
    :param seconds: how long it took.
    :param since: when the reason came up (Unix time); when the stop began, if nobody knows better. Not recorded.
    """

    reason: StopReason
    by: str
    text: str | None = None
    asked_at: str = ""
    outcome: StopOutcome | None = None
    seconds: float | None = None
    since: float | None = field(default=None, compare=False)

    def yields_to(self, noted: StopNote | None) -> bool:
        """Return True if ``noted`` is to stay.

        That somebody wanted the run to end outweighs a limit or a failure; the stop that ended it, one that came late.
        """
        if noted is None:
            return False
        came_late = self.outcome is StopOutcome.ALREADY_FINISHED and noted.outcome is StopOutcome.STOPPED
        return came_late or (noted.reason.is_final and not self.reason.is_final)

    def about(self, run: ExternalRun) -> str:
        """Return the sentence that says how ``run`` was stopped."""
        text = f" ({self.text})" if self.text else ""
        return f"Run {run.run_id} was stopped: {self.reason.value}{text}, by {self.by}."

    def out(self) -> dict[str, Any]:
        """Return plain JSON."""
        return {
            "reason": self.reason.value,
            "by": self.by,
            "text": self.text,
            "asked_at": self.asked_at,
            "outcome": self.outcome and self.outcome.value,
            "seconds": self.seconds,
        }

    @classmethod
    def read(cls, value: Any) -> StopNote | None:
        """Return the note in plain JSON, or ``None`` if there is none that makes sense."""
        if not isinstance(value, Mapping):
            return None
        try:
            return cls(
                StopReason(value["reason"]),
                printable(value["by"]),
                None if value.get("text") is None else printable(value["text"], LONGEST_TEXT),
                str(value.get("asked_at")),
                StopOutcome(value["outcome"]) if value.get("outcome") else None,
                value.get("seconds"),
            )
        except (KeyError, ValueError):
            return None
