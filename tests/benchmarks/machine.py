"""On what it was measured: figures mean something only beside that."""

from __future__ import annotations

import os
import platform
import re
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path


def machine() -> dict[str, str]:
    """Return what the figures depend on."""
    import psutil

    cpu = re.search(r"^model name\s*: (.*)$", _text("/proc/cpuinfo"), re.MULTILINE)
    return {
        "cores": str(len(os.sched_getaffinity(0))),
        "CPU": cpu[1] if cpu else platform.processor() or "unknown",
        "memory": f"{psutil.virtual_memory().total / 2**30:.0f} GiB",
        "system": f"{platform.system()} {platform.release().partition('-')[0]}",
        "Python": platform.python_version(),
        "Airflow": version("apache-airflow"),
        "aiohttp": version("aiohttp"),
        "load before": f"{os.getloadavg()[0]:.1f}",
        "day": f"{datetime.now(UTC):%Y-%m-%d}",
    }


def _text(path: str) -> str:
    file = Path(path)
    return file.read_text() if file.exists() else ""
