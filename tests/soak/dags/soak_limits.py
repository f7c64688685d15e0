"""The limits of the soak's Dags, which the oracle knows too. All in seconds."""

DEADLINE = 45
"""From the queueing of a Dag run of kind ``deadline``."""

MAX_RUNTIME = 25
"""Of a deferred run of kind ``limits``."""

EXECUTION_TIMEOUT = 30
"""Of a task on a worker of kind ``limits``."""

BACKSTOP = 100
"""``max_runtime`` of a run whose deadline passed before its task began."""

STOP_TIMEOUT = 90
"""In which a stop has to be confirmed: longer than a vendor is away."""

ITEMS = 3
"""Items of a mapped task."""
