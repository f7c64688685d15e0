"""Jobs at Acme, a made-up vendor, for airflow-runctl."""
