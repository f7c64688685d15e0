"""Looks through the built site: every link leads somewhere, anchors too, and nothing is loaded from elsewhere."""

import re
import sys
from collections.abc import Iterator
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urlsplit

LOADED = {("script", "src"), ("img", "src"), ("iframe", "src"), ("source", "src"), ("link", "href")}
"""What a browser fetches without being asked; of ``link`` only what is no mere relation (``canonical``)."""
RELATIONS = {"canonical", "alternate", "author", "index", "search", "next", "prev"}
FETCHED_BY_CSS = re.compile(r"@import\s+(?:url\()?[\"']?(https?:)?//|url\(\s*[\"']?(https?:)?//", re.IGNORECASE)


class Page(HTMLParser):
    """What one page links to, loads and can be linked at."""

    def __init__(self, path: Path) -> None:
        super().__init__()
        self.links: list[str] = []
        self.loads: list[str] = []
        self.anchors: set[str] = set()
        self.feed(path.read_text())

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Take note of a tag."""
        given = {name: value or "" for name, value in attrs}
        self.anchors |= {given[name] for name in ("id", "name") if name in given}
        is_relation = tag == "link" and bool(RELATIONS & set(given.get("rel", "").split()))
        for name in ("href", "src"):
            if name in given:
                (self.loads if (tag, name) in LOADED and not is_relation else self.links).append(given[name])


def complaints(site: Path) -> Iterator[str]:
    """Yield what is wrong with a site."""
    pages = {path: Page(path) for path in sorted(site.rglob("*.html"))}
    if not pages:
        yield f"{site}: no page"
    for path, page in pages.items():
        for link in [*page.links, *page.loads]:
            address = urlsplit(link)
            if address.scheme or address.netloc:
                if link in page.loads and address.scheme != "data":
                    yield f"{path}: loads {link}"
                continue
            target = (path.parent / unquote(address.path)).resolve() if address.path else path.resolve()
            anchor = unquote(address.fragment)
            if not target.exists():
                yield f"{path}: {link} leads nowhere"
            elif anchor and target.suffix == ".html" and anchor not in pages[site / target.relative_to(site)].anchors:
                yield f"{path}: {link}: no such anchor"
    for style in sorted(site.rglob("*.css")):
        if FETCHED_BY_CSS.search(style.read_text()):
            yield f"{style}: fetches something from elsewhere"


if __name__ == "__main__":
    found = list(complaints(Path(sys.argv[1]).resolve()))
    print(*found, sep="\n")
    sys.exit(bool(found))
