"""How the documentation site is built: ``make docs``. The order of its pages is in ``index.md`` of each folder."""

import logging
import os
import sys
import tempfile
from pathlib import Path

HERE = Path(__file__).parent
sys.path[:0] = [str(HERE), str(HERE.parent)]

# Before the reference imports Airflow, which writes its configuration there.
_home = tempfile.TemporaryDirectory(prefix="runctl-docs-")
os.environ["AIRFLOW_HOME"] = _home.name
logging.disable(logging.INFO)
import airflow.settings  # noqa: E402, F401

logging.disable(logging.NOTSET)

from airflow_runctl import __version__  # noqa: E402

project = "airflow-runctl"
author = "the authors of airflow-runctl"
copyright = author
release = version = __version__

extensions = ["myst_parser", "sphinx.ext.autodoc", "sphinx_copybutton", "mermaid_pictures"]

# -- Markdown ------------------------------------------------------------------------------------------

myst_heading_anchors = 4
myst_enable_extensions = ["colon_fence", "deflist", "fieldlist"]
myst_fence_as_directive = ["mermaid"]

# -- the reference, from docstrings ----------------------------------------------------------------------

nitpicky = True
autodoc_class_signature = "mixed"
autodoc_typehints = "none"
autodoc_member_order = "bysource"
python_maximum_signature_line_length = 60
python_display_short_literal_types = True
# What a Dag imports it from.
add_module_names = True
toc_object_entries_show_parents = "hide"
nitpick_ignore_regex = [
    # Airflow's own names: a reference to their pages would need the network while this is built.
    ("py:.*", r"airflow\..*|Airflow\w+"),
    # Of the layers below, which are read in the code and are no part of the reference.
    ("py:.*", r"airflow_runctl\.(control|transport|vendors|compat|cli|sandbox)\..*"),
]

# -- the pages ------------------------------------------------------------------------------------------

html_theme = "furo"
html_title = f"airflow-runctl {release}"
html_static_path = ["_static"]
html_css_files = ["site.css"]
html_copy_source = False
html_show_sourcelink = False
html_theme_options = {"navigation_with_keys": True}
# A prompt is shown, and not copied.
copybutton_prompt_text = "$ "
copybutton_only_copy_prompt_lines = True
copybutton_line_continuation_character = "\\"
exclude_patterns = ["_build"]
