"""A trigger that the triggerer can import; a trigger written in a Dag file it could not."""

import asyncio
import time
from collections.abc import AsyncIterator
from typing import Any

from airflow.triggers.base import BaseTrigger, TriggerEvent


class WaitUntil(BaseTrigger):
    """Fires at a moment that a restart of the triggerer does not move, with the given note as its event."""

    def __init__(self, moment: float, note: str) -> None:
        super().__init__()
        self.moment = moment
        self.note = note

    def serialize(self) -> tuple[str, dict[str, Any]]:
        return "harness_trigger.WaitUntil", {"moment": self.moment, "note": self.note}

    async def run(self) -> AsyncIterator[TriggerEvent]:
        await asyncio.sleep(self.moment - time.time())
        yield TriggerEvent(self.note.replace("arguments", "event"))
