"""axiom.ai's stand-in, in the order in which one reads it.

- ``runs.py``: how an automation's runs behave, and the shapes of a viewer URL and of an answer to a stop.
- ``vendor.py``: all that is served.
"""
