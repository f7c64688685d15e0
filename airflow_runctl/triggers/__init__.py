"""The triggerer's side of a run.

- ``run.py``: follows the run of a deferred task, and stops it at a limit or when the task is killed.
- ``sensor.py``: the same for a sensor, which owns no run and stops none.
"""
