"""Every parser on what nobody would write: its golden files, with lines, numbers and cells replaced by the worst."""

from __future__ import annotations

import gzip
import re
import sqlite3
import tempfile
from contextlib import closing
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from ds2prof.parsers import PARSERS
from tests.fuzz import target

NUMBER = re.compile(rb"-?\d+(?:\.\d+)?")
TEXTS = (
    b"", b"0", b"-1", b"-0.0", b"NaN", b"nan", b"Infinity", b"-inf", b"1e999", b"1e-999", b"9223372036854775807",
    b"9223372036854775808", b"-9223372036854775809", b"18446744073709551616", b"604800000000001", b"1,5", b"1.234,5",
    b"null", b"true", b'"', b'""', b"[]", b"{}", b"\x00", b"\xff\xfe", b"\x1b[31m", b"<script>", b"../../etc/passwd",
    b"0" * 400, b"9" * 400, b"0x1F", "٣".encode(), b"\r", b"\n", b"\\",
)  # fmt: skip
CELLS = (None, -1, 0, (1 << 63) - 1, -(1 << 63), 1 << 62, 0.5, "", "text", "\x00", b"", b"\xff" * 9, 604800000000001)
FEW = settings(max_examples=10, deadline=None, suppress_health_check=[HealthCheck.too_slow])


def plain(path: Path) -> bytes:
    content = path.read_bytes()
    return gzip.decompress(content) if content[:2] == b"\x1f\x8b" else content


def cases(name):
    return [plain(path) for path in target.seeds(name)]


def is_database(content):
    return content.startswith(b"SQLite format 3\x00")


@pytest.mark.parametrize("name", PARSERS)
def test_what_fuzzing_kept_is_read_or_refused(name):
    for content in cases(name):
        target.read(name, content)


@pytest.mark.parametrize("name", PARSERS)
@FEW
@given(data=st.data())
def test_replaced_numbers_never_surprise(name, data):
    content = data.draw(st.sampled_from(cases(name)))
    found = list(NUMBER.finditer(content))[:4000]
    if is_database(content) or not found:
        return
    chosen = data.draw(st.lists(st.sampled_from(found), min_size=1, max_size=8, unique_by=lambda match: match.start()))
    for match in sorted(chosen, key=lambda match: -match.start()):
        content = content[: match.start()] + data.draw(st.sampled_from(TEXTS)) + content[match.end() :]
    target.read(name, content)


@pytest.mark.parametrize("name", PARSERS)
@FEW
@given(data=st.data())
def test_lines_moved_doubled_and_cut_never_surprise(name, data):
    content = data.draw(st.sampled_from(cases(name)))
    if is_database(content):
        return
    lines = content.splitlines(keepends=True)
    for _ in range(data.draw(st.integers(1, 6))):
        if not lines:
            break
        at, to = (data.draw(st.integers(0, len(lines) - 1)) for _ in range(2))
        line = lines[at]
        match data.draw(st.sampled_from(["double", "move", "drop", "cut", "join"])):
            case "double":
                lines.insert(to, line)
            case "move":
                lines.insert(to, lines.pop(at))
            case "drop":
                del lines[at]
            case "cut":
                lines[at] = line[: data.draw(st.integers(0, len(line)))]
            case _:
                lines[at] = line.rstrip(b"\r\n")
    target.read(name, b"".join(lines))


@pytest.mark.parametrize("name", PARSERS)
@FEW
@given(data=st.data())
def test_the_beginning_of_one_and_the_end_of_another_never_surprise(name, data):
    head, tail = (data.draw(st.sampled_from(cases(name))) for _ in range(2))
    cut, behind = data.draw(st.integers(0, len(head))), data.draw(st.integers(0, len(tail)))
    target.read(name, head[:cut] + tail[behind:])


@pytest.mark.parametrize("name", PARSERS)
@FEW
@given(data=st.data())
def test_replaced_cells_of_a_database_never_surprise(name, data):
    golden = [plain(path) for path in sorted((target.GOLDEN / name).glob("*/input*"))]
    databases = [content for content in golden if is_database(content)]  # those that fuzzing kept are damaged already
    if not databases:
        return
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "x.sqlite"
        path.write_bytes(data.draw(st.sampled_from(databases)))
        with closing(sqlite3.connect(path)) as connection:
            for _ in range(data.draw(st.integers(1, 8))):
                _spoil(connection, data)
            connection.commit()
        target.read(name, path.read_bytes())


def _spoil(connection, data):
    """One change to a database: a cell, a row more, or a table less."""
    tables = [name for (name,) in connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'")]
    filled = [name for name in tables if connection.execute(f'SELECT 1 FROM "{name}" LIMIT 1').fetchone()]
    if not filled:
        return
    table = data.draw(st.sampled_from(filled))
    columns = [row[1] for row in connection.execute(f'PRAGMA table_info("{table}")')]
    column, value = data.draw(st.sampled_from(columns)), data.draw(st.sampled_from(CELLS))
    change = data.draw(st.sampled_from(["cell", "cell", "cell", "column", "double", "drop"]))
    try:
        if change == "cell":
            connection.execute(
                f'UPDATE OR IGNORE "{table}" SET "{column}" = ? WHERE rowid IN (SELECT rowid FROM "{table}" LIMIT 1 '
                f"OFFSET {data.draw(st.integers(0, 5))})",
                (value,),
            )
        elif change == "column":
            connection.execute(f'UPDATE OR IGNORE "{table}" SET "{column}" = ?', (value,))
        elif change == "double":
            connection.execute(f'INSERT OR IGNORE INTO "{table}" SELECT * FROM "{table}" LIMIT 3')
        else:
            connection.execute(f'DROP TABLE "{table}"')
    except sqlite3.Error:
        return  # a constraint of the schema forbids it
