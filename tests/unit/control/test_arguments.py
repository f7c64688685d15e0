"""Digests of arguments: they tell that two differ, and nothing of what they are."""

from collections import Counter
from typing import Any

import pytest

from airflow_runctl.control.arguments import DIGEST, ITEMS, differing, digests_of, opened, sealed
from airflow_runctl.hooks.base import Access

SAME: dict[str, Any] = {"task": "a", "parameters": {"day": "1", "depth": {"x": [1, 2]}}, "body": None}


def with_day(day: Any) -> dict[str, Any]:
    return {**SAME, "parameters": {**SAME["parameters"], "day": day}}


@pytest.mark.parametrize(
    ("now", "names"),
    [
        (SAME, ""),
        (with_day("2"), "parameters.day"),
        (with_day(1), "parameters.day"),
        ({**SAME, "task": "b", "body": {}}, "body, task"),
        ({**SAME, "parameters": {}}, "parameters, parameters.day, parameters.depth"),
        ({**SAME, "more": {"a\nb": 1}}, "'more.a\\nb'"),
        ({**SAME, "body": {str(n): n for n in range(ITEMS + 1)}}, "body"),
        ({**SAME, **{f"x{n:02}": n for n in range(12)}}, ", ".join(f"x{n:02}" for n in range(10)) + " and 2 more"),
        (["no", "names"], ""),
    ],
)
def test_what_differs_is_named(now: Any, names: str) -> None:
    assert differing(digests_of(now), digests_of(SAME)) == names


def test_nothing_is_named_where_one_side_is_not_known() -> None:
    assert differing(digests_of(SAME), {}) == differing({}, digests_of(SAME)) == ""


def test_a_digest_confirms_no_guess() -> None:
    """So many values have the same one that whoever tries passwords finds more than he can use."""
    found = Counter(digests_of({"password": str(number)})["password"] for number in range(200_000))
    assert {len(digest) for digest in found} == {DIGEST}
    assert found[digests_of({"password": "7"})["password"]] > 1


def test_digests_come_back_from_their_seal_and_cannot_be_read_in_it(axiom: Access, snaplogic: Access) -> None:
    digests = digests_of(SAME)
    token = sealed(digests, axiom)
    assert opened(token, axiom) == digests
    assert not any(name in token for name in digests)
    assert opened(token, snaplogic) == {}


@pytest.mark.parametrize("token", [None, "", "x", 7, {}])
def test_no_token_holds_no_digests(axiom: Access, token: Any) -> None:
    assert opened(token, axiom) == {}
