"""``docs/how-to/adding-a-vendor.md`` shows the package that ``tests/system/test_fifth_vendor.py`` proves."""

import re

from tests.places import DOCS, ROOT

FIFTH_VENDOR = ROOT / "tests" / "fifth_vendor"
SHOWN = re.findall(
    r"\{literalinclude\} \.\./\.\./tests/fifth_vendor/(\S+)", (DOCS / "how-to" / "adding-a-vendor.md").read_text()
)


def test_the_page_shows_every_file_that_says_something() -> None:
    files = {str(path.relative_to(FIFTH_VENDOR)) for path in FIFTH_VENDOR.rglob("*") if path.suffix in {".py", ".toml"}}
    assert files - {"acme_runs/__init__.py", "dags/acme.py"} == set(SHOWN)
    assert len(SHOWN) == len(set(SHOWN))
