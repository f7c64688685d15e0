"""Holds what was given, or came out of a template, against the table. What is refused is said with its mend."""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from typing import Any

from airflow_runctl.arguments.kinds import is_nothing, is_template
from airflow_runctl.arguments.table import ARGUMENTS, Argument, Empty
from airflow_runctl.exceptions import WrongArgument
from airflow_runctl.runs import printable


def arguments_of(cls: type) -> dict[str, Argument]:
    """Return the arguments of a class: those of its own row, and of the classes that it is made of.

    A class of another package has no row; it may say its own in ``arguments``.
    """
    found: dict[str, Argument] = {}
    for part in reversed(cls.__mro__):
        found |= own_arguments(part)
    return found


def own_arguments(cls: type) -> Mapping[str, Argument]:
    """Return the arguments of a class's own row."""
    own: Mapping[str, Argument] = ARGUMENTS.get(cls.__name__) or vars(cls).get("arguments", {})
    return own


def read_given(subject: Any, of: type) -> None:
    """Read the arguments that class ``of`` takes, at the end of its ``__init__``; they are attributes of ``subject``.

    A template field that holds a template, or the output of a task, is let pass: :func:`read_rendered` reads it.

    :raises WrongArgument: a ``ValueError``, for the first that is not what it has to be.
    """
    for _, error in _read(subject, of):
        raise error


def odd_among_given(subject: Any, of: type) -> dict[str, WrongArgument]:
    """Read arguments where nothing may be refused any more: what is odd becomes what it is by default.

    :returns: the errors, by argument.
    """
    parameters = inspect.signature(of.__init__).parameters  # type: ignore[misc]
    odd = dict(_read(subject, of))
    for name in odd:
        default = parameters[name].default
        if default is not inspect.Parameter.empty:
            setattr(subject, name, default)
    return odd


def _read(subject: Any, of: type) -> list[tuple[str, WrongArgument]]:
    """Return what is wrong, by argument."""
    known, wrong = arguments_of(type(subject)), []
    for name in own_arguments(of):
        argument, value = known[name], getattr(subject, name)
        if name in getattr(subject, "template_fields", ()) and is_template(value):
            subject._out_of_templates = getattr(subject, "_out_of_templates", frozenset()) | {name}
            continue
        try:
            if isinstance(value, str) and is_template(value):
                raise ValueError("a template, and this is no template field")
            _keep(subject, name, value, _understood(argument, value))
        except ValueError as error:
            called = _called(subject, name, argument)
            wrong.append((name, _wrong(name_of(subject), called, argument, value, error)))
    return wrong


def read_rendered(subject: Any) -> None:
    """Read what came out of the templates of ``subject``, before anything is sent.

    :raises WrongArgument: a ``ValueError``, for the first that is not what it has to be.
    """
    templates: frozenset[str] = getattr(subject, "_out_of_templates", frozenset())
    for name, argument in arguments_of(type(subject)).items():
        if argument.templated:
            _read_rendered(subject, name, argument, is_new=name in templates)


def _read_rendered(subject: Any, name: str, argument: Argument, *, is_new: bool) -> None:
    held = getattr(subject, name)
    value = held.reveal() if hasattr(held, "reveal") else held
    if is_new and is_nothing(value) and argument.empty is not Empty.REFUSED:
        if argument.empty is Empty.LEFT_OUT:
            setattr(subject, name, None)
        return
    try:
        if is_new and is_nothing(value):
            raise ValueError
        understood = _understood(argument, argument.kind.rendered(value) if is_new else value)
    except ValueError as error:
        raise WrongArgument(
            f"{name_of(subject)}: {_called(subject, name, argument)} came out of its template as "
            f"{_shown(argument, value)}{_because(error)}; it has to be {argument.kind.wanted}. Nothing was sent."
        ) from None
    if held is value:
        _keep(subject, name, value, understood)


def read_call(of: str, **given: Any) -> dict[str, Any]:
    """Read the arguments of a function or method that has a row in the table.

    :returns: them as they are understood.
    :raises WrongArgument: a ``ValueError``, for the first that is not what it has to be.
    """
    understood = {}
    for name, value in given.items():
        argument = ARGUMENTS[of][name]
        try:
            understood[name] = _understood(argument, value)
        except ValueError as error:
            raise _wrong(of, name, argument, value, error) from None
    return understood


def name_of(subject: Any) -> str:
    """Return what messages call an operator, a trigger or a notifier."""
    task_id = getattr(subject, "task_id", None)
    return type(subject).__name__ + (f" {task_id!r}" if task_id else "")


def _understood(argument: Argument, value: Any) -> Any:
    return None if value is None and argument.optional else argument.kind.read(value)


def _keep(subject: Any, name: str, value: Any, understood: Any) -> None:
    if understood is not value:
        setattr(subject, name, understood)


def _called(subject: Any, name: str, argument: Argument) -> str:
    """Return the name by which a user gives the argument."""
    return argument.called.format(vendor=subject.vendor) if argument.called else name


def _wrong(whose: str, called: str, argument: Argument, value: Any, error: ValueError) -> WrongArgument:
    shown = _shown(argument, value)
    return WrongArgument(f"{whose}: {called} is {shown}{_because(error)}; give {argument.kind.wanted}.")


def _because(error: ValueError) -> str:
    return f" ({error})" if str(error) else ""


def _shown(argument: Argument, value: Any) -> str:
    if argument.secret:
        return "nothing" if is_nothing(value) else f"a value of type {type(value).__name__} (not shown)"
    return printable(repr(value))
