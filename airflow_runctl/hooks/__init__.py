"""From an Airflow connection to a vendor: the only layer that knows what a connection is.

- ``settings.py``: what a connection says, and what it gives access to; what its host means.
- ``base.py``: the hook that all vendors share: reads a connection, drives flows with it.
- ``trial.py``: what the test of a connection says.
- ``forms.py``: the connection forms, for Airflow below 3.2.
- ``snaplogic.py``, ``axiom.py``, ``vectorshift.py``, ``bctrl.py``: each vendor's connection type.
"""
