"""What the hooks of all vendors share: reading a connection, driving flows with what it says, testing it."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping
from functools import cache, cached_property
from importlib.metadata import entry_points
from typing import TYPE_CHECKING, Any, ClassVar, Final, TypeVar

from airflow_runctl.arguments.reading import read_given
from airflow_runctl.compat import BaseHook, TriggererChannel, mask_secret
from airflow_runctl.exceptions import ConnectionSetupError, HandleError
from airflow_runctl.hooks.forms import ConnectionForm
from airflow_runctl.hooks.settings import Access, Settings, base_url_of
from airflow_runctl.hooks.trial import trial
from airflow_runctl.transport.retry import Patience
from airflow_runctl.vendors.base import Flow, Vendor

if TYPE_CHECKING:
    from airflow.sdk import Connection

T = TypeVar("T")

ENTRY_POINTS: Final = "airflow_runctl.vendors"
"""Group of entry points: vendor name to hook class. A fifth vendor announces itself here."""


class RunHook(ConnectionForm, BaseHook):
    """Reaches one vendor through an Airflow connection.

    Every operation is a flow of the vendor; :meth:`run` drives it with requests, :meth:`arun` with aiohttp.

    :param conn_id: id of the connection; the vendor's default id if left out.
    """

    conn_name_attr: ClassVar[str]
    default_conn_name: ClassVar[str]
    conn_type: ClassVar[str]
    hook_name: ClassVar[str]
    default_host: ClassVar[str]

    def __init__(self, conn_id: str | None = None, **kwargs: Any) -> None:
        super().__init__()
        # The connection form's test names the id by the hook's own attribute.
        given = kwargs.get(self.conn_name_attr) if conn_id is None else conn_id
        self.conn_id: str = self.default_conn_name if given is None else given
        read_given(self, RunHook)

    @classmethod
    @abstractmethod
    def build(cls, settings: Settings) -> Vendor:
        """Return the vendor that a connection stands for.

        :raises ConnectionSetupError: if the connection lacks something.
        """

    @classmethod
    def seal_keys(cls, settings: Settings) -> tuple[str, ...]:
        """Return what handles are sealed with: the extra ``seal_key`` if set, and the credential."""
        return (*settings.texts("seal_key"), settings.password)

    @classmethod
    def access_of(cls, conn: Connection, extra: Mapping[str, Any]) -> Access:
        """Return what ``conn`` gives access to.

        :raises ConnectionSetupError: if it is of another type, or lacks something.
        """
        if conn.conn_type != cls.conn_type:
            raise ConnectionSetupError(
                f"Connection {conn.conn_id!r} is of type {conn.conn_type!r}; {cls.conn_type!r} is needed."
            )
        base_url = base_url_of(conn.conn_id, conn.host, conn.schema, conn.port, cls.default_host)
        login = (conn.login or "").strip()
        settings = Settings(conn.conn_id, base_url, login, (conn.password or "").strip(), dict(extra))
        vendor = cls.build(settings)
        endpoint = settings.endpoint(vendor.rate_limit)
        return Access(conn.conn_id, vendor, endpoint, tuple(k for k in cls.seal_keys(settings) if k))

    def get_conn(self) -> Access:
        """Return what the connection gives access to; it is read once."""
        return self.access

    @cached_property
    def access(self) -> Access:
        """What the connection gives access to."""
        conn = self.get_connection(self.conn_id)
        access = self.access_of(conn, conn.extra_dejson)
        for key in access.seal_keys:
            mask_secret(key)
        return access

    async def aaccess(self) -> Access:
        """Return what the connection gives access to, without blocking an event loop."""
        conn, extra = await TriggererChannel().connection(self.conn_id)
        return self.access_of(conn, extra)

    def run(self, flow: Flow[T], patience: Patience | None = None) -> T:
        """Drive ``flow`` with requests.

        :param flow: an operation of the vendor.
        :param patience: how long to go on; by default 60 s for a request and its repetitions.
        """
        return self.access.drive(flow, patience)

    async def arun(self, flow: Flow[T], patience: Patience | None = None) -> T:
        """Drive ``flow`` with aiohttp, in the triggerer for example."""
        return await (await self.aaccess()).adrive(flow, patience)

    def test_connection(self) -> tuple[bool, str]:
        """Reach the vendor with the connection's credential; return whether that worked, and what was seen."""
        return trial(self.get_conn, self.conn_id, self.default_host)


@cache
def hook_class(vendor: str) -> type[RunHook]:
    """Return the hook class of a vendor, found by its entry point.

    :raises HandleError: if no installed package knows the vendor.
    """
    for entry in entry_points(group=ENTRY_POINTS, name=vendor):
        hook: type[RunHook] = entry.load()
        return hook
    raise HandleError(f"No installed package knows the vendor {vendor!r} (entry point group {ENTRY_POINTS}).")


def vendors() -> frozenset[str]:
    """Return the names of the vendors that installed packages know."""
    return frozenset(entry.name for entry in entry_points(group=ENTRY_POINTS))


__all__ = ["ENTRY_POINTS", "Access", "RunHook", "Settings", "base_url_of", "hook_class", "vendors"]
