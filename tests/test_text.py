from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ds2prof import units
from ds2prof.analysis.answers import Answer
from ds2prof.report import text
from ds2prof.report.documents import as_csv, as_json, document, write_parquet
from ds2prof.tables import Meta

META = Meta(file="f.json", tool="t", format="x")
LONG = "void cutlass::Kernel2<cutlass_80_tensorop_bf16_s16816gemm_relu_bf16_128x64_64x6_tn_align8>(Params) number "


def answer(count=3):
    return Answer(
        "name",
        {
            "name": [f"{LONG}{i}" for i in range(count)],
            "class": ["gemm"] * count,
            "calls": list(range(1, count + 1)),
            "dur_ns": [1_234_567] * count,
            "excl_ns": [None] * count,
            "share": [0.25] * count,
            "fma": [0.5] * count,
        },
    )


@pytest.mark.parametrize("width", [80, 120, 200])
def test_a_table_fits_the_terminal(width):
    assert max(map(len, text.table(answer(), width=width, ratios=["fma"]).splitlines())) <= width


def test_a_shortened_name_keeps_both_ends():
    assert text.shortened("abcdefghij", 7) == "abcd…ij"
    assert text.shortened("abc", 7) == "abc"


@given(st.text(st.characters() | st.sampled_from("漢字カー\u0301\u0302e")), st.integers(1, 40))
def test_a_shortened_name_fits_its_columns(name, width):
    assert text.display_width(text.shortened(name, width)) <= width


def test_wide_characters_take_two_columns_and_combining_ones_none():
    assert (text.display_width("漢字"), text.display_width("e\u0301")) == (4, 1)
    assert text.shortened("漢字漢字漢字", 6) == "漢字…"
    assert text.shortened("漢字漢字漢字", 8) == "漢字…字"


def test_columns_without_any_value_are_left_out():
    assert "exclusive" not in text.table(answer(), width=120)


def test_numbers_are_aligned_to_the_right_and_units_chosen_for_reading():
    lines = text.table(answer(), width=120, ratios=["fma"]).splitlines()
    assert all("1.235 ms" in line and line.endswith("50.00 %") for line in lines[2:])
    assert len({len(line) for line in lines[1:]}) == 1


def test_a_hostile_name_cannot_steer_the_terminal():
    table = text.table(Answer("name", {"name": ["\x1b[2Jevil\r\n\u202e"], "calls": [1]}), width=80)
    assert "\x1b" not in table
    assert "\r" not in table
    assert len(table.splitlines()) == 3


def test_the_ancestors_lines_have_its_form():
    assert text.tbd([("fma", 0.1750765), ("fp16", None)]) == "fma\t17.50765 %\nfp16\tn/a"


def test_json_is_ascii_so_that_no_name_can_steer_a_terminal_or_fail_in_its_encoding():
    made = document(Answer("name", {"name": ["漢\x9b\udcff"]}), meta=META, totals={}, warnings=[])
    written = as_json([made], many=False)
    assert written.isascii()
    assert json.loads(written)["rows"] == [{"name": "漢\x9b\udcff"}]


def test_half_a_character_is_no_reason_to_fail():
    assert text.cleaned("a\udcffb") == "a\ufffdb"


def test_parquet_holds_one_kind_of_value_in_a_column(tmp_path):
    import pyarrow.parquet as pq

    write_parquet([(META, Answer("iteration", {"iteration": [3, "x\udcff", None]}))], tmp_path / "out")
    assert pq.read_table(tmp_path / "out").column("iteration").to_pylist() == ["3", "x\\udcff", None]


def test_json_has_no_nan_and_unknown_is_null():
    made = document(
        Answer("name", {"name": ["a"], "share": [float("nan")]}), meta=META, totals={"x": None}, warnings=["w"]
    )
    parsed = json.loads(as_json([made], many=False))
    assert parsed["rows"] == [{"name": "a", "share": None}]
    assert (parsed["schema"], parsed["source"]["file"], parsed["warnings"]) == ("ds2prof/1", "f.json", ["w"])


def test_csv_of_several_files_names_them():
    other = Meta(file="g.json", tool="t", format="x")
    lines = as_csv([(META, answer(1)), (other, answer(1))]).splitlines()
    assert lines[0].startswith("file,name,")
    assert lines[2].startswith("g.json,")


@pytest.mark.parametrize(
    ("dur_ns", "shown"),
    [
        (None, "-"),
        (0, "0 ns"),
        (999, "999 ns"),
        (1_234, "1.234 us"),
        (12_345, "12.35 us"),
        (999_999, "1000.0 us"),
        (123_456_789, "123.5 ms"),
        (12_345_678_901_234, "12346 s"),
    ],
)
def test_durations_in_a_column_have_four_digits(dur_ns, shown):
    assert units.format_ns_short(dur_ns) == shown
