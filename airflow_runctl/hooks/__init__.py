"""From an Airflow connection to a vendor: the only layer that knows what a connection is."""
