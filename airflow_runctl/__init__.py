"""Apache Airflow provider that starts, watches, stops and resumes runs at four vendors."""

__version__ = "0.1.0"
