"""Stand-ins for the four vendors, for trying out and for tests: one real HTTP server, written from the documents.

It imports nothing of the rest of the package, so that one misreading does not sit on both sides. In the order in
which one reads it:

- ``__main__.py``, ``server.py``: the process.
- ``connections.py``: the Airflow connections that lead to it.
- ``wire.py``, ``forms.py``: a call, its route, its answer.
- ``runs.py``: a run, and the steps that it goes through by the clock.
- ``replays.py``: idempotency keys.
- ``vendor.py``: what the vendors share.
- ``snaplogic/``, ``axiom/``, ``vectorshift/``, ``bctrl/``: each of them.
- ``faults.py``, ``changes.py``, ``control.py``: trouble on request, and the control API under ``/_sandbox``.
- ``client.py``: :class:`~airflow_runctl.sandbox.client.Sandbox`, for whoever starts one and asks it.

In comments [doc] means that a vendor's page says it, [code] that public code shows it, [inferred] that it is our
reading, and [unknown] that nothing says it: then the sandbox takes the answer that catches a careless client.
"""
