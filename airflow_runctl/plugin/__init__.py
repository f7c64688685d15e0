"""A way in for people, and for pages: an API inside Airflow's API server, below ``/runctl``.

It stands on the inventory and on what ends runs in ``control/``, and has no logic of its own about runs: it knows who
asks, what Airflow's auth manager lets them, where the facts lie, and which way an act takes in this deployment.

In the order in which one reads them:

- ``in_airflow.py``: what Airflow is told of it.
- ``door.py``: loads everything else with the first request.
- ``app.py``: the API: its routes, and what an error is answered with.
- ``login.py``: who asks, from where, and what they may.
- ``words.py``: what is asked and answered.
- ``source.py``: the inventory's source over Airflow's own tables.
- ``itself.py``: Airflow's own public API, asked for the user who asks.
- ``channel.py``: how what stops runs asks Airflow here.
- ``ways.py``: which way an act takes: here, by the maintenance Dag, or by hand on a worker.
- ``reading.py``: the routes that read.
- ``acting.py``: the routes that act.
"""
