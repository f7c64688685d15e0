"""bctrl, in the order in which one reads it.

- ``api.py``: what its two contracts share: requests, errors, how a start is sent and found again.
- ``workspaces.py``: the documented contract: a runtime by workspace and alias.
- ``tasks.py``: the current contract: work that is given to an agent.
- ``browsers.py``: the current contract: browsers, the runs in them, and all of it together.
"""
