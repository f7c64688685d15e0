"""One small tree of errors; each message says what was tried and what to do next.

``RunctlError`` is a plain exception: Airflow's retries apply to it as to any other failure.
Where a failure must be final the operators raise Airflow's ``AirflowFailException`` instead.
"""

from __future__ import annotations


class RunctlError(Exception):
    """Base of every error of this package."""


class ConnectionSetupError(RunctlError):
    """The Airflow connection lacks something, or says something that makes no sense."""


class ConnectionUnreadable(RunctlError):
    """Airflow did not give the connection; that may pass."""


class InvalidIdentifier(RunctlError, ValueError):
    """An id or name that cannot be part of a path."""


class WrongArgument(RunctlError, ValueError):
    """An argument that is not what it has to be; nothing was sent."""


class AirflowUnreachable(RunctlError):
    """Airflow's API does not answer, or answers what it should not; what it would have said is not known."""


class AirflowRefused(RunctlError):
    """Airflow's API does not take the login, or the login lacks a right; nothing was done."""


class HandleError(RunctlError):
    """A handle cannot be trusted or opened; nothing was done with the run that it names."""


class TransportError(RunctlError):
    """No answer came.

    :param sent: ``False`` if the request surely never reached the vendor; ``True`` if it may have.
    """

    def __init__(self, message: str, *, sent: bool) -> None:
        super().__init__(message)
        self.sent = sent


class NotItsTurn(TransportError):
    """Nothing was sent: the time in which it would have been of use was up before it was its turn."""

    def __init__(self) -> None:
        super().__init__("It was not its turn in time; nothing was sent.", sent=False)


class BadAnswer(RunctlError):
    """An answer that cannot be read: not JSON, cut off, far too large, or of another shape."""


class VendorError(RunctlError):
    """The vendor answered, and the answer is no.

    :param status: HTTP status of the answer.
    """

    def __init__(self, message: str, *, status: int) -> None:
        super().__init__(message)
        self.status = status


class LoginRefused(VendorError):
    """The credential was refused, or has not the right to do this."""


class NotFound(VendorError):
    """The vendor knows no such run, task or automation, or hides it from this credential."""


class RateLimited(VendorError):
    """Too many calls; the request was not carried out.

    :param retry_after: seconds that the vendor asked to wait; ``None`` if it said nothing.
    """

    def __init__(self, message: str, *, status: int, retry_after: float | None = None) -> None:
        super().__init__(message, status=status)
        self.retry_after = retry_after


class StartRefused(VendorError):
    """The vendor surely started nothing."""


class StartUncertain(RunctlError):
    """Whether a run was started, or which one, is not known. It is never started a second time blindly.

    :param candidates: ids of the runs that may be the one.
    """

    def __init__(self, message: str, *, candidates: tuple[str, ...] = ()) -> None:
        super().__init__(message)
        self.candidates = candidates


class CannotStop(RunctlError):
    """The vendor offers no way to stop this run, or refused to; it may still be alive."""


class RunFailed(RunctlError):
    """The run ended badly at the vendor."""


class RunSuspended(RunctlError):
    """The run has parked itself and does nothing until it is resumed or stopped."""


class RunStopped(RunctlError):
    """The run was stopped, and a further try is allowed to start it again."""


class LimitReached(RunctlError):
    """``max_runtime`` passed; the run was told to stop."""


class StartsMixUp(UserWarning):
    """Mapped starts of one pipeline in several Dag runs at once could be taken for each other."""


class RetriesStartAnew(UserWarning):
    """A task has retries on an Airflow that lets none of them know of an earlier run (below 3.3)."""
