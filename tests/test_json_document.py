"""docs/JSON.md says what the JSON holds: a row for every key, and in it every field that the key's answers have."""

from __future__ import annotations

import functools
import re
import shutil

import pytest

from ds2prof.analysis.estimates.bound_table import bound_table
from ds2prof.analysis.questions import KEYS, answers, tables_for
from ds2prof.analysis.rates import COLUMNS
from ds2prof.analysis.roofline.tables import gains
from ds2prof.cli.parse import BY
from ds2prof.errors import Ds2profError
from ds2prof.parsers import PARSERS, read_all
from ds2prof.schemas import SCHEMAS
from tests.conftest import GOLDEN, ROOT
from tests.test_roofline import ONE, modelled

TOOLS = {"nsys_rep": "nsys"}
READABLE = [name for name in PARSERS if name not in TOOLS or shutil.which(TOOLS[name])]


@functools.cache
def written():
    """Key -> the fields that its rows of the document name."""
    text = (ROOT / "docs" / "JSON.md").read_text(encoding="utf-8").partition("## Rows")[2].partition("## Totals")[0]
    found: dict[str, set[str]] = {}
    for line in text.splitlines():
        if line.startswith("| `"):
            key_cell, fields = line[1:].split(" | ", maxsplit=1)
            for key in re.findall(r"`(\w+)`", key_cell):
                found.setdefault(key, set()).update(re.findall(r"`([\w<>]+)`", fields))
    return found


@functools.cache
def given():
    """Key -> the fields that answers by it have, over the golden files of every format.

    No golden file has work whose roof is known, without which there is no gain and no bound.
    """
    found: dict[str, set[str]] = {}
    for path in sorted(path for name in READABLE for path in (GOLDEN / name).glob("*/input*")):
        for profile in read_all(path, tables=tuple(SCHEMAS)):
            for key in KEYS:
                try:
                    made = answers(profile, key)
                except Ds2profError:  # this file has nothing to say to it
                    continue
                for answer in made:
                    found.setdefault(answer.by, set()).update(answer.columns)
    roofs = modelled(*ONE)
    return found | {"gain": set(gains(roofs).columns), "bound": set(bound_table(roofs).columns)}


def is_told(field, told):
    """Whether a row names the field, itself or by a pattern such as ``<category>_bytes``."""
    patterns = (re.sub("<[a-z]+>", "[a-z_0-9]+", name) for name in told if "<" in name)
    return field in told or any(re.fullmatch(pattern, field) for pattern in patterns)


def test_the_command_takes_the_keys_that_the_analyses_answer():
    assert sorted(BY) == sorted(KEYS)
    assert all(set(tables_for(key)) <= set(SCHEMAS) for key in KEYS)


def test_every_key_has_a_row():
    assert [key for key in KEYS if key not in written()] == []


@pytest.mark.parametrize("key", KEYS)
def test_every_field_that_a_key_gives_is_in_its_row(key):
    fields = given().get(key)
    assert fields, f"no golden file has an answer by {key}"
    told = written()[key] | {key, *COLUMNS}
    assert [field for field in sorted(fields) if not is_told(field, told)] == []
