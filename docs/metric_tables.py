"""Writes the tables in docs/reference/metrics.md from ``airflow_runctl.metrics``: run it after a change to that."""

import re
from collections.abc import Iterator
from pathlib import Path

from airflow_runctl.metrics import ERROR_KINDS, METRICS, SERVER_ERROR, Metric

PAGE = Path(__file__).with_name("reference") / "metrics.md"
PLACE = re.compile(r"(<!-- (\w+), written by[^>]*-->\n).*?(<!-- end -->)", re.DOTALL)
PREFIX = "airflow"
"""What Airflow puts before each name, unless ``[metrics] statsd_prefix`` says otherwise."""


def exported(metric: Metric) -> str:
    """Return the name of a metric at Prometheus."""
    return f"{PREFIX}_{metric.name.replace('.', '_')}"


def table() -> Iterator[str]:
    """Yield the lines of the table of all metrics."""
    yield "| Metric | Kind | Tags | What it counts |"
    yield "|---|---|---|---|"
    for metric in METRICS:
        tags = ", ".join(f"`{tag}`" for tag in metric.all_tags)
        yield f"| `{metric.name}` | {metric.kind} | {tags} | {metric.counts} |"


def kinds() -> Iterator[str]:
    """Yield the lines of the table of vendor errors."""
    yield "| `kind` | What it is |"
    yield "|---|---|"
    for kind, words in (*ERROR_KINDS.values(), SERVER_ERROR):
        yield f"| `{kind}` | {words} |"


def mapping() -> Iterator[str]:
    """Yield the mapping of names without tags for statsd_exporter, as Airflow's Helm chart takes it."""
    yield "```yaml"
    yield "statsd:"
    yield "  extraMappings:"
    for metric in METRICS:
        yield f"    - match: {PREFIX}.{metric.name}{'.*' * len(metric.tags)}"
        yield f"      name: {exported(metric)}"
        yield "      labels:"
        yield from (f'        {tag}: "${number}"' for number, tag in enumerate(metric.tags, 1))
    yield "```"


PARTS = {"table": table, "kinds": kinds, "mapping": mapping}


def filled_in(page: str) -> str:
    """Return the page with each part as the table has it now."""
    return PLACE.sub(lambda place: f"{place[1]}{chr(10).join(PARTS[place[2]]())}\n{place[3]}", page)


if __name__ == "__main__":
    PAGE.write_text(filled_in(PAGE.read_text()))
