"""Airflow's face of a run: one module a vendor, and what these share.

- ``base.py``: starting a run and following it, for every vendor; the kill paths.
- ``start_arguments.py``: which arguments of a start are refused when the Dag is parsed.
- ``lineage.py``: what OpenLineage's listener is told of a run.
- ``existing.py``: acting on runs that exist: stop, pause, resume.
- ``handles.py``: which runs an ``external_run`` names.
- ``secret_fields.py``: credentials in template fields.
- ``sweep.py``: stopping the runs that nobody owns any more.
- ``errand.py``: doing what a person has asked the API for; the maintenance Dag is made of it.
- ``snaplogic.py``, ``axiom.py``, ``vectorshift.py``, ``bctrl.py``: each vendor's operators.
"""
