"""TBD's two tables: the longest kernels above and below the average FP32 utilization."""

from __future__ import annotations

import pytest

from ds2prof.analysis import fp32
from ds2prof.errors import MissingDataError
from ds2prof.parsers import parse_source, read
from tests.kineto_support import source
from tests.profiles import REPLAY, counters_profile, profile

COUNTER = ("launch", "metric", "unit", "value")
SASS = "smsp__sass_thread_inst_executed_op_{}_pred_on.sum.per_cycle_elapsed"
PEAK = "sm__sass_thread_inst_executed_op_ffma_pred_on.sum.peak_sustained"


def leveled(*launches):
    """Launches of nvprof (name, duration, level)."""
    return profile(
        kernels=(
            ("name", "device", "start_ns", "dur_ns"),
            [(name, 0, 100 * row, dur) for row, (name, dur, _) in enumerate(launches)],
        ),
        counters=(COUNTER, [(row, fp32.LEVELS, "level", level) for row, (_, _, level) in enumerate(launches)]),
    )


def sides(made):
    above, below = fp32.fp32_tables(made)
    return above.rows(), below.rows()


def names(rows):
    return [row["name"] for row in rows]


def test_the_highest_level_is_ten_tenths_and_not_nothing():
    made = leveled(("a", 10, 3.0), ("b", 10, 10.0), ("c", 10, 9.0), ("d", 10, 0.0))
    above, below = sides(made)
    assert "average: 55.00 %" in fp32.fp32_tables(made)[0].notes[0]
    assert (names(above), names(below)) == (["b", "c"], ["a", "d"])
    assert above[0]["utilization"] == 1.0


def test_the_average_is_weighted_by_duration():
    made = leveled(("a", 90, 1.0), ("b", 10, 9.0))
    assert "average: 18.00 %" in fp32.fp32_tables(made)[0].notes[0]


def test_the_longest_kernels_come_first_with_their_share():
    _, below = sides(leveled(("short", 5, 1.0), ("long", 15, 1.0), ("high", 20, 9.0)))
    assert [(row["name"], row["dur_ns"], row["share"]) for row in below] == [("long", 15, 0.375), ("short", 5, 0.125)]


def test_a_kernels_launches_are_taken_together():
    above, _ = sides(leveled(("a", 10, 8.0), ("a", 30, 4.0), ("b", 10, 0.0)))
    assert (above[0]["calls"], above[0]["dur_ns"], above[0]["utilization"]) == (2, 40, pytest.approx(0.5))


def test_a_kernel_at_the_average_is_above_it():
    above, below = sides(leveled(("only", 10, 4.0)))
    assert (names(above), names(below)) == (["only"], [])


def test_kernels_that_are_all_alike_are_at_the_average_and_the_other_table_says_that_it_is_empty():
    above, below = fp32.fp32_tables(leveled(*((f"k{row}", 7 + 3 * row, 3.0) for row in range(20))))
    assert len(above) == 20
    assert len(below) == 0
    assert below.notes[0] == "no kernel is below the average"
    assert not any(note.startswith("no kernel") for note in above.notes)


def test_levels_say_that_integer_work_counts():
    assert any("integer" in note for note in fp32.fp32_tables(leveled(("a", 10, 4.0)))[0].notes)


def test_a_level_beyond_the_scale_is_unknown():
    answer = fp32.fp32_tables(leveled(("a", 10, 4.0), ("b", 10, 11.0)))[0]
    assert (names(answer.rows()), answer.notes[-1][:18]) == (["a"], "1 of 2 launches ha")


def test_nsight_computes_pipe_is_weighted_by_cycles_where_there_are_no_durations():
    made = counters_profile([("a", 100, 0.1), ("b", 300, 0.5)])
    tables = {name: dict(made.table(name).columns) for name in ("kernels", "counters")}
    del tables["kernels"]["dur_ns"]
    above, below = fp32.fp32_tables(type(made).of(REPLAY, tables))
    assert (names(above.rows()), names(below.rows())) == (["b"], ["a"])
    assert "average: 40.00 %, weighted by cycles" in above.notes[0]


def test_the_pipe_is_said_to_run_other_work_too():
    answer = fp32.fp32_tables(counters_profile([("a", 100, 0.1)]))[0]
    assert "the pipe fma" in answer.notes[1]
    assert "integer" in answer.notes[1]


def test_executed_flop_come_before_the_pipe():
    rows = [
        (0, SASS.format("fadd"), "inst/cycle", 100.0),
        (0, SASS.format("fmul"), "inst/cycle", 20.0),
        (0, SASS.format("ffma"), "inst/cycle", 40.0),
        (0, PEAK, "inst/cycle", 1000.0),
    ]
    above, _ = sides(counters_profile([("a", 100, 0.9)], extra=rows))
    assert above[0]["utilization"] == pytest.approx((100 + 20 + 2 * 40) / 2000)


def test_counts_alone_are_divided_by_the_launches_cycles():
    rows = [(0, SASS.format(op).removesuffix(".per_cycle_elapsed"), "inst", 4000.0) for op in ("fadd", "fmul", "ffma")]
    above, _ = sides(counters_profile([("a", 100, 0.9)], extra=[*rows, (0, PEAK, "inst/cycle", 1000.0)]))
    assert above[0]["utilization"] == pytest.approx((1 + 1 + 2) * 40 / 2000)


def test_flop_of_which_a_part_was_not_counted_are_not_taken():
    rows = [(0, SASS.format("ffma"), "inst/cycle", 40.0), (0, PEAK, "inst/cycle", 1000.0)]
    above, _ = sides(counters_profile([("a", 100, 0.9)], extra=rows))
    assert above[0]["utilization"] == 0.9


def test_a_file_without_fp32_utilization_names_what_collects_it():
    made = profile(kernels=(("name", "dur_ns"), [("a", 5)]))
    with pytest.raises(MissingDataError, match="single_precision_fu_utilization"):
        fp32.fp32_tables(made)


def test_levels_without_durations_are_refused_with_a_reason(golden):
    data = (golden / "nvprof_text" / "metrics_text" / "input.txt").read_bytes()
    with pytest.raises(MissingDataError, match="without durations"):
        fp32.fp32_tables(parse_source(source(data)))


def test_the_level_in_a_profile_that_nvprof_exported_is_read(golden):
    made = read(golden / "nvprof_sqlite" / "metrics_v17" / "input.nvvp")
    above, below = sides(made)
    assert (len(above), len(below), above[0]["utilization"]) == (1, 0, 0.7)


def test_flop_utilization_of_a_real_report_is_nsight_computes_own(corpus):
    found = read(corpus / "ncu-rep" / "panjd123__cutlass__report75.ncu-rep").require("kernels", "counters", "devices")
    table = found.table("counters")
    value = {
        (launch, metric): value
        for launch, metric, value in zip(*(table[name].tolist() for name in ("launch", "metric", "value")), strict=True)
    }
    name = "derived__{}__sass_thread_inst_executed_op_ffma_pred_on_x2"  # the report's products alone, no sums
    expected = [value[launch, name.format("smsp")] / value[launch, name.format("sm")] for launch in range(3)]
    assert expected[2] > 0
    assert fp32.fp32_utilization(found).values.tolist() == pytest.approx(expected)
