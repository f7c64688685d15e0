"""Runs the parts of a check, all of them, and says in the end what each took and how many tests passed.

    python .ci/parts.py "make check" "types=make types" "+lint=make lint" "unit tests=make test-unit"

A part with a ``+`` runs beside the one before it; what it says is shown when that is through. A part that fails fails
the whole, once the others have run.
"""

import re
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import BinaryIO

PYTEST = re.compile(r"^=+ (?=.*\d+ )(.+) in [\d.]+s.*=+$", re.MULTILINE)
"""pytest's last line."""

COLOUR = re.compile(r"\x1b\[[0-9;]*m")
COUNT = re.compile(r"(\d+) (passed|failed|skipped|error)")
CHECK = re.compile(r"^make [\w-]+: (?:passed|FAILED) in .*$", re.MULTILINE)
"""The last line but one of a check that is a part of another: what its own parts took."""


class Part:
    """One command. It runs from the start on; ``show`` waits for its end."""

    def __init__(self, title: str, command: str, output: BinaryIO | int) -> None:
        self.title = title
        self.text = ""
        self.seconds = 0.0
        self._output = output
        self._began = time.monotonic()
        self._process = subprocess.Popen(command, shell=True, stdout=output, stderr=subprocess.STDOUT)  # noqa: S602
        self._watch = threading.Thread(target=self._wait, daemon=True)
        self._watch.start()

    def show(self) -> None:
        """Show what the command says, as it says it where it has the screen for itself."""
        for chunk in self._chunks():
            self.text += chunk.decode(errors="replace")
            sys.stdout.buffer.write(chunk)
            sys.stdout.buffer.flush()
        self._watch.join()

    def _chunks(self) -> Iterator[bytes]:
        if self._process.stdout:
            yield from iter(lambda: self._process.stdout.read1(), b"")
        else:
            self._watch.join()
            self._output.seek(0)
            yield self._output.read()

    def _wait(self) -> None:
        self._process.wait()
        self.seconds = time.monotonic() - self._began

    @property
    def failed(self) -> bool:
        """Whether the command said so."""
        return self._process.returncode != 0

    def counts(self) -> Counter[str]:
        """Return how many tests passed, failed, ...; a part that fails without a test that does counts as one."""
        found: Counter[str] = Counter()
        for line in PYTEST.findall(COLOUR.sub("", self.text)):
            for number, what in COUNT.findall(line):
                found["failed" if what == "error" else what] += int(number)
        if self.failed and not found["failed"]:
            found["failed"] = 1
        return found


@dataclass
class Check:
    """A check under way."""

    name: str
    parts: list[Part] = field(default_factory=list)
    began: float = field(default_factory=time.monotonic)

    def run(self, arguments: Iterable[str]) -> None:
        """Run all parts; those that run beside another keep what they say until that is through."""
        for step in steps(arguments):
            print(f"{self.name}: {', '.join(title for title, _ in step)}", flush=True)
            first, *others = step
            beside = [Part(*first, subprocess.PIPE)]
            beside += [Part(*each, tempfile.TemporaryFile()) for each in others]  # noqa: SIM115
            self.parts += beside
            for part in beside:
                part.show()

    def closing(self) -> str:
        """Say what came of it."""
        counts = sum((part.counts() for part in self.parts), Counter())
        failed = [part.title for part in self.parts if part.failed]
        outcome = f"FAILED ({', '.join(failed)})" if failed else "passed"
        took = ", ".join(f"{part.title} {shown(part.seconds)}" for part in self.parts)
        inner = dict.fromkeys(line for part in self.parts for line in CHECK.findall(part.text))
        skipped = f", {counts['skipped']} skipped" if counts["skipped"] else ""
        return "\n".join(
            [
                *inner,
                f"{self.name}: {outcome} in {shown(time.monotonic() - self.began)} ({took})",
                f"{counts['passed']} passed, {counts['failed']} failed{skipped}",
            ]
        )


def steps(arguments: Iterable[str]) -> list[list[tuple[str, str]]]:
    """Return title and command of each part, those together that run side by side."""
    found: list[list[tuple[str, str]]] = []
    for argument in arguments:
        title, _, command = argument.removeprefix("+").partition("=")
        if argument.startswith("+"):
            found[-1].append((title, command))
        else:
            found.append([(title, command)])
    return found


def shown(seconds: float) -> str:
    """Return ``2 min 5 s``."""
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes} min {rest} s" if minutes else f"{rest} s"


def main(name: str, arguments: list[str]) -> int:
    """Run the parts (``title=command``) of a check called ``name``; return 1 if one failed."""
    check = Check(name)
    try:
        check.run(arguments)
    except KeyboardInterrupt:
        print(f"\n{name}: interrupted after {shown(time.monotonic() - check.began)}", flush=True)
        return 130
    print(check.closing(), flush=True)
    return 1 if any(part.failed for part in check.parts) else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1], sys.argv[2:]))
