"""Other ends of the same run, and a stop that the vendor refuses at first."""

from datetime import timedelta

from nightly_prices import dag


def test_prices_are_scraped(vendors):
    vendors.lasts("axiom", "Nightly prices", seconds=0.2)
    assert dag.test().state == "success"


def test_a_run_that_fails_fails_the_dag(vendors):
    vendors.fails("axiom", "Nightly prices", message="element not found")
    assert dag.test().state == "failed"


def test_a_stop_that_is_refused_is_asked_for_again(vendors, monkeypatch, brisk):
    vendors.hangs("axiom", "Nightly prices")
    vendors.stop_fails("axiom", times=2)
    monkeypatch.setattr(dag.get_task("scrape"), "max_runtime", timedelta(seconds=1))
    dag.test()
    assert vendors.alive() == []
