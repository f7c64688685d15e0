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
        b"9" * 400,
        b"\xff\xfe",
        b'"\xed\xa0\x80"',
        "{}".encode("utf-16"),
        b"[" * 101 + b"]" * 101,
        b'{"a":' * 800 + b"1" + b"}" * 800,
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
    [
        (b'"\\ud83d\\ude00"', "\U0001f600"),
        (b'{"a": 1e300}', {"a": 1e300}),
        (b" ", None),
        ('"ä"'.encode(), "ä"),
        (b"\xef\xbb\xbf[1]", [1]),
        (b"[18446744073709551615, -9223372036854775808]", [2**64 - 1, -(2**63)]),
    ],
)
def test_what_is_json_is_read(body: bytes, value: object) -> None:
    assert HttpResponse(200, {}, body).json() == value


def test_what_is_a_hundred_levels_deep_is_read() -> None:
    assert str(HttpResponse(200, {}, b"[" * 100 + b"]" * 100).json()) == "[" * 100 + "]" * 100


@pytest.mark.parametrize("number", [b"18446744073709551616", b"-9223372036854775809", b"1" + b"0" * 25])
def test_a_number_that_airflow_cannot_send_is_read_as_a_float(number: bytes) -> None:
    """A trigger whose event holds it would end its triggerer, and all other triggers in that."""
    msgspec = pytest.importorskip("msgspec", reason="Airflow 2 does not send with it")
    read = HttpResponse(200, {}, b'{"result": [%s]}' % number).json()
    assert read == {"result": [float(number)]}
    msgspec.msgpack.encode(read)


@pytest.mark.parametrize(
    ("body", "text"),
    [
        (rb'"a\u0000b"', "a\ufffdb"),
        (rb'"\u0000\u0000"', "\ufffd\ufffd"),
        (rb'"\\u0000"', r"\u0000"),
        (rb'"\\\u0000"', "\\\ufffd"),
    ],
)
def test_a_nul_that_no_database_stores_is_replaced(body: bytes, text: str) -> None:
    assert HttpResponse(200, {}, body).json() == text


@pytest.mark.parametrize("code", [None, "", "²", "٣٠٠", "-1", -1, 0, True, 1e3, "1_0", "2000", [], {}])
def test_what_is_no_status_code_says_nothing(code: object) -> None:
    assert _code(code) is None


@pytest.mark.parametrize("code", [404, "404"])
def test_a_status_code_is_a_number_or_its_digits(code: object) -> None:
    assert _code(code) == 404
