"""SnapLogic's stand-in, in the order in which one reads it.

- ``runs.py``: how a task's runs behave, and the shapes in which they are shown.
- ``org.py``: the org: its tasks and credentials, and what a start makes.
- ``quota.py``, ``switches.py``: readings of the quota, tasks on and off.
- ``vendor.py``: the Triggered Tasks' URLs and the public API of runs: all that is served.
"""
