"""What changed, row by row: against timelines whose every kernel is known."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ds2prof.analysis.compare import BY, comparison, gate_of, part_of, tables
from ds2prof.analysis.compare.breakdown import HOST_REST, REST
from ds2prof.analysis.compare.pieces import pieces_of
from ds2prof.errors import MissingDataError, UsageError
from ds2prof.parsers import read_all
from tests.compare_support import ADD, GEMM, OTHER_GEMM, REDUCE, Plan, write, write_log, write_runs
from tests.known.cases import CASES, run_of
from tests.known.formats import WRITERS, written
from tests.known.reckoning import answers
from tests.profiles import META, REPLAY, profile

PLAN = Plan()


def parts(*paths):
    return [part_of(each) for path in paths for each in read_all(path, tables=tables())]


def compared(base, new, by="name", **options):
    return comparison(parts(base), parts(new), by=[by], **options)


def rows_of(found, place=0):
    table = found.tables[place]
    return {row[table.answer.by]: row for row in table.answer.rows()}


def test_the_slowdown_of_one_kernel_is_its_row_and_all_of_the_change(tmp_path):
    base = write(tmp_path / "a.json", PLAN)
    new = write(tmp_path / "b.json", replace(PLAN, slowdowns={GEMM: 1.5}))
    found = compared(base, new)
    rows = rows_of(found)
    assert (rows[GEMM]["base_ns"], rows[GEMM]["new_ns"]) == (60_000, 90_000)
    assert rows[GEMM]["change"] == pytest.approx(0.5)
    assert rows[GEMM]["share"] == pytest.approx(1.0)
    assert next(iter(rows)) == GEMM
    assert rows[REDUCE]["change_ns"] == rows[REST]["change_ns"] == 0
    assert found.tables[0].change_ns == pytest.approx(30_000)
    assert found.numbers[0].change == pytest.approx(30_000 / 115_000)


@pytest.mark.parametrize("by", BY)
def test_the_rows_of_every_table_sum_to_the_change_of_the_step(tmp_path, by):
    plan = replace(PLAN, noise=0.05)
    base, new = write(tmp_path / "a.json", plan), write(tmp_path / "b.json", replace(plan, seed=1, gap_ns=7_001))
    if by == "layer":
        with pytest.raises(MissingDataError, match="cannot be taken apart by layer"):
            compared(base, new, by)
        return
    table = compared(base, new, by).tables[0]
    for name in ("base_ns", "new_ns", "change_ns"):
        assert sum(table.answer.columns[name]) == pytest.approx(getattr(table, name), rel=1e-9)
    assert sum(table.answer.columns["share"]) == pytest.approx(1.0)
    assert table.unit == "step"


@given(
    lengths=st.lists(st.tuples(st.integers(1, 5000), st.integers(1, 5000)), min_size=1, max_size=4),
    gaps=st.tuples(st.integers(2000, 4000), st.integers(2000, 4000)),
)
@settings(max_examples=15, deadline=None)
def test_rows_and_sums_are_those_of_the_truth_for_any_kernels(tmp_path_factory, lengths, gaps):
    folder = tmp_path_factory.mktemp("any")
    names = (GEMM, ADD, REDUCE, "softmax_warp_forward")
    sides = []
    for side, gap in enumerate(gaps):
        kernels = tuple((names[place], each[side], "forward", 1, "aten::mm") for place, each in enumerate(lengths))
        sides.append(write(folder / f"{side}.json", Plan(kernels=kernels, iterations=3, gap_ns=gap)))
    found = compared(*sides)
    for place, each in enumerate(lengths):
        row = next(row for label, row in rows_of(found).items() if names[place].startswith(label.partition("<")[0]))
        assert (row["base_ns"], row["new_ns"]) == each
    assert found.tables[0].change_ns == pytest.approx(
        sum(each[1] - each[0] for each in lengths) + len(lengths) * (gaps[1] - gaps[0])
    )


def test_idle_time_that_grew_is_in_the_ledger_under_its_cause(tmp_path):
    base, new = write(tmp_path / "a.json", PLAN), write(tmp_path / "b.json", replace(PLAN, gap_ns=9_000))
    found = compared(base, new, "ledger")
    rows = rows_of(found)
    assert rows["queued"]["change_ns"] + rows["head"]["change_ns"] == pytest.approx(3 * 4_000)
    assert rows["compute"]["change_ns"] == 0
    assert rows_of(compared(base, new))[REST]["change_ns"] == pytest.approx(12_000)


@pytest.mark.parametrize("by", ["phase", "class"])
def test_phases_and_classes_show_where_the_slower_kernel_is(tmp_path, by):
    base, new = write(tmp_path / "a.json", PLAN), write(tmp_path / "b.json", replace(PLAN, slowdowns={REDUCE: 2.0}))
    rows = rows_of(compared(base, new, by))
    changed = {label: row["change_ns"] for label, row in rows.items() if row["change_ns"]}
    assert changed == {"backward" if by == "phase" else "reduction": 20_000}


# Renamed, gone and new kernels


def kernels_with(*changes):
    return tuple(dict(changes).get(number, each) for number, each in enumerate(PLAN.kernels))


def test_a_renamed_kernel_of_the_same_class_operator_and_shape_is_one_row(tmp_path):
    renamed = kernels_with((0, (OTHER_GEMM, 66_000, "forward", 64, "aten::mm")))
    found = compared(write(tmp_path / "a.json", PLAN), write(tmp_path / "b.json", replace(PLAN, kernels=renamed)))
    row = rows_of(found)[OTHER_GEMM]
    assert (row["pairing"], row["base_name"], row["class"]) == ("renamed", GEMM, "gemm")
    assert (row["base_ns"], row["new_ns"]) == (60_000, 66_000)
    assert row["sureness"] > 0.8
    assert GEMM not in rows_of(found)
    assert "renamed" in found.verdict


def test_a_kernel_of_another_class_is_no_renamed_one(tmp_path):
    other = kernels_with((0, ("softmax_warp_forward", 60_000, "forward", 64, "aten::mm")))
    found = compared(write(tmp_path / "a.json", PLAN), write(tmp_path / "b.json", replace(PLAN, kernels=other)))
    rows = rows_of(found)
    assert (rows["softmax_warp_forward"]["pairing"], rows["softmax_warp_forward"]["base_ns"]) == ("new only", 0)
    assert (rows[GEMM]["pairing"], rows[GEMM]["new_ns"], rows[GEMM]["new_calls"]) == ("base only", 0, 0)
    assert found.tables[0].change_ns == pytest.approx(0)


def test_of_two_new_names_the_one_of_the_same_operator_and_shape_is_the_old_kernel(tmp_path):
    extra = (*PLAN.kernels, ("gemv2T_kernel_val", 9_000, "backward", 7, "aten::mv"))
    renamed = (*kernels_with((0, (OTHER_GEMM, 60_000, "forward", 64, "aten::mm"))), extra[-1])
    found = compared(write(tmp_path / "a.json", PLAN), write(tmp_path / "b.json", replace(PLAN, kernels=renamed)))
    rows = rows_of(found)
    assert rows[OTHER_GEMM]["base_name"] == GEMM
    assert rows["gemv2T_kernel_val"]["pairing"] == "new only"


def test_two_alike_candidates_are_paired_one_to_one_and_taken_for_less_sure(tmp_path):
    old = ((GEMM, 60_000, "forward", 64, "aten::mm"), ("ampere_sgemm_64x32_nn", 30_000, "forward", 64, "aten::mm"))
    fresh = ((OTHER_GEMM, 60_000, "forward", 64, "aten::mm"), (f"{OTHER_GEMM}_v2", 30_000, "forward", 64, "aten::mm"))
    found = compared(write(tmp_path / "a.json", Plan(kernels=old)), write(tmp_path / "b.json", Plan(kernels=fresh)))
    renamed = [row for row in rows_of(found).values() if row.get("pairing") == "renamed"]
    assert sorted(row["base_name"] for row in renamed) == sorted(name for name, *_ in old)
    assert all(row["sureness"] <= 0.5 for row in renamed)


def test_a_copy_of_the_same_file_has_changed_nothing_and_no_kernel_is_renamed(tmp_path):
    path = write(tmp_path / "a.json", replace(PLAN, noise=0.05))
    found = compared(path, path)
    assert set(found.tables[0].answer.columns["change_ns"]) == {0.0}
    assert "pairing" not in found.tables[0].answer.columns
    assert any("is on both sides" in line for line in found.warnings)


# Kernels cut where steps meet

SPANS = st.lists(st.tuples(st.integers(0, 60), st.integers(0, 30)), min_size=1, max_size=8)


@given(spans=SPANS, cuts=st.lists(st.integers(0, 90), min_size=2, max_size=6, unique=True))
@settings(max_examples=60, deadline=None)
def test_the_pieces_of_kernels_are_those_of_a_walk_from_instant_to_instant(spans, cuts):
    made = profile(kernels=(("name", "device", "start_ns", "dur_ns"), [("k", 0, *span) for span in spans]))
    times = sorted(cuts)
    found = pieces_of(made, 0, np.array(times), np.arange(len(times) - 1))
    expected = defaultdict(float)
    for stretch, (low, high) in enumerate(pairwise(times)):
        for instant in range(low, high):
            running = [row for row, (start, length) in enumerate(spans) if start <= instant < start + length]
            for row in running:
                expected[row, stretch] += 1 / len(running)
    rows = zip(found.row.tolist(), found.unit.tolist(), found.share_ns.tolist(), strict=True)
    shares = {(row, unit): share for row, unit, share in rows if share > 1e-9}
    assert shares == pytest.approx(dict(expected))
    begun = sorted(found.row[found.is_first].tolist())
    assert begun == [row for row, (start, _) in enumerate(spans) if times[0] <= start < times[-1]]


def test_a_kernel_that_runs_on_into_the_next_step_counts_for_both(tmp_path):
    """Its steps would else be longer than what ran in them, and idle time below nothing."""
    case, forms = next((case, forms) for case, forms in CASES if case.__name__ == "waits")
    found = parts(written(run_of(case, forms), "kineto", tmp_path))[0]
    ledger = found.by["ledger"]
    busy = ledger.times_ns[:, : ledger.labels.index("exposed_copy")].sum(axis=1)
    assert found.by["name"].times_ns[:, :-1].sum(axis=1) == pytest.approx(busy)


# Runs and ranks


def test_files_that_differ_in_their_rank_alone_are_one_run(tmp_path):
    for rank in (0, 1):
        plan = replace(PLAN, rank=rank, slowdowns={GEMM: 1.0 + rank})
        write(tmp_path / "base" / f"torch_bs4_rank{rank}.json", plan)
        write(tmp_path / "new" / f"torch_bs4_rank{rank}.json", replace(plan, slowdowns={GEMM: 2.0 + rank}))
    found = compared(tmp_path / "base", tmp_path / "new")
    assert (len(found.base), len(found.base[0].parts), len(found.new)) == (1, 2, 1)
    assert (rows_of(found)[GEMM]["base_ns"], rows_of(found)[GEMM]["new_ns"]) == (90_000, 150_000)
    step = found.numbers[0]
    assert (step.base, step.new) == (175_000, 235_000)


def test_ranks_that_are_told_inside_the_files_alone_are_one_run_too(tmp_path):
    for rank in (0, 1):
        write(tmp_path / "base" / f"worker{rank}_a.json", replace(PLAN, rank=rank))
    write(tmp_path / "new.json", PLAN)
    found = compared(tmp_path / "base", tmp_path / "new.json")
    assert (len(found.base), len(found.base[0].parts)) == (1, 2)
    assert any(line.startswith("ranks: 2 | 1") for line in found.warnings)


def test_several_runs_give_bounds_by_their_spread(tmp_path):
    plan = replace(PLAN, noise=0.01, spread=0.005)
    base = write_runs(tmp_path / "base", plan, count=4)
    new = write_runs(tmp_path / "new", replace(plan, slowdowns={GEMM: 1.1}), count=4, seed=50)
    found = compared(base, new)
    table, row = found.tables[0], rows_of(found)[GEMM]
    assert table.noise == "runs"
    assert table.low_ns < 6_000 < table.high_ns
    assert row["low_ns"] < 6_000 < row["high_ns"]
    assert row["beyond_noise"] is True
    assert rows_of(found)[REDUCE]["beyond_noise"] is False


def test_other_iterations_are_said_not_to_correspond(tmp_path):
    base, new = write(tmp_path / "a.json", PLAN), write(tmp_path / "b.json", replace(PLAN, first=100))
    assert compared(base, new).tables[0].frame.how == "none"


def test_a_run_log_beside_a_timeline_lends_it_the_lengths_of_its_inputs(tmp_path):
    lengths = [1.0 + 0.1 * number for number in range(12)]
    for side, first in (("base", 0), ("new", 100)):
        write(tmp_path / side / "torch_bs4.json", replace(PLAN, first=first))
        write_log(tmp_path / side / "run_bs4.jsonl", [1e6] * 12, padded=lengths, first=first, profiler="torch")
    found = compared(tmp_path / "base", tmp_path / "new")
    assert (found.tables[0].frame.how, found.tables[0].frame.count) == ("length", 12)
    assert any("run logs left out" in line for line in found.warnings)


def test_run_logs_are_compared_by_their_throughput_and_step(tmp_path):
    base = write_log(tmp_path / "a.jsonl", [100e6, 110e6] * 10, warmup=2)
    new = write_log(tmp_path / "b.jsonl", [104e6, 114.4e6] * 10, warmup=2)
    found = comparison(parts(base), parts(new))
    numbers = {one.field: one for one in found.numbers}
    assert numbers["step_ns"].change == pytest.approx(0.04)
    assert numbers["samples_per_s"].base == pytest.approx(4 / 0.105)
    assert numbers["samples_per_s"].change == pytest.approx(1 / 1.04 - 1)
    assert found.tables == ()


def test_runs_of_several_batch_sizes_are_no_repetitions(tmp_path):
    for size in (4, 8):
        write_log(tmp_path / "a" / f"run_bs{size}.jsonl", [1e8] * 9, batch_size=size)
    sides = parts(tmp_path / "a"), parts(tmp_path / "a")
    with pytest.raises(UsageError, match=r"batch sizes 4, 8.*--batch-size"):
        comparison(*sides)
    assert len(comparison(*sides, batch_size=8).base) == 1
    with pytest.raises(MissingDataError, match="no run of batch size 16"):
        comparison(*sides, batch_size=16)


def test_a_timeline_and_a_run_log_have_nothing_to_compare(tmp_path):
    base, new = write(tmp_path / "a.json", PLAN), write_log(tmp_path / "b.jsonl", [1e8] * 9)
    with pytest.raises(MissingDataError, match="BASE has timelines, NEW has run logs"):
        compared(base, new)


# Other sources


KNOWN = [(case, form) for case, forms in CASES for form in forms if not form.startswith("ncu")]


@pytest.mark.parametrize(
    ("case", "form"),
    [
        pytest.param(case, form, marks=() if form in ("kineto", "nsys_stats") else pytest.mark.long)
        for case, form in KNOWN
    ],
    ids=lambda each: getattr(each, "__name__", each),
)
def test_the_exclusive_times_of_every_known_file_sum_to_its_unit(tmp_path, case, form):
    run = run_of(case, tuple(WRITERS))
    path = written(run, form, tmp_path)
    found = parts(path)[0]
    assert found.by
    for by, one in found.by.items():
        first = next(iter(found.by.values()))
        assert one.times_ns.sum() == pytest.approx(first.times_ns.sum(), rel=1e-9), by
        assert one.unit == first.unit
        assert one.times_ns.min() > -1e-6


def test_the_time_of_kernels_without_steps_is_that_of_the_truth(tmp_path):
    case, forms = next((case, forms) for case, forms in CASES if case.__name__ == "no_ranges")
    run = run_of(case, forms)
    known = answers(run, frozenset({"calls", "span"}))["by_name"]
    expected = {name: excl_ns for name, (_, _, excl_ns) in known.items()}
    found = parts(written(run, "nsys_2026", tmp_path))[0].by["name"]
    assert found.unit == "window"
    times = dict(zip(found.labels, found.times_ns[0].tolist(), strict=True))
    assert {name: times[name] for name in expected} == pytest.approx(expected)


def test_files_without_steps_warn_where_they_hold_different_amounts_of_work():
    def made(count):
        rows = [("k", 0, 100 * number, 50, number + 1) for number in range(count)]
        columns = ("name", "device", "start_ns", "dur_ns", "correlation")
        return [part_of(profile(kernels=(columns, rows), meta=replace(META, file=f"{count}.json")))]

    found = comparison(made(10), made(12))
    assert any(line.startswith("launches: 10 | 12") for line in found.warnings)
    assert found.tables[0].unit == "window"


@pytest.mark.parametrize("by", [None, ["name"]])
def test_of_windows_from_other_sources_the_verdict_tells_no_idle_time(by):
    columns = ("name", "device", "start_ns", "dur_ns", "correlation")
    made = []
    for gap in (100, 900):
        rows = [("k", 0, gap * number, 50, number + 1) for number in range(10)]
        made.append([part_of(profile(kernels=(columns, rows), meta=replace(META, file=f"{gap}.json")))])
    assert "By the ledger" in comparison(*made, by=by).verdict
    other = [replace(part, window_source="profiler span") for part in made[1]]
    assert "By the ledger" not in comparison(made[0], other, by=by).verdict


def test_replayed_captures_are_compared_by_the_sums_of_their_durations(tmp_path):
    def made(length):
        rows = [(GEMM, 0, length), (REDUCE, 0, 500), (GEMM, 0, length)]
        return [part_of(profile(kernels=(("name", "device", "dur_ns"), rows), meta=replace(REPLAY, file=f"{length}")))]

    found = comparison(made(1_000), made(1_200), by=["class"])
    assert (found.tables[0].unit, found.tables[0].base_ns, found.tables[0].change_ns) == ("capture", 2_500, 400)
    assert rows_of(found)["gemm"]["change_ns"] == 400
    with pytest.raises(MissingDataError, match="needs a timeline of a GPU"):
        comparison(made(1_000), made(1_200), by=["ledger"])


def test_a_capture_without_durations_has_nothing_to_take_apart(tmp_path):
    case, forms = next((case, forms) for case, forms in CASES if case.__name__ == "counters")
    path = written(run_of(case, forms), "ncu_raw", tmp_path)
    with pytest.raises(MissingDataError, match="cannot be taken apart by name: it has no times of kernels"):
        compared(path, path)


def test_a_run_without_a_gpu_is_compared_by_its_operators():
    def made(length):
        ops = [("aten::mm", 1, 1, 1000 * step + 100, length) for step in range(9)]
        steps = [(f"ProfilerStep#{step}", "iteration", str(step), 1, 1, 1000 * step, 900) for step in range(9)]
        return part_of(
            profile(
                ops=(("name", "process", "thread", "start_ns", "dur_ns"), ops),
                ranges=(("name", "kind", "value", "process", "thread", "start_ns", "dur_ns"), steps),
                meta=replace(META, domain="cpu", times=None, file=f"{length}.json"),
            )
        )

    found = comparison([made(200)], [made(300)], by=["name"])
    rows = rows_of(found)
    assert (rows["aten::mm"]["base_ns"], rows["aten::mm"]["new_ns"]) == (200, 300)
    assert rows[HOST_REST]["change_ns"] == -100
    assert found.tables[0].change_ns == 0


def test_windows_from_other_sources_make_utilization_incomparable(tmp_path):
    base = write(tmp_path / "a.json", PLAN)
    case, forms = next((case, forms) for case, forms in CASES if case.__name__ == "no_ranges")
    found = comparison(parts(base), parts(written(run_of(case, forms), "kineto", tmp_path)))
    assert "gpu_compute_utilization" not in {one.field for one in found.numbers}
    assert any(line.startswith("window source:") for line in found.warnings)


def test_what_makes_sides_incomparable_is_said(tmp_path):
    def logged(name, **told):
        import json

        path = write_log(tmp_path / name, [1e8] * 9)
        head, *rest = path.read_text().splitlines()
        path.write_text("\n".join([json.dumps(json.loads(head) | told), *rest]) + "\n")
        return parts(path)

    found = comparison(logged("a.jsonl"), logged("b.jsonl", precision="bf16", batch_size=8, profiler="torch"))
    told = " ".join(found.warnings)
    for words in ("precision: fp32 | bf16", "batch size: 4 | 8", "profiler beside the log: none | torch"):
        assert words in told


# What cannot be compared


def test_sums_of_whole_files_with_other_numbers_of_iterations_are_left_out_and_decide_nothing(tmp_path):
    base = write_runs(tmp_path / "base", replace(PLAN, noise=0.01), count=3)
    new = write_runs(tmp_path / "new", replace(PLAN, noise=0.01, iterations=24), count=3, seed=9)
    gates = [gate_of(text) for text in ("kernel_dur_ns<=+2%", "launches<=+2%", "step_ns<=+2%", "launches<=72")]
    found = compared(base, new, gates=gates)
    assert [one.status for one in found.outcomes] == ["unknown", "unknown", "held", "held"]
    assert "they hold 12 and 24 marked iterations" in found.outcomes[0].why
    assert not {"kernel_dur_ns", "launches"} & {one.field for one in found.numbers[:-1]}
    assert any(line.startswith("marked iterations: 12 | 24: ") for line in found.warnings)


def test_a_file_without_kernels_is_no_improvement(tmp_path):
    base, new = write(tmp_path / "a.json", PLAN), write(tmp_path / "b.json", replace(PLAN, kernels=()))
    found = comparison(parts(base), parts(new), gates=[gate_of("kernel_dur_ns<=+2%"), gate_of("busy_ns<=+2%")])
    assert [one.status for one in found.outcomes] == ["unknown", "unknown"]
    assert "has no kernel_dur_ns" in found.outcomes[0].why
    assert "kernel_dur_ns" not in {one.field for one in found.numbers}


def test_one_number_of_a_whole_run_is_not_said_to_lack_iterations(tmp_path):
    base, new = write(tmp_path / "a.json", PLAN), write(tmp_path / "b.json", PLAN)
    (found,) = compared(base, new, gates=[gate_of("launches<=+2%")]).outcomes
    assert found.status == "unknown"
    assert "launches is one number without any spread" in found.why


def test_a_rate_that_divides_by_nothing_is_said_to_be_none(tmp_path):
    sides = [tmp_path / side for side in ("base", "new")]
    for side, wall in zip(sides, (1e8, 0), strict=True):
        for number in range(2):
            write_log(side / f"run_bs4_{number}.jsonl", [wall] * 9)
    found = comparison(*(parts(side) for side in sides), gates=[gate_of("samples_per_s>=-1%")])
    assert found.outcomes[0].status == "unknown"
    assert "has no samples_per_s: it divides by nothing" in found.outcomes[0].why
    assert [one.field for one in found.numbers] == ["step_ns"]


def test_what_one_side_does_not_state_is_not_said_to_differ(tmp_path):
    one, other = (parts(write(tmp_path / f"{name}.json", PLAN)) for name in "ab")
    other = [replace(part, devices=()) for part in other]
    (line,) = (line for line in comparison(one, other).warnings if line.startswith("GPU: "))
    assert "not stated: unless they are the same, times are of different hardware" in line


def test_a_warning_names_its_file_once(tmp_path):
    found = parts(write(tmp_path / "a.json", PLAN))
    file = found[0].meta.file
    told = [replace(part, warnings=(f"{file}: one", "two", f"{file}:6: three")) for part in found]
    lines = [line for line in comparison(told, parts(write(tmp_path / "b.json", PLAN))).warnings if file in line]
    assert lines == [f"{file}: one", f"{file}: two", f"{file}:6: three"]
