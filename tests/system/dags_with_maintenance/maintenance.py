"""The Dag that acts for the API, with the one line that docs/how-to/operating.md tells; Airflow looks for this word: dag."""

from airflow_runctl.maintenance import dag  # noqa: F401
