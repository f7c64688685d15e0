"""The connection forms: told once as data, valid for Airflow, and holding just what the hooks read."""

import ast
import inspect
import itertools
import json
import logging
import subprocess
import sys
from collections.abc import Iterator, Mapping
from dataclasses import replace
from importlib import import_module
from importlib.resources import files
from importlib.util import find_spec
from types import ModuleType, SimpleNamespace
from typing import Any

import jsonschema
import pytest
from airflow.providers_manager import ProvidersManager

from airflow_runctl import provider_info
from airflow_runctl.compat import IS_AIRFLOW_2
from airflow_runctl.exceptions import ConnectionSetupError
from airflow_runctl.hooks import base
from airflow_runctl.hooks.base import RunHook

FORMS: dict[str, dict[str, Any]] = {row["connection-type"]: row for row in provider_info.CONNECTION_TYPES}  # type: ignore
TYPES = ["snaplogic", "axiom", "vectorshift", "bctrl"]


def hook_class(conn_type: str) -> type[RunHook]:
    """Return the hook class that the metadata names."""
    module, _, name = FORMS[conn_type]["hook-class-name"].rpartition(".")
    found: type[RunHook] = getattr(import_module(module), name)
    return found


every_type = pytest.mark.parametrize("conn_type", TYPES)


def test_the_metadata_imports_nothing() -> None:
    tree = ast.parse(inspect.getsource(provider_info))
    assert not [node for node in ast.walk(tree) if isinstance(node, ast.Import | ast.ImportFrom)]


# -- Airflow takes them ----------------------------------------------------------------------------------


def schema(name: str) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(files("airflow").joinpath(name).read_text())
    return found


def takes_data() -> bool:
    """Return whether this Airflow takes forms as data (3.2 and newer); others ask the hook class."""
    rows = schema("provider.yaml.schema.json")["properties"]["connection-types"]
    return "conn-fields" in rows["items"]["properties"]


def test_the_metadata_is_valid_for_this_airflow() -> None:
    jsonschema.validate(provider_info.get_provider_info(), schema("provider_info.schema.json"))


def test_the_forms_are_valid_for_this_airflow() -> None:
    """What Airflow checks at run time is less than what it asks of its own providers' source."""
    if not takes_data():
        pytest.skip("this Airflow takes no forms as data")
    wanted = schema("provider.yaml.schema.json")["properties"]["connection-types"]
    jsonschema.validate(provider_info.CONNECTION_TYPES, wanted)


@pytest.mark.filterwarnings("ignore:ProvidersManager.hooks is deprecated")
@every_type
def test_airflow_loads_the_form_and_the_hook_without_a_word(conn_type: str, caplog: pytest.LogCaptureFixture) -> None:
    ProvidersManager.initialized()
    with caplog.at_level(logging.WARNING):
        providers = ProvidersManager()
        hook = providers.hooks[conn_type]
        extras = [name for name in providers.connection_form_widgets if name.startswith(f"extra__{conn_type}__")]
    assert hook is not None
    assert hook.hook_name == FORMS[conn_type]["hook-name"]
    assert hook.connection_testable
    # On 3.1 only the API server has something in place of Airflow 2's form libraries: see below.
    if takes_data() or find_spec("flask_appbuilder"):
        assert len(extras) == len(FORMS[conn_type]["conn-fields"])
        assert conn_type in providers.field_behaviours
    assert not [record.getMessage() for record in caplog.records if conn_type in record.getMessage()]


SHOW = """
import json
from airflow.api_fastapi.core_api.services.ui.connections import HookMetaService
print(json.dumps({row.connection_type: row.model_dump(mode="json") for row in HookMetaService.hook_meta_data()}))
"""


@pytest.mark.skipif(IS_AIRFLOW_2, reason="Airflow 2 has no API server: its form is built of what is looked at above")
def test_the_api_server_shows_every_field_of_every_form() -> None:
    # In an interpreter of its own: the API server puts stand-ins in place of modules.
    done = subprocess.run([sys.executable, "-c", SHOW], capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stderr
    shown = json.loads(done.stdout.splitlines()[-1])
    for conn_type in TYPES:
        form = FORMS[conn_type]
        assert sorted(shown[conn_type]["extra_fields"]) == sorted(form["conn-fields"])
        host = shown[conn_type]["standard_fields"]["host"]
        assert host["placeholder"] == form["ui-field-behaviour"]["placeholders"]["host"]


# -- they hold what the hooks read -----------------------------------------------------------------------


class Noted(Mapping[str, Any]):
    """An extra that notes which of its fields are read."""

    def __init__(self, fields: Mapping[str, Any], read: set[str]) -> None:
        self._fields = fields
        self._read = read

    def __getitem__(self, name: str) -> Any:
        self._read.add(name)
        return self._fields[name]

    def __iter__(self) -> Iterator[str]:
        raise AssertionError("a hook reads fields by their names")

    def __len__(self) -> int:
        return len(self._fields)


CREDENTIAL = {"host": "", "schema": "", "port": None, "login": "ops@acme.example", "password": "a-long-credential"}


def connection(conn_type: str) -> Any:
    return SimpleNamespace(conn_id="form", conn_type=conn_type, **CREDENTIAL)


def choices(conn_type: str) -> list[dict[str, str]]:
    """Return every combination of what the form's selections offer, with what is required filled in."""
    fields = FORMS[conn_type]["conn-fields"]
    selections = {name: ["", *field["schema"]["enum"]] for name, field in fields.items() if "enum" in field["schema"]}
    required = {name: "Acme" for name, field in fields.items() if field["schema"]["type"] == "string"}
    return [
        {**required, "seal_key": "a-seal-key", **dict(zip(selections, row, strict=True))}
        for row in itertools.product(*selections.values())
    ]


@every_type
def test_the_form_holds_every_extra_that_the_hook_reads_and_no_other(
    conn_type: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    read: set[str] = set()
    plain = base.Settings

    def noting(*args: Any) -> base.Settings:
        settings = plain(*args)
        return replace(settings, extra=Noted(settings.extra, read))

    monkeypatch.setattr(base, "Settings", noting)
    for extra in choices(conn_type):
        hook_class(conn_type).access_of(connection(conn_type), extra)
    assert read == set(FORMS[conn_type]["conn-fields"])


@pytest.mark.parametrize(
    ("conn_type", "name"),
    [(t, name) for t in TYPES for name, field in FORMS[t]["conn-fields"].items() if "enum" in field["schema"]],
)
def test_a_selection_offers_all_that_the_hook_takes(conn_type: str, name: str) -> None:
    extra = {**choices(conn_type)[0], name: "something-else"}
    with pytest.raises(ConnectionSetupError, match="it can be ") as refused:
        hook_class(conn_type).access_of(connection(conn_type), extra)
    taken = str(refused.value).rpartition("it can be ")[2].rstrip(".").split(" or ")
    assert FORMS[conn_type]["conn-fields"][name]["schema"]["enum"] == taken


@every_type
def test_what_the_form_requires_is_required(conn_type: str) -> None:
    for name, field in FORMS[conn_type]["conn-fields"].items():
        extra = {key: value for key, value in choices(conn_type)[0].items() if key != name}
        if field["schema"]["type"] == "string":
            with pytest.raises(ConnectionSetupError, match=name):
                hook_class(conn_type).access_of(connection(conn_type), extra)
        else:
            hook_class(conn_type).access_of(connection(conn_type), extra)


@every_type
def test_an_empty_host_means_what_stands_in_the_empty_field(conn_type: str) -> None:
    assert FORMS[conn_type]["ui-field-behaviour"]["placeholders"]["host"] == hook_class(conn_type).default_host


@every_type
def test_secrets_are_password_fields(conn_type: str) -> None:
    for name, field in FORMS[conn_type]["conn-fields"].items():
        secret = any(word in name for word in ("key", "token", "secret", "password"))
        assert (field["schema"].get("format") == "password") is secret, name


# -- hook classes tell the same --------------------------------------------------------------------------


class StandIn:
    """A field of wtforms before it is bound to a form: as the real one, it keeps what it was made with."""

    def __init__(self, name: str) -> None:
        self.field_class = SimpleNamespace(__name__=name)

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        return SimpleNamespace(field_class=self.field_class, args=args, kwargs=kwargs)


@pytest.fixture
def _form_libraries(monkeypatch: pytest.MonkeyPatch) -> None:
    """The libraries of Airflow 2's form, or stand-ins where only Airflow 3 is."""
    if find_spec("wtforms") and find_spec("flask_appbuilder"):
        return
    modules: dict[str, dict[str, Any]] = {
        "wtforms": {n: StandIn(n) for n in ("BooleanField", "IntegerField", "PasswordField", "StringField")},
        "wtforms.validators": {"Optional": SimpleNamespace, "any_of": lambda values: SimpleNamespace(values=values)},
        "flask_babel": {"lazy_gettext": str},
        "flask_appbuilder": {},
        "flask_appbuilder.fieldwidgets": {
            "BS3PasswordFieldWidget": SimpleNamespace,
            "BS3TextFieldWidget": SimpleNamespace,
        },
    }
    for name, members in modules.items():
        module = ModuleType(name)
        vars(module).update(members)
        monkeypatch.setitem(sys.modules, name, module)


def as_data(field: Any) -> dict[str, Any]:
    """Return a field of wtforms as it would stand under ``conn-fields``."""
    schema: dict[str, Any] = {}
    if field.field_class.__name__ == "PasswordField":
        schema["format"] = "password"
    for validator in field.kwargs["validators"]:
        if allowed := getattr(validator, "values", None):
            schema["enum"] = list(allowed)
    return {"label": str(field.args[0]), "description": field.kwargs["description"], "schema": schema}


@pytest.mark.usefixtures("_form_libraries")
@every_type
def test_the_hook_class_offers_the_same_fields(conn_type: str) -> None:
    told = {name: as_data(field) for name, field in hook_class(conn_type).get_connection_form_widgets().items()}
    wanted = {
        name: {**field, "schema": {key: field["schema"][key] for key in ("format", "enum") if key in field["schema"]}}
        for name, field in FORMS[conn_type]["conn-fields"].items()
    }
    assert told == wanted


@pytest.mark.usefixtures("_form_libraries")
@every_type
def test_no_field_of_the_hook_class_is_required(conn_type: str) -> None:
    """All connection types share one form there: a required field would hinder those of other types."""
    for field in hook_class(conn_type).get_connection_form_widgets().values():
        assert field.kwargs["validators"], field.args


@every_type
def test_the_hook_class_says_the_same_of_the_standard_fields(conn_type: str) -> None:
    told = hook_class(conn_type).get_ui_field_behaviour()
    jsonschema.validate(told, schema("customized_form_field_behaviours.schema.json"))
    assert {name.replace("_", "-"): value for name, value in told.items()} == FORMS[conn_type]["ui-field-behaviour"]


@every_type
def test_airflow_finds_both_methods_in_the_class_itself(conn_type: str) -> None:
    """It looks for them without looking at parents."""
    assert {"get_connection_form_widgets", "get_ui_field_behaviour"} <= set(hook_class(conn_type).__dict__)


def test_a_hook_without_a_form_has_an_empty_one() -> None:
    class Fifth(RunHook):
        conn_type = "fifth"

    assert Fifth.get_connection_form_widgets() == {}
    assert Fifth.get_ui_field_behaviour() == {"hidden_fields": [], "relabeling": {}, "placeholders": {}}
