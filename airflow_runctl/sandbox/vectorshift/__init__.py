"""VectorShift's stand-in, in the order in which one reads it.

- ``runs.py``: how a pipeline's runs behave, and the two sets of words.
- ``analytics.py``: runs as events.
- ``vendor.py``: all that is served.
"""
