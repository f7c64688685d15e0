"""A handle is opened by whoever can stop its run and by nobody else; only what is sealed in it counts."""

import asyncio
import dataclasses
import json
import threading
from datetime import UTC, datetime
from typing import Any

import pytest

from airflow_runctl.control.seal import Handle, aopen_handle, describe, handle_of, open_handle, verified
from airflow_runctl.exceptions import ConnectionSetupError, HandleError
from airflow_runctl.hooks.base import Access
from airflow_runctl.runs import ExternalRun, Owner, Ownership, TaskKey
from tests.unit.connections import Connections

HERE = TaskKey("harvest", "manual__1", "start")
RUN = ExternalRun(
    vendor="axiom",
    conn_id="axiom_default",
    run_id="Nightly prices #7",
    url="https://axiom.ai/runs/7",
    started_at=datetime(2026, 3, 1, 6, 0, 2, 123456, tzinfo=UTC),
    ids={"pid": "07", "pw": "pw-topsecret", "name": "näher / 日本"},
    owner=Owner(HERE, 2),
    fingerprint="abc",
)
SHOWN = {"vendor", "conn_id", "run_id", "url", "started_at", "token"}


@pytest.fixture
def handle(axiom: Access) -> dict[str, Any]:
    return handle_of(RUN, axiom)


def refused(handle: Handle, access: Access, found_at: TaskKey | None = HERE) -> str:
    """Return what is said of a handle that is refused."""
    with pytest.raises(HandleError) as seen:
        open_handle(handle, access, found_at=found_at)
    assert "Nothing was stopped" in str(seen.value)
    assert "topsecret" not in str(seen.value)
    return str(seen.value)


@pytest.mark.parametrize("ownership", list(Ownership))
@pytest.mark.parametrize("map_index", [-1, 0, 12])
def test_handle_comes_back_whole_through_json(axiom: Access, ownership: Ownership, map_index: int) -> None:
    run = dataclasses.replace(RUN, owner=Owner(dataclasses.replace(HERE, map_index=map_index), 3, ownership))
    handle = json.loads(json.dumps(handle_of(run, axiom)))
    assert open_handle(handle, axiom) == run


def test_run_without_owner_url_and_fingerprint_comes_back_too(axiom: Access) -> None:
    run = dataclasses.replace(RUN, owner=None, url=None, fingerprint=None)
    assert open_handle(handle_of(run, axiom), axiom) == run


def test_handle_shows_what_people_need_and_no_secret(handle: dict[str, Any]) -> None:
    assert handle.keys() == SHOWN
    assert {**handle, "token": ""} == {
        "vendor": "axiom",
        "conn_id": "axiom_default",
        "run_id": "Nightly prices #7",
        "url": "https://axiom.ai/runs/7",
        "started_at": "2026-03-01T06:00:02.123456+00:00",
        "token": "",
    }
    assert "topsecret" not in json.dumps(handle)
    assert "topsecret" not in f"{RUN} {RUN!r}"


def test_two_handles_of_one_run_have_different_tokens(axiom: Access, handle: dict[str, Any]) -> None:
    assert handle_of(RUN, axiom)["token"] != handle["token"]


# -- altered ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "change",
    [
        {"run_id": "another run"},
        {"url": "https://evil.example"},
        {"started_at": "1970-01-01T00:00:00+00:00"},
        {"vendor": "snaplogic"},
        {"conn_id": "another"},
        {"ids": {"pid": "99"}, "owner": None, "ownership": "nobody"},
    ],
)
def test_altered_public_fields_have_no_effect(axiom: Access, handle: dict[str, Any], change: dict[str, Any]) -> None:
    assert open_handle({**handle, **change}, axiom, found_at=HERE) == RUN


def test_missing_public_fields_have_no_effect(axiom: Access, handle: dict[str, Any]) -> None:
    assert open_handle({"token": handle["token"]}, axiom) == RUN


@pytest.mark.parametrize("place", [0, 1, 9, 40, 120, -30, -8])
def test_tampered_token_is_refused_with_the_runs_name(axiom: Access, handle: dict[str, Any], place: int) -> None:
    token = handle["token"]
    other = "B" if token[place] != "B" else "C"
    changed = token[:place] + other + token[place:][1:]
    said = refused({**handle, "token": changed}, axiom)
    assert "axiom run Nightly prices #7 (unverified) does not open with connection 'axiom_default'" in said
    assert "the run may be alive" in said


@pytest.mark.parametrize("token", ["", "x", None, 7, [], {}, "ä", "gAAAAA==", "a" * 5000])
def test_token_that_is_none_is_refused(axiom: Access, handle: dict[str, Any], token: Any) -> None:
    assert "does not open" in refused({**handle, "token": token}, axiom)


def test_cut_token_and_missing_token_are_refused(axiom: Access, handle: dict[str, Any]) -> None:
    refused({**handle, "token": handle["token"][:-8]}, axiom)
    refused({name: value for name, value in handle.items() if name != "token"}, axiom)


@pytest.mark.parametrize(
    "content", [b"[]", b"{}", b"7", b"not json", b'{"vendor": "axiom"}', b'{"owner": {"dag_id": 1}}']
)
def test_sealed_text_that_is_no_handle_is_refused(axiom: Access, handle: dict[str, Any], content: bytes) -> None:
    from airflow_runctl.control import seal

    token = seal.VERSION + seal._fernet(axiom, axiom.seal_keys[0]).encrypt(content).decode()
    refused({**handle, "token": token}, axiom)


@pytest.mark.parametrize(
    "spoil",
    [
        lambda token: token + "=",
        lambda token: token + "====",
        lambda token: token.rstrip("="),
        lambda token: token + " ",
        lambda token: " " + token,
        lambda token: token + "\n",
        lambda token: token[:40] + " " + token[40:],
        lambda token: token[:40] + "\n" + token[40:],
        lambda token: token.replace("-", "+").replace("_", "/") + "" if set("-_") & set(token) else token + "+",
        lambda token: token[0] + token,
        lambda token: token[1:],
        lambda token: "1" + token[1:],
    ],
)
def test_only_exactly_the_token_that_was_made_opens(axiom: Access, handle: dict[str, Any], spoil: Any) -> None:
    while "=" not in handle["token"] or not set("-_") & set(handle["token"]):
        handle = handle_of(dataclasses.replace(RUN, fingerprint=(RUN.fingerprint or "") + "x"), axiom)
    assert "does not open" in refused({**handle, "token": spoil(handle["token"])}, axiom)


HOSTILE = "7\nERROR root: all is lost \x1b[31m \u202e evil \u0000 " + "y" * 5000


def test_words_of_a_handle_that_was_not_opened_are_marked_printable_and_short() -> None:
    said = describe({"vendor": HOSTILE, "run_id": HOSTILE})
    assert said.endswith("(unverified)")
    assert said.isprintable()
    assert len(said) < 200


def test_what_an_opened_handle_shows_is_what_was_sealed(axiom: Access, handle: dict[str, Any]) -> None:
    forged = {**handle, "run_id": HOSTILE, "url": "https://evil.example", "left_by": 2}
    assert verified(forged, open_handle(forged, axiom)) == handle


# -- how the key is made -----------------------------------------------------------------------------------


@pytest.fixture
def derivations(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The threads in which keys are derived from now on; none is known before."""
    from cryptography.hazmat.primitives.kdf.scrypt import Scrypt

    from airflow_runctl.control import seal

    threads: list[str] = []
    derive = Scrypt.derive

    class Noted:
        def __init__(self, **how: Any) -> None:
            assert how["n"] * how["r"] >= 2**18, "32 MiB"
            self._scrypt = Scrypt(**how)

        def derive(self, text: bytes) -> bytes:
            threads.append(threading.current_thread().name)
            return derive(self._scrypt, text)

    monkeypatch.setattr(seal, "_derived", {})
    monkeypatch.setattr("cryptography.hazmat.primitives.kdf.scrypt.Scrypt", Noted)
    return threads


def test_key_is_derived_once_for_a_process_and_connection_however_many_ask(
    axiom: Access, derivations: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    from airflow_runctl.control import seal

    monkeypatch.setattr(seal, "LONGEST_WAIT", 60.0)
    threads = [threading.Thread(target=handle_of, args=(RUN, axiom)) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for _ in range(100):
        open_handle(handle_of(RUN, axiom), axiom)
    assert len(derivations) == 1


def test_event_loop_has_the_key_derived_in_a_thread(axiom: Access, derivations: list[str]) -> None:
    handle = handle_of(RUN, axiom)
    from airflow_runctl.control import seal

    seal._derived.clear()
    assert asyncio.run(aopen_handle(handle, axiom)) == RUN
    assert len(derivations) == 2
    assert derivations[1] != threading.main_thread().name


def test_event_loop_has_an_older_key_derived_in_a_thread_too(connections: Connections, derivations: list[str]) -> None:
    one = connections.access("axiom_default", {"seal_key": "one"})
    both = connections.access("axiom_default", {"seal_key": "two,one"})
    handle = handle_of(RUN, one)
    handle_of(RUN, both)
    from airflow_runctl.control import seal

    del seal._derived[seal._digest(one, "one")]
    assert asyncio.run(aopen_handle(handle, both)) == RUN
    assert len(derivations) == 3
    assert derivations[2] != threading.main_thread().name


def test_handle_of_0_1_0_needs_no_slow_key(axiom: Access, derivations: list[str]) -> None:
    token = of_0_1_0(RUN, axiom)
    from airflow_runctl.control import seal

    seal._derived.clear()
    derivations.clear()
    assert asyncio.run(aopen_handle({"token": token}, axiom)) == RUN
    assert derivations == []


def test_derivation_that_a_signal_has_interrupted_is_not_waited_for(
    axiom: Access, monkeypatch: pytest.MonkeyPatch
) -> None:
    from airflow_runctl.control import seal

    monkeypatch.setattr(seal, "_derived", {})
    monkeypatch.setattr(seal, "LONGEST_WAIT", 0.05)
    with seal._deriving:
        handle = handle_of(RUN, axiom)
    assert open_handle(handle, axiom) == RUN


def test_connection_with_nothing_to_seal_with_is_said(axiom: Access) -> None:
    with pytest.raises(ConnectionSetupError, match="'axiom_default' has neither a credential nor a 'seal_key'"):
        handle_of(RUN, dataclasses.replace(axiom, seal_keys=()))


def test_older_key_is_derived_only_if_the_newest_does_not_open(
    connections: Connections, derivations: list[str]
) -> None:
    both = connections.access("axiom_default", {"seal_key": "two,one"})
    assert open_handle(handle_of(RUN, both), both) == RUN
    assert len(derivations) == 1


def test_same_secret_makes_another_key_for_another_connection_or_vendor(
    connections: Connections, axiom: Access, handle: dict[str, Any]
) -> None:
    password = connections.rows["axiom_default"]["password"]
    for other in (
        connections.access("snaplogic_default", password=password),
        dataclasses.replace(axiom, conn_id="axiom_two"),
    ):
        assert "sealed for another connection" in refused(handle, other)


def test_handle_of_0_1_0_opens_and_names_the_connection_that_it_was_sealed_for(axiom: Access) -> None:
    token = of_0_1_0(RUN, axiom)
    assert open_handle({"token": token}, axiom, found_at=HERE) == RUN
    said = refused({"token": token}, dataclasses.replace(axiom, conn_id="axiom_two"))
    assert "sealed for connection 'axiom_default' (axiom), not for 'axiom_two'" in said
    refused({"token": "2" + token}, axiom)


def of_0_1_0(run: ExternalRun, access: Access) -> str:
    """Return a token as 0.1.0 made it: HKDF, no salt, the whole of the token Fernet's."""
    import base64

    from cryptography.fernet import Fernet
    from cryptography.hazmat.primitives.hashes import SHA256
    from cryptography.hazmat.primitives.kdf.hkdf import HKDF

    from airflow_runctl.control import seal

    key = HKDF(SHA256(), 32, None, b"airflow-runctl handle v1").derive(access.seal_keys[0].encode())
    inside = seal._fernet(access, access.seal_keys[0]).decrypt(handle_of(run, access)["token"][1:].encode())
    return Fernet(base64.urlsafe_b64encode(key)).encrypt(inside).decode()


def test_what_is_kept_of_a_key_is_not_the_credential(axiom: Access, handle: dict[str, Any]) -> None:
    from airflow_runctl.control import seal

    assert axiom.seal_keys[0].encode() not in b"".join(seal._derived)


# -- found elsewhere -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "elsewhere",
    [
        dataclasses.replace(HERE, task_id="other"),
        dataclasses.replace(HERE, run_id="manual__2"),
        dataclasses.replace(HERE, dag_id="other"),
        dataclasses.replace(HERE, map_index=0),
    ],
    ids=str,
)
def test_handle_copied_to_another_task_instance_is_refused(
    axiom: Access, handle: dict[str, Any], elsewhere: TaskKey
) -> None:
    said = refused(handle, axiom, elsewhere)
    assert f"was found at task instance {elsewhere}, but belongs to {HERE}" in said


def test_handle_without_an_owner_belongs_to_no_task(axiom: Access) -> None:
    said = refused(handle_of(dataclasses.replace(RUN, owner=None), axiom), axiom)
    assert "belongs to none" in said


# -- another connection or vendor ------------------------------------------------------------------------


def test_handle_of_another_vendor_is_refused(connections: Connections, handle: dict[str, Any]) -> None:
    """Even where both connections happen to have the same secret."""
    password = connections.rows["axiom_default"]["password"]
    access = connections.access("snaplogic_default", password=password)
    assert "sealed for another connection" in refused(handle, access)


def test_handle_of_another_connection_of_the_same_vendor_is_refused(axiom: Access, handle: dict[str, Any]) -> None:
    assert "sealed for another connection" in refused(handle, dataclasses.replace(axiom, conn_id="axiom_two"))


def test_handle_of_a_connection_with_another_secret_is_refused(
    connections: Connections, handle: dict[str, Any]
) -> None:
    refused(handle, connections.access("snaplogic_default"))


# -- changed credentials ---------------------------------------------------------------------------------


def test_changed_credential_is_said_and_the_old_one_in_seal_key_opens(
    connections: Connections, handle: dict[str, Any]
) -> None:
    old = connections.rows["axiom_default"]["password"]
    said = refused(handle, connections.access("axiom_default", password="made anew"))
    assert "credential has changed since (then add the old one to its extra 'seal_key')" in said
    assert open_handle(handle, connections.access("axiom_default", {"seal_key": old}, password="made anew")) == RUN


def test_seal_key_makes_handles_outlive_the_credential(connections: Connections) -> None:
    before = connections.access("axiom_default", {"seal_key": "one"})
    after = connections.access("axiom_default", {"seal_key": "one"}, password="made anew")
    assert open_handle(handle_of(RUN, before), after) == RUN


def test_seal_key_is_rotated_newest_first(connections: Connections) -> None:
    first = connections.access("axiom_default", {"seal_key": "one"})
    both = connections.access("axiom_default", {"seal_key": " two , one "})
    second = connections.access("axiom_default", {"seal_key": "two"}, password="made anew")
    old, new = handle_of(RUN, first), handle_of(RUN, both)
    assert open_handle(old, both) == RUN
    assert open_handle(new, second) == RUN
    refused(new, dataclasses.replace(first, seal_keys=("one",)))
    refused(old, second)


def test_seal_key_set_later_does_not_lock_out_runs_that_are_alive(
    connections: Connections, handle: dict[str, Any]
) -> None:
    assert open_handle(handle, connections.access("axiom_default", {"seal_key": "new"})) == RUN


def test_jwt_may_change_and_seals_nothing(connections: Connections) -> None:
    run = dataclasses.replace(RUN, vendor="snaplogic", conn_id="snaplogic_jwt")
    handle = handle_of(run, connections.access("snaplogic_jwt"))
    later = connections.access("snaplogic_jwt", password="another-jwt")
    assert open_handle(handle, later) == run
    refused(handle, connections.access("snaplogic_jwt", {"seal_key": "other"}))
    jwt = connections.rows["snaplogic_jwt"]["password"]
    assert jwt not in later.seal_keys
    assert "another-jwt" not in later.seal_keys
