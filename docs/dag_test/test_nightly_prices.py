"""The Dag's run at axiom.ai ends with its task, whatever comes."""

from datetime import timedelta

from nightly_prices import dag


def test_a_run_that_hangs_is_stopped_at_its_limit(vendors, monkeypatch):
    vendors.hangs("axiom", "Nightly prices")
    monkeypatch.setattr(dag.get_task("scrape"), "max_runtime", timedelta(seconds=1))
    assert dag.test().state == "failed"
    assert len(vendors.runs()) == 1
    assert vendors.alive() == []
