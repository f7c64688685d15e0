"""Where things lie, for the tests that read files."""

from pathlib import Path

ROOT = Path(__file__).parents[1]
PACKAGE = ROOT / "airflow_runctl"
DOCS = ROOT / "docs"
OPENAPI = ROOT / "tests" / "servers" / "openapi"
"""The vendors' pages that the project was made from, as OpenAPI documents."""
