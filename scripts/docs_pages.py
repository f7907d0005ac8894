#!/usr/bin/env python3
"""What the documentation takes from the program itself: the glossary, every command's help, the index of pages.

``python scripts/docs_pages.py`` writes docs/GLOSSARY.md anew from ds2prof/report/glossary.py. The other functions are
called while the site is built (docs/conf.py): pages that read well as Markdown get there what a site needs besides.
"""

from __future__ import annotations

import ast
import re
import sys
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Final

ROOT: Final = Path(__file__).resolve().parent.parent
DOCS: Final = ROOT / "docs"
COMMANDS_MARK: Final = "<!-- here: the help of every command -->"
TABLES_MARK: Final = "<!-- here: the tables of a profile -->"
API_MARK: Final = re.compile(r"<!-- here: (module|class|function) ([\w.]+) -->")
_WIDTH: Final = 78
_REMARK: Final = re.compile(r"^On the site, .*\n", re.MULTILINE)
_SECTION: Final = re.compile(r"^## (.+)$", re.MULTILINE)
_LISTED: Final = re.compile(r"^- \[[^\]]+\]\((\w+)\.md\)", re.MULTILINE)
_LINK: Final = re.compile(r"\[((?:[^\[\]]|\[[^\]]*\])*)\]\((\.\./[^)\s]*|ci/[^)\s]*)\)")
_HELP: Final = re.compile(r"<<'HELP'\n(.*?)\nHELP\n", re.DOTALL)
_FENCE: Final = re.compile(r"^```.*?^```", re.DOTALL | re.MULTILINE)

if TYPE_CHECKING:
    from ds2prof.report.glossary import Entry


def glossary_page(entries: Mapping[str, Entry]) -> str:
    """docs/GLOSSARY.md: a section a term, with its formula, meaning and blind spot."""
    head = (
        "# Glossary\n\n"
        "What every number means, how it is computed, and what it cannot tell. The same words stand in the page that\n"
        "`ds2prof report` writes; both come from `ds2prof/report/glossary.py`. More about some of them:\n"
        "[ledger](LEDGER.md), [roofline and MFU](ROOFLINE.md), [intervals](UNCERTAINTY.md), [join](JOIN.md),\n"
        "[estimates](ESTIMATES.md), [ranks](RANKS.md), [memory](CAPTURE.md#memory).\n"
    )
    return head + "".join(f"\n{_entry(entry)}" for entry in entries.values())


def _entry(entry: Entry) -> str:
    formula = [f"*Formula:* {_escaped(entry.formula)}"] if entry.formula else []
    paragraphs = [
        f"## {entry.term}",
        _escaped(entry.meaning),
        *formula,
        f"*Blind spot:* {_escaped(entry.blind_spot)}",
    ]
    return "\n\n".join(paragraphs) + "\n"


def _escaped(text: str) -> str:
    return re.sub(r"([*_<>|`\[\]])", r"\\\1", text)


def commands_page(text: str) -> str:
    """docs/COMMANDS.md with the help of every command in the place of its mark."""
    from ds2prof.cli import cli
    from ds2prof.cli.pages import manual, terminal_text, walked

    parts = [
        _help_of(ctx.command_path, terminal_text(manual(found, ctx), width=_WIDTH))
        for ctx, found in walked(cli, "ds2prof")
    ]
    script = _HELP.search((ROOT / "run_profile.sh").read_text(encoding="utf-8"))
    if script is None:
        raise SystemExit("run_profile.sh: no text of help between HELP and HELP")
    parts.append(_help_of("bash run_profile.sh", script.group(1) + "\n"))
    return text.replace(COMMANDS_MARK, "\n".join(parts))


def _help_of(name: str, text: str) -> str:
    return f"## {name}\n\n```text\n{text}```\n"


def api_page(text: str) -> str:
    """docs/API.md with what docstrings say in the place of each mark."""
    rows = "".join(f"| `{name}` | {_escaped(meaning)} |\n" for name, meaning in _tables())
    text = text.replace(TABLES_MARK, f"| table | a row is |\n|---|---|\n{rows}")
    return API_MARK.sub(lambda found: _autodoc(found.group(1), found.group(2)), text)


def _tables() -> list[tuple[str, str]]:
    """(name, meaning) of each table of a profile: the properties that ds2prof/api.py declares for editors."""
    tree = ast.parse((ROOT / "ds2prof" / "api.py").read_text(encoding="utf-8"))
    (profile,) = (node for node in tree.body if isinstance(node, ast.ClassDef) and node.name == "Profile")
    (declared,) = (node for node in profile.body if isinstance(node, ast.If))
    return [(node.name, ast.get_docstring(node) or "") for node in declared.body if isinstance(node, ast.FunctionDef)]


def _autodoc(kind: str, name: str) -> str:
    members = "" if kind == "function" else "   :members:\n"
    return f"```{{eval-rst}}\n.. auto{kind}:: {name}\n{members}```"


def with_tables_of_contents(text: str) -> str:
    """docs/index.md with a hidden table of contents for each of its sections: the pages that the section lists."""
    titles = list(_SECTION.finditer(text))
    ends = [*(title.start() for title in titles[1:]), len(text)]
    trees = [
        _tree(title.group(1), _LISTED.findall(text[title.end() : end])) for title, end in zip(titles, ends, strict=True)
    ]
    return text.rstrip("\n") + "\n\n" + "\n".join(tree for tree in trees if tree)


def _tree(caption: str, pages: Iterable[str]) -> str:
    listed = "\n".join(pages)
    return f"```{{toctree}}\n:hidden:\n:caption: {caption}\n\n{listed}\n```\n" if listed else ""


def without_links_outside(text: str) -> str:
    """A page whose links to files of the checkout, which no site holds, are those files' names; blocks stay as is."""
    found, at = [], 0
    for fence in _FENCE.finditer(text):
        found += [_unlinked(text[at : fence.start()]), fence.group()]
        at = fence.end()
    return "".join([*found, _unlinked(text[at:])])


def _unlinked(text: str) -> str:
    return _LINK.sub(lambda link: "[README](index.md)" if link.group(2) == "../README.md" else link.group(1), text)


def without_asides(text: str) -> str:
    """A page without its remarks on what only the site has, and with what terminals show in the page's own colour."""
    return _REMARK.sub("", text).replace("```console\n", "```text\n")


def main() -> int:
    """Write the glossary's page."""
    from ds2prof.report.glossary import GLOSSARY

    (DOCS / "GLOSSARY.md").write_text(glossary_page(GLOSSARY), encoding="utf-8")
    print("docs/GLOSSARY.md: written", file=sys.stderr)
    return 0


if __name__ == "__main__":
    sys.path.insert(0, str(ROOT))
    sys.exit(main())
