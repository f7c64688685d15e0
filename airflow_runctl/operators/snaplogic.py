"""Operators for SnapLogic: trigger a Triggered Task, stop a run, resume a suspended run."""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any, ClassVar

from airflow_runctl.arguments.reading import read_given
from airflow_runctl.exceptions import StartsMixUp
from airflow_runctl.operators.base import StartRunOperator
from airflow_runctl.operators.existing import ChangeRunOperator, SearchStopOperator
from airflow_runctl.operators.secret_fields import Secret, hidden

if TYPE_CHECKING:
    from airflow_runctl.control.stop_many import Target
    from airflow_runctl.vendors.base import StartPlan
    from airflow_runctl.vendors.snaplogic.vendor import SnapLogic

CONN_ID = "snaplogic_default"
DEFAULT_POOL = "default_pool"


class SnapLogicTriggerTaskOperator(StartRunOperator):
    """Starts a new run of a pipeline by calling a Triggered Task, and waits for its end.

    The call may stay open as long as the pipeline runs. Meanwhile the run is looked for in the list of
    runs, by pipeline and project; ``pipeline_name`` makes that sure, and a pipeline that returns
    ``pipe.ruuid`` early makes it unnecessary.

    Source: https://docs.snaplogic.com/manager/triggered-tasks.html

    :param task_path: the task, ``/org/space/project/task``; the org may be left out. (templated)
    :param task_url: the task's full URL instead. Its host must be the connection's, or be named in the
        connection's extra ``task_hosts``. (templated)
    :param parameters: pipeline parameters, name to text. (templated)
    :param body: JSON for the pipeline's open input. (templated)
    :param method: HTTP method of the call, POST by default.
    :param pipeline_name: name of the pipeline that the task runs. (templated)
    :param project_path: ``/org/space/project`` of that pipeline, the task's own project by default. (templated)
    :param returns_ruuid: the pipeline returns its own id (``pipe.ruuid``): no start of it waits for another's, and the
        answer is waited for where several new runs are listed; False by default.
    :param snaplogic_conn_id: id of the connection.
    :param kwargs: see :class:`~airflow_runctl.operators.base.StartRunOperator`.
    :returns: a dict with ``run_id``, ``state``, ``vendor_state``, ``url``, ``result``, ``external_run``.
    """

    vendor = "snaplogic"
    template_fields: Sequence[str] = (
        "task_path",
        "task_url",
        "parameters",
        "body",
        "pipeline_name",
        "project_path",
        "conn_id",
    )

    def __init__(
        self,
        *,
        task_path: str | None = None,
        task_url: str | None = None,
        parameters: Mapping[str, str] | None = None,
        body: Any = None,
        method: str = "POST",
        pipeline_name: str | None = None,
        project_path: str | None = None,
        returns_ruuid: bool = False,
        snaplogic_conn_id: str = CONN_ID,
        **kwargs: Any,
    ) -> None:
        super().__init__(conn_id=snaplogic_conn_id, **kwargs)
        self.task_path = task_path
        self.task_url = task_url
        self.parameters = parameters
        self.body = body
        self.method = method
        self.pipeline_name = pipeline_name
        self.project_path = project_path
        self.returns_ruuid = returns_ruuid
        self._task_token: Secret | None = None
        read_given(self, SnapLogicTriggerTaskOperator)
        if (task_path is None) == (task_url is None):
            raise ValueError(f"{type(self).__name__} {self.task_id!r}: give exactly one of task_path and task_url.")

    @classmethod
    def partial(cls, **kwargs: Any) -> Any:
        """Map the operator; see Airflow. Warns where mapped starts of several Dag runs could be mixed up."""
        partial = super().partial(**kwargs)
        if partial.kwargs.get("pool") in (None, DEFAULT_POOL) and not kwargs.get("returns_ruuid"):
            warnings.warn(
                f"{cls.__name__} {kwargs.get('task_id')!r} is mapped. Its items start one after the other in a Dag "
                "run, but those of several Dag runs at once cannot be told apart by the list of runs, and then fail. "
                "Let the pipeline return pipe.ruuid and say returns_ruuid=True, or give the task a pool of one slot "
                "that does not count deferred tasks, with deferrable=True.",
                StartsMixUp,
                stacklevel=2,
            )
        return partial

    def _do_render_template_fields(self, parent: Any, *args: Any, **kwargs: Any) -> None:
        """Render, then hide a token in ``task_url`` before Airflow shows the rendered fields."""
        from airflow_runctl.vendors.snaplogic.trigger import without_token

        super()._do_render_template_fields(parent, *args, **kwargs)
        if parent is self and isinstance(self.task_url, str):
            self.task_url, token = without_token(self.task_url)
            self._task_token = hidden(token) if token else self._task_token

    def plan(self, vendor: SnapLogic) -> StartPlan:
        """Return the start of the task's run."""
        from airflow_runctl.vendors.snaplogic.trigger import TriggeredTask

        parameters = {name: str(value) for name, value in (self.parameters or {}).items()}
        return vendor.trigger(
            TriggeredTask(
                self.task_path,
                self.task_url,
                parameters,
                self.body,
                self.method,
                self.pipeline_name,
                self.project_path,
                self.returns_ruuid,
                self._task_token.reveal() if self._task_token else None,
            )
        )


class SnapLogicStopTaskOperator(SearchStopOperator):
    """Stops SnapLogic runs and waits until each is seen to be over.

    Source: https://docs.snaplogic.com/public-apis/post-runtime-stop-org-ruuid.html

    :param ruuid: runtime id of the run. (templated)
    :param external_run: a handle, what a start operator returned, or a list of either, instead. (templated)
    :param disable_task: path of the Ultra Task (``/org/space/project/task``) that the run belongs to: disable it
        instead of stopping the run, which the platform would start again. (templated)
    :param search: filters, instead: stop every live run that matches all of them. ``pipeline_name``,
        ``project_path`` (``/org/space/project``), ``invoker`` (``triggered``, ``scheduled``, ``always_on`` or
        ``manual``). (templated)
    :param snaplogic_conn_id: id of the connection, for ``ruuid`` and for ``search``.
    :param kwargs: see :class:`~airflow_runctl.operators.existing.SearchStopOperator`.
    :returns: a dict with ``run_id``, ``outcome``, ``state``, ``vendor_state``, ``seconds``, or a list of them.
    """

    vendor = "snaplogic"
    filters: ClassVar[frozenset[str]] = frozenset({"pipeline_name", "project_path", "invoker"})
    template_fields: Sequence[str] = ("ruuid", "external_run", "disable_task", "search", "conn_id", "stop_reason")

    def __init__(
        self,
        *,
        ruuid: str | None = None,
        disable_task: str | None = None,
        snaplogic_conn_id: str = CONN_ID,
        **kwargs: Any,
    ) -> None:
        super().__init__(conn_id=snaplogic_conn_id, ids={"ruuid": ruuid}, **kwargs)
        self.ruuid = ruuid
        self.disable_task = disable_task
        read_given(self, SnapLogicStopTaskOperator)
        if disable_task is not None and self.search is not None:
            raise ValueError(f"{type(self).__name__} {self.task_id!r}: disable_task goes with ruuid or external_run.")

    async def act(self, target: Target) -> dict[str, Any]:
        """Stop one run, or disable the task that would start it again."""
        if self.disable_task:
            ids = {**target.run.ids, "disable_task": self.disable_task}
            target = replace(target, run=replace(target.run, ids=ids))
        return await super().act(target)

    def named_run(self) -> tuple[str, Mapping[str, str]]:
        """Return the run that ``ruuid`` names."""
        return str(self.ruuid), {"ruuid": str(self.ruuid)}


class SnapLogicResumeTaskOperator(ChangeRunOperator):
    """Resumes suspended SnapLogic runs and waits until each is seen to go on; not for its end.

    A resumed run keeps its id and its owner: the task that started it, or the Dag run.

    Source: https://docs.snaplogic.com/public-apis/post-runtime-start-org-ruuid.html

    :param ruuid: runtime id of the run. (templated)
    :param external_run: a handle, what a start operator returned, or a list of either, instead. (templated)
    :param snaplogic_conn_id: id of the connection, for ``ruuid``.
    :param kwargs: see :class:`~airflow_runctl.operators.existing.ExistingRunOperator`.
    :returns: a dict with ``run_id``, ``outcome`` (``resumed``, or ``requested`` if that was not seen in time),
        ``state``, ``vendor_state``, ``seconds``, or a list of them.
    :raises RunctlError: if the run is not suspended.
    """

    vendor = "snaplogic"
    change = "RESUME"
    template_fields: Sequence[str] = ("ruuid", "external_run", "conn_id")

    def __init__(self, *, ruuid: str | None = None, snaplogic_conn_id: str = CONN_ID, **kwargs: Any) -> None:
        super().__init__(conn_id=snaplogic_conn_id, ids={"ruuid": ruuid}, **kwargs)
        self.ruuid = ruuid
        read_given(self, SnapLogicResumeTaskOperator)

    def named_run(self) -> tuple[str, Mapping[str, str]]:
        """Return the run that ``ruuid`` names."""
        return str(self.ruuid), {"ruuid": str(self.ruuid)}
