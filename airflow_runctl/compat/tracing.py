"""Spans below Airflow's own, where Airflow or somebody else has set up OpenTelemetry; nothing where nobody has.

Airflow 3.2 and newer have a span of the task current on a worker, and one of the trigger in the triggerer. Below, none
is current anywhere. Spans are told of once they are over: so none is open in a signal handler, or in a flow that is
left. OpenTelemetry is never imported here: where it traces, whoever set it up has loaded it.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Mapping
from contextvars import Context as ContextVars
from typing import Final

from airflow_runctl import __version__

TRACER: Final = "airflow_runctl"


def tell_span(name: str, seconds: float, attributes: Mapping[str, str], error: str | None = None) -> None:
    """Tell of a span that ends now, below the one that is current.

    :param seconds: how long it took.
    :param attributes: its attributes.
    :param error: what went wrong, if anything; in a word, since messages may be long.
    """
    trace = sys.modules.get("opentelemetry.trace")
    if trace is None:
        return
    end = time.time_ns()
    span = trace.get_tracer(TRACER, __version__).start_span(
        name, attributes=dict(attributes), start_time=end - int(max(0.0, seconds) * 1e9)
    )
    if error is not None:
        span.set_status(trace.Status(trace.StatusCode.ERROR, error))
    span.end(end)


def carry_trace(context: ContextVars) -> None:
    """Let what runs in ``context`` be part of the trace that is current here."""
    current = sys.modules.get("opentelemetry.context")
    if current is not None:
        context.run(current.attach, current.get_current())
