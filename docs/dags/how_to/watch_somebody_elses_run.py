"""Waits for a run that somebody else has started: Airflow neither owns it nor stops it."""

from datetime import timedelta

from airflow.providers.common.compat.sdk import DAG

from airflow_runctl.sensors.run import ExternalRunSensor

with DAG("watch_somebody_elses_run", schedule=None, params={"ruuid": ""}):
    ExternalRunSensor(
        task_id="nightly_export_is_done",
        vendor="snaplogic",
        ids={"ruuid": "{{ params.ruuid }}"},
        deferrable=True,
        poke_interval=30,
        timeout=timedelta(hours=6).total_seconds(),
    )
