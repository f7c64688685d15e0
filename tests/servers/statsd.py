"""A statsd server on loopback, and an Airflow of this process that is told to send its metrics there.

What is real: the datagrams, the statsd and Datadog clients, Airflow's configuration and its own choice by it.
"""

from __future__ import annotations

import socket
from collections.abc import Iterator
from contextlib import contextmanager
from importlib import import_module
from typing import Any, Final

import pytest

from airflow_runctl import metrics
from airflow_runctl.compat import AIRFLOW

FLAVOURS: Final = {
    "plain": {"statsd_on": "True"},
    "influxdb": {"statsd_on": "True", "statsd_influxdb_enabled": "True"},
    "datadog": {"statsd_on": "True", "statsd_datadog_enabled": "True"},
}
"""Settings of ``[metrics]``, by what the datagrams look like."""

HAS_TWO_OBJECTS: Final = AIRFLOW >= (3, 2)

SIDES: Final = {"worker": "airflow.sdk", "triggerer": "airflow", "neither": None} if HAS_TWO_OBJECTS else {"any": None}
"""Which process sets up which of Airflow's objects."""


class Statsd:
    """What came in."""

    def __init__(self) -> None:
        self.socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self.socket.bind(("127.0.0.1", 0))
        self.socket.settimeout(10)
        self.port: int = self.socket.getsockname()[1]

    def lines(self) -> list[str]:
        """Return all of ours that Airflow was handed up to now, Airflow's prefix taken off."""
        metrics.hand_on(10)
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as last:
            last.sendto(b"airflow.end", self.socket.getsockname())
        found: list[str] = []
        while (line := self.socket.recv(65536).decode()) != "airflow.end":
            found += [part.removeprefix("airflow.") for part in line.split("\n")]
        return [line for line in found if line.startswith("runctl.")]


@contextmanager
def statsd_of(monkeypatch: pytest.MonkeyPatch, flavour: str = "influxdb", side: str | None = None) -> Iterator[Statsd]:
    """Receive the metrics of this process.

    :param flavour: of ``FLAVOURS``.
    :param side: of ``SIDES``; as a worker by default.
    """
    server = Statsd()
    settings = {"statsd_host": "127.0.0.1", "statsd_port": str(server.port), "statsd_prefix": "airflow"}
    for name, value in (settings | FLAVOURS[flavour]).items():
        monkeypatch.setenv(f"AIRFLOW__METRICS__{name.upper()}", value)
    metrics.forget()
    _set_up(monkeypatch, next(iter(SIDES)) if side is None else side)
    try:
        yield server
    finally:
        metrics.hand_on(10)
        metrics.forget()
        server.socket.close()


def _set_up(monkeypatch: pytest.MonkeyPatch, side: str) -> None:
    """Do what the process of that side does as it begins."""
    if not HAS_TWO_OBJECTS:
        from airflow.stats import Stats

        monkeypatch.setattr(Stats, "instance", None)
        monkeypatch.delattr(type(Stats), "factory")
        type(Stats).__init__(Stats)
        return
    for package in ("airflow.sdk", "airflow"):
        module: Any = import_module(f"{package}._shared.observability.metrics.stats")
        utils: Any = import_module(f"{package}.observability.metrics.stats_utils")
        if AIRFLOW >= (3, 3):
            monkeypatch.setattr(module, "_factory", None)
            monkeypatch.setattr(module, "_backend", None)
            if package == SIDES[side]:
                module.initialize(factory=utils.get_stats_factory(), export_legacy_names=True)
        else:
            monkeypatch.setattr(module.Stats, "factory", None)
            monkeypatch.setattr(module.Stats, "instance", None)
            if package == SIDES[side]:
                module.Stats.initialize(factory=utils.get_stats_factory(module.Stats))
