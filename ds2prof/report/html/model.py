"""What a page is made of, before anything is HTML: numbers with their values, tables, figures, sections."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True)
class Cell:
    """One cell.

    Attributes:
        text: what is read.
        value: the number behind it in base units, None where unknown; for text the text itself.
        bar: length of a bar beside it, a ratio; None for none.
        below: a second line in small print (bounds).
        variants: what the name stands for, each with its calls and time.
    """

    text: str
    value: Any = None
    bar: float | None = None
    below: str = ""
    variants: Sequence[Variant] = ()


@dataclass(frozen=True)
class Variant:
    """A full kernel name behind a short one."""

    name: str
    calls: int
    dur_ns: int | None
    dur: str


@dataclass(frozen=True)
class Head:
    """A column's heading.

    Attributes:
        name: the column, as in the machine formats.
        label: what is read.
        term: its entry in the glossary; None for none.
        is_number: whether it is aligned and sorted as a number.
    """

    name: str
    label: str
    term: str | None
    is_number: bool


@dataclass(frozen=True)
class Row:
    """A row: its cells, and the class that it can be filtered by."""

    cells: Sequence[Cell]
    group: str = ""
    share: float | None = None


@dataclass(frozen=True)
class Grid:
    """A table.

    Attributes:
        ident: unique on the page.
        caption: what it shows.
        heads, rows: columns and rows.
        rest: what stands for rows that are not there, in words.
        groups: the classes that it can be filtered by, those with most time first; none where there is no filter.
        folded: rows behind this many are folded until asked for; 0 for none.
    """

    ident: str
    caption: str
    heads: Sequence[Head]
    rows: Sequence[Row]
    rest: str = ""
    groups: Sequence[str] = ()
    folded: int = 0

    @property
    def is_tooled(self) -> bool:
        """Whether it is searched and filtered."""
        return bool(self.groups) or len(self.rows) > 12


@dataclass(frozen=True)
class Figure:
    """A drawing as SVG, with what it shows in words for whoever cannot see it."""

    ident: str
    svg: str
    caption: str
    alt: str
    is_hovered: bool = False


@dataclass(frozen=True)
class Fact:
    """A number or word with its name.

    Attributes:
        label: what it is.
        text: what is read.
        name: the field of the machine formats that it is, empty for words.
        value: in base units.
        term: its entry in the glossary.
        between: its bounds; None where there are none.
        how: what the bounds are.
    """

    label: str
    text: str
    name: str = ""
    value: Any = None
    term: str | None = None
    between: tuple[Fact, Fact] | None = None
    how: str = ""


@dataclass(frozen=True)
class Section:
    """A part of the page under one heading.

    Attributes:
        ident: unique on the page; what the contents link to.
        title: the heading.
        lead: one sentence that says what it comes to.
        facts: numbers above the tables.
        figures, grids: what is shown.
        notes: what qualifies the numbers.
        missing: what the file lacks for it and how to get that; nothing else is shown then but this.
        terms: entries of the glossary that define its numbers.
    """

    ident: str
    title: str
    lead: str = ""
    facts: Sequence[Fact] = ()
    figures: Sequence[Figure] = ()
    grids: Sequence[Grid] = ()
    notes: Sequence[str] = ()
    missing: str = ""
    terms: Sequence[str] = ()


@dataclass(frozen=True)
class Loss:
    """One of the largest losses: what, what it costs, where, and what to look at."""

    cause: str
    title: str
    cost: Fact | None
    share: Fact
    where: str
    advice: str


@dataclass(frozen=True)
class Verdict:
    """The first screen: a sentence, the numbers it rests on, losses, pipes, and what to look at next."""

    headline: str
    about: str
    busy: Fact | None
    facts: Sequence[Fact]
    losses_title: str
    losses: Sequence[Loss]
    no_losses: str
    pipes: Grid | None
    no_pipes: str
    pipes_title: str
    advice: Sequence[str]


@dataclass(frozen=True)
class Measurement:
    """What one file gave: its sections, and one line that stands for it where it is folded."""

    ident: str
    name: str
    summary: str
    sections: Sequence[Section]


@dataclass(frozen=True)
class Page:
    """The whole report."""

    title: str
    subtitle: str
    verdict: Verdict
    together: Sequence[Section]
    measurements: Sequence[Measurement]
    warnings: Sequence[str]
    version: str
    data: Mapping[str, Any] = field(default_factory=dict)
