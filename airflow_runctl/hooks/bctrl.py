"""The bctrl connection type."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final, TypeVar
from urllib.parse import urlsplit

from airflow_runctl.arguments.reading import read_call
from airflow_runctl.exceptions import ConnectionSetupError
from airflow_runctl.hooks.base import RunHook, Settings
from airflow_runctl.vendors.base import bearer
from airflow_runctl.vendors.bctrl.api import Bctrl, without_credentials
from airflow_runctl.vendors.bctrl.browsers import VERSION, BctrlBrowsers
from airflow_runctl.vendors.bctrl.workspaces import BctrlWorkspaces

BctrlT = TypeVar("BctrlT", bound=Bctrl)

CONTRACTS: Final[tuple[type[Bctrl], ...]] = (BctrlWorkspaces, BctrlBrowsers)


class BctrlHook(RunHook):
    """Reaches bctrl over one of its two contracts.

    The connection: host (``api.bctrl.ai`` by default, without ``/v1``), the API key as the password, and the
    extra fields ``api`` (``workspaces``, the default, or ``browsers``), ``subaccount_id`` (browsers) and ``seal_key``.

    No list that a method returns holds the addresses by which a browser can be driven.

    :param conn_id: id of the connection, ``bctrl_default`` if left out.
    """

    conn_name_attr = "bctrl_conn_id"
    default_conn_name = "bctrl_default"
    conn_type = "bctrl"
    hook_name = "bctrl"
    default_host = "api.bctrl.ai"

    @classmethod
    def build(cls, settings: Settings) -> Bctrl:
        """Return bctrl as the connection describes it.

        A longer path that ends in ``/v1`` may be a gateway's own, and is let through.
        """
        if urlsplit(settings.base_url).path == "/v1":
            raise ConnectionSetupError(
                f"The host of connection {settings.conn_id!r} must not end in /v1: what is asked for begins with that "
                "already, and nothing would be found. Take it out of the host."
            )
        headers = bearer(settings.require(settings.password, "API key in its password"))
        api = settings.text("api", BctrlWorkspaces.contract).lower()
        subaccount = settings.text("subaccount_id")
        if api == BctrlBrowsers.contract:
            of_subaccount = {"BCTRL-Subaccount-Id": subaccount} if subaccount else {}
            return BctrlBrowsers(headers={**headers, **VERSION, **of_subaccount})
        if api != BctrlWorkspaces.contract:
            raise ConnectionSetupError(
                f"Extra 'api' of connection {settings.conn_id!r} is {api!r}; it can be workspaces or browsers."
            )
        if subaccount:
            raise ConnectionSetupError(
                f"Extra 'subaccount_id' of connection {settings.conn_id!r} goes only with 'api' set to browsers."
            )
        return BctrlWorkspaces(headers=headers)

    def _over(self, contract: type[BctrlT]) -> BctrlT:
        vendor = self.access.vendor
        if not isinstance(vendor, contract):
            raise ConnectionSetupError(
                f"This needs bctrl's contract {contract.contract!r}: set the extra 'api' of connection "
                f"{self.conn_id!r} to it."
            )
        return vendor

    def list_workspaces(self) -> list[Mapping[str, Any]]:
        """Return the workspaces, over contract workspaces.

        Source: https://platform.bctrl.ai/api/api-reference/workspaces/list
        """
        return self._shown(self.run(self._over(BctrlWorkspaces).list_workspaces()))

    def list_runtimes(self, workspace_id: str) -> list[Mapping[str, Any]]:
        """Return the runtimes of a workspace, over contract workspaces.

        Source: https://platform.bctrl.ai/api/api-reference/workspaces/runtimes-list
        """
        read_call("BctrlHook.list_runtimes", workspace_id=workspace_id)
        return self._shown(self.run(self._over(BctrlWorkspaces).list_runtimes(workspace_id)))

    def list_browsers(self) -> list[Mapping[str, Any]]:
        """Return the browsers, newest first, over contract browsers."""
        return self._shown(self.run(self._over(BctrlBrowsers).list_browsers()))

    def list_runs(self, browser_id: str | None = None) -> list[Mapping[str, Any]]:
        """Return the runs of a browser, or of all, newest first, over contract browsers."""
        read_call("BctrlHook.list_runs", browser_id=browser_id)
        return self._shown(self.run(self._over(BctrlBrowsers).list_runs(browser_id)))

    def list_tasks(self) -> list[Mapping[str, Any]]:
        """Return the tasks of agents, newest first, over contract browsers."""
        return self._shown(self.run(self._over(BctrlBrowsers).tasks.list()))

    @staticmethod
    def _shown(entries: list[Mapping[str, Any]]) -> list[Mapping[str, Any]]:
        shown: list[Mapping[str, Any]] = without_credentials(entries)
        return shown
