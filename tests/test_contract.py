"""What holds for every parser: it knows its own golden files and no others, and damage never surprises."""

from __future__ import annotations

import random
import shutil
from pathlib import Path

import pytest

from ds2prof.errors import Ds2profError
from ds2prof.parsers import PARSERS, formats, parse_source, parser
from ds2prof.parsers.sources import HEAD_BYTES, Source
from ds2prof.schemas import SCHEMAS
from ds2prof.tables import Profile, Table
from tests.conftest import GOLDEN

INPUTS = sorted(path for name in PARSERS for path in (GOLDEN / name).glob("*/input*"))
ALL_TABLES = tuple(SCHEMAS)
TOOLS = {"nsys_rep": "nsys"}
"""Parser -> the program that it has read its files."""


def plain(path: Path) -> bytes:
    import gzip

    content = path.read_bytes()
    return gzip.decompress(content) if content[:2] == b"\x1f\x8b" else content


def readable(path: Path) -> Path:
    """The golden input, where the program that it takes to read it is here."""
    tool = TOOLS.get(path.parent.parent.name)
    if tool is not None and shutil.which(tool) is None:
        pytest.skip(f"the tool {tool} is not on this machine")
    return path


def source_of(content: bytes) -> Source:
    import io

    return Source("golden", content[:HEAD_BYTES], lambda: io.BufferedReader(io.BytesIO(content)))


def listed(table: Table) -> dict[str, list[object]]:
    return {name: column.tolist() for name, column in table.columns.items()}


def read_or_refused(content: bytes) -> Profile | None:
    """The profile, or None where the project's own error refuses the bytes in one line."""
    try:
        profile = parse_source(source_of(content)).require(*ALL_TABLES)
        for name in ALL_TABLES:  # what is read when it is used is used
            listed(profile.table(name))
        return profile
    except Ds2profError as error:
        if "\n" in str(error):
            raise
        return None


def test_every_parser_has_golden_cases():
    assert [name for name in PARSERS if not list((GOLDEN / name).glob("*/input*"))] == []


def test_every_golden_case_says_how_it_came_to_be():
    assert [str(path) for path in INPUTS if not (path.parent / "HOW.md").is_file()] == []


def test_format_names_are_distinct():
    assert len(set(formats())) == len(PARSERS)


@pytest.mark.parametrize("path", INPUTS, ids=lambda path: f"{path.parent.parent.name}/{path.parent.name}")
def test_sniffing_is_true_for_its_own_files_and_false_for_others(path):
    head = plain(path)[:HEAD_BYTES]
    assert [name for name in PARSERS if parser(name).sniff(head)] == [path.parent.parent.name]


def in_a_child(path):
    """The case, for ``make test-long`` where its parser starts a process for each table; one such stays."""
    slow = path.parent.parent.name == "ncu_rep" and path.parent.name != "two_processes"
    return pytest.param(path, marks=pytest.mark.long) if slow else path


@pytest.mark.parametrize(
    "path",
    [in_a_child(path) for path in INPUTS],
    ids=[f"{path.parent.parent.name}/{path.parent.name}" for path in INPUTS],
)
def test_asking_for_one_table_gives_the_same_rows_as_asking_for_all(path):
    together = parse_source(source_of(plain(readable(path)))).require(*ALL_TABLES)
    for name in ALL_TABLES:
        alone = parse_source(source_of(plain(path))).table(name)
        assert listed(alone) == listed(together.table(name))


@pytest.mark.parametrize("path", INPUTS, ids=lambda path: f"{path.parent.parent.name}/{path.parent.name}")
def test_truncation_gives_the_projects_error_or_fewer_rows(path):
    content = plain(readable(path))
    rng = random.Random(0)
    cuts = sorted({0, 1, len(content) - 1, *(rng.randrange(len(content)) for _ in range(24))})
    whole = {name: len(parse_source(source_of(content)).table(name)) for name in ("kernels", "ops", "ranges")}
    for cut in cuts:
        profile = read_or_refused(content[:cut])
        if profile is not None:
            assert all(len(profile.table(name)) <= count for name, count in whole.items())


@pytest.mark.parametrize("path", INPUTS, ids=lambda path: f"{path.parent.parent.name}/{path.parent.name}")
def test_flipped_bytes_give_the_projects_error_or_a_profile(path):
    content = bytearray(plain(path))
    rng = random.Random(1)
    for _ in range(16):
        damaged = bytearray(content)
        for _ in range(rng.randrange(1, 6)):
            damaged[rng.randrange(len(damaged))] = rng.randrange(256)
        read_or_refused(bytes(damaged))
