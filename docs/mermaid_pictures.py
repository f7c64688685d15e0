"""Shows a page's Mermaid diagrams as pictures: the site needs neither a network nor a script for them.

A picture lies in ``docs/diagrams``, under a digest of its source, so that none is ever shown of an older source. A
diagram that has none ends the build. To draw it: ``npm install mermaid``, and, with Chromium and its driver on the
path, ``python docs/mermaid_pictures.py node_modules/mermaid/dist/mermaid.min.js``.
"""

import re
import shutil
import sys
from collections.abc import Iterator
from hashlib import sha256
from pathlib import Path
from typing import TYPE_CHECKING, Any
from xml.etree import ElementTree

if TYPE_CHECKING:
    from sphinx.application import Sphinx

HERE = Path(__file__).parent
PICTURES = HERE / "diagrams"
BLOCK = re.compile(r"^```mermaid\n(.*?)^```", re.DOTALL | re.MULTILINE)
LOAD = """
const script = document.createElement("script");
script.textContent = arguments[0];
document.head.append(script);
"""
DRAW = """
const done = arguments[arguments.length - 1];
mermaid.initialize({startOnLoad: false, theme: "neutral", htmlLabels: false, flowchart: {htmlLabels: false}});
mermaid.render("picture", arguments[0]).then(drawn => done(drawn.svg), error => done("error: " + error));
"""


def picture_of(source: str) -> Path:
    """Return where the picture of a diagram lies."""
    return PICTURES / f"{sha256(source.strip().encode()).hexdigest()[:12]}.svg"


def sources() -> Iterator[str]:
    """Yield the diagrams of all pages."""
    for page in sorted(HERE.rglob("*.md")):
        yield from BLOCK.findall(page.read_text())


def setup(app: "Sphinx") -> dict[str, Any]:
    """Tell Sphinx what a ``mermaid`` block is."""
    from docutils import nodes
    from sphinx.util.docutils import SphinxDirective

    class Mermaid(SphinxDirective):
        has_content = True

        def run(self) -> list[nodes.Node]:
            picture = picture_of("\n".join(self.content))
            if not picture.exists():
                raise self.error(f"{picture.name} is not drawn: see docs/mermaid_pictures.py")
            where = "/" + picture.relative_to(HERE).as_posix()
            image = nodes.image(uri=where, alt="A diagram; the text below it says the same.")
            return [nodes.container("", image, classes=["diagram"])]

    app.add_directive("mermaid", Mermaid)
    return {"parallel_read_safe": True}


def draw(script: Path) -> None:
    """Draw all diagrams that have no picture, and take away the pictures of others."""
    from selenium import webdriver

    options = webdriver.ChromeOptions()
    for argument in ("--headless=new", "--no-sandbox", "--disable-gpu"):
        options.add_argument(argument)
    PICTURES.mkdir(exist_ok=True)
    wanted = {picture_of(source): source for source in sources()}
    service = webdriver.ChromeService(shutil.which("chromedriver"))
    with webdriver.Chrome(options=options, service=service) as browser:
        browser.get("about:blank")
        browser.execute_script(LOAD, script.read_text())
        for picture, source in wanted.items():
            if picture.exists():
                continue
            drawn = browser.execute_async_script(DRAW, source)
            if not drawn.startswith("<svg"):
                raise SystemExit(drawn)
            ElementTree.fromstring(drawn)  # noqa: S314  (ours; a browser shows nothing at all of what is no XML)
            picture.write_text(drawn + "\n")
    for picture in set(PICTURES.glob("*.svg")) - wanted.keys():
        picture.unlink()


if __name__ == "__main__":
    draw(Path(sys.argv[1]))
