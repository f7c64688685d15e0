"""What the Dag that the package ships is made of; nothing else of the package makes a Dag."""

from __future__ import annotations

from airflow.providers.common.compat.sdk import DAG

__all__ = ["DAG"]
