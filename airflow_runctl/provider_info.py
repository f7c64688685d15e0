"""What Airflow asks a provider about itself. Read at every start of every process: imports nothing.

The connection forms are told here and nowhere else. Airflow 3.2 and newer read them as they stand; for older
versions ``hooks/forms.py`` turns them into what these ask a hook class for; ``docs/reference/connections.md`` is made
from them. Each field under ``conn-fields`` is a key of the connection's extra, named as the hook reads it.
"""

Json = dict[str, object]


def _text(label: str, description: str, **schema: object) -> Json:
    return {"label": label, "description": description, "schema": {"type": ["string", "null"], **schema}}


def _secret(label: str, description: str) -> Json:
    return _text(label, description, format="password")


def _number(label: str, description: str, least: int) -> Json:
    return {"label": label, "description": description, "schema": {"type": ["integer", "null"], "minimum": least}}


COMMON: dict[str, Json] = {
    "seal_key": _secret(
        "Seal key",
        "Long random text that the handles of runs are sealed with. Empty: the password or API key above seals "
        "them, and once that is changed, runs started before cannot be stopped from Airflow any more. To change "
        "the seal key, put the new one before the old one, with a comma between.",
    ),
    "timeout": {
        "label": "Timeout",
        "description": "Seconds to wait for an answer; 30 if empty.",
        "schema": {"type": ["number", "null"], "minimum": 0},
    },
    "verify": _text(
        "Certificate check",
        "true (as if empty), false to check no certificate, or the path of a CA file on the machines that run Airflow.",
    ),
    "proxies": _text(
        "Proxy",
        "URL of the proxy for this connection, such as http://proxy.example.com:3128. Empty: as the environment says.",
    ),
    "rate_limit": _number(
        "Rate limit",
        "Calls a minute that the vendor takes of this account; 0 for no limit. Empty: what the vendor has published "
        "(axiom.ai 100, VectorShift 250), else no limit. Polls leave a fifth of it to starts and stops.",
        0,
    ),
    "rate_limit_processes": _number(
        "Processes that share it",
        "Among how many processes of Airflow (triggerers, and tasks that wait on a worker) the rate limit is divided. "
        "Empty: 1, each process polls as if it were alone.",
        1,
    ),
}

COMMON_PLACEHOLDERS: Json = {"timeout": "30", "verify": "true", "proxies": "http://proxy.example.com:3128"}

SNAPLOGIC: dict[str, Json] = {
    "org": {
        "label": "Org",
        "description": "The SnapLogic org (environment): the first part of the path of every project.",
        "schema": {"type": "string"},
    },
    "auth": _text(
        "Authentication",
        "basic: e-mail and password. jwt: a JSON Web Token in the password; it needs a seal key. Empty: basic.",
        enum=["basic", "jwt"],
    ),
    "task_token": _secret(
        "Task token",
        "Bearer token of the Triggered Tasks. Empty: they are called with the login above.",
    ),
    "task_hosts": _text(
        "Task hosts",
        "Further base URLs that the full URL of a task may begin with (a Snaplex, a FeedMaster), with commas "
        "between. The task token is sent to no other host.",
    ),
    "dashboard_url": _text(
        "Dashboard URL",
        "Page that the button on a task opens; may hold {org} and {ruuid}. Empty: the dashboard of the host above.",
    ),
    "settling_time": _text(
        "Settling time",
        "Seconds for which a new run has to stay the only one in the list before it is taken for that of a call that "
        "named none: more than the list lags. Empty: 4.",
    ),
}

BCTRL: dict[str, Json] = {
    "api": _text(
        "API",
        "workspaces: runtimes with an alias in a workspace. browsers: browsers and agent tasks, the contract of "
        "2026-10-03. Empty: workspaces.",
        enum=["workspaces", "browsers"],
    ),
    "subaccount_id": _text(
        "Subaccount", "Id of the subaccount to act for; browsers only. Empty: the account of the API key."
    ),
}


def _api_key_form(host: str) -> Json:
    """Return the standard fields of a vendor that takes an API key and no login."""
    return {
        "hidden-fields": ["login", "schema"],
        "relabeling": {"password": "API key"},
        "placeholders": {"host": host, **COMMON_PLACEHOLDERS},
    }


CONNECTION_TYPES: list[Json] = [
    {
        "connection-type": "snaplogic",
        "hook-class-name": "airflow_runctl.hooks.snaplogic.SnapLogicHook",
        "hook-name": "SnapLogic",
        "conn-fields": {**SNAPLOGIC, **COMMON},
        "ui-field-behaviour": {
            "hidden-fields": ["schema"],
            "relabeling": {"login": "E-mail", "password": "Password or JWT"},
            "placeholders": {
                "host": "elastic.snaplogic.com",
                "login": "user@example.com",
                "org": "Acme",
                "task_hosts": "https://snaplex.example.com:8081",
                "dashboard_url": "https://elastic.snaplogic.com/sl/dashboard.html",
                "settling_time": "4",
                **COMMON_PLACEHOLDERS,
            },
        },
    },
    {
        "connection-type": "axiom",
        "hook-class-name": "airflow_runctl.hooks.axiom.AxiomHook",
        "hook-name": "axiom.ai",
        "conn-fields": COMMON,
        "ui-field-behaviour": _api_key_form("lar.axiom.ai/api/v3"),
    },
    {
        "connection-type": "vectorshift",
        "hook-class-name": "airflow_runctl.hooks.vectorshift.VectorShiftHook",
        "hook-name": "VectorShift",
        "conn-fields": COMMON,
        "ui-field-behaviour": _api_key_form("api.vectorshift.ai/v1"),
    },
    {
        "connection-type": "bctrl",
        "hook-class-name": "airflow_runctl.hooks.bctrl.BctrlHook",
        "hook-name": "bctrl",
        "conn-fields": {**BCTRL, **COMMON},
        "ui-field-behaviour": _api_key_form("api.bctrl.ai"),
    },
]


ANY_VENDOR = "Runs of any vendor"

VENDORS: list[Json] = [
    {
        "integration-name": "SnapLogic",
        "external-doc-url": "https://docs.snaplogic.com/public-apis/public-apis-about.html",
        "how-to-guide": ["/docs/reference/connections.md", "/docs/how-to/many-starts.md"],
        "tags": ["service"],
    },
    {
        "integration-name": "axiom.ai",
        "external-doc-url": "https://axiom.ai/docs/developer-hub/api/run-automations/stop-a-run",
        "how-to-guide": ["/docs/reference/connections.md"],
        "tags": ["service"],
    },
    {
        "integration-name": "VectorShift",
        "external-doc-url": "https://docs.vectorshift.ai/api-reference",
        "how-to-guide": ["/docs/reference/connections.md"],
        "tags": ["service"],
    },
    {
        "integration-name": "bctrl",
        "external-doc-url": "https://platform.bctrl.ai/api/api-reference/workspaces/runtimes-stop",
        "how-to-guide": ["/docs/reference/connections.md"],
        "tags": ["service"],
    },
    {
        "integration-name": ANY_VENDOR,
        "external-doc-url": "https://airflow.apache.org/",
        "how-to-guide": [
            "/docs/how-to/operating.md",
            "/docs/explanation/many-runs.md",
            "/docs/how-to/from-sla-miss-callback.md",
        ],
        "tags": ["software"],
    },
]
"""What the package connects to. ``how-to-guide`` has pages of this repository; no vendor's logo is shipped."""


def _modules(integration: str, *modules: str) -> Json:
    return {"integration-name": integration, "python-modules": [f"airflow_runctl.{module}" for module in modules]}


OPTIONS: dict[str, Json] = {
    "ride_out": {
        "description": "Seconds for which a vendor that answers badly is put up with.",
        "version_added": "0.1.0",
        "type": "float",
        "example": None,
        "default": "600",
    },
    "requests_at_once": {
        "description": "Requests to the vendor of one address that a process has under way at once: so many for stops, "
        "and so many again for all else.",
        "version_added": "0.1.0",
        "type": "integer",
        "example": None,
        "default": "100",
    },
    "act_in_api_server": {
        "description": "Whether the API below /runctl speaks to vendors from the API server. If not, a run without a "
        "live task is stopped by the Dag runctl_maintenance (from airflow_runctl.maintenance import dag).",
        "version_added": "0.1.0",
        "type": "boolean",
        "example": None,
        "default": "False",
    },
}
"""The section ``[runctl]`` of Airflow's configuration. Every process that reads one has its default here too."""


def get_provider_info() -> Json:
    """Return the provider's metadata. An Airflow that does not know a key of it leaves that alone.

    What is listed here by module or class is also what the project keeps: docs/reference/support.md.
    """
    return {
        "package-name": "airflow-runctl",
        "name": "runctl",
        "description": "Starts, watches, stops and resumes runs at SnapLogic, axiom.ai, VectorShift and bctrl.",
        "integrations": VENDORS,
        "connection-types": CONNECTION_TYPES,
        "operators": [
            _modules("SnapLogic", "operators.snaplogic"),
            _modules("axiom.ai", "operators.axiom"),
            _modules("VectorShift", "operators.vectorshift"),
            _modules("bctrl", "operators.bctrl"),
            _modules(ANY_VENDOR, "operators.sweep"),
        ],
        "hooks": [
            _modules("SnapLogic", "hooks.snaplogic"),
            _modules("axiom.ai", "hooks.axiom"),
            _modules("VectorShift", "hooks.vectorshift"),
            _modules("bctrl", "hooks.bctrl"),
        ],
        "sensors": [_modules(ANY_VENDOR, "sensors.run")],
        "triggers": [_modules(ANY_VENDOR, "triggers.run", "triggers.sensor")],
        "notifications": ["airflow_runctl.notifications.StopRunsNotifier"],
        "extra-links": ["airflow_runctl.links.ExternalRunLink"],
        # Airflow 3.1 and newer. The entry point says the same, for 2.11 and for an Airflow that is not told to load
        # what providers announce.
        "plugins": [{"name": "runctl", "plugin-class": "airflow_runctl.plugin.in_airflow.RunctlPlugin"}],
        # Airflow 3.2 and newer.
        "cli": ["airflow_runctl.cli.in_airflow.get_commands"],
        "config": {"runctl": {"description": "Settings of airflow-runctl.", "options": OPTIONS}},
    }
