"""Ways in for the person on call, from a shell: ``runctl``.

Two doors lead to the same commands: the console script ``runctl``, and ``airflow runctl`` from Airflow 3.2 on. Airflow
is read, and tasks are marked, over its public REST API (``rest/``), as the user who asks; a vendor is spoken to where
its connection can be read. What is known of runs, and what is done to them, is decided in ``control/``, not here.

In the order in which one reads them:

- ``definition.py``: the commands and their arguments, as data; what both doors are made of.
- ``console.py``: the console script.
- ``in_airflow.py``: what Airflow is told of the commands.
- ``exit_codes.py``: what a script learns from a command.
- ``login.py``: at which Airflow, and as whom.
- ``reach.py``: with which connections a vendor is reached from here.
- ``over_api.py``: what acts where they cannot be read here: the API server.
- ``screen.py``: tables, JSON, YAML, progress and questions.
- ``listing.py``: ``list`` and ``show``.
- ``acting.py``: ``stop`` and ``resume``.
- ``sweeping.py``: ``sweep``.
- ``trying.py``: ``test`` and ``sandbox``.
"""
