"""Changing a frozen dataclass from JSON, field by field, with a clear refusal of what does not fit."""

from __future__ import annotations

import types
from collections.abc import Mapping
from dataclasses import fields, replace
from typing import TYPE_CHECKING, Any, Literal, TypeVar, Union, get_args, get_origin, get_type_hints

from airflow_runctl.sandbox.wire import Refused

if TYPE_CHECKING:
    from _typeshed import DataclassInstance

Changed = TypeVar("Changed", bound="DataclassInstance")


def changed(value: Changed, changes: object) -> Changed:
    """Return a copy of ``value`` with the fields named in ``changes`` replaced.

    A misspelt field or a value of the wrong type would leave a test green for the wrong reason, so both are
    refused.

    :param changes: the parsed JSON body of a control request; must be an object.
    :raises Refused: with status 400.
    """
    if not isinstance(changes, Mapping):
        raise Refused(400, "the body must be a JSON object")
    hints = get_type_hints(type(value))
    known = {field.name for field in fields(value)}
    for name, new in changes.items():
        if name not in known:
            raise Refused(400, f"no field {name!r}; there are {', '.join(sorted(known))}")
        if not _fits(new, hints[name]):
            raise Refused(400, f"{name}: {new!r} is not {hints[name]}")
    return replace(value, **changes)


def _fits(value: object, hint: Any) -> bool:
    if hint is Any:
        return True
    origin = get_origin(hint)
    if origin is Literal:
        return value in get_args(hint)
    if origin in (Union, types.UnionType):
        return any(_fits(value, part) for part in get_args(hint))
    if hint in (int, float):
        return isinstance(value, (int, hint)) and not isinstance(value, bool)
    return isinstance(value, origin or hint)
