"""axiom.ai, in the order in which one reads it.

- ``viewer.py``: the viewer URL, a credential, from which the stop of a run is made.
- ``vendor.py``: :class:`Axiom`: words, start, look (by name and by reports), stop.
"""
