"""VectorShift, in the order in which one reads it.

- ``answers.py``: the words and shapes of its answers; which state means what.
- ``analytics.py``: its list of runs, which is the analytics' list of events.
- ``api.py``: how the API is called and read: requests, what an answer says of its call, one run, the analytics.
- ``start.py``: how a run is started in the background, and found again by its trace id.
- ``vendor.py``: :class:`VectorShift`, which puts these together: start, look, stop, pause, resume.
"""
