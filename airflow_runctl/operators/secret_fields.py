"""Credentials in template fields: Airflow shows rendered fields to everybody, and must show ``***`` for these."""

from __future__ import annotations

from typing import Any

from airflow_runctl.compat import mask_secret


class Secret:
    """A credential in a template field: Airflow shows rendered fields as text, and this text is ``***``.

    :param value: the credential.
    """

    __slots__ = ("_value",)

    def __init__(self, value: Any) -> None:
        self._value = value

    def __str__(self) -> str:
        return "***"

    __repr__ = __str__

    def reveal(self) -> Any:
        """Return the credential."""
        return self._value


def hidden(value: Any) -> Secret:
    """Hide a credential, in logs too; one that is hidden already stays so."""
    if isinstance(value, Secret):
        return value
    mask_secret(str(value))
    # What is no text stays what it is: it is refused before it is sent. Native rendering makes numbers of digits.
    is_text = isinstance(value, str | int) and not isinstance(value, bool)
    return Secret(str(value) if is_text else value)


def revealed(value: Any) -> Any:
    """Return what a template field holds, hidden or not."""
    return value.reveal() if isinstance(value, Secret) else value
