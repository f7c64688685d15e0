"""What each vendor can do, as its code says.

``docs/reference_tables.py`` writes the table into docs/reference/vendors.md.
"""

from collections.abc import Mapping

from tabulate import tabulate

from airflow_runctl.vendors.axiom.vendor import Axiom
from airflow_runctl.vendors.base import Operation, Vendor
from airflow_runctl.vendors.bctrl.browsers import BctrlBrowsers
from airflow_runctl.vendors.bctrl.workspaces import BctrlWorkspaces
from airflow_runctl.vendors.snaplogic.vendor import SnapLogic
from airflow_runctl.vendors.vectorshift.vendor import VectorShift

VENDORS: Mapping[str, type[Vendor]] = {
    "SnapLogic": SnapLogic,
    "axiom.ai": Axiom,
    "VectorShift": VectorShift,
    "bctrl, api=workspaces": BctrlWorkspaces,
    "bctrl, api=browsers": BctrlBrowsers,
}


def table() -> str:
    """Return the table in Markdown."""
    rows = [
        [name, *("yes" if operation in vendor.operations else "" for operation in Operation)]
        for name, vendor in VENDORS.items()
    ]
    return tabulate(rows, ["vendor", *(operation.value for operation in Operation)], tablefmt="github")
