"""The button on a task that opens its run at the vendor."""

from __future__ import annotations

from typing import Any, Final

from airflow_runctl.compat import BaseOperatorLink, get_xcom, task_key
from airflow_runctl.runs import LINK_KEY

COLOR: Final = "#e3eefb"
"""``ui_color`` of what has the button, subclasses too: by it Airflow 3.4 knows for which tasks there is a tab, see
``plugin/in_airflow.py``."""


class ExternalRunLink(BaseOperatorLink):
    """Opens the page of the run at its vendor. There is no button where the vendor has no such page.

    The address is stored as soon as the run is known (:func:`~airflow_runctl.control.ledger.keep_link`), so the
    button is there while the task runs and after it was killed.
    """

    name = "External run"
    xcom_key = LINK_KEY

    def get_link(self, operator: Any, *, ti_key: Any) -> str:
        """Return the address that was stored, or an empty text.

        Airflow 3 asks when the task's process ends, and stores the answer over what is there.
        """
        address = get_xcom(LINK_KEY, task_key(ti_key))
        # Whoever may write XComs could have put a script there.
        return address if isinstance(address, str) and address.startswith(("https://", "http://")) else ""
