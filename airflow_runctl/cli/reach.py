"""How a shell reaches vendors: with the connections that this machine can read."""

from __future__ import annotations

from airflow_runctl.compat import BlockingChannel, connections_as_a_server, logs_to_stderr
from airflow_runctl.rest.channel import RestChannel
from airflow_runctl.rest.source import AirflowRest


def channel_of(rest: AirflowRest) -> RestChannel:
    """Return what stops runs from here, and records it over the REST API."""
    return RestChannel(rest, local_channel())


def local_channel() -> BlockingChannel:
    """Return what reads connections on this machine; from then on the standard output is for results alone."""
    connections_as_a_server()
    logs_to_stderr()
    return BlockingChannel(writable=False)
