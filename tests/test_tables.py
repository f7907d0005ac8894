from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ds2prof.tables import (
    Column,
    Loaded,
    Meta,
    Profile,
    Table,
    checked,
    deferred,
    float_column,
    int_column,
    text_column,
)

META = Meta(file="f", tool="t", format="x")


@given(st.lists(st.one_of(st.none(), st.integers(-(2**63), 2**63 - 1))))
def test_ints_round_trip_with_their_nulls(values):
    assert int_column(values).tolist() == values


@given(st.lists(st.one_of(st.none(), st.text())))
def test_texts_round_trip_with_their_nulls(values):
    assert text_column(values).tolist() == values


def test_unknown_floats_are_null():
    assert float_column([1.5, None]).tolist() == [1.5, None]


def test_a_column_that_the_source_lacks_is_null_not_zero():
    table = checked("kernels", {"name": text_column(["a", "b"])})
    assert table["dur_ns"].tolist() == [None, None]
    assert table["occupancy"].tolist() == [None, None]
    assert table["mangled_name"].tolist() == [None, None]


def test_a_column_that_no_table_has_is_a_mistake():
    with pytest.raises(KeyError):
        checked("kernels", {"name": text_column(["a"])})["duration"]


@pytest.mark.parametrize(
    ("columns", "message"),
    [
        ({"name": text_column(["a"]), "dur_ns": int_column([1, 2])}, "2 rows, not 1"),
        ({"name": int_column([1])}, "int, not text"),
        ({"name": text_column([None])}, "null in a required column"),
        ({"dur_ns": int_column([1])}, "no column name"),
        ({"name": text_column(["a"]), "dur_ns": int_column([-1])}, "negative"),
        ({"name": Column(np.array([3], dtype=np.int32), None, ("a",))}, "code outside"),
        ({"name": text_column(["a"]), "dur_ns": Column(np.array([1], dtype=np.int32))}, "int32, not int64"),
    ],
)
def test_the_border_lets_nothing_wrong_through(columns, message):
    with pytest.raises(ValueError, match=message):
        checked("kernels", columns)


def test_tables_become_pandas_with_nulls_kept():
    frame = checked("kernels", {"name": text_column(["a", "b"]), "dur_ns": int_column([5, None])}).to_pandas()
    assert frame["dur_ns"].isna().tolist() == [False, True]
    assert frame["name"].astype(str).tolist() == ["a", "b"]
    assert int(frame["dur_ns"].sum()) == 5


def test_a_profile_reads_only_what_is_asked_for_and_once():
    passes = []

    def load(names):
        passes.append(set(names))
        return Loaded(META, {name: Table(name) for name in names})

    profile = Profile(load)
    assert passes == []
    profile.require("kernels", "copies")
    profile.table("kernels")
    assert passes == [{"kernels", "copies"}]
    profile.table("ranges")
    assert passes[-1] == {"ranges"}


def test_warnings_of_several_passes_are_told_once():
    profile = Profile(lambda names: Loaded(META, {name: Table(name) for name in names}, ("lost a row",)))
    profile.require("kernels")
    profile.require("ranges")
    assert profile.warnings == ("lost a row",)


def test_tables_are_attributes_in_pandas():
    profile = Profile.of(META, {"kernels": {"name": text_column(["a"])}})
    assert profile.kernels["name"].astype(str).tolist() == ["a"]
    with pytest.raises(AttributeError):
        getattr(profile, "kernel")  # noqa: B009  the name of no table


def test_deferred_columns_are_made_once_when_asked_for():
    made = []

    def make(name):
        made.append(name)
        return {"grid_x": int_column([1, 2]), "grid_y": int_column([3, None])}

    columns = deferred({"name": text_column(["a", "b"])}, ["grid_x", "grid_y"], make)
    table = checked("kernels", columns)
    assert (len(table), "grid_x" in table, "grid_z" in table, made) == (2, True, False, [])
    assert table["grid_y"].tolist() == [3, None]
    assert table["grid_x"].tolist() == [1, 2]
    assert table["grid_z"].tolist() == [None, None]
    assert made == ["grid_y"]


def test_chosen_rows_of_deferred_columns_stay_deferred():
    made = []
    columns = deferred(
        {"name": text_column(["a", "b"])}, ["grid_x"], lambda name: made.append(name) or {name: int_column([1, 2])}
    )
    taken = checked("kernels", columns).take(np.array([1]))
    assert (len(taken), made) == (1, [])
    assert taken["grid_x"].tolist() == [2]
    assert taken.to_pandas()["grid_x"].tolist() == [2]


def test_the_border_holds_for_deferred_columns_when_they_are_made():
    ready = {"name": text_column(["a", "b"])}
    table = checked("kernels", deferred(ready, ["grid_x"], lambda name: {name: int_column([1])}))
    with pytest.raises(ValueError, match="1 rows, not 2"):
        table["grid_x"]
    with pytest.raises(ValueError, match="no such column: nonsense"):
        checked("kernels", deferred(ready, ["nonsense"], lambda name: {}))


def test_a_source_that_keeps_its_tables_apart_is_asked_for_each_when_it_is_used():
    passes = []

    def load(names):
        passes.append(set(names))
        return Loaded(META, {name: Table(name) for name in names})

    profile = Profile(load, by_table=True)
    profile.require("kernels", "copies", "ranges")
    assert passes == [{"kernels"}]
    profile.table("ranges")
    profile.require("ranges", "api")
    assert passes == [{"kernels"}, {"ranges"}]
    with pytest.raises(KeyError):
        profile.table("nonsense")


def test_a_warning_is_one_line_whatever_it_quotes():
    profile = Profile(lambda names: Loaded(META, {name: Table(name) for name in names}, ("left out: 'a\r\nb'",)))
    profile.require("kernels")
    assert profile.warnings == ("left out: 'a b'",)
