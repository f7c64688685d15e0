"""How far SnapLogic's clock is from this machine's, as the ``Date`` of its answers tells.

``Date`` says the second in which an answer was made. That was between the moment when the request was sent and the
one when the answer came, so each answer gives an interval that holds the difference; together they narrow it.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from email.utils import parsedate_to_datetime
from typing import Final

from airflow_runctl.vendors.base import HttpResponse

SECOND: Final = 1.0
"""What a ``Date`` leaves open, and a time without a fraction."""


@dataclass(slots=True)
class VendorClock:
    """The difference of the clocks, in seconds: the vendor's minus this machine's.

    :param lows: the least and the greatest of what it cannot be below, by one of the answers.
    :param highs: the same of what it cannot be above.
    :param heard_at: when the last answer came, by this machine's clock.
    """

    lows: tuple[float, float] | None = None
    highs: tuple[float, float] | None = None
    heard_at: float = 0.0

    def hear(self, answer: HttpResponse) -> None:
        """Learn from an answer; one without a ``Date`` says nothing."""
        self.heard_at = answer.received_at
        moment = _moment(answer.headers.get("date"))
        if moment is not None:
            self.lows = _with(self.lows, moment - answer.received_at)
            self.highs = _with(self.highs, moment + SECOND - answer.sent_at)

    def bounds(self) -> tuple[float, float]:
        """Return between what the difference lies. Where no answer had a ``Date`` the clocks are taken for the same."""
        if self.lows is None or self.highs is None:
            return 0.0, 0.0
        (lowest, low), (high, highest) = self.lows, self.highs
        if low <= high:
            return low, high
        if low - high <= SECOND:  # a server that makes its Date once a second: it may be late, and is never early
            return low, highest
        return lowest, highest  # several servers, or a clock that was set

    def pause(self, every: float) -> float:
        """Return the seconds until the next look: about ``every``.

        If it can be, the look comes when a second begins by the middle of what the difference may be: whichever
        ``Date`` it brings halves what is not known.
        """
        least = every / 2
        until_second = -(self.heard_at + least + sum(self.bounds()) / 2) % SECOND
        return least + until_second if least + until_second <= 3 * least else every

    def may_be_within(self, made: datetime, begin: float, end: float) -> bool:
        """Return True if what the vendor dates ``made`` may have been between two moments of this machine's clock.

        :param begin: Unix time.
        :param end: Unix time; infinity for an end that has not come.
        """
        low, high = self.bounds()
        at = made.timestamp()
        latest = at if made.microsecond else at + SECOND
        return latest >= begin + low and at <= end + high

    def here(self, made: datetime) -> datetime:
        """Return when that was by this machine's clock, as well as can be told."""
        try:
            return made - timedelta(seconds=sum(self.bounds()) / 2)
        except OverflowError:
            return made


def _with(range_: tuple[float, float] | None, value: float) -> tuple[float, float]:
    least, greatest = range_ or (value, value)
    return min(least, value), max(greatest, value)


def _moment(date: str | None) -> float | None:
    try:
        return parsedate_to_datetime(date or "").timestamp()
    except (TypeError, ValueError, OverflowError):
        return None
