"""The demo: a real Airflow next to the sandbox. ``demo.real_airflow`` serves the system tests too."""
