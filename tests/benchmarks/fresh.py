"""Measures in a process of its own: what was imported or left in memory before is in nobody's figure.

``python -m tests.benchmarks.fresh module:function <JSON> file`` calls the function and writes what it returns to the
file; with ``PROFILE=1`` it prints where its time went, besides.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Callable
from importlib import import_module
from pathlib import Path
from typing import Any, Final

ROOT: Final = Path(__file__).parents[2]
PROFILED_LINES: Final = 25
SECONDS: Final = 120
NETWORK: Final = ("http_proxy", "https_proxy", "all_proxy", "no_proxy")


class NotMeasured(Exception):
    """A measurement ended without a figure."""


def fresh(function: Callable[..., Any], **arguments: Any) -> Any:
    """Call ``function`` in a process of its own; return what it returns, which is JSON as its arguments are.

    :raises NotMeasured: if it raises, or takes too long.
    """
    path = os.pathsep.join(filter(None, (str(ROOT), os.environ.get("PYTHONPATH"))))
    what = f"{function.__module__}:{function.__name__}"
    with tempfile.TemporaryDirectory(prefix="runctl-bench-") as home:
        plain = {name: value for name, value in os.environ.items() if name.lower() not in NETWORK}
        settings = {
            "AIRFLOW_HOME": home,
            "AIRFLOW__CORE__LOAD_EXAMPLES": "False",
            "AIRFLOW__LOGGING__LOGGING_LEVEL": "ERROR",
            "PYTHONWARNINGS": "ignore",
            "PYTHONPATH": path,
        }
        returned = Path(home, "returned.json")
        command = [sys.executable, "-m", __name__, what, json.dumps(arguments), str(returned)]
        try:
            # What a peer logs goes to standard output.
            done = subprocess.run(command, env={**plain, **settings}, stdout=sys.stderr, timeout=SECONDS, check=False)
        except subprocess.TimeoutExpired as error:
            raise NotMeasured(f"{what} took more than {SECONDS} s") from error
        if done.returncode != 0:
            raise NotMeasured(f"{what} ended with code {done.returncode}; see above")
        return json.loads(returned.read_text())


def main(what: str, arguments: dict[str, Any], returned: Path) -> None:
    """Call a function, profiled if that is wanted, and write down what it returns."""
    module, _, name = what.partition(":")
    function = getattr(import_module(module), name)
    if not os.environ.get("PROFILE"):
        returned.write_text(json.dumps(function(**arguments)))
        return
    import cProfile
    import pstats

    profile = cProfile.Profile()
    returned.write_text(json.dumps(profile.runcall(function, **arguments)))
    print(f"\n{what} {arguments}", file=sys.stderr)
    pstats.Stats(profile, stream=sys.stderr).sort_stats("tottime").print_stats(PROFILED_LINES)


if __name__ == "__main__":
    main(sys.argv[1], json.loads(sys.argv[2]), Path(sys.argv[3]))
