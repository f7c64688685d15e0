"""Waits for runs that another task, or somebody else, has started.

- ``run.py``: the sensor, on a worker, rescheduled and deferred.
"""
