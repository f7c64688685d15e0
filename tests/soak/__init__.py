"""The soak: a deployment under faults for minutes or hours, and an oracle that says whether a promise was broken.

In the order in which one reads it:

- ``plan.py``: what will happen, from a seed.
- ``services.py``, ``deployment.py``: what runs.
- ``dags/soak.py``: the Dags.
- ``journal.py``, ``history.py``: what happened.
- ``people.py``, ``faults.py``: who makes it happen.
- ``gathering.py``: the end, and what is known then.
- ``causes.py``, ``oracle.py``: what explains what, and what nothing explains.
- ``sweeping.py``: the sweep.
- ``__main__.py``: all of it.
"""
