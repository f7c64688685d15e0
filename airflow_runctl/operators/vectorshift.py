"""Operators for VectorShift: run a pipeline, terminate, pause and resume a run."""

from __future__ import annotations

import mimetypes
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from airflow_runctl.arguments.reading import read_given
from airflow_runctl.operators.base import StartRunOperator
from airflow_runctl.operators.existing import ChangeRunOperator, ExistingRunOperator, StopRunOperator

if TYPE_CHECKING:
    from airflow_runctl.vendors.base import StartPlan
    from airflow_runctl.vendors.vectorshift.vendor import VectorShift

CONN_ID = "vectorshift_default"


class VectorShiftRunPipelineOperator(StartRunOperator):
    """Runs a VectorShift pipeline in the background, and waits for its end.

    The result is what the pipeline's output nodes gave, by name. VectorShift may show it some seconds
    after the run is completed: it is waited for up to 30 s.

    Source: https://docs.vectorshift.ai/api-reference/pipelines/run

    :param pipeline_id: id of the pipeline. (templated)
    :param inputs: name of an input node to its value: text, number, boolean, ``None``, list, map
        (``{"type": "map", "items": {...}}``) or file object (``{"type": "file", "raw_bytes": "<base64>",
        "metadata": {"name": ..., "path": ..., "mime_type": ...}}``). (templated)
    :param files: name of an input node to the path of a file on the worker; sent whole, as a file object. (templated)
    :param version: version of the pipeline, such as ``1.2.0``; the server's choice by default, and the published
        version and the working branch may differ. (templated)
    :param vectorshift_conn_id: id of the connection.
    :param kwargs: see :class:`~airflow_runctl.operators.base.StartRunOperator`. No document says how a paused run
        looks: ``on_retry='resume'`` resumes one that is live under a word which no page has.
    :returns: a dict with ``run_id``, ``state``, ``vendor_state``, ``url``, ``result``, ``external_run``.
    """

    vendor = "vectorshift"
    template_fields: Sequence[str] = ("pipeline_id", "inputs", "files", "version", "conn_id")

    def __init__(
        self,
        *,
        pipeline_id: str,
        inputs: Mapping[str, Any] | None = None,
        files: Mapping[str, str] | None = None,
        version: str | None = None,
        vectorshift_conn_id: str = CONN_ID,
        **kwargs: Any,
    ) -> None:
        super().__init__(conn_id=vectorshift_conn_id, **kwargs)
        self.pipeline_id = pipeline_id
        self.inputs = inputs
        self.files = files
        self.version = version
        read_given(self, VectorShiftRunPipelineOperator)

    def plan(self, vendor: VectorShift) -> StartPlan:
        """Return the start of the pipeline's run, with the files read."""
        from airflow_runctl.vendors.vectorshift.start import PipelineRun

        inputs, files = dict(self.inputs or {}), dict(self.files or {})
        if twice := sorted(inputs.keys() & files.keys()):
            raise ValueError(f"Task {self.task_id!r}: {', '.join(twice)} is given both in inputs and in files.")
        values = {**inputs, **{name: self._file(name, where) for name, where in files.items()}}
        return vendor.run_pipeline(PipelineRun(self.pipeline_id, values, self.version))

    def _file(self, name: str, where: Any) -> dict[str, Any]:
        """Read a file; its folders on the worker are nobody's business at VectorShift."""
        from airflow_runctl.vendors.vectorshift.start import file_input

        file = Path(where)
        try:
            content = file.read_bytes()
        except OSError as error:
            raise ValueError(
                f"files of task {self.task_id!r}: {name!r} is {where!r}, which cannot be read on this worker "
                f"({type(error).__name__}). Nothing was started."
            ) from error
        return file_input(file.name, content, mimetypes.guess_type(file.name)[0] or "application/octet-stream")


class _PipelineRunOperator(ExistingRunOperator):
    """Acts on runs that are named by pipeline and run, or by handles."""

    vendor = "vectorshift"

    def __init__(
        self,
        *,
        pipeline_id: str | None = None,
        run_id: str | None = None,
        vectorshift_conn_id: str = CONN_ID,
        **kwargs: Any,
    ) -> None:
        super().__init__(conn_id=vectorshift_conn_id, ids={"pipeline_id": pipeline_id, "run_id": run_id}, **kwargs)
        self.pipeline_id = pipeline_id
        self.run_id = run_id
        read_given(self, _PipelineRunOperator)
        if (pipeline_id is None) != (run_id is None):
            raise ValueError(
                f"{type(self).__name__} {self.task_id!r}: give pipeline_id and run_id together; VectorShift knows "
                "a run only with its pipeline."
            )

    def named_run(self) -> tuple[str, Mapping[str, str]]:
        """Return the run that ``pipeline_id`` and ``run_id`` name."""
        return str(self.run_id), {"pipeline_id": str(self.pipeline_id), "run_id": str(self.run_id)}


class VectorShiftTerminateRunOperator(_PipelineRunOperator, StopRunOperator):
    """Terminates VectorShift runs and waits until each is seen to be over.

    Source: https://docs.vectorshift.ai/api-reference/pipelines/terminate

    :param pipeline_id: id of the pipeline. (templated)
    :param run_id: id of its run, ``task_id`` in the answer to a start. (templated)
    :param external_run: a handle, what a start operator returned, or a list of either, instead. (templated)
    :param vectorshift_conn_id: id of the connection, for ids.
    :param kwargs: see :class:`~airflow_runctl.operators.existing.StopRunOperator`.
    :returns: a dict with ``run_id``, ``outcome``, ``state``, ``vendor_state``, ``seconds``, or a list of them.
    """

    template_fields: Sequence[str] = ("pipeline_id", "run_id", "external_run", "conn_id", "stop_reason")


class VectorShiftPauseRunOperator(_PipelineRunOperator, ChangeRunOperator):
    """Pauses VectorShift runs.

    No document says when a pause takes effect or which word the look at a paused run has, so it cannot be
    confirmed: the outcome is ``requested`` once VectorShift has accepted it, and ``vendor_state`` is the
    word of one look afterwards. Whoever watches the run goes on watching it.

    Source: https://docs.vectorshift.ai/api-reference/pipelines/pause

    :param pipeline_id: id of the pipeline. (templated)
    :param run_id: id of its run, ``task_id`` in the answer to a start. (templated)
    :param external_run: a handle, what a start operator returned, or a list of either, instead. (templated)
    :param vectorshift_conn_id: id of the connection, for ids.
    :returns: a dict with ``run_id``, ``outcome`` (``requested`` or ``already_finished``), ``state``,
        ``vendor_state``, ``seconds``, or a list of them.
    """

    change = "PAUSE"
    template_fields: Sequence[str] = ("pipeline_id", "run_id", "external_run", "conn_id")

    def __init__(self, **kwargs: Any) -> None:
        kwargs.setdefault("stop_timeout", 0.0)
        super().__init__(**kwargs)


class VectorShiftResumeRunOperator(_PipelineRunOperator, ChangeRunOperator):
    """Resumes paused VectorShift runs; it does not wait for their end.

    A resumed run keeps its id and its owner. That it was paused cannot be checked, only that it is not over.

    Source: https://docs.vectorshift.ai/api-reference/pipelines/resume

    :param pipeline_id: id of the pipeline. (templated)
    :param run_id: id of its run, ``task_id`` in the answer to a start. (templated)
    :param external_run: a handle, what a start operator returned, or a list of either, instead. (templated)
    :param vectorshift_conn_id: id of the connection, for ids.
    :param kwargs: see :class:`~airflow_runctl.operators.existing.ExistingRunOperator`.
    :returns: a dict with ``run_id``, ``outcome`` (``resumed``: accepted, and not over), ``state``,
        ``vendor_state``, ``seconds``, or a list of them.
    :raises RunctlError: if the run is over.
    """

    change = "RESUME"
    template_fields: Sequence[str] = ("pipeline_id", "run_id", "external_run", "conn_id")
