"""A manual page as roff, which ``man`` shows."""

from __future__ import annotations

from ds2prof.cli.pages import Example, Manual, Prose, Section, Terms, broken

_WIDTH = 76


def roff(page: Manual, *, version: str, see: str = "") -> str:
    """The page in the macros of man(7)."""
    title = page.name.replace(" ", "-")
    lines = [
        f".TH {_quoted(title.upper())} 1 {_quoted('')} {_quoted(f'ds2prof {version}')} {_quoted('ds2prof')}",
        *(".SH NAME", f"{_escaped(title)} \\- {_escaped(_lowered(page.purpose))}"),
        *(".SH SYNOPSIS", ".nf", f"\\fB{_escaped(page.usage)}\\fR", ".fi"),
    ]
    for section in page.sections:
        lines += _section(section)
    return "\n".join(lines) + "\n"


def _section(section: Section) -> list[str]:
    lines = [f".SH {_quoted(section.title.upper())}"]
    for part in section.parts:
        if isinstance(part, Prose):
            lines += [".PP", _text(part.text)]
        elif isinstance(part, Terms):
            lines += [
                line for term, meaning in part.rows for line in (".TP", f"\\fB{_escaped(term)}\\fR", _text(meaning))
            ]
        else:
            lines += _example(part)
    return lines


def _example(part: Example) -> list[str]:
    words = [".PP", _text(f"{part.words}:")] if part.words else [".PP"]
    return [*words, ".nf", ".RS 4", *(_text(line) for line in broken(part.command, _WIDTH)), ".RE", ".fi"]


def _lowered(purpose: str) -> str:
    """The purpose as a line of whatis: no capital, no full stop."""
    return purpose[:1].lower() + purpose[1:].rstrip(".")


def _text(text: str) -> str:
    """A line of text: never taken for a request."""
    made = _escaped(text)
    return f"\\&{made}" if made.startswith((".", "'")) or not made else made


def _escaped(text: str) -> str:
    """The text with what roff reads as its own told literally; hyphens are those that one types."""
    return (
        text.replace("\\", "\\e")
        .replace("-", "\\-")
        .replace("'", "\\(aq")
        .replace("`", "\\(ga")
        .replace("^", "\\(ha")
        .replace("~", "\\(ti")
    )


def _quoted(text: str) -> str:
    return '"' + _escaped(text).replace('"', "\\(dq") + '"'
