"""At which Airflow, and as whom: the environment, what airflowctl has stored, a question; never an argument."""

from __future__ import annotations

import json
import sys
import types
from pathlib import Path

import pytest

from airflow_runctl.cli import login
from airflow_runctl.cli.login import find_login
from airflow_runctl.exceptions import AirflowRefused, WrongArgument

SECRET = "token-of-the-keyring"


class Keyring:
    """The keyring of the machine."""

    def __init__(self, entries: dict[tuple[str, str], str]) -> None:
        self.entries = entries

    def get_password(self, service: str, name: str) -> str | None:
        return self.entries.get((service, name))


@pytest.fixture
def keyring(monkeypatch: pytest.MonkeyPatch) -> Keyring:
    made = Keyring({("airflowctl", "api_token_production"): SECRET, ("airflowctl", "api_token_staging"): "of-staging"})
    module = types.ModuleType("keyring")
    module.get_password = made.get_password  # type: ignore[attr-defined]
    errors = types.ModuleType("keyring.errors")
    errors.KeyringError = OSError  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "keyring", module)
    monkeypatch.setitem(sys.modules, "keyring.errors", errors)
    return made


@pytest.fixture
def home(tmp_path: Path) -> dict[str, str]:
    """airflowctl has logged in to two environments."""
    for name in ("production", "staging"):
        (tmp_path / f"{name}.json").write_text(json.dumps({"api_url": f"https://{name}.example.com/"}))
    return {"AIRFLOW_HOME": str(tmp_path)}


@pytest.fixture(autouse=True)
def nobody(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(login.sys, "stdin", types.SimpleNamespace(isatty=lambda: False))


def test_what_airflowctl_has_stored_is_used(home: dict[str, str], keyring: Keyring) -> None:
    found = find_login(None, home)
    assert (found.url, found.token) == ("https://production.example.com", SECRET)
    assert SECRET not in repr(found)


def test_another_environment(home: dict[str, str], keyring: Keyring) -> None:
    found = find_login(None, {**home, "AIRFLOW_CLI_ENVIRONMENT": "staging"})
    assert (found.url, found.token) == ("https://staging.example.com", "of-staging")


def test_a_token_of_the_environment_goes_first(home: dict[str, str], keyring: Keyring) -> None:
    assert find_login(None, {**home, "AIRFLOW_CLI_TOKEN": " given "}).token == "given"


def test_the_token_of_the_keyring_goes_to_no_other_address(home: dict[str, str], keyring: Keyring) -> None:
    with pytest.raises(AirflowRefused, match="There is no token for Airflow at https://elsewhere"):
        find_login("https://elsewhere.example.com", home)
    assert find_login("https://production.example.com", home).token == SECRET


def test_the_address_of_airflows_own_setting(tmp_path: Path) -> None:
    environ = {
        "AIRFLOW_HOME": str(tmp_path),
        "AIRFLOW__API__BASE_URL": "https://a.example.com",
        "AIRFLOW_CLI_TOKEN": "t",
    }
    assert find_login(None, environ).url == "https://a.example.com"
    del environ["AIRFLOW__API__BASE_URL"]
    assert find_login(None, environ).url == "http://localhost:8080"


@pytest.mark.parametrize(
    "url",
    ["airflow.example.com", "ftp://a.example.com", "https://", "https://me:secret@a.example.com", "https://a:99999"],
)
def test_an_address_that_is_none(url: str, home: dict[str, str]) -> None:
    with pytest.raises(WrongArgument, match="must be a http") as error:
        find_login(url, {**home, "AIRFLOW_CLI_TOKEN": "t"})
    assert "secret" not in str(error.value)


def test_an_environment_that_names_a_path(home: dict[str, str]) -> None:
    with pytest.raises(WrongArgument, match="no environment of airflowctl"):
        find_login(None, {**home, "AIRFLOW_CLI_ENVIRONMENT": "../../etc/passwd"})


def test_a_file_that_cannot_be_read(tmp_path: Path) -> None:
    (tmp_path / "production.json").write_text("{")
    with pytest.raises(WrongArgument, match="where airflowctl keeps the address, cannot be read"):
        find_login(None, {"AIRFLOW_HOME": str(tmp_path)})


def test_without_a_token_and_without_a_terminal(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "keyring", None)
    with pytest.raises(AirflowRefused, match="Set AIRFLOW_CLI_TOKEN, or log in with airflowctl"):
        find_login(None, {"AIRFLOW_HOME": str(tmp_path)})


def test_a_person_is_asked_without_showing_what_is_typed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[str] = []

    def getpass(prompt: str) -> str:
        asked.append(prompt)
        return "typed"

    monkeypatch.setattr(login.sys, "stdin", types.SimpleNamespace(isatty=lambda: True))
    monkeypatch.setattr(login.getpass, "getpass", getpass)
    assert find_login("https://a.example.com", {"AIRFLOW_HOME": str(tmp_path)}).token == "typed"
    assert asked == ["Token for Airflow at https://a.example.com (it is not shown): "]


def test_a_token_that_no_header_can_carry_is_not_shown(tmp_path: Path) -> None:
    with pytest.raises(AirflowRefused, match="no HTTP header can carry") as error:
        find_login(None, {"AIRFLOW_HOME": str(tmp_path), "AIRFLOW_CLI_TOKEN": "to\nken"})
    assert "ken" not in str(error.value).replace("token", "")
