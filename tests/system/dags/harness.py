"""Dags that test the harness itself: no vendor, no operator of this package."""

import time

from airflow.providers.common.compat.sdk import BaseOperator, Context, dag, task
from harness_trigger import WaitUntil


class WaitDeferred(BaseOperator):
    """Defers for as many seconds as the Dag run's conf says."""

    template_fields = ("note",)

    def __init__(self, *, note: str, **kwargs):
        super().__init__(**kwargs)
        self.note = note

    def execute(self, context: Context) -> None:
        self.log.info("marker-in-the-log")
        self.defer(
            trigger=WaitUntil(time.time() + context["dag_run"].conf["seconds"], "marker-in-the-arguments"),
            method_name="execute_complete",
        )

    def execute_complete(self, context: Context, event: object) -> str:
        return "marker-in-the-result"


@dag(schedule=None)
def harness():
    @task
    def double(number: int) -> int:
        return 2 * number

    double.expand(number=[1, 2, 3])


@dag(schedule=None)
def harness_sleep():
    @task
    def sleep(seconds: int) -> None:
        time.sleep(seconds)

    sleep(600)


@dag(schedule=None)
def harness_deferred():
    WaitDeferred(task_id="wait", note="marker-in-a-field")


harness()
harness_sleep()
harness_deferred()
