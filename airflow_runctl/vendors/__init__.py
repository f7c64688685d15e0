"""What each vendor's API says: pure, one file each; no network, no clock, no Airflow."""
