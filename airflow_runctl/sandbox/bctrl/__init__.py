"""bctrl's stand-in, in the order in which one reads it.

- ``runs.py``: how runs behave, and the small conventions of the API.
- ``account.py``: the account, its key, the shapes of an error.
- ``workspaces.py``: the generation in the documentation.
- ``browsers.py``, ``tasks.py``: the generation that the official client speaks.
- ``vendor.py``: joins them: all that is served.
"""
