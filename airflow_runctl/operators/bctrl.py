"""Operators for bctrl: start and stop a runtime, run a task of an agent."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, ClassVar

from airflow_runctl.arguments.reading import read_given
from airflow_runctl.operators.base import StartRunOperator
from airflow_runctl.operators.existing import SearchStopOperator

if TYPE_CHECKING:
    from airflow_runctl.vendors.base import StartPlan
    from airflow_runctl.vendors.bctrl.api import Bctrl

CONN_ID = "bctrl_default"


class BctrlStartRuntimeOperator(StartRunOperator):
    """Starts a bctrl runtime: a browser that lives until something stops it, or until it idles out.

    There is no end to wait for. The task ends once the runtime is recorded, and the runtime belongs to the Dag
    run: ``StopRunsNotifier`` stops it with whatever else is alive, and so does ``BctrlStopRuntimeOperator`` as a
    teardown (``stop.as_teardown(setups=start)``).

    The connection's extra ``api`` says which of the arguments are needed. Nothing here returns the addresses by which
    the browser can be driven, since they are credentials: ask bctrl for them, with the ids in ``result``.

    Source: https://platform.bctrl.ai/api/api-reference/workspaces/runtimes-create; for ``browsers`` the contract of
    2026-10-03, as the vendor's Python client 0.3.0 speaks it.

    :param workspace_id: id of the workspace. (workspaces; templated)
    :param alias: the runtime's name in its workspace; one that no live runtime has. (workspaces; templated)
    :param kind: ``browser`` by default; others were announced. (workspaces; templated)
    :param driver: ``puppeteer``, ``playwright`` (a browser's default), ``selenium`` or ``stagehand``.
        (workspaces; templated)
    :param launch: ``{"mode": "ephemeral"}``, the default for a browser, or ``{"mode": "profile", "profileId": ...}``.
        (workspaces; templated)
    :param browser_id: id of a browser that exists and does not run; a new one is made by default.
        (browsers; templated)
    :param name: name of the new browser. (browsers; templated)
    :param space_id: space of the new browser. (browsers; templated)
    :param options: further fields of the new runtime, as bctrl names them: ``headless``, ``timeoutSeconds``, ``proxy``,
        ... (templated)
    :param bctrl_conn_id: id of the connection.
    :param kwargs: see :class:`~airflow_runctl.operators.base.StartRunOperator`; ``wait_for_completion`` is False by
        default here, and nothing else is possible.
    :returns: a dict with ``run_id``, ``state``, ``vendor_state``, ``url``, ``result`` (the ids that bctrl knows the
        runtime by) and ``external_run``.
    """

    vendor = "bctrl"
    template_fields: Sequence[str] = (
        "workspace_id",
        "alias",
        "kind",
        "driver",
        "launch",
        "browser_id",
        "name",
        "space_id",
        "options",
        "conn_id",
    )

    def __init__(
        self,
        *,
        workspace_id: str | None = None,
        alias: str | None = None,
        kind: str = "browser",
        driver: str | None = None,
        launch: Mapping[str, Any] | None = None,
        browser_id: str | None = None,
        name: str | None = None,
        space_id: str | None = None,
        options: Mapping[str, Any] | None = None,
        wait_for_completion: bool = False,
        bctrl_conn_id: str = CONN_ID,
        **kwargs: Any,
    ) -> None:
        super().__init__(conn_id=bctrl_conn_id, wait_for_completion=wait_for_completion, **kwargs)
        self.workspace_id = workspace_id
        self.alias = alias
        self.kind = kind
        self.driver = driver
        self.launch = launch
        self.browser_id = browser_id
        self.name = name
        self.space_id = space_id
        self.options = options
        read_given(self, BctrlStartRuntimeOperator)
        self._check_which()

    def _check_arguments(self) -> None:
        if self.wait_for_completion or self.max_runtime is not None:
            raise ValueError(
                f"{type(self).__name__} {self.task_id!r}: a bctrl runtime never completes by itself, so "
                "wait_for_completion and max_runtime make no sense. Leave both out: the runtime then belongs to the "
                "Dag run, and StopRunsNotifier, a deadline or BctrlStopRuntimeOperator stops it. Work that has an end "
                "is a task of an agent: BctrlRunTaskOperator waits for that."
            )
        super()._check_arguments()

    def _check_which(self) -> None:
        of_workspaces = {"workspace_id": self.workspace_id, "alias": self.alias}
        of_browsers = {"browser_id": self.browser_id, "name": self.name, "space_id": self.space_id}
        given = [name for name, value in {**of_workspaces, **of_browsers}.items() if value is not None]
        if set(given) & set(of_workspaces) and set(given) != set(of_workspaces):
            raise ValueError(
                f"{type(self).__name__} {self.task_id!r}: {', '.join(given)} was given. A runtime of a workspace needs "
                "workspace_id and alias, and nothing of browser_id, name and space_id."
            )
        if self.browser_id is not None and len(given) > 1:
            raise ValueError(
                f"{type(self).__name__} {self.task_id!r}: name and space_id are for a new browser; browser_id names "
                "one that exists."
            )

    def plan(self, vendor: Bctrl) -> StartPlan:
        """Return the start of the runtime."""
        from airflow_runctl.vendors.bctrl.api import RuntimeStart

        return vendor.start_runtime(
            RuntimeStart(
                workspace_id=self.workspace_id,
                alias=self.alias,
                kind=self.kind,
                driver=self.driver,
                launch=self.launch or None,
                browser_id=self.browser_id,
                name=self.name,
                space_id=self.space_id,
                options=self.options or {},
            )
        )


class BctrlRunTaskOperator(StartRunOperator):
    """Gives an agent of bctrl a task, and waits for its end. Needs the contract ``browsers``.

    A task that asks for input ends the wait with an error, and is cancelled: nobody here can answer, and it would
    stay as it is for ever. With ``on_retry='resume'`` and a retry to come it is left alive, for somebody to
    answer at bctrl meanwhile. A task whose outcome bctrl itself does not know fails, and is not started again by a
    retry: all of its work may be done.

    Source: the contract of 2026-10-03, as the vendor's Python client 0.3.0 speaks it.

    :param agent: id or name of the agent. (templated)
    :param input: what it is told: a text, or a list of parts. (templated)
    :param version: version of the agent; the newest by default. (templated)
    :param options: further fields of the task, as bctrl names them: ``conversation``, ``outputSchema``, ``spaceId``,
        ``metadata``. (templated)
    :param bctrl_conn_id: id of the connection.
    :param kwargs: see :class:`~airflow_runctl.operators.base.StartRunOperator`.
    :returns: a dict with ``run_id`` (the task's id at bctrl), ``state``, ``vendor_state``, ``url``, ``result`` (the
        task's output) and ``external_run``.
    """

    vendor = "bctrl"
    template_fields: Sequence[str] = ("agent", "input", "version", "options", "conn_id")

    def __init__(
        self,
        *,
        agent: str,
        input: str | list[Any],
        version: int | str | None = None,
        options: Mapping[str, Any] | None = None,
        bctrl_conn_id: str = CONN_ID,
        **kwargs: Any,
    ) -> None:
        super().__init__(conn_id=bctrl_conn_id, **kwargs)
        self.agent = agent
        self.input = input
        self.version = version
        self.options = options
        read_given(self, BctrlRunTaskOperator)

    def plan(self, vendor: Bctrl) -> StartPlan:
        """Return the start of the task."""
        from airflow_runctl.vendors.bctrl.api import TaskStart

        version = None if self.version is None else int(self.version)
        return vendor.run_task(TaskStart(self.agent, self.input, version, self.options or {}))


class BctrlStopRuntimeOperator(SearchStopOperator):
    """Stops bctrl runtimes, or cancels tasks, and waits until each is seen to be over.

    A runtime of which the handle is known is stopped only if its alias, or its browser, has not come to mean another
    one since. With ``workspace_id`` and ``alias``, or with ``browser_id``, whatever runs there now is stopped.

    Source: https://platform.bctrl.ai/api/api-reference/workspaces/runtimes-stop; for ``browsers`` the contract of
    2026-10-03, as the vendor's Python client 0.3.0 speaks it.

    :param workspace_id: id of the workspace. (workspaces; templated)
    :param alias: the runtime's name in it. (workspaces; templated)
    :param browser_id: id of the browser. (browsers; templated)
    :param agent_task_id: id of an agent's task. (browsers; templated)
    :param external_run: a handle, what a start operator returned, or a list of either, instead. (templated)
    :param search: filters, instead: stop every live runtime that matches all of them. ``name`` (alias or name of the
        browser), ``workspace_id`` (workspaces), ``space_id`` (browsers). (templated)
    :param bctrl_conn_id: id of the connection, for ids and for ``search``.
    :param kwargs: see :class:`~airflow_runctl.operators.existing.SearchStopOperator`.
    :returns: a dict with ``run_id``, ``outcome``, ``state``, ``vendor_state``, ``seconds``, or a list of them.
    """

    vendor = "bctrl"
    filters: ClassVar[frozenset[str]] = frozenset({"name", "workspace_id", "space_id"})
    template_fields: Sequence[str] = (
        "workspace_id",
        "alias",
        "browser_id",
        "agent_task_id",
        "external_run",
        "search",
        "conn_id",
        "stop_reason",
    )

    def __init__(
        self,
        *,
        workspace_id: str | None = None,
        alias: str | None = None,
        browser_id: str | None = None,
        agent_task_id: str | None = None,
        bctrl_conn_id: str = CONN_ID,
        **kwargs: Any,
    ) -> None:
        ids = {
            "workspace_id": workspace_id,
            "alias": alias,
            "browser_id": browser_id,
            "agent_task_id": agent_task_id,
        }
        super().__init__(conn_id=bctrl_conn_id, ids=ids, **kwargs)
        self.workspace_id = workspace_id
        self.alias = alias
        self.browser_id = browser_id
        self.agent_task_id = agent_task_id
        read_given(self, BctrlStopRuntimeOperator)
        given = {name for name, value in ids.items() if value is not None}
        if given and given not in ({"workspace_id", "alias"}, {"browser_id"}, {"agent_task_id"}):
            raise ValueError(
                f"{type(self).__name__} {self.task_id!r}: give workspace_id and alias together, or browser_id alone, "
                f"or agent_task_id alone; {', '.join(sorted(given))} was given."
            )

    def named_run(self) -> tuple[str, Mapping[str, str]]:
        """Return the runtime or task that the ids name."""
        if self.agent_task_id is not None:
            return str(self.agent_task_id), {"task_id": str(self.agent_task_id)}
        if self.browser_id is not None:
            return str(self.browser_id), {"browser_id": str(self.browser_id)}
        ids = {"workspace_id": str(self.workspace_id), "alias": str(self.alias)}
        return "/".join(ids.values()), ids
