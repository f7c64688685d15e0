"""Builds the wheel and the source archive into ``dist/``, twice, and lets them through only if they are right.

    python .ci/dist.py

The second pair is built from the unpacked source archive of the first and must be the same, byte for byte: nothing of
this machine, of the time or of the folder is in them, and the archive is whole. ``SOURCE_DATE_EPOCH`` is the time that
their files bear: given, or that of the last commit.
"""

import hashlib
import os
import re
import shutil
import subprocess
import sys
import tarfile
import tempfile
import zipfile
from collections.abc import Iterable, Iterator
from email.parser import Parser
from pathlib import Path, PurePosixPath

ROOT = Path(__file__).resolve().parents[1]
PACKAGE = "airflow_runctl"

SECRET_NAMES = re.compile(r"(^|/)(\.env.*|\.netrc|\.pypirc|id_(rsa|ed25519)|[^/]*\.(pem|key|p12|pfx|kdbx))$")
SECRET_TEXT = re.compile(
    rb"-----BEGIN [A-Z ]*PRIVATE KEY-----\n|\bpypi-AgE[\w-]{20}|\bgh[pousr]_\w{30}|\bAKIA[0-9A-Z]{16}\b"
)
TESTS = re.compile(r"(^|/)(tests?|conftest\.py|test_[^/]*\.py|[^/]*_test\.py)(/|$)")
LEFTOVERS = re.compile(
    r"(^|/)(__pycache__|\.git|\.venv[^/]*|\.(pytest|mypy|ruff|import_linter)_cache|\.hypothesis)(/|$)|\.pyc$"
)

Files = dict[str, bytes]


def main() -> int:
    """Build, check, and put what is right into ``dist/``; return the exit code."""
    os.environ.setdefault("SOURCE_DATE_EPOCH", last_commit())
    with tempfile.TemporaryDirectory(prefix="runctl-dist-") as folder:
        first, second, again = (Path(folder, name) for name in ("first", "second", "again"))
        made = build(ROOT, first)
        with tarfile.open(next(path for path in made if path.suffix == ".gz")) as archive:
            archive.extractall(again, filter="data")
        (unpacked,) = again.iterdir()
        wrongs = [*differences(made, build(unpacked, second))]
        for path in made:
            wrongs += wrongs_of(path)
        if run([sys.executable, "-m", "twine", "check", "--strict", *map(str, made)], show=True).returncode:
            wrongs.append("twine check: see above")
        if wrongs:
            print(*wrongs, sep="\n", file=sys.stderr)
            return 1
        shutil.rmtree(ROOT / "dist", ignore_errors=True)
        (ROOT / "dist").mkdir()
        for path in made:
            shutil.copy(path, ROOT / "dist")
            print(f"dist/{path.name} {path.stat().st_size} bytes, sha256 {digest(path)}")
    return 0


def last_commit() -> str:
    """Return the time of the last commit; without git a time that every archive format knows."""
    command = ["git", "-C", str(ROOT), "log", "-1", "--format=%ct"]
    return (run(command).stdout.strip() if shutil.which("git") else "") or "1580601600"


def run(command: list[str], *, show: bool = False) -> subprocess.CompletedProcess[str]:
    """Run a command of this file's own making; what it says is caught, unless it is to be shown."""
    # The tree that is built must not be imported instead of what is installed.
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    return subprocess.run(command, env=environment, capture_output=not show, text=True, check=False)  # noqa: S603


def build(source: Path, target: Path) -> list[Path]:
    """Build both from a folder, with what is installed here; the wheel from the source archive, as pip would."""
    command = [sys.executable, "-m", "build", "--no-isolation", "--outdir", str(target), str(source)]
    done = run(command)
    if done.returncode:
        raise SystemExit(f"{done.stdout}\n{done.stderr}")
    return sorted(target.iterdir())


def digest(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def differences(first: Iterable[Path], second: Iterable[Path]) -> Iterator[str]:
    """Yield what the second build made otherwise than the first."""
    made = [{path.name: digest(path) for path in paths} for paths in (first, second)]
    for name in sorted({*made[0], *made[1]}):
        if made[0].get(name) != made[1].get(name):
            yield f"{name}: built twice, and not the same bytes"


def wrongs_of(path: Path) -> list[str]:
    """Return what is wrong with a wheel or a source archive."""
    if path.suffix == ".whl":
        found = [*wrongs_of_wheel(wheel_files(path))]
    else:
        found = [*wrongs_of_archive(archive_files(path))]
    return [f"{path.name}: {wrong}" for wrong in found]


def wheel_files(path: Path) -> Files:
    with zipfile.ZipFile(path) as wheel:
        return {name: wheel.read(name) for name in wheel.namelist()}


def archive_files(path: Path) -> Files:
    """Return the files of a source archive, named below its one folder."""
    with tarfile.open(path) as archive:
        members = [member for member in archive.getmembers() if not member.isdir()]
        return {
            str(PurePosixPath(*PurePosixPath(member.name).parts[1:])): read.read() if read else b""
            for member in members
            for read in [archive.extractfile(member) if member.isfile() else None]
        }


def wrongs_of_wheel(files: Files) -> Iterator[str]:
    """Yield what a wheel lacks, and what it has and should not."""
    info = next((name.partition("/")[0] for name in files if name.endswith(".dist-info/METADATA")), "")
    yield from (f"{name} is a file of its own" for name in files if name.partition("/")[0] not in (PACKAGE, info))
    yield from (f"{name} is a test" for name in files if TESTS.search(name))
    wanted = {f"{PACKAGE}/py.typed", f"{PACKAGE}/__init__.py", f"{info}/licenses/LICENSE", f"{info}/entry_points.txt"}
    yield from (f"{name} is missing" for name in sorted(wanted - set(files)))
    yield from common_wrongs(files)
    metadata = Parser().parsestr(files.get(f"{info}/METADATA", b"").decode())
    version = re.search(rb'^__version__ = "(.+)"$', files.get(f"{PACKAGE}/__init__.py", b""), re.MULTILINE)
    if version is None or metadata["Version"] != version[1].decode():
        yield f"the metadata says version {metadata['Version']}, the package another"
    if metadata["License-Expression"] != "Apache-2.0":
        yield "the metadata names no licence"
    if metadata["Description-Content-Type"] != "text/markdown":
        yield "the metadata has no description"


def wrongs_of_archive(files: Files) -> Iterator[str]:
    """Yield what a source archive lacks, and what it has and should not."""
    wanted = {"PKG-INFO", "pyproject.toml", "LICENSE", "README.md", "CHANGELOG.md", "Makefile", f"{PACKAGE}/py.typed"}
    yield from (f"{name} is missing" for name in sorted(wanted - set(files)))
    yield from common_wrongs(files)


def common_wrongs(files: Files) -> Iterator[str]:
    yield from (f"{name} is left over" for name in files if LEFTOVERS.search(name))
    yield from (f"{name} looks like a secret" for name in files if SECRET_NAMES.search(name))
    yield from (f"{name} holds what looks like a secret" for name, text in files.items() if SECRET_TEXT.search(text))


if __name__ == "__main__":
    sys.exit(main())
