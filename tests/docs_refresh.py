"""``python -m tests.docs_refresh [PAGE]...``: run what the pages show behind prompts, and show what comes out now.

For after a change of what commands print. Where a page leaves lines out (a line of ``...``), as many lines stay as
there were before it; lines behind it are kept as they are if they still come out, and are otherwise left to you: the
tests say which. Output of other machines or runs is never touched.
"""

from __future__ import annotations

import os
import re
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

from tests import docs_sandbox
from tests.docs_blocks import PAGES, Block, blocks, commands
from tests.docs_running import covered, words_of


def renewed(shown: Sequence[str], output: Sequence[str]) -> list[str]:
    """The lines to show in place of ``shown``: those of the output, left out where they were."""
    if "..." not in shown:
        return list(output)
    before = list(shown).index("...")
    behind = [line for line in shown[before:] if line.strip() not in ("", "...")]
    if all(any(re.match(re.escape(line).replace(r"\.\.\.", ".*") + "$", each) for each in output) for line in behind):
        return [*output[:before], *shown[before:]]
    return list(shown)


def _edits(block: Block) -> list[tuple[int, int, list[str]]]:
    """(first line, how many, what to put there) for each command of a block that shows something, from 0 on."""
    found = []
    for command in commands(block):
        outcome = None if command.text == "echo $?" else covered(words_of(command.text), command.text)
        if command.shown and outcome is not None and outcome.exit_code is not None:
            output = [line.rstrip() for line in outcome.output.strip("\n").splitlines()]
            start = command.line - block.line - 1
            while block.lines[start].rstrip().endswith("\\"):
                start += 1
            found.append((block.line + start + 1, len(command.shown), renewed(command.shown, output)))
    return found


def refresh(page: Path, made: Path, folder: Path) -> int:
    """How many outputs of a page were renewed."""
    lines = page.read_text(encoding="utf-8").splitlines()
    changed = 0
    for number, block in reversed(list(enumerate(blocks(page)))):
        if block.is_example or not any(command.shown for command in commands(block)):
            continue
        os.chdir(docs_sandbox.sandbox(made, page, folder / f"{page.stem}{number}"))
        for start, count, put in reversed(_edits(block)):
            changed += lines[start : start + count] != put
            lines[start : start + count] = put
    if changed:
        page.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return changed


def main(names: Sequence[str]) -> int:
    """Renew the pages of these names, or all."""
    with tempfile.TemporaryDirectory() as scratch:
        os.environ.update(docs_sandbox.variables(Path(scratch)))
        for name in docs_sandbox.UNSET:
            os.environ.pop(name, None)
        made = docs_sandbox.template(Path(scratch) / "made")
        for page in PAGES:
            if not names or page.name in names:
                print(f"{page.name}: {refresh(page, made, Path(scratch))} renewed", file=sys.stderr)
        os.chdir("/")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
