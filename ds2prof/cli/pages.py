"""Manual pages: what ``--help`` prints and ``ds2prof man`` writes, from one description of each command.

A command's docstring holds its purpose, blocks of examples or of terms (each behind ``\\b``), and its exit codes; the
options come from click; arguments, files, environment and what to see also stand in :mod:`.page_words`. Nothing that is
printed is wider than the terminal or 80 columns, whichever is less: an example that is longer is broken before an
option, as one would type it.
"""

from __future__ import annotations

import inspect
import re
import textwrap
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from importlib import import_module
from typing import TYPE_CHECKING, Any, Final

import click

if TYPE_CHECKING:
    from click.shell_completion import CompletionItem

WIDTH: Final = 80
_PROGRAMS: Final = ("ds2prof", "bash", "python", "torchrun", "srun", "ncu", "eval", "source", "man", "make")
_CHOICES: Final = re.compile(r"\[[^\]\s]*\|[^\]]*\]")
_WIDEST_CHOICES: Final = 24
_KINDS: Final = {"INTEGER RANGE": "N", "INTEGER": "N", "FLOAT RANGE": "X", "FLOAT": "X"}
"""What click calls the value of an option, and what stands for it here: the range follows the meaning."""
_EXIT_CODES: Final = (
    "0 done, 1 the input or the machine is at fault (one line says where and what to do), 2 wrong usage."
)


@dataclass(frozen=True)
class Prose:
    """A paragraph."""

    text: str


@dataclass(frozen=True)
class Terms:
    """Terms (options, arguments, files), each with its meaning."""

    rows: tuple[tuple[str, str], ...]


@dataclass(frozen=True)
class Example:
    """A command line, and what it is for."""

    command: str
    words: str = ""


@dataclass(frozen=True)
class Section:
    """A titled part of a page."""

    title: str
    parts: tuple[Prose | Terms | Example, ...]


@dataclass(frozen=True)
class Manual:
    """A command's page: its name as it is typed, its purpose in a line, its usage, and the sections."""

    name: str
    purpose: str
    usage: str
    sections: tuple[Section, ...]


@dataclass(frozen=True)
class Words:
    """What a page says beyond docstring and options; see :mod:`.page_words`."""

    arguments: Mapping[str, str]
    terms: Mapping[str, Mapping[str, str]]
    files: Mapping[str, str]
    environment: Mapping[str, str]
    see_also: Sequence[str]


class _Paged(click.Command):
    """A command whose help is its manual page."""

    def format_help(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """The page for a terminal."""
        formatter.width = min(formatter.width, WIDTH - 2)
        formatter.write(terminal_text(manual(self, ctx), width=formatter.width))


class Page(_Paged):
    """A command with a manual page."""


class PageGroup(_Paged, click.Group):
    """A group with a manual page."""


class LazyGroup(PageGroup):
    """A group of commands, each of a module of its own that is imported when the command is asked for.

    Attributes:
        table: command -> (module with ``command``, one line of help).
    """

    table: Mapping[str, tuple[str, str]]

    def list_commands(self, ctx: click.Context) -> list[str]:
        """The commands' names, in the order of the table."""
        return list(self.table)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """The command of that name, imported now."""
        if cmd_name not in self.table:
            return None
        command: click.Command = import_module(self.table[cmd_name][0]).command
        return command

    def shell_complete(self, ctx: click.Context, incomplete: str) -> list[CompletionItem]:
        """The commands that begin like that, none of them imported."""
        from click.shell_completion import CompletionItem

        found = [
            CompletionItem(name, help=text) for name, (_, text) in self.table.items() if name.startswith(incomplete)
        ]
        return found if incomplete.isidentifier() else [*found, *click.Command.shell_complete(self, ctx, incomplete)]


def manual(command: click.Command, ctx: click.Context) -> Manual:
    """The page of a command."""
    from ds2prof.cli.page_words import words_of

    words = words_of(ctx.command_path)
    purpose, prose, blocks, exit_codes = described(command.help or "")
    sections = [Section("Description", tuple(map(Prose, prose)))] if prose else []
    sections += _section("Arguments", words.arguments)
    if isinstance(command, click.Group):
        sections += _section("Commands", dict(_commands(command, ctx)))
    sections.append(Section("Options", (Terms(tuple(_options(command, ctx))),)))
    sections += [section for title, rows in words.terms.items() for section in _section(title, rows)]
    sections += [Section(title, (Terms(rows),)) for title, rows in _term_blocks(blocks)]
    examples = [example for block in blocks if is_examples(block) for example in _examples(block)]
    sections += [Section("Examples", tuple(examples))] if examples else []
    if not isinstance(command, click.Group):
        sections.append(Section("Exit codes", (Terms(_exit_rows(exit_codes or _EXIT_CODES)),)))
    sections += _section("Files", words.files)
    sections += _section("Environment", {**words.environment, **_colour_words(command)})
    if words.see_also:
        sections.append(Section("See also", (Prose(", ".join(words.see_also)),)))
    usage = " ".join((ctx.command_path, *command.collect_usage_pieces(ctx)))
    return Manual(ctx.command_path, purpose, usage, tuple(sections))


def described(text: str) -> tuple[str, list[str], list[list[str]], str]:
    """(first sentence, further paragraphs, blocks behind ``\\b``, exit codes) of a docstring."""
    prose: list[str] = []
    blocks: list[list[str]] = []
    exit_codes = ""
    for part in re.split(r"\n\s*\n", inspect.cleandoc(text)):
        lines = part.strip("\n").split("\n")
        if lines and lines[0].strip() == "\b":
            blocks.append([line.rstrip() for line in lines[1:]])
        elif part.startswith("Exit codes:"):
            exit_codes = " ".join(part.split())[len("Exit codes:") :].strip()
        elif part.strip():
            prose.append(" ".join(part.split()))
    purpose = prose.pop(0) if prose else ""
    return purpose, prose, blocks, exit_codes


def is_examples(block: Sequence[str]) -> bool:
    """Whether a block is of command lines, and not of terms."""
    words = block[0].split() if block else []
    return bool(words) and (words[0] in _PROGRAMS or words[0].endswith(".py"))


def _examples(block: Sequence[str]) -> list[Example]:
    """The command lines, those that go on below put together; what stands far behind one says what it is for."""
    joined: list[str] = []
    for line in block:
        if joined and joined[-1].endswith("\\"):
            joined[-1] = f"{joined[-1][:-1].rstrip()} {line.strip()}"
        else:
            joined.append(line.strip())
    split = (re.split(r"\s{2,}", line, maxsplit=1) for line in joined)
    return [Example(parts[0], parts[1] if len(parts) > 1 else "") for parts in split]


def _term_blocks(blocks: Iterable[Sequence[str]]) -> list[tuple[str, tuple[tuple[str, str], ...]]]:
    """(title, rows) of each block of terms: ``term   meaning`` a line, behind one that may say what they are."""
    found = []
    for block in blocks:
        if is_examples(block) or not block:
            continue
        title = "Terms"
        lines = list(block)
        if lines[0].endswith(":"):
            title = lines.pop(0).rstrip(":")
        elif len(lines) > 1 and lines[1].endswith(":") and "  " not in lines[0]:
            title = " ".join((lines.pop(0), lines.pop(0))).rstrip(":")
        rows = [re.split(r"\s{2,}", line.strip(), maxsplit=1) for line in lines if line.strip()]
        found.append((title, tuple((row[0], row[1] if len(row) > 1 else "") for row in rows)))
    return found


def _section(title: str, rows: Mapping[str, str]) -> list[Section]:
    return [Section(title, (Terms(tuple(rows.items())),))] if rows else []


def _commands(group: click.Group, ctx: click.Context) -> list[tuple[str, str]]:
    if isinstance(group, LazyGroup):
        return [(name, text) for name, (_, text) in group.table.items()]
    named = ((name, group.get_command(ctx, name)) for name in group.list_commands(ctx))
    return [(name, command.get_short_help_str(200)) for name, command in named if command is not None]


def _options(command: click.Command, ctx: click.Context) -> list[tuple[str, str]]:
    """Each option with its meaning; choices that are too many for the left column stand in the right one."""
    rows = []
    for param in command.get_params(ctx):
        record = param.get_help_record(ctx) if isinstance(param, click.Option) else None
        if record is None:
            continue
        term, meaning = record
        for kind, short in _KINDS.items():
            term = term.replace(kind, short)
        found = _CHOICES.search(term)
        if found is not None and len(found.group()) > _WIDEST_CHOICES:
            choices = found.group()[1:-1].split("|")
            term = term.replace(found.group(), _placeholder(param))
            meaning = f"{meaning} One of: {', '.join(choices)}.".strip()
        rows.append((term, " ".join(meaning.split())))
    return rows


def _placeholder(param: click.Parameter) -> str:
    """The name of a value: the option's own."""
    longest = max(param.opts, key=len, default=param.name or "")
    return longest.lstrip("-").rpartition("-")[2].upper()


def _exit_rows(text: str) -> tuple[tuple[str, str], ...]:
    """(code, meaning) of ``0 done, 1 a file is at fault, 3 ...``; a number begins a meaning, commas may be in it."""
    parts = re.split(r"(?:\A|[,;]\s+)(?=\d{1,3}\s)", text.strip().rstrip("."))
    rows = [part.strip().partition(" ") for part in parts if part.strip()]
    return tuple((code, meaning) for code, _, meaning in rows)


def _colour_words(command: click.Command) -> dict[str, str]:
    if all(param.name != "color" for param in command.params):
        return {}
    return {
        "COLUMNS": "How wide tables may be, where it is not the terminal's width [120 in a pipe].",
        "NO_COLOR": "Set and not empty: no colour, unless --color always.",
        "FORCE_COLOR": "Set and not empty: colour in pipes too; 0 means none.",
    }


def terminal_text(page: Manual, *, width: int) -> str:
    """The page as lines of at most ``width`` columns."""
    lines = [*_wrapped(f"Usage: {page.usage}", width, hang="         "), "", *_wrapped(page.purpose, width, "  ", "  ")]
    for section in page.sections:
        if section.title == "Description":
            for part in section.parts:
                lines += ["", *_part(part, width)]
            continue
        lines += ["", *_wrapped(f"{section.title}:", width)]
        for number, part in enumerate(section.parts):
            spaced = number and isinstance(part, Example) and part.words
            lines += [*([""] if spaced else []), *_part(part, width)]
    return "\n".join(lines) + "\n"


def _part(part: Prose | Terms | Example, width: int) -> list[str]:
    if isinstance(part, Prose):
        return _wrapped(part.text, width, "  ", "  ")
    if isinstance(part, Terms):
        return _terms(part.rows, width)
    words = _wrapped(f"{part.words}:", width, "  ", "  ") if part.words else []
    indent = "    " if part.words else "  "
    return [*words, *(indent + line for line in broken(part.command, width - len(indent)))]


def _wrapped(text: str, width: int, indent: str = "", hang: str = "") -> list[str]:
    return textwrap.wrap(
        text, width, initial_indent=indent, subsequent_indent=hang, break_long_words=False, break_on_hyphens=False
    )


def _terms(rows: Sequence[tuple[str, str]], width: int) -> list[str]:
    """Terms on the left, meanings on the right; a term that is too long has its meaning below."""
    column = min(max((len(term) for term, _ in rows if len(term) <= 26), default=10), 26) + 4
    lines: list[str] = []
    for term, meaning in rows:
        told = _wrapped(meaning, width - column)
        if len(term) + 4 > column or not told:
            lines += [*_wrapped(term, width, "  ", "      "), *(" " * column + line for line in told)]
            continue
        lines += [f"  {term}".ljust(column) + told[0], *(" " * column + line for line in told[1:])]
    return lines


def broken(command: str, width: int) -> list[str]:
    """A command line as lines to type: broken before an option or argument where it is too long."""
    if len(command) <= width:
        return [command]
    lines = [""]
    for word in _whole_words(command):
        room = width - (2 if len(lines) == 1 else 6)
        if lines[-1] and len(lines[-1]) + 1 + len(word) > room:
            lines.append(word)
        else:
            lines[-1] = f"{lines[-1]} {word}".strip()
    return [
        f"{'' if place == 0 else '    '}{line}{' ' * (place + 1 < len(lines))}{chr(92) * (place + 1 < len(lines))}"
        for place, line in enumerate(lines)
    ]


def _whole_words(command: str) -> list[str]:
    """The words of a shell's line, an option together with its value, quotes as they stand."""
    words = re.findall(r"(?:[^\s\"']|\"[^\"]*\"|'[^']*')+", command)
    found: list[str] = []
    for word in words:
        if (
            found
            and found[-1].startswith("-")
            and " " not in found[-1]
            and not word.startswith("-")
            and found[-1] != "--"
        ):
            found[-1] = f"{found[-1]} {word}"
        else:
            found.append(word)
    return found


def walked(command: click.Command, name: str, parent: click.Context | None = None) -> list[tuple[click.Context, Any]]:
    """(context, command) of a command and all below it, in order."""
    ctx = click.Context(command, info_name=name, parent=parent, **command.context_settings)
    found: list[tuple[click.Context, Any]] = [(ctx, command)]
    if isinstance(command, click.Group):
        for below in command.list_commands(ctx):
            sub = command.get_command(ctx, below)
            if sub is not None:
                found += walked(sub, below, ctx)
    return found
