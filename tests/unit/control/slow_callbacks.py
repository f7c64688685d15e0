"""What ``warn_callback`` can name: importable, as in the triggerer of a deployment."""

from typing import Any

from airflow_runctl.compat import BaseNotifier

HEARD: list[tuple[str, dict[str, Any]]] = []


def tell(context: dict[str, Any], channel: str = "ops") -> None:
    HEARD.append((channel, context))


async def tell_async(context: dict[str, Any]) -> None:
    HEARD.append(("async", context))


def fail(context: dict[str, Any]) -> None:
    HEARD.append(("fail", context))
    raise RuntimeError("the pager is broken")


class Teller(BaseNotifier):
    """A notifier that knows no event loop; its text is a template."""

    template_fields = ("text",)

    def __init__(self, text: str, context: Any = None) -> None:
        super().__init__(context=context)
        self.text = text

    def notify(self, context: Any) -> None:
        HEARD.append((self.text, dict(context)))


class AsyncTeller(Teller):
    """A notifier with both; Airflow 2 knows only ``notify``."""

    async def async_notify(self, context: Any) -> None:
        HEARD.append((self.text, dict(context)))
