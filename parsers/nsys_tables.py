"""Which of a file's tables holds what: some have successors of the same kind (``..._RUNTIME_V2``)."""

from __future__ import annotations

import re

from ds2prof.parsers.sqlite_tables import Database, quoted


def newest(database: Database, table: str) -> str:
    """The newest table of that kind in the file (``TABLE_V3`` before ``TABLE_V2`` before ``TABLE``) that has rows.

    Successors repeat the rows of those before them: more than one would count each call twice.
    """
    pattern = re.compile(re.escape(table) + r"(?:_V([0-9]{1,4}))?\Z")
    found = {name: match for name in database.tables if (match := pattern.match(name))}
    order = sorted(found, key=lambda name: int(found[name][1] or 1), reverse=True)
    return next((name for name in order if has_rows(database, name)), table)


def has_rows(database: Database, table: str) -> bool:
    """Whether the file has this table and it is not empty."""
    return table in database.tables and bool(database.rows(f"SELECT 1 FROM {quoted(table)} LIMIT 1"))  # noqa: S608
