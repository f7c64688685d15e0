"""What each vendor's API says; pure: no network, no clock, no Airflow.

- ``base.py``: the language: requests, answers, flows, and the shape of a vendor. Read it first.
- ``snaplogic/``, ``axiom/``, ``vectorshift/``, ``bctrl/``: one folder a vendor; its ``__init__`` names its parts.
"""
