"""The page as one HTML document: everything inline, nothing run or fetched that the page's own policy does not name.

Every text passes jinja2's escaping; what is marked safe is made here or by :mod:`.svg`, from no name of a file.
"""

from __future__ import annotations

import base64
import hashlib
import json
import math
from collections.abc import Mapping
from functools import cache
from importlib import resources
from typing import TYPE_CHECKING, Any, Final

from ds2prof.errors import Ds2profError
from ds2prof.report import style
from ds2prof.report.glossary import GLOSSARY
from ds2prof.report.html.cells import named
from ds2prof.report.html.model import Cell, Page
from ds2prof.report.html.svg import colour_rules, label_variables

if TYPE_CHECKING:
    from jinja2 import Template

_PACKAGE: Final = "ds2prof.report.html"
_SCRIPT_ESCAPES: Final = {"<": "\\u003c", ">": "\\u003e", "&": "\\u0026", "'": "\\u0027"}


def rendered(page: Page) -> str:
    """The page as HTML.

    Raises:
        Ds2profError: jinja2 is not installed.
    """
    css, script = style_sheet(), _text("static/report.js")
    found: str = template().render(
        page=page, css=css, script=script, policy=policy(css, script), glossary=GLOSSARY, data=script_json(page.data)
    )
    return found


def policy(css: str, script: str) -> str:
    """The content security policy: this style sheet and this script by their hashes, and nothing else at all."""
    parts = [
        "default-src 'none'",
        f"style-src 'sha256-{_hash(css)}'",
        f"script-src 'sha256-{_hash(script)}'",
        "img-src data:",
        "base-uri 'none'",
        "form-action 'none'",
    ]
    return "; ".join(parts)


def style_sheet() -> str:
    """The page's style sheet: colours of both themes, classes of the drawings, and the rest."""
    light, dark = ("".join(f"{name}:{value};" for name, value in _variables(theme).items()) for theme in style.THEMES)
    themes = [
        f":root{{color-scheme:light;{light}}}",
        f"@media (prefers-color-scheme:dark){{:root:not([data-theme=light]){{color-scheme:dark;{dark}}}}}",
        f":root[data-theme=dark]{{color-scheme:dark;{dark}}}",
        f"@media print{{:root,:root[data-theme],:root:not([data-theme=light]){{color-scheme:light;{light}}}}}",
    ]
    return "\n".join([*themes, colour_rules(), _text("static/report.css")])


def _variables(theme: style.Theme) -> dict[str, str]:
    return {**style.css_variables(theme), **label_variables(theme)}


def script_json(data: Mapping[str, Any]) -> str:
    """JSON that can stand within a script element: ASCII, without what could end it; numbers JSON lacks are null."""
    text = json.dumps(_plain(data), separators=(",", ":"), allow_nan=False)
    for character, escape in _SCRIPT_ESCAPES.items():
        text = text.replace(character, escape)
    return text


def _plain(value: Any) -> Any:
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, str):
        return named(value, limit=1000)
    if isinstance(value, Mapping):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple, range)):
        return [_plain(item) for item in value]
    return value


def _hash(text: str) -> str:
    return base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()


@cache
def _text(name: str) -> str:
    return resources.files(_PACKAGE).joinpath(name).read_text(encoding="utf-8")


@cache
def template() -> Template:
    """The page's template, ready to be filled.

    Raises:
        Ds2profError: jinja2 is not installed.
    """
    try:
        from jinja2 import Environment, FunctionLoader, StrictUndefined
    except ImportError:
        raise Ds2profError('ds2prof report: needs jinja2; pip install "ds2prof[report]"') from None
    environment = Environment(
        loader=FunctionLoader(lambda name: _text(f"templates/{name}")),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["value"] = _value
    environment.filters["width"] = lambda ratio: f"{100 * ratio:.4g}"
    return environment.get_template("page.html")


def _value(cell: Cell) -> str | None:
    """What stands in ``data-value``: a number in base units, whole; None for a text."""
    value = cell.value
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        return None
    return repr(value)
