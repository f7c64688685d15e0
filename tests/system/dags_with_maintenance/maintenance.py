"""The Dag that acts for the API, in one line, as docs/how-to/operating.md has it; Airflow looks for this word: dag."""

from airflow_runctl.maintenance import dag  # noqa: F401
