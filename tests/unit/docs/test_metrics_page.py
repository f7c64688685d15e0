"""docs/reference/metrics.md and the dashboard beside it say what is counted, and ask for nothing else."""

import json
import re
import runpy
from typing import Any

import pytest
import yaml

from airflow_runctl.metrics import METRICS, Kind, addressed
from airflow_runctl.runs import StopReason
from tests.places import DOCS, ROOT

PAGE = (DOCS / "reference/metrics.md").read_text()
SCRIPT = runpy.run_path(str(DOCS / "metric_tables.py"))
DASHBOARD: dict[str, Any] = json.loads((DOCS / "grafana" / "airflow-runctl.json").read_text())
PANELS: list[dict[str, Any]] = [panel for panel in DASHBOARD["panels"] if panel["type"] != "row"]

EXPORTED = {SCRIPT["exported"](metric): metric for metric in METRICS}
"""The names that statsd_exporter makes, of a timer three."""
SUMMARY = {"_sum", "_count"}
SPANS = {
    f"runctl.{name}" for name in ("start", "watch", "stop", "vendor", "conn_id", "run_id", "state", "reason", "outcome")
}
"""Spans and their attributes."""
LABELS_OF_A_SUMMARY = {"quantile"}


def test_the_tables_are_those_of_the_code() -> None:
    assert SCRIPT["filled_in"](PAGE) == PAGE, "run docs/metric_tables.py"
    assert re.findall(r"<!-- (\w+), written", PAGE) == list(SCRIPT["PARTS"])


def test_every_metric_that_a_page_names_is_in_the_table() -> None:
    known = {metric.name for metric in METRICS}
    pages = [*ROOT.glob("*.md"), *DOCS.rglob("*.md")]
    named = {name for page in pages for name in re.findall(r"`(runctl\.[a-z_]+)`", page.read_text())}
    assert named - SPANS == known


def test_the_page_has_each_reason() -> None:
    assert [reason for reason in StopReason if f"`{reason.value}`" not in PAGE] == []


def test_the_mapping_gives_names_without_tags_those_of_names_with() -> None:
    """As statsd_exporter reads it: a star is one part of the name, ``$1`` what the first one stands for."""
    (block,) = re.findall(r"```yaml\n(.*?)```", PAGE, re.DOTALL)
    mappings = yaml.safe_load(block)["statsd"]["extraMappings"]
    assert len(mappings) == len(METRICS)
    for mapping, metric in zip(mappings, METRICS, strict=True):
        given = {tag: f"some_{tag}" for tag in metric.tags}
        name, _ = addressed(metric, None, given, has_tags=False)
        found = re.fullmatch(mapping["match"].replace(".", r"\.").replace("*", "([^.]*)"), f"airflow.{name}")
        assert found is not None, metric.name
        labels = {label: found[int(number.removeprefix("$"))] for label, number in mapping["labels"].items()}
        assert (mapping["name"], labels) == (SCRIPT["exported"](metric), given)


# -- the dashboard -------------------------------------------------------------------------------------------------


def expressions() -> list[str]:
    return [target["expr"] for panel in PANELS for target in panel["targets"]]


def test_the_dashboard_asks_for_each_metric_and_for_no_other() -> None:
    asked = set()
    for name in re.findall(r"\bairflow_runctl_\w+", " ".join(expressions())):
        base = name if name in EXPORTED else re.sub("|".join(f"{end}$" for end in SUMMARY), "", name)
        assert base in EXPORTED, name
        assert base == name or EXPORTED[base].kind is Kind.TIMER, name
        asked.add(base)
    assert asked == set(EXPORTED)


def test_the_dashboard_asks_for_labels_that_the_metric_has() -> None:
    for expression in expressions():
        (metric,) = {
            EXPORTED.get(re.sub("_sum$|_count$", "", n)) for n in re.findall(r"airflow_runctl_\w+", expression)
        }
        assert metric is not None
        grouped = {name.strip() for group in re.findall(r"by \(([^)]*)\)", expression) for name in group.split(",")}
        chosen = set(re.findall(r'(\w+)(?:=~|!=|!~|=)"', expression))
        extra = LABELS_OF_A_SUMMARY if metric.kind is Kind.TIMER else set()
        assert grouped | chosen <= set(metric.all_tags) | extra, expression


def test_a_legend_shows_what_is_grouped() -> None:
    for panel in PANELS:
        for target in panel["targets"]:
            shown = set(re.findall(r"{{(\w+)}}", target["legendFormat"]))
            grouped = {name.strip() for by in re.findall(r"by \(([^)]*)\)", target["expr"]) for name in by.split(",")}
            assert shown <= grouped, panel["title"]


def test_grafana_can_import_the_dashboard() -> None:
    """What its import needs: a title, a version of the schema, panels in a grid of 24 columns that do not overlap."""
    assert DASHBOARD["title"]
    assert re.fullmatch(r"[A-Za-z0-9_-]{1,40}", DASHBOARD["uid"])
    assert isinstance(DASHBOARD["schemaVersion"], int)
    assert "id" not in DASHBOARD, "it is the database's, and one that is set overwrites another dashboard"
    ids = [panel["id"] for panel in DASHBOARD["panels"]]
    assert len(set(ids)) == len(ids)
    taken: set[tuple[int, int]] = set()
    for panel in DASHBOARD["panels"]:
        at = panel["gridPos"]
        cells = {(x, y) for x in range(at["x"], at["x"] + at["w"]) for y in range(at["y"], at["y"] + at["h"])}
        assert max(x for x, _ in cells) < 24
        assert not cells & taken, panel["title"]
        taken |= cells


def test_the_dashboard_uses_the_variables_that_it_has() -> None:
    """No data source of ours: whoever imports it chooses one."""
    variables = {variable["name"] for variable in DASHBOARD["templating"]["list"]}
    text = json.dumps(DASHBOARD)
    used = set(re.findall(r"\$\{?([a-z]\w*)\}?", text))
    assert used == variables
    assert {panel["datasource"]["uid"] for panel in PANELS} == {"${datasource}"}


@pytest.mark.parametrize("panel", PANELS, ids=lambda panel: panel["title"])
def test_a_panel_has_what_grafana_draws(panel: dict[str, Any]) -> None:
    assert panel["type"] in {"stat", "timeseries", "table"}
    assert panel["fieldConfig"].keys() == {"defaults", "overrides"}
    references = [target["refId"] for target in panel["targets"]]
    assert references
    assert len(set(references)) == len(references)
    for target in panel["targets"]:
        assert target["expr"].count("(") == target["expr"].count(")")
        assert target["expr"].count("{") == target["expr"].count("}")
