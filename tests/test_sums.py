"""Calls and time of copies, api calls and ranges, from single rows and from rows that are sums already."""

from __future__ import annotations

import pytest

from ds2prof.analysis import questions
from ds2prof.analysis.sums import sums
from ds2prof.errors import MissingDataError
from ds2prof.tables import Meta, Profile, int_column, text_column

META = Meta(file="f", tool="t", format="x")


def of(table, **columns):
    return Profile.of(META, {table: columns})


def test_calls_durations_and_extremes_of_single_rows():
    profile = of(
        "api",
        name=text_column(["cudaMalloc", "cudaLaunchKernel", "cudaMalloc"]),
        domain=text_column(["runtime"] * 3),
        start_ns=int_column([0, 5, 20]),
        dur_ns=int_column([7, 4, 2]),
    )
    found = {
        row["name"]: tuple(row[key] for key in ("domain", "calls", "dur_ns", "min_dur_ns", "max_dur_ns", "share"))
        for row in sums(profile, "api").rows()
    }
    assert found == {
        "cudaMalloc": ("runtime", 2, 9, 2, 7, 9 / 13),
        "cudaLaunchKernel": ("runtime", 1, 4, 4, 4, 4 / 13),
    }


def test_rows_that_are_sums_keep_their_calls_and_their_own_extremes():
    profile = of(
        "copies",
        name=text_column(["HtoD", "HtoD"]),
        kind=text_column(["memcpy", "memcpy"]),
        calls=int_column([10, None]),
        dur_ns=int_column([100, 30]),
        min_dur_ns=int_column([5, None]),
        max_dur_ns=int_column([20, None]),
        size_bytes=int_column([1000, 24]),
    )
    (row,) = sums(profile, "copy").rows()
    assert (row["calls"], row["dur_ns"], row["size_bytes"]) == (11, 130, 1024)
    assert (row["min_dur_ns"], row["max_dur_ns"]) == (5, 30)


def test_extremes_that_the_source_did_not_keep_are_unknown():
    profile = of("api", name=text_column(["a"]), calls=int_column([3]), dur_ns=int_column([30]))
    (row,) = sums(profile, "api").rows()
    assert (row["calls"], row["dur_ns"], row["min_dur_ns"], row["max_dur_ns"]) == (3, 30, None, None)


def test_marks_are_calls_without_time():
    profile = of(
        "ranges",
        name=text_column(["mark", "work"]),
        kind=text_column(["user", "user"]),
        start_ns=int_column([1, 2]),
        dur_ns=int_column([None, 5]),
    )
    rows = {row["name"]: row for row in sums(profile, "range").rows()}
    assert (rows["mark"]["calls"], rows["mark"]["dur_ns"], rows["mark"]["max_dur_ns"]) == (1, None, None)
    assert rows["work"]["dur_ns"] == 5


def test_one_name_in_two_domains_is_two_rows():
    profile = of(
        "ranges", name=text_column(["a", "a"]), kind=text_column(["user"] * 2), domain=text_column(["x", None])
    )
    assert sorted(str(row["domain"]) for row in sums(profile, "range").rows()) == ["None", "x"]


def test_a_table_that_is_empty_is_said_in_one_line():
    with pytest.raises(MissingDataError, match=r"no ranges .* in this file; drop --by range"):
        sums(of("api", name=text_column(["a"])), "range")


def test_calls_that_are_told_twice_have_no_share_and_a_note():
    profile = of(
        "api",
        name=text_column(["cudaMemcpy", "cudaMemcpy", "Stream Sync", "cudaFree"]),
        domain=text_column(["runtime", "backtrace", "sync", "runtime"]),
        dur_ns=int_column([30, 31, 29, 10]),
    )
    found = sums(profile, "api")
    shares = {(row["name"], row["domain"]): row["share"] for row in found.rows()}
    assert shares == {
        ("cudaMemcpy", "runtime"): 0.75,
        ("cudaMemcpy", "backtrace"): None,
        ("Stream Sync", "sync"): None,
        ("cudaFree", "runtime"): 0.25,
    }
    assert [note.partition(":")[0] for note in found.notes[1:]] == ["domain backtrace", "domain sync"]


def test_calls_that_are_told_once_have_one_note():
    assert len(sums(of("api", name=text_column(["a"]), dur_ns=int_column([1])), "api").notes) == 1


def test_a_profile_without_kernels_shows_what_it_has():
    profile = of("api", name=text_column(["a"]), calls=int_column([3]), dur_ns=int_column([30]))
    (answer,) = questions.answers(profile, None)
    assert answer.by == "api"
