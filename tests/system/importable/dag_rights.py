"""An auth manager with rights to single Dags: whoever is called ``only-DAG_ID`` may see that Dag and no other.

Everybody is given a token, as by the simple one with ``simple_auth_manager_all_admins``; but who has none is nobody.
"""

from typing import Any

from airflow.api_fastapi.auth.managers.simple.middleware import SimpleAllAdminMiddleware
from airflow.api_fastapi.auth.managers.simple.simple_auth_manager import SimpleAuthManager


async def as_it_came(self: Any, request: Any, call_next: Any) -> Any:
    """Make nobody an admin who is not."""
    return await call_next(request)


SimpleAllAdminMiddleware.dispatch = as_it_came  # type: ignore[method-assign]


class DagRights(SimpleAuthManager):
    """Airflow's simple one, with such users."""

    def is_authorized_dag(self, *, user: Any, details: Any = None, **more: Any) -> bool:
        """Return True if a user may do something with a Dag."""
        kind, _, dag_id = str(user.get_name()).partition("-")
        if kind == "only" and (details is None or details.id != dag_id):
            return False
        return bool(super().is_authorized_dag(user=user, details=details, **more))
