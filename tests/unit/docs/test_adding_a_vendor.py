"""``docs/adding-a-vendor.md`` shows the package that ``tests/system/test_fifth_vendor.py`` proves, to the letter."""

import pytest

from tests.places import DOCS, ROOT

FIFTH_VENDOR = ROOT / "tests" / "fifth_vendor"
SHOWN = [
    "pyproject.toml",
    *(f"acme_runs/{name}.py" for name in ("vendor", "hook", "provider_info", "operators")),
]


@pytest.mark.parametrize("name", SHOWN)
def test_the_page_shows_the_file_as_it_is(name: str) -> None:
    language = "toml" if name.endswith(".toml") else "python"
    block = f"```{language}\n{(FIFTH_VENDOR / name).read_text()}```\n"
    assert block in (DOCS / "adding-a-vendor.md").read_text()


def test_the_page_shows_every_file_that_says_something() -> None:
    files = {str(path.relative_to(FIFTH_VENDOR)) for path in FIFTH_VENDOR.rglob("*") if path.suffix in {".py", ".toml"}}
    assert files - {"acme_runs/__init__.py", "dags/acme.py"} == set(SHOWN)
