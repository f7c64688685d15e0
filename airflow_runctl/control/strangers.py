"""Live runs at a vendor that Airflow does not know: found by the vendor's own list, reported, and never stopped."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Iterable
from collections.abc import Set as AbstractSet
from dataclasses import dataclass
from typing import Any

from airflow_runctl.control.stop_many import Connections
from airflow_runctl.exceptions import RunctlError
from airflow_runctl.runs import printable

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Stranger:
    """A live run at a vendor that no record of Airflow's names.

    :param vendor: name of the vendor.
    :param conn_id: the connection that shows it.
    :param run_id: its id.
    :param vendor_state: the vendor's word for where it stands.
    """

    vendor: str
    conn_id: str
    run_id: str
    vendor_state: str

    def out(self) -> dict[str, Any]:
        """Return plain JSON."""
        return {
            "vendor": self.vendor,
            "conn_id": self.conn_id,
            "run_id": printable(self.run_id, 300),
            "vendor_state": printable(self.vendor_state),
        }


async def strangers(
    opened: Connections, connections: Iterable[tuple[str, str]], known: AbstractSet[str]
) -> tuple[list[Stranger], list[str]]:
    """Return the live runs that vendors list and Airflow does not know; and why a list could not be compared.

    :param opened: reads each connection once.
    :param connections: vendor and id of each connection to look through.
    :param known: ids of the runs that Airflow knows.
    """
    asked = await asyncio.gather(*(_of_one(opened, *one, known) for one in sorted(connections)))
    found = {(one.vendor, one.run_id): one for listed, _ in asked for one in listed}
    return list(found.values()), [why for _, why in asked if why]


async def _of_one(
    opened: Connections, vendor_name: str, conn_id: str, known: AbstractSet[str]
) -> tuple[list[Stranger], str | None]:
    try:
        access = await opened.access(vendor_name, conn_id)
        vendor = access.vendor
        if not vendor.filters:
            return [], f"{vendor.label} lists no live runs: what Airflow does not know there is not seen ({conn_id})."
        live = await access.adrive(vendor.live_runs({}))
    except RunctlError as error:
        return [], f"What runs there is not known (connection {printable(conn_id)}): {error}"
    except Exception as error:
        log.exception("The live runs of connection %s cannot be listed", printable(conn_id))
        return [], f"What runs there is not known (connection {printable(conn_id)}): {type(error).__name__}."
    # A run that its vendor has not named yet is known by another of its ids.
    new = [one for one in live if known.isdisjoint({one.run_id, *one.ids.values()})]
    return [Stranger(vendor.name, conn_id, one.run_id, one.vendor_state) for one in new], None
