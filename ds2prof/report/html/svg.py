"""matplotlib's SVG made fit for a page: no inline styles, colours as CSS classes, ids of its own, marks that tell.

The page forbids inline styles, so that nothing in a hostile file could bring its own; and it changes colours with the
reader's theme. A colour of the style sheet becomes a class, any other style a presentation attribute.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Final
from xml.etree import ElementTree

from ds2prof.report import style

_SVG: Final = "http://www.w3.org/2000/svg"
_XLINK: Final = "http://www.w3.org/1999/xlink"
_REFERENCE: Final = re.compile(r"url\(#([^)]+)\)")
_PAINTS: Final = ("fill", "stroke")
_DROPPED: Final = ("-webkit-", "stroke-linejoin", "stroke-linecap", "text-anchor-")
ON: Final = "on:"
"""A text whose gid begins with this stands on a surface of the role behind it, and has that surface's label colour."""
_DECIMALS: Final = re.compile(r"-?\d+\.\d{3,}")
_LINES: Final = re.compile(r"(z)|([ML]) (\S+) (\S+)")
_ROLE_OF: Final[Mapping[str, str]] = {shade.light.lower(): role for role, shade in reversed(list(style.ROLES.items()))}
"""Light colour -> the first role that has it: roles of one light colour have one dark colour."""


def page_svg(text: str, *, ident: str, title: str, tips: Mapping[str, str]) -> str:
    """The SVG element as markup for a page.

    Args:
        text: what matplotlib wrote.
        ident: what ids on this page begin with.
        title: what a screen reader says of it.
        tips: gid -> what is told where that mark is pointed at or focused.
    """
    root = ElementTree.fromstring(_without_prolog(text))  # noqa: S314 - what matplotlib wrote a moment ago
    _strip(root)
    used = _referenced(root)
    for element in root.iter():
        name = element.get("id", "")
        if name.startswith(ON):
            _on_surface(element, name.removeprefix(ON))
        if name not in used and name not in tips:
            element.attrib.pop("id", None)
        _own_ids(element, ident)
        _own_style(element)
    for element in root.iter(f"{{{_SVG}}}g"):
        tip = tips.get((element.get("id") or "").removeprefix(f"{ident}-"))
        if tip is not None:
            _tipped(element, tip)
    width, height = (root.attrib.pop(name).removesuffix("pt") for name in ("width", "height"))
    root.set("viewBox", f"0 0 {_short(width)} {_short(height)}")
    root.set("class", "figure")
    root.set("role", "img" if not tips else "group")
    root.set("aria-label", title)
    ElementTree.register_namespace("", _SVG)
    ElementTree.register_namespace("xlink", _XLINK)
    made = ElementTree.tostring(root, encoding="unicode")
    return re.sub(r'\sxmlns(:xlink)?="[^"]+"', "", made).replace("xlink:href", "href")


def colour_rules() -> str:
    """The style sheet's part for these classes."""
    roles = sorted(set(_ROLE_OF.values()))
    lines = [f".{paint[0]}-{_css(role)}{{{paint}:var(--{_css(role)})}}" for role in roles for paint in _PAINTS]
    lines += [f".on-{_css(role)}{{fill:var(--on-{_css(role)})}}" for role in style.ROLES if role.startswith("cause")]
    return "\n".join(lines)


def label_variables(theme: style.Theme) -> dict[str, str]:
    """CSS variable -> the colour of a text on a surface of a cause's colour."""
    return {f"--on-{_css(role)}": style.label_colour(role, theme) for role in style.ROLES if role.startswith("cause")}


def _css(role: str) -> str:
    return role.replace("_", "-")


def _without_prolog(text: str) -> str:
    """The text from the element on: a document type has no place within a page."""
    return text[text.index("<svg") :]


def _strip(root: ElementTree.Element) -> None:
    """Leave out metadata (it names dates and versions) and style elements."""
    for parent in list(root.iter()):
        for child in list(parent):
            if child.tag in (f"{{{_SVG}}}metadata", f"{{{_SVG}}}style"):
                parent.remove(child)
            child.tail = None
        if not parent.tag.endswith(("text", "tspan")):
            parent.text = None


def _on_surface(element: ElementTree.Element, role: str) -> None:
    for text in element.iter(f"{{{_SVG}}}text"):
        text.set("class", f"on-{_css(role)}")
        text.set("style", re.sub(r"fill:[^;]*", "", text.get("style", "")))


def _referenced(root: ElementTree.Element) -> set[str | None]:
    """The ids that something in the drawing refers to; the others only number its parts."""
    values = [value for element in root.iter() for value in element.attrib.values()]
    return {name for value in values for name in _REFERENCE.findall(value)} | {
        value[1:] for value in values if value.startswith("#")
    }


def _own_ids(element: ElementTree.Element, ident: str) -> None:
    name = element.get("id")
    if name is not None:
        element.set("id", f"{ident}-{name}")
    for key, value in list(element.attrib.items()):
        if key in ("href", f"{{{_XLINK}}}href") and value.startswith("#"):
            element.set(key, f"#{ident}-{value[1:]}")
        elif "url(#" in value:
            element.set(key, _REFERENCE.sub(rf"url(#{ident}-\1)", value))
        elif key in ("d", "x", "y", "transform", "points", "width", "height") and "." in value:
            shortened = " ".join(_DECIMALS.sub(lambda found: _short(found[0]), value).split())
            element.set(key, straight(shortened) if key == "d" else shortened)


def straight(path: str) -> str:
    """The same path in fewer letters, where it is made of straight lines: level and upright ones by one number.

    Points on the way of a line that goes on in its direction are left out; any other path stays as it is.
    """
    words = path.split()
    if not words or any(word.isalpha() and word not in ("M", "L", "z") for word in words):
        return path
    steps: list[tuple[str, str, str]] = []
    for end, command, x, y in _LINES.findall(path):
        step = (end or command, x, y)
        if steps and step == ("L", *steps[-1][1:]):
            continue
        if len(steps) > 1 and _goes_on(steps[-2], steps[-1], step):
            steps.pop()
        steps.append(step)
    return "".join(_shortest(before, step) for before, step in zip([("", "", ""), *steps], steps, strict=False))


def _goes_on(begin: tuple[str, str, str], through: tuple[str, str, str], end: tuple[str, str, str]) -> bool:
    """Whether three points follow each other on one level or upright line."""
    if begin[0] == "z" or (through[0], end[0]) != ("L", "L"):
        return False
    for fixed, moved in ((1, 2), (2, 1)):
        if begin[fixed] == through[fixed] == end[fixed]:
            first, middle, last = (float(step[moved]) for step in (begin, through, end))
            return (middle - first) * (last - middle) > 0
    return False


def _shortest(before: tuple[str, str, str], step: tuple[str, str, str]) -> str:
    command, x, y = step
    if command == "L" and before[0] != "z":
        if y == before[2]:
            return f"H{x}"
        if x == before[1]:
            return f"V{y}"
    return f"{command}{x} {y}" if command != "z" else "z"


def _own_style(element: ElementTree.Element) -> None:
    """Style as attributes, colours of the style sheet as classes."""
    classes: list[str] = []
    declared = element.attrib.pop("style", "")
    parts = (part.split(":", 1) for part in declared.split(";") if ":" in part)
    found = {key.strip(): value.strip() for key, value in parts}
    for paint in _PAINTS:
        if paint in element.attrib:
            found.setdefault(paint, element.attrib.pop(paint))
    if element.tag == f"{{{_SVG}}}text" and element.get("class") is None:
        found.setdefault("fill", style.colour("ink"))
    for name, given in found.items():
        if name == "font":
            element.set("font-size", re.sub(r"px.*", "", given).split()[-1])
            continue
        role = _ROLE_OF.get(given.lower()) if name in _PAINTS else None
        if role is not None:
            classes.append(f"{name[0]}-{_css(role)}")
        elif not name.startswith(_DROPPED) and name != "font-family":
            element.set(name, given.removesuffix("px"))
    if classes:
        element.set("class", " ".join(dict.fromkeys([*element.get("class", "").split(), *classes])))


def _tipped(element: ElementTree.Element, tip: str) -> None:
    title = ElementTree.Element(f"{{{_SVG}}}title")
    title.text = tip
    element.insert(0, title)
    element.set("class", "mark")
    element.set("tabindex", "0")
    element.set("role", "img")
    element.set("aria-label", tip)


def _short(number: str) -> str:
    return f"{float(number):.2f}".rstrip("0").rstrip(".")
