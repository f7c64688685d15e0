"""Airflow's public REST API (3.1 and newer), as a user: what it tells of runs, and what it lets that user do.

- ``answers.py``: what its answers say, in our words.
- ``calls.py``: a call with the official client, and what its refusal means.
- ``login.py``: as whom a task asks.
- ``source.py``: a source for the inventory, and the marking of tasks.
- ``runctl_api.py``: this package's own API in the API server, which acts where a shell cannot.
- ``channel.py``: the same for what stops runs.
"""
