"""What an answer can do to a reader of JSON is an error of the answer, and of nothing else."""

import pytest

from airflow_runctl.exceptions import BadAnswer
from airflow_runctl.vendors.base import HttpResponse
from airflow_runctl.vendors.snaplogic.api import _code


@pytest.mark.parametrize(
    "body",
    [
        b"[" * 100_000,
        b'{"a":' * 100_000,
        b"NaN",
        b'{"seconds": Infinity}',
        b'{"seconds": -1e999}',
        b'"\\ud800"',
        b'{"\\udfff": 1}',
        b"9" * 5000,
        b"\xff\xfe",
        b"<html>",
    ],
    ids=lambda body: repr(body[:20]),
)
def test_what_is_no_json_is_a_bad_answer(body: bytes) -> None:
    with pytest.raises(BadAnswer, match="is not JSON"):
        HttpResponse(200, {}, body).json()
    assert HttpResponse(200, {}, body).json_or_none() is None


@pytest.mark.parametrize(
    ("body", "value"),
    [(b'"\\ud83d\\ude00"', "\U0001f600"), (b'{"a": 1e300}', {"a": 1e300}), (b" ", None), ('"ä"'.encode(), "ä")],
)
def test_what_is_json_is_read(body: bytes, value: object) -> None:
    assert HttpResponse(200, {}, body).json() == value


@pytest.mark.parametrize("code", [None, "", "²", "٣٠٠", "-1", -1, 0, True, 1e3, "1_0", "2000", [], {}])
def test_what_is_no_status_code_says_nothing(code: object) -> None:
    assert _code(code) is None


@pytest.mark.parametrize("code", [404, "404"])
def test_a_status_code_is_a_number_or_its_digits(code: object) -> None:
    assert _code(code) == 404
