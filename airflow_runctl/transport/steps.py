"""Steps through a flow for whoever drives it: what both drivers do alike, and neither waits for.

A driver asks for the flow's next step, carries it out, says what came of it, and asks again::

    steps = Steps(flow, patience)
    while (step := steps.next()) is not None:
        try:
            steps.answer = ...
        except FOR_THE_FLOW as error:
            steps.failure = error
    return steps.result
"""

from __future__ import annotations

from typing import Final, Generic, TypeVar, cast

from airflow_runctl.exceptions import BadAnswer, TransportError
from airflow_runctl.transport.retry import Patience
from airflow_runctl.transport.turns import Line
from airflow_runctl.vendors.base import Flow, Hurry, Step, Tell

T = TypeVar("T")

FOR_THE_FLOW: Final = (TransportError, BadAnswer)
"""Errors of a step that the flow gets, which may catch them."""


class Steps(Generic[T]):
    """A flow on its way.

    :param flow: the flow.
    :param patience: how long to go on; 60 s for a request and its repetitions by default.
    """

    def __init__(self, flow: Flow[T], patience: Patience | None) -> None:
        self.patience = patience or Patience()
        self.line = Line()
        """Where the flow stands when its requests wait for their turn."""
        self.answer: object = None
        """What came of the last step; the driver sets it."""
        self.failure: Exception | None = None
        """The error that came of it instead."""
        self._flow = flow
        self._result: T | None = None

    def next(self) -> Step | None:
        """Give the flow what came of its last step; return the next one, or ``None`` at the end of the flow.

        Once the time is up, a step that would take some is answered with an error instead.
        """
        while True:
            answer, failure = self.answer, self.failure
            self.answer = self.failure = None
            try:
                step = self._flow.throw(failure) if failure else self._flow.send(answer)
            except StopIteration as stop:
                self._result = stop.value
                return None
            if isinstance(step, Hurry):
                self.line.rank, self.line.until, self.line.seconds = step.rank, step.until, step.seconds
                self.answer = self.line
                continue
            if isinstance(step, Tell) or self.patience.left() > 0:
                return step
            self.failure = TransportError("The time for this is up.", sent=False)

    @property
    def result(self) -> T:
        """What the flow returned."""
        return cast(T, self._result)
