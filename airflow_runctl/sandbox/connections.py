"""The Airflow connections with which the sandbox can be used, secrets included."""

from __future__ import annotations

import json
from typing import Any

from airflow_runctl.sandbox.snaplogic.runs import LOGIN


def connections(url: str, seed: str) -> dict[str, str]:
    """Return environment variables that define the connections.

    :param url: of the sandbox, prefix included.
    :param seed: contained in every secret.
    :return: name of the variable to its value in Airflow's JSON form.
    """
    snaplogic = {"conn_type": "snaplogic", "host": f"{url}/snaplogic"}
    org = {"org": "Acme", "task_token": f"snaplogic-task-token-{seed}"}
    bctrl = {"conn_type": "bctrl", "host": f"{url}/bctrl", "password": f"bctrl-key-{seed}"}
    # The vendors' limits are not the sandbox's.
    unlimited = {"rate_limit": 0}
    rows: dict[str, dict[str, Any]] = {
        "SNAPLOGIC_DEFAULT": {
            **snaplogic,
            "login": LOGIN,
            "password": f"snaplogic-password-{seed}",
            "extra": org,
        },
        "SNAPLOGIC_JWT": {
            **snaplogic,
            "password": f"snaplogic-jwt-{seed}",
            "extra": {**org, "auth": "jwt", "seal_key": f"snaplogic-seal-key-{seed}"},
        },
        "AXIOM_DEFAULT": {
            "conn_type": "axiom",
            "host": f"{url}/axiom/api/v3",
            "password": f"axiom-key-{seed}",
            "extra": unlimited,
        },
        "VECTORSHIFT_DEFAULT": {
            "conn_type": "vectorshift",
            "host": f"{url}/vectorshift/v1",
            "password": f"vectorshift-key-{seed}",
            "extra": unlimited,
        },
        "BCTRL_DEFAULT": {**bctrl, "extra": {"api": "workspaces"}},
        "BCTRL_BROWSERS": {**bctrl, "extra": {"api": "browsers"}},
    }
    return {f"AIRFLOW_CONN_{name}": json.dumps(row) for name, row in rows.items()}
