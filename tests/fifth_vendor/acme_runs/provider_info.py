"""What Airflow asks a provider about itself. Read at every start of every process: imports nothing."""


def get_provider_info() -> dict[str, object]:
    """Return the provider's metadata."""
    return {
        "package-name": "acme-runs",
        "name": "Acme runs",
        "description": "Jobs at Acme.",
        "connection-types": [
            {
                "connection-type": "acme",
                "hook-class-name": "acme_runs.hook.AcmeHook",
                "hook-name": "Acme",
                "ui-field-behaviour": {
                    "hidden-fields": ["login", "schema"],
                    "relabeling": {"password": "API key"},
                    "placeholders": {"host": "api.acme.example"},
                },
            }
        ],
    }
