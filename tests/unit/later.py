"""What happens while a test is in something that takes its time."""

import threading
from collections.abc import Callable
from typing import Any

from airflow_runctl.sandbox.client import eventually


class Later(threading.Thread):
    """Does something as soon as a condition holds, while the test is in an operator."""

    def __init__(self, condition: Callable[[], Any], do: Callable[[], object]) -> None:
        super().__init__(daemon=True)
        self.condition, self.do = condition, do
        self.error: BaseException | None = None

    def run(self) -> None:
        try:
            eventually(self.condition)
            self.do()
        except BaseException as error:
            self.error = error

    def __enter__(self) -> "Later":
        self.start()
        return self

    def __exit__(self, *error: object) -> None:
        self.join(20)
        assert not self.is_alive()
        if self.error is not None:
            raise self.error
