"""Every Dag that starts runs gets the callbacks that stop what it leaves alive."""

from airflow_runctl.policy import dag_policy

__all__ = ["dag_policy"]
