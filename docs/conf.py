"""The documentation site: `make docs` builds it into build/site/ from the Markdown beside this file.

Nothing is fetched, neither while it is built nor when it is read: themes and fonts are the packages' own or the
reader's. The pages themselves stay plain Markdown; what only a site can show (help of all commands, docstrings, the
table of contents) is put in while they are read (scripts/docs_pages.py).
"""

from __future__ import annotations

import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path[:0] = [str(ROOT), str(ROOT / "scripts")]

import docs_pages  # noqa: E402
from sphinx.application import Sphinx  # noqa: E402

import ds2prof  # noqa: E402

project = "ds2prof"
author = "the authors of ds2prof"
project_copyright = ""
html_show_copyright = False
version = release = ds2prof.__version__
language = "en"
extensions = ["myst_parser", "sphinx.ext.autodoc", "sphinx.ext.napoleon"]
exclude_patterns = ["ci"]
root_doc = "index"
html_theme = "furo"
html_title = f"ds2prof {ds2prof.__version__}"
html_copy_source = False
html_static_path = ["_static"]
html_css_files = ["site.css"]
html_theme_options = {
    "light_css_variables": {"color-brand-primary": "#00578a", "color-brand-content": "#00578a"},
    "dark_css_variables": {"color-brand-primary": "#56b4e9", "color-brand-content": "#56b4e9"},
}
myst_heading_anchors = 4
highlight_language = "none"
pygments_style = "friendly"
pygments_dark_style = "monokai"
autodoc_member_order = "bysource"
autodoc_typehints = "description"
autodoc_typehints_description_target = "documented"
napoleon_google_docstring = True
napoleon_numpy_docstring = False
python_use_unqualified_type_names = True
smartquotes = False


def _read(_app: Sphinx, name: str, source: list[str]) -> None:
    """Put into a page what only the site has."""
    text = docs_pages.without_asides(docs_pages.without_links_outside(source[0]))
    if name == "index":
        text = docs_pages.with_tables_of_contents(text)
    elif name == "COMMANDS":
        text = docs_pages.commands_page(text)
    elif name == "API":
        text = docs_pages.api_page(text)
    source[0] = text


def setup(app: Sphinx) -> None:
    """Sphinx calls this."""
    app.connect("source-read", _read)
