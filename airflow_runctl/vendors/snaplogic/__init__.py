"""SnapLogic, in the order in which one reads it.

- ``answers.py``: the words and shapes of its answers; which state means what.
- ``api.py``: how the public API is called and read: requests, envelope, one run, the list of runs.
- ``clock.py``: how far SnapLogic's clock is from ours.
- ``lineup.py``: which runs of the list may be the one of a trigger call.
- ``trigger.py``: how a run is started at a Triggered Task's URL, and how it is told from others.
- ``org.py``: what is beside runs: the org's quota, and switching tasks on and off.
- ``vendor.py``: :class:`SnapLogic`, which puts these together: start, look, stop, resume, search.
"""
