"""Runs the parts of a check one after the other, all of them, and says in the end what each took.

    python .ci/parts.py "make check" "lint=make lint" "unit tests=make test-unit"

A part that fails fails the whole, once the others have run.
"""

import subprocess
import sys
import time


def main(name: str, parts: list[str]) -> int:
    """Run the ``parts`` (``title=command``) of a check called ``name``; return 1 if one failed."""
    took, failed = [], []
    began = time.monotonic()
    for title, _, command in (part.partition("=") for part in parts):
        started = time.monotonic()
        print(f"{name}: {title}", flush=True)
        if subprocess.run(command, shell=True, check=False).returncode != 0:  # noqa: S602  # of our own Makefile
            failed.append(title)
        took.append(f"{title} {shown(time.monotonic() - started)}")
    outcome = f"FAILED ({', '.join(failed)})" if failed else "passed"
    print(f"{name}: {outcome} in {shown(time.monotonic() - began)}: {', '.join(took)}", flush=True)
    return 1 if failed else 0


def shown(seconds: float) -> str:
    """Return ``2 min 5 s``."""
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes} min {rest} s" if minutes else f"{rest} s"


if __name__ == "__main__":
    sys.exit(main(sys.argv[1], sys.argv[2:]))
