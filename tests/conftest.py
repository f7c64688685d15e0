"""Fixtures that unit tests and system tests share: those that people test their own Dags with."""

pytest_plugins = ["airflow_runctl.testing"]
