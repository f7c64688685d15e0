"""Connection forms for Airflow below 3.2, which asks the hook class for them and cannot read them as data.

What the form holds stands once, in the metadata of the provider that the hook belongs to.
"""

from __future__ import annotations

from collections.abc import Mapping
from importlib.metadata import entry_points
from inspect import getattr_static
from typing import Any, ClassVar, Final

PROVIDERS: Final = "apache_airflow_provider"
"""Group of entry points in which Airflow finds the metadata of providers."""

ASKED_FOR: Final = ("get_connection_form_widgets", "get_ui_field_behaviour")


class ConnectionForm:
    """Gives a hook class the two methods that Airflow asks for its connection form."""

    conn_type: ClassVar[str]

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        for name in ASKED_FOR:
            # Airflow looks into the class's own namespace only and passes over what it inherits.
            setattr(cls, name, getattr_static(cls, name))

    @classmethod
    def get_connection_form_widgets(cls) -> dict[str, Any]:
        """Return the form's fields for the connection's extra, as wtforms' fields."""
        return {name: _field(told) for name, told in _connection_type(cls).get("conn-fields", {}).items()}

    @classmethod
    def get_ui_field_behaviour(cls) -> dict[str, Any]:
        """Return which standard fields are hidden or renamed, and what stands in empty ones."""
        told = _connection_type(cls).get("ui-field-behaviour", {})
        return {
            "hidden_fields": list(told.get("hidden-fields", [])),
            "relabeling": dict(told.get("relabeling", {})),
            "placeholders": dict(told.get("placeholders", {})),
        }


def _connection_type(hook: type[ConnectionForm]) -> Mapping[str, Any]:
    """Return what the provider in the hook's own package says about its connection type."""
    package = hook.__module__.partition(".")[0]
    for entry in entry_points(group=PROVIDERS):
        if entry.module.partition(".")[0] == package:
            for row in entry.load()().get("connection-types", []):
                if row["connection-type"] == hook.conn_type:
                    found: Mapping[str, Any] = row
                    return found
    return {}


def _field(told: Mapping[str, Any]) -> Any:
    """Return the wtforms field for one entry of ``conn-fields``; the four classes are all that Airflow takes."""
    from flask_appbuilder.fieldwidgets import (  # type: ignore[import-not-found]
        BS3PasswordFieldWidget,
        BS3TextFieldWidget,
    )
    from flask_babel import lazy_gettext  # type: ignore[import-not-found]
    from wtforms import BooleanField, IntegerField, PasswordField, StringField  # type: ignore[import-untyped]
    from wtforms.validators import Optional, any_of  # type: ignore[import-untyped]

    schema = told["schema"]
    types = {schema["type"]} if isinstance(schema["type"], str) else set(schema["type"])
    # A required field would have to be filled in for connections of every other type too: one form holds them all.
    arguments: dict[str, Any] = {
        "validators": [Optional()],
        "description": told.get("description", ""),
        "default": schema.get("default"),
    }
    if "enum" in schema:
        arguments["validators"].append(any_of(schema["enum"]))
    if "boolean" in types:
        return BooleanField(lazy_gettext(told["label"]), **arguments)
    if schema.get("format") == "password":
        return PasswordField(lazy_gettext(told["label"]), widget=BS3PasswordFieldWidget(), **arguments)
    field = IntegerField if "integer" in types else StringField
    return field(lazy_gettext(told["label"]), widget=BS3TextFieldWidget(), **arguments)
