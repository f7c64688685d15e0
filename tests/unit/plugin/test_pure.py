"""The pure functions of the page, asked in Node; where there is none, tests/system/test_page.py asks a browser."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from pathlib import Path

import pytest

from airflow_runctl import plugin

FOLDER = Path(plugin.__file__).parent
CASES = Path(__file__).with_name("pure_cases.js")

ASK = """
import * as pure from "./pure.js";
import { cases } from "./pure_cases.js";
console.log(JSON.stringify(cases(pure)));
"""


def test_pure_functions_answer_as_they_should(tmp_path: Path) -> None:
    node = shutil.which("node")
    if node is None:
        pytest.skip("no Node here")
    for file in (FOLDER / "pure.js", FOLDER / "texts.js", CASES):
        shutil.copy(file, tmp_path)
    (tmp_path / "package.json").write_text('{"type": "module"}')
    (tmp_path / "ask.js").write_text(ASK)
    done = subprocess.run([node, "ask.js"], cwd=tmp_path, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    answered = json.loads(done.stdout)
    wrong = [(name, answer, wanted) for name, answer, wanted in answered if answer != wanted]
    assert wrong == []
    assert len(answered) > 50


def test_every_text_is_used() -> None:
    texts = re.findall(r"^  (\w+):", (FOLDER / "texts.js").read_text(), re.MULTILINE)
    rest = "\n".join(file.read_text() for file in FOLDER.glob("*.js") if file.name != "texts.js")
    assert [text for text in texts if not re.search(rf"\bT\.{text}\b", rest)] == []
