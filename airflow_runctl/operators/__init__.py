"""Airflow's face of a run: one module a vendor."""
