"""The documentation taken apart: fenced blocks, the command lines in them, what is shown below, links and anchors."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
PAGES = (ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md")))
SHELL_LABELS = ("", "console", "bash", "sh")
PROGRAMS = (
    "ds2prof", "bash", "make", "python", "pip", "scripts/", "deploy/", "sbatch", "torchrun", "nsys", "ncu", "echo",
    "for", "sudo", "docker", ".", "eval", "cd", "git",
)  # fmt: skip
EXAMPLE_MARK = re.compile(r"<!-- output of (?:a machine with a GPU|a machine without a GPU|another run)\b.*-->")
_FENCE = re.compile(r"^( *)```(\S*)\s*$")
_COMMENT = re.compile(r"(?:^|\s)#(?:\s.*)?$")
_ASSIGNMENT = re.compile(r"^[A-Z][A-Z0-9_]*=")
_EXIT = re.compile(r"exit code (\d)")


@dataclass(frozen=True)
class Block:
    """A fenced block.

    Attributes:
        page, line: where it stands; the line is that of its fence.
        label: behind the fence.
        lines: what it holds, its own indentation taken off.
        before: the last line before it that is not empty.
    """

    page: Path
    line: int
    label: str
    lines: tuple[str, ...]
    before: str

    @property
    def name(self) -> str:
        return f"{self.page.relative_to(ROOT)}:{self.line}"

    @property
    def is_example(self) -> bool:
        """Whether its output is marked as that of another machine or run, so that numbers differ."""
        return EXAMPLE_MARK.match(self.before) is not None


@dataclass(frozen=True)
class Command:
    """One command line of a block.

    Attributes:
        text: the line, joined with those that go on from it, its comment taken off.
        line: of the page.
        exit_code: what the comment says that it exits with; 0 where it says nothing.
        shown: the lines of output below it, where it stands behind a prompt.
    """

    text: str
    line: int
    exit_code: int = 0
    shown: tuple[str, ...] | None = None


def blocks(page: Path) -> Iterator[Block]:
    """The fenced blocks of a page."""
    lines = page.read_text(encoding="utf-8").splitlines()
    at, before = 0, ""
    while at < len(lines):
        opened = _FENCE.match(lines[at])
        if opened is None:
            before = lines[at].strip() or before
            at += 1
            continue
        end = next(
            (place for place in range(at + 1, len(lines)) if lines[place].strip() == "```"),
            None,
        )
        assert end is not None, f"{page}:{at + 1}: a fence that is never closed"
        indent = len(opened.group(1))
        yield Block(page, at + 1, opened.group(2), tuple(line[indent:] for line in lines[at + 1 : end]), before)
        at, before = end + 1, "```"


def commands(block: Block) -> list[Command]:
    """The command lines of a block that a shell would be given; none for a block of anything else."""
    if block.label not in SHELL_LABELS:
        return []
    written = [line for line in block.lines if line.strip()]
    if not written:
        return []
    if written[0].startswith("$ "):
        return _prompted(block)
    return _plain(block) if is_command(written[0]) or written[0].startswith("#") else []


def is_command(line: str) -> bool:
    """Whether a line begins as a command does."""
    words = line.split()
    while words and _ASSIGNMENT.match(words[0]):
        words.pop(0)
    if not words:
        return False
    return any(words[0] == program or (program[-1] == "/" and words[0].startswith(program)) for program in PROGRAMS)


def _plain(block: Block) -> list[Command]:
    found = []
    for number, line in _joined(block.lines, block.line + 1):
        text = _COMMENT.sub("", line).strip()
        if text:
            told = _EXIT.search(line[len(text) :])
            found.append(Command(text, number, int(told.group(1)) if told else 0))
    return found


def _joined(lines: tuple[str, ...], first: int) -> Iterator[tuple[int, str]]:
    """(number, line), those that end in a backslash put together with what follows."""
    pending, start = "", first
    for number, line in enumerate(lines, first):
        start = start if pending else number
        if line.rstrip().endswith("\\"):
            pending += line.rstrip()[:-1].strip() + " "
            continue
        yield start, pending + (line.strip() if pending else line)
        pending = ""
    assert not pending, f"line {start}: nothing follows a backslash"


def _prompted(block: Block) -> list[Command]:
    starts = [place for place, line in enumerate(block.lines) if line.startswith("$ ")]
    found = []
    for start, stop in zip(starts, [*starts[1:], len(block.lines)], strict=True):
        taken = start + 1
        while block.lines[taken - 1].rstrip().endswith("\\"):
            taken += 1
        command = " ".join(line.rstrip().rstrip("\\").strip() for line in block.lines[start:taken])[2:]
        text = _COMMENT.sub("", command).strip()
        told = _EXIT.search(command[len(text) :])
        shown = list(block.lines[taken:stop])
        while shown and not shown[-1].strip():
            shown.pop()
        found.append(Command(text, block.line + 1 + start, int(told.group(1)) if told else 0, tuple(shown)))
    return found


# --- links -----------------------------------------------------------------------------------------------------------

_LINK = re.compile(r"!?\[(?:[^\[\]]|\[[^\]]*\])*\]\(([^)\s]+)(?:\s+\"[^\"]*\")?\)")
_HEADING = re.compile(r"^(#{1,6}) +(.+?)\s*#*$")
_CODE = re.compile(r"`[^`]*`")


def prose(page: Path) -> str:
    """A page without its fenced blocks; lines keep their numbers."""
    inside, kept = False, []
    for line in page.read_text(encoding="utf-8").splitlines():
        fence = line.strip().startswith("```")
        kept.append("" if inside or fence else line)
        inside ^= fence
    return "\n".join(kept)


def links(page: Path) -> list[str]:
    """The targets of all links in a page, code spans left out."""
    return _LINK.findall(_CODE.sub(lambda code: "x" * len(code.group()), prose(page)))


def anchors(page: Path) -> set[str]:
    """The anchors that code hosts and the site give to a page's headings."""
    found: set[str] = set()
    for line in prose(page).splitlines():
        heading = _HEADING.match(line)
        if heading is None:
            continue
        text = re.sub(r"[`*_]|\[([^\]]*)\]\([^)]*\)", lambda part: part.group(1) or "", heading.group(2))
        slug = re.sub(r"[^\w\- ]", "", text.lower()).replace(" ", "-")
        number = sum(1 for name in found if re.fullmatch(re.escape(slug) + r"(-\d+)?", name))
        found.add(f"{slug}-{number}" if number else slug)
    return found


def code_spans(page: Path) -> list[str]:
    """The code spans of a page's prose that begin with ds2prof."""
    text = prose(page).replace("\\|", "|")
    return [code[1:-1] for code in _CODE.findall(text) if code.startswith("`ds2prof ")]
