"""What the value of an argument may be, and how it is understood: seconds, a text, True or False, ..."""

from __future__ import annotations

import ast
import json
import math
from collections.abc import Callable, Mapping, Set
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, Final

from airflow_runctl.runs import RunState

LONGEST: Final = timedelta(days=3660)
"""Ten years: what is longer is a mistake, and overflows a clock somewhere."""

NOTHING: Final = frozenset({"", "None", "null"})
"""What a template makes of nothing."""


def _as_it_is(value: Any) -> Any:
    return value


@dataclass(frozen=True, slots=True)
class Kind:
    """What a value may be.

    :param wanted: that in words, as they follow "give".
    :param read: returns the value as it is understood; raises ``ValueError``, if need be with a word on what is wrong.
    :param rendered: what is done before with a value out of a template: a Dag that renders native objects makes a
        number of an id of digits.
    """

    wanted: str
    read: Callable[[Any], Any]
    rendered: Callable[[Any], Any] = _as_it_is


def is_template(value: Any) -> bool:
    """Return True for what has its value only when the task runs: a Jinja template, the output of a task."""
    if isinstance(value, str):
        return any(mark in value for mark in ("{{", "{%", "{#"))
    return hasattr(value, "iter_references")


def is_nothing(value: Any) -> bool:
    """Return True for what is left of a template that came to nothing."""
    return value is None or (isinstance(value, str) and value.strip() in NOTHING)


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _digits(value: Any) -> Any:
    return str(value) if isinstance(value, int) and not isinstance(value, bool) else value


def _only(holds: bool) -> None:
    if not holds:
        raise ValueError


# -- one value -------------------------------------------------------------------------------------------


def _seconds(value: Any, *, zero: bool = False) -> float:
    number = value.total_seconds() if isinstance(value, timedelta) else value
    _only(_is_number(number) and (number > 0 or (zero and number == 0)) and number <= LONGEST.total_seconds())
    seconds: float = number
    return seconds


def _span(value: Any) -> timedelta:
    if not isinstance(value, timedelta):
        raise ValueError(type(value).__name__)
    _only(timedelta(0) < value <= LONGEST)
    return value


def _moment(value: Any) -> float:
    _only(_is_number(value) and math.isfinite(value))
    return float(value)


def _bool(value: Any) -> bool:
    _only(isinstance(value, bool))
    return bool(value)


def _text(value: Any) -> str:
    _only(isinstance(value, str) and not is_nothing(value))
    return str(value)


def _remark(value: Any) -> str:
    _only(isinstance(value, str))
    return str(value)


def _whole(value: Any) -> int:
    _only(isinstance(value, int) and not isinstance(value, bool) and value >= 1)
    return int(value)


def _version(value: Any) -> Any:
    _only(not isinstance(value, str) or value.strip().isdecimal())
    _whole(int(value) if isinstance(value, str) else value)
    return value


def choice(*words: str) -> Kind:
    """Return the kind of one of these words."""

    def read(value: Any) -> Any:
        _only(isinstance(value, str) and value in words)
        return value

    return Kind(f"one of {', '.join(words)}", read)


# -- values of several parts -----------------------------------------------------------------------------


def _map(value: Any) -> Mapping[str, Any]:
    _only(isinstance(value, Mapping) and all(isinstance(name, str) for name in value))
    mapping: Mapping[str, Any] = value
    return mapping


def _named_texts(value: Any) -> Mapping[str, Any]:
    """Read names to ids: each has to say something. The output of a task may stand for one."""
    for name, said in _map(value).items():
        if is_nothing(said):
            raise ValueError(f"{name} is empty")
        if not (is_template(said) or isinstance(_digits(said), str) or hasattr(said, "reveal")):
            raise ValueError(f"{name} is {type(said).__name__}")
    return _map(value)


def _ids(value: Any) -> Any:
    """Read the ids of a run, or the text of such a dict, which the sensor reads once it is rendered."""
    if isinstance(value, str):
        return _text(value)
    _only(bool(value))
    return _named_texts(value)


def _rows(value: Any) -> Any:
    _only(isinstance(value, list) and all(isinstance(row, list) or is_template(row) for row in value))
    return value


def _prompt(value: Any) -> Any:
    _only(isinstance(value, str | list) and bool(value) and not is_nothing(value))
    return value


def _handles(value: Any) -> Any:
    """Read what may hold a handle; what is in it is looked at when it is opened."""
    some = isinstance(value, list | tuple | str) and bool(value) and not is_nothing(value)
    _only(some or isinstance(value, Mapping))
    return value


def _limits(value: Any) -> Any:
    _only(all(_is_number(when) and not math.isnan(when) for when in _map(value).values()))
    return value


def _states(value: Any) -> Any:
    _only(isinstance(value, list | tuple | Set) and bool(value) and all(state in TARGETS for state in value))
    return value


def _task_ids(value: Any) -> Any:
    """Read ids of tasks: one, several, or the text of a list, which is what a template makes of one."""
    if isinstance(value, str) and value.strip()[:1] in {"[", "(", "{"} and not is_template(value):
        value = listed(value)
    if isinstance(value, str):
        return _text(value)
    _only(isinstance(value, list | tuple | Set) and bool(value))
    for name in value:
        _only(is_template(name) or bool(_text(name)))
    return value


def _share(value: Any) -> float:
    _only(_is_number(value) and 0 <= value <= 1)
    return float(value)


def _patterns(value: Any) -> Any:
    _only(isinstance(value, list | tuple | Set))
    for pattern in value:
        _text(pattern)
    return value


def listed(text: str) -> Any:
    """Return the list that a text was; ``None`` if it is none."""
    for read in (json.loads, ast.literal_eval):
        try:
            return read(text)
        except (ValueError, SyntaxError, MemoryError, RecursionError):
            continue
    return None


TARGETS: Final = tuple(state.value for state in RunState if state is not RunState.UNKNOWN)
"""States that a sensor can wait for."""

SECONDS: Final = Kind("seconds above 0, ten years at most, as a number or a timedelta", _seconds)
SECONDS_OR_ZERO: Final = Kind(
    "seconds, as a number or a timedelta, ten years at most; 0 does not wait", lambda value: _seconds(value, zero=True)
)
SPAN: Final = Kind("a timedelta above zero, ten years at most, such as timedelta(hours=1)", _span)
MOMENT: Final = Kind("a Unix time", _moment)
BOOL: Final = Kind("True or False (any text counts as True in Python)", _bool)
TEXT: Final = Kind("a text that says something: not empty, and not 'None'", _text, _digits)
REMARK: Final = Kind("a text", _remark, str)
WHOLE: Final = Kind("a whole number, 1 at least", _whole)
VERSION: Final = Kind("a whole number, 1 at least, or its text", _version)
ON_RETRY: Final = choice("reattach", "resume", "restart")
METHOD: Final = choice("GET", "POST", "PUT", "PATCH", "DELETE")
MAP: Final = Kind("a dict whose keys are texts", _map)
FILTERS: Final = Kind("a dict of filters, name to the text that is wanted, none of them empty", _named_texts)
IDS: Final = Kind("a dict of the vendor's own ids, texts that are not empty", _ids)
ROWS: Final = Kind("a list of lists", _rows)
PROMPT: Final = Kind("a text or a list of parts, not empty", _prompt)
HANDLES: Final = Kind("a handle, what a start operator returned, or a list of either", _handles)
SHARE: Final = Kind("a part of one, from 0 to 1", _share)
PATTERNS: Final = Kind("a list of names or patterns, such as ['finance_*']", _patterns)
LIMITS: Final = Kind("a dict of limits, reason to Unix time", _limits)
STATES: Final = Kind(f"a list of {', '.join(TARGETS)}", _states)
TASK_IDS: Final = Kind("ids of tasks, one at least", _task_ids)
ANYTHING: Final = Kind("anything", _as_it_is)
