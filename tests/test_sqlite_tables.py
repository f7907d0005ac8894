"""Columns out of SQLite files: by way of the pages and by way of SQLite, the same; nothing is written."""

from __future__ import annotations

import contextlib
import gzip
import sqlite3
import tempfile
from contextlib import closing
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from ds2prof.errors import ReadError
from ds2prof.parsers import sqlite_pages, sqlite_records, sqlite_tables
from ds2prof.parsers.sources import find_sources

INTEGERS = st.one_of(
    st.integers(-(1 << 63), (1 << 63) - 1),
    st.integers(0, 32).flatmap(lambda bits: st.integers(-(1 << bits), 1 << bits)),
    st.sampled_from([0, 1, -1, 127, 128, -128, -129, 32767, 32768, 8388607, 8388608, (1 << 47) - 1, 1 << 47]),
)
VALUES = st.one_of(
    INTEGERS,
    st.none(),
    st.floats(allow_nan=False),
    st.text(max_size=80),
    st.binary(max_size=80),
    st.integers(1, 3000).map(lambda size: "x" * size),
)
FEW = settings(max_examples=30, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])


def made(path, rows, *, declared="a INTEGER, b INTEGER, c, d INTEGER", page_bytes=4096, table="t"):
    """A database of one table with these rows."""
    with closing(sqlite3.connect(path)) as connection, connection:
        connection.execute(f"PRAGMA page_size = {page_bytes}")
        connection.execute("CREATE TABLE other (x)")
        connection.execute(f"CREATE TABLE {table} ({declared})")
        if rows:
            marks = ", ".join("?" * len(rows[0]))
            for row in rows:
                connection.execute(f"INSERT INTO {table} VALUES ({marks})", row)
                connection.execute("INSERT INTO other VALUES (?)", ("y" * 500,))
    return path


def columns(path, *names, table="t"):
    (source,) = find_sources(path)
    with sqlite_tables.opened(source) as database:
        return {name: column.tolist() for name, column in database.columns(table, names).items()}


def ints(values):
    return [value if type(value) is int else None for value in values]


@FEW
@given(st.lists(st.tuples(INTEGERS, INTEGERS, VALUES, INTEGERS), max_size=300), st.sampled_from([512, 4096, 65536]))
def test_every_integer_is_read_as_sqlite_reads_it(rows, page_bytes):
    with tempfile.TemporaryDirectory() as folder:
        path = made(Path(folder) / "x.sqlite", rows, page_bytes=page_bytes)
        found = columns(path, "a", "b", "c", "d")
    assert found == {name: ints(row[at] for row in rows) for at, name in enumerate("abcd")}


@FEW
@given(st.lists(st.tuples(VALUES, VALUES, VALUES, VALUES), min_size=1, max_size=100))
def test_what_is_no_integer_is_null(rows):
    declared = "a, b, c, d"
    with tempfile.TemporaryDirectory() as folder:
        found = columns(made(Path(folder) / "x.sqlite", rows, declared=declared), "b", "d")
    assert found == {"b": ints(row[1] for row in rows), "d": ints(row[3] for row in rows)}


def test_rows_with_one_header_are_read_from_the_pages_without_asking_sqlite(tmp_path, monkeypatch):
    path = made(tmp_path / "x.sqlite", [(n, n * 1000, "text", n % 2) for n in range(5000)])
    monkeypatch.setattr(sqlite_tables.Database, "_from_rows", lambda self, table, names: dict.fromkeys(names))
    assert columns(path, "d", "a") == {"d": [n % 2 for n in range(5000)], "a": list(range(5000))}


def test_rows_of_many_headers_are_read_from_the_pages_too(tmp_path, monkeypatch):
    rows = [(1 << n % 60, 1 << n % 17, "x" * (n % 97), -(1 << n % 31)) for n in range(3000)]
    path = made(tmp_path / "x.sqlite", rows)
    monkeypatch.setattr(sqlite_tables.Database, "_from_rows", lambda self, table, names: dict.fromkeys(names))
    assert columns(path, "a", "b", "d") == {
        name: [row[at] for row in rows] for name, at in zip("abd", (0, 1, 3), strict=True)
    }


def test_several_threads_read_what_one_does(tmp_path, monkeypatch):
    rows = [(n, 1 << n % 60, "x" * (n % 97), None if n % 7 == 0 else -n) for n in range(3000)]
    path = made(tmp_path / "x.sqlite", rows, page_bytes=512)
    alone = columns(path, "a", "b", "c", "d")
    monkeypatch.setattr(sqlite_pages, "LEAVES_PER_THREAD", 10)
    monkeypatch.setattr(sqlite_pages.os, "sched_getaffinity", lambda _: range(4), raising=False)
    assert sqlite_pages._threads(1000) == 4
    assert (
        columns(path, "a", "b", "c", "d")
        == alone
        == {name: ints(row[at] for row in rows) for at, name in enumerate("abcd")}
    )


def test_values_on_overflow_pages_come_by_way_of_sqlite(tmp_path):
    rows = [(n, n, "z" * 9000, n + 7) for n in range(20)]
    assert columns(made(tmp_path / "x.sqlite", rows), "a", "d") == {
        "a": list(range(20)),
        "d": list(range(7, 27)),
    }


def test_the_number_of_the_row_itself_is_a_column_like_others(tmp_path):
    path = made(tmp_path / "x.sqlite", [(n + 5, n) for n in range(40)], declared="id INTEGER PRIMARY KEY, v INT")
    assert columns(path, "id", "v") == {"id": [n + 5 for n in range(40)], "v": list(range(40))}


def test_tables_without_row_numbers_and_computed_columns_are_read(tmp_path):
    rows = [(n, n * 2) for n in range(50)]
    path = made(tmp_path / "x.sqlite", rows, declared="a INTEGER PRIMARY KEY, b INTEGER) WITHOUT ROWID --")
    assert columns(path, "a", "b") == {"a": [a for a, _ in rows], "b": [b for _, b in rows]}
    with closing(sqlite3.connect(tmp_path / "y.sqlite")) as connection, connection:
        connection.execute("CREATE TABLE t (a INTEGER, twice INTEGER GENERATED ALWAYS AS (a * 2) VIRTUAL, b INTEGER)")
        connection.executemany("INSERT INTO t (a, b) VALUES (?, ?)", rows)
    assert columns(tmp_path / "y.sqlite", "a", "b") == {"a": [a for a, _ in rows], "b": [b for _, b in rows]}


def test_a_column_added_later_has_its_default_in_the_rows_before(tmp_path):
    path = made(tmp_path / "x.sqlite", [(1, 2, 3, 4)] * 30)
    with closing(sqlite3.connect(path)) as connection, connection:
        connection.execute("ALTER TABLE t ADD COLUMN late INTEGER DEFAULT 9")
        connection.execute("INSERT INTO t VALUES (1, 2, 3, 4, 5)")
    assert columns(path, "d", "late") == {"d": [4] * 31, "late": [9] * 30 + [5]}


def test_a_whole_number_in_a_column_of_reals_is_a_real(tmp_path):
    path = made(tmp_path / "x.sqlite", [(1, 2.0), (2, 2.5)], declared="a INTEGER, r REAL")
    assert columns(path, "a", "r") == {"a": [1, 2], "r": [None, None]}


def test_columns_and_tables_that_are_not_there_are_absent(tmp_path):
    path = made(tmp_path / "x.sqlite", [(1, 2, 3, 4)])
    assert columns(path, "a", "nowhere") == {"a": [1]}
    assert columns(path, "a", table="nothing") == {}
    assert columns(made(tmp_path / "empty.sqlite", []), "a", "c") == {"a": [], "c": []}


def test_texts_are_coded_in_order_of_appearance(tmp_path):
    path = made(tmp_path / "x.sqlite", [("b",), ("a",), (None,), ("b",), (7,)], declared="name")
    (source,) = find_sources(path)
    with sqlite_tables.opened(source) as database:
        column = database.texts("t", "name")
    assert (column.tolist(), column.categories) == (["b", "a", None, "b", None], ["b", "a"])


def test_a_packed_database_is_read_from_a_private_copy(tmp_path):
    path = made(tmp_path / "x.sqlite", [(n, n, None, n) for n in range(10)])
    packed = tmp_path / "packed.gz"
    packed.write_bytes(gzip.compress(path.read_bytes()))
    assert columns(packed, "a") == {"a": list(range(10))}


def test_reading_writes_nothing_beside_the_file(tmp_path):
    path = made(tmp_path / "x.sqlite", [(n, n, None, n) for n in range(1000)])
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("PRAGMA journal_mode = WAL")
    before, content = sorted(tmp_path.iterdir()), path.read_bytes()
    columns(path, "a", "d")
    assert (sorted(tmp_path.iterdir()), path.read_bytes()) == (before, content)


def test_a_database_cut_short_is_refused_in_one_line(tmp_path):
    content = made(tmp_path / "x.sqlite", [(n, n, "y" * 50, n) for n in range(3000)]).read_bytes()
    for size in (50, 200, 4096, 9000, len(content) // 2, len(content) - 4096):
        path = tmp_path / f"{size}.sqlite"
        path.write_bytes(content[:size])
        with pytest.raises(ReadError, match="damaged SQLite database") as refused:
            columns(path, "a")
        assert "\n" not in str(refused.value)


@FEW
@given(st.data())
def test_flipped_bytes_never_surprise(data):
    with tempfile.TemporaryDirectory() as folder:
        path = made(Path(folder) / "x.sqlite", [(n, 1 << n % 50, "y" * (n % 70), n) for n in range(200)])
        content = bytearray(path.read_bytes())
        for _ in range(data.draw(st.integers(1, 6))):
            content[data.draw(st.integers(0, len(content) - 1))] = data.draw(st.integers(0, 255))
        path.write_bytes(content)
        found = {}
        with contextlib.suppress(ReadError):
            found = columns(path, "a", "b", "d")
    assert len({len(values) for values in found.values()}) <= 1


def test_a_pointer_to_another_page_of_the_tree_cannot_run_in_circles(tmp_path):
    path = made(tmp_path / "x.sqlite", [(n, n, "y" * 300, n) for n in range(3000)])
    with closing(sqlite3.connect(path)) as connection:
        (root,) = connection.execute("SELECT rootpage FROM sqlite_master WHERE name = 't'").fetchone()
    content = bytearray(path.read_bytes())
    start = (root - 1) * 4096
    content[start + 8 : start + 12] = root.to_bytes(4, "big")
    path.write_bytes(content)
    with pytest.raises(ReadError):
        columns(path, "a")


def test_columns_of_real_files_are_those_of_sqlite(corpus):
    compared = 0
    for path in [*sorted((corpus / "nsys-sqlite").iterdir()), *sorted((corpus / "nvvp").iterdir())]:
        (source,) = find_sources(path)
        with sqlite_tables.opened(source) as database:
            for table, names in database.tables.items():
                fast = database._from_pages(table, names)
                slow = database._from_rows(table, list(fast))
                assert {name: column.tolist() for name, column in fast.items()} == {
                    name: column.tolist() for name, column in slow.items()
                }
                compared += len(fast)
    assert compared > 1000


def test_the_pages_of_something_else_are_unsuitable(tmp_path):
    path = tmp_path / "x"
    path.write_bytes(b"SQLite format 3\x00" + bytes(5000))
    with pytest.raises(sqlite_records.Unsuitable):
        sqlite_pages.int_columns(path, 2, [0])
