"""At the root of the tests: what they share."""

pytest_plugins = ["airflow_runctl.testing"]
