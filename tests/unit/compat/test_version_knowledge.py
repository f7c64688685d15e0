"""Only ``compat/`` knows which Airflow this is: no other file of the package imports Airflow or asks for its version.

What differs between versions has a name there that says what it is, such as ``HAS_TASK_STORE``.
"""

import ast

import pytest

from tests.places import PACKAGE

COMPAT = PACKAGE / "compat"
LOADED_BY_AIRFLOW = {PACKAGE / room / "in_airflow.py" for room in ("cli", "plugin")}
"""Airflow loads them at every start: they may not load all of compat/, only what is loaded by then."""

FILES = sorted(
    path.relative_to(PACKAGE).as_posix()
    for path in PACKAGE.rglob("*.py")
    if COMPAT not in path.parents and path not in LOADED_BY_AIRFLOW
)

VERSION_NAMES = frozenset({"AIRFLOW", "IS_AIRFLOW_2", "airflow_version", "AIRFLOW_VERSION"})
IMPORTING_CALLS = frozenset({"import_module", "__import__", "import_string", "find_spec", "version", "distribution"})


def versions_known(source: str) -> list[str]:
    """Return what in a file imports Airflow at run time, or knows its version: ``line: what``."""
    finder = Finder()
    finder.visit(ast.parse(source))
    return finder.found


class Finder(ast.NodeVisitor):
    def __init__(self) -> None:
        self.found: list[str] = []

    def note(self, node: ast.stmt | ast.expr, what: str) -> None:
        self.found.append(f"{node.lineno}: {what}")

    def visit_If(self, node: ast.If) -> None:
        if ast.unparse(node.test) in {"TYPE_CHECKING", "typing.TYPE_CHECKING"}:
            for statement in node.orelse:
                self.visit(statement)
        else:
            self.generic_visit(node)

    def visit_Import(self, node: ast.Import) -> None:
        for alias in node.names:
            self._imported(node, alias.name)

    def visit_ImportFrom(self, node: ast.ImportFrom) -> None:
        module = node.module or ""
        self._imported(node, module)
        for alias in node.names:
            foreign = alias.name == "__version__" and module != "airflow_runctl"
            if alias.name in VERSION_NAMES or foreign:
                self.note(node, f"imports {alias.name}")

    def _imported(self, node: ast.stmt | ast.expr, module: str) -> None:
        if module.partition(".")[0] in {"airflow", "apache-airflow", "packaging"}:
            self.note(node, f"imports {module}")

    def visit_Name(self, node: ast.Name) -> None:
        if node.id in VERSION_NAMES:
            self.note(node, f"uses {node.id}")

    def visit_Attribute(self, node: ast.Attribute) -> None:
        if node.attr in VERSION_NAMES or node.attr == "__version__":
            self.note(node, f"uses {ast.unparse(node)}")
        self.generic_visit(node)

    def visit_Constant(self, node: ast.Constant) -> None:
        if isinstance(node.value, str) and node.value in VERSION_NAMES:
            self.note(node, f"names {node.value!r}")

    def visit_Call(self, node: ast.Call) -> None:
        called = node.func.attr if isinstance(node.func, ast.Attribute) else getattr(node.func, "id", "")
        for argument in node.args[:1] if called in IMPORTING_CALLS else ():
            if isinstance(argument, ast.Constant) and isinstance(argument.value, str):
                self._imported(node, argument.value)
        self.generic_visit(node)


@pytest.mark.parametrize("file", FILES)
def test_only_compat_knows_which_airflow_this_is(file: str) -> None:
    known = versions_known((PACKAGE / file).read_text())
    assert known == [], f"airflow_runctl/{file}: this belongs into compat/, under a name that says what it is"


def test_compat_itself_would_be_found() -> None:
    found = [known for file in sorted(COMPAT.glob("*.py")) for known in versions_known(file.read_text())]
    for what in ("imports airflow", "imports airflow.triggers.base", "uses AIRFLOW", "uses IS_AIRFLOW_2"):
        assert [known for known in found if known.endswith(f": {what}")], what


KNOWING = [
    ("import airflow", "imports airflow"),
    ("import airflow.sdk as sdk", "imports airflow.sdk"),
    ("from airflow.sdk import BaseOperator", "imports airflow.sdk"),
    ("def f():\n    from airflow.models import Dag", "imports airflow.models"),
    ("try:\n    import airflow.sdk\nexcept ImportError:\n    pass", "imports airflow.sdk"),
    ("if TYPE_CHECKING:\n    pass\nelse:\n    import airflow", "imports airflow"),
    ("if not TYPE_CHECKING:\n    import airflow", "imports airflow"),
    ("importlib.import_module('airflow.sdk')", "imports airflow.sdk"),
    ("importlib.metadata.version('apache-airflow')", "imports apache-airflow"),
    ("from packaging.version import Version", "imports packaging.version"),
    ("from airflow_runctl.compat import AIRFLOW", "imports AIRFLOW"),
    ("from airflow_runctl.compat import BaseHook, IS_AIRFLOW_2 as old", "imports IS_AIRFLOW_2"),
    ("from somewhere import __version__", "imports __version__"),
    ("x = compat.AIRFLOW >= (3, 2)", "uses compat.AIRFLOW"),
    ("x = airflow_version.split('.')", "uses airflow_version"),
    ("x = module.__version__", "uses module.__version__"),
    ("x = getattr(compat, 'IS_AIRFLOW_2')", "names 'IS_AIRFLOW_2'"),
]


@pytest.mark.parametrize(("source", "what"), KNOWING)
def test_knowledge_of_a_version_is_found(source: str, what: str) -> None:
    (found,) = versions_known(source)
    assert found.partition(": ")[2] == what


@pytest.mark.parametrize(
    "source",
    [
        "if TYPE_CHECKING:\n    from airflow.sdk import Context",
        "if typing.TYPE_CHECKING:\n    import airflow",
        "from airflow_runctl.compat import HAS_TASK_STORE, TRIGGERS_HEAR_OF_KILLS, BaseOperator",
        "from airflow_runctl import __version__\nagent = f'airflow-runctl/{__version__}'",
        "import airflow_runctl.compat",
        "import_module('airflow_runctl.hooks.axiom')",
        "name = f'AIRFLOW_CONN_{x}'",
        "def f():\n    '''Below Airflow 3.3 a retry knows nothing.'''",
    ],
)
def test_what_is_no_knowledge_of_a_version_is_let_through(source: str) -> None:
    assert versions_known(source) == []
