from __future__ import annotations

import itertools
import json
import statistics
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ds2prof import units
from ds2prof.analysis import iteration_counts
from ds2prof.calibration import (
    SCHEMA,
    Counts,
    Series,
    Timed,
    costs,
    document,
    estimate,
    identity_of,
    mode_name,
    overhead_for,
    program_name,
    read_calibration,
    write_calibration,
)
from ds2prof.errors import ReadError
from ds2prof.machine import Machine
from ds2prof.measurements import CALIBRATION_NAME, is_measurement
from ds2prof.report.overhead import overhead
from tests.profiles import META, profile

MACHINE = Machine(cpu="a processor")
PROGRAM = ("python", "train_profiling.py", "--preset", "tiny")
FACTS = {
    "tool": "torch.profiler",
    "tool_version": "2.13",
    "preset": "tiny",
    "precision": "fp32",
    "batch_size": 4,
    "devices": [{"device": "cpu", "name": "a processor"}],
    "versions": {"torch": "2.13"},
    "settings": {"window": "3:6", "trace": ("cuda", "nvtx")},
}
ESTIMATES = ("per_iteration_ns", "mean_per_iteration_ns", "relative", "per_operator_ns", "per_launch_ns", "per_run_ns")
walls = st.lists(st.lists(st.integers(1, 10**12), min_size=4, max_size=4), min_size=1, max_size=8)


def series(mode, walls_by_repeat, *, first=10, **more):
    runs = tuple(Timed(dict(enumerate(each, start=first)), run_ns=sum(each)) for each in walls_by_repeat)
    return Series(mode, runs, **more)


def cost(walls_by_repeat, baseline, counts=None):
    return costs(series("torch", walls_by_repeat), series("none", baseline), counts or Counts())


def slowed(baseline, by):
    return [[wall + by(at) for at, wall in enumerate(each)] for each in baseline]


@given(walls, st.integers(0, 10**10))
def test_a_constant_added_to_every_iteration_is_what_it_costs_exactly(baseline, added):
    found = cost(slowed(baseline, lambda _: added), baseline)["per_iteration_ns"]
    assert (found["value"], found["p25"], found["p75"]) == (added, added, added)
    assert {found["low"], found["high"]} == ({added} if len(baseline) > 1 else {None})
    least = cost(slowed(baseline, lambda _: added), baseline)["undisturbed"]["per_iteration_ns"]
    assert len(baseline) < 3 or {least["value"], least["low"], least["high"]} == {added}


@given(walls, st.integers(1, 10**6), st.lists(st.integers(1, 10**6), min_size=4, max_size=4))
def test_a_constant_added_to_every_operator_is_what_an_operator_costs_exactly(baseline, added, counted):
    counts = Counts(operators=dict(enumerate(counted, start=10)), launches=None)
    found = cost(slowed(baseline, lambda at: added * counted[at]), baseline, counts)
    assert found["per_operator_ns"]["value"] == added
    assert found["per_launch_ns"] is None
    assert found["undisturbed"]["per_launch_ns"] is None


@given(walls.flatmap(lambda one: st.tuples(st.just(one), st.permutations(range(len(one))))), st.randoms())
def test_the_order_of_the_repeats_does_not_matter(drawn, random):
    baseline, order = drawn
    profiled = [[wall + random.randrange(-(10**6), 10**6) for wall in each] for each in baseline]
    assert cost(profiled, baseline) == cost([profiled[at] for at in order], [baseline[at] for at in order])


@given(walls)
def test_the_order_of_the_iterations_does_not_matter(baseline):
    profiled = slowed(baseline, lambda at: 7 * at)
    backwards = [dict(reversed(list(enumerate(each, start=10)))) for each in profiled]
    turned = Series("torch", tuple(Timed(each, sum(each.values())) for each in backwards))
    assert costs(turned, series("none", baseline), Counts()) == cost(profiled, baseline)


@given(st.lists(st.lists(st.integers(-(10**9), 10**9), min_size=1, max_size=5), min_size=2, max_size=20))
def test_the_interval_holds_the_value(values_by_repeat):
    found = estimate(values_by_repeat)
    assert found.low <= found.value <= found.high
    assert found.p25 <= found.p75


@pytest.mark.parametrize(
    ("repeats", "low", "high", "confidence"),
    [(2, 1, 2, 0.5), (5, 1, 5, 0.9375), (6, 1, 6, 0.96875), (8, 1, 8, 0.9921875), (9, 2, 8, 0.9609375)],
)
def test_the_interval_is_the_narrowest_that_holds_95_percent_or_the_widest_there_is(repeats, low, high, confidence):
    found = estimate([[number] for number in range(1, repeats + 1)])
    assert (found.low, found.high, found.confidence) == (low, high, confidence)


@pytest.mark.parametrize("repeats", [3, 6, 9, 11])
def test_the_confidence_is_how_often_coins_leave_the_median_inside(repeats):
    # Each repeat lies above or below the true median by a coin's toss; every outcome is looked at.
    found = estimate([[number] for number in range(repeats)])
    outside = int(found.low)
    held = [outside < sum(tosses) < repeats - outside for tosses in itertools.product((0, 1), repeat=repeats)]
    assert statistics.fmean(held) == pytest.approx(found.confidence)


@given(walls.filter(lambda one: len(one) > 1), st.randoms())
def test_an_independent_calculation_agrees(baseline, random):
    numpy = pytest.importorskip("numpy")
    profiled = [[random.randrange(1, 10**9) for _ in each] for each in baseline]
    found = cost(profiled, baseline)
    apart = numpy.array(profiled, dtype=float) - numpy.array(baseline, dtype=float)
    by_repeat = numpy.median(apart, axis=1)
    assert found["per_iteration_ns"]["value"] == pytest.approx(numpy.median(by_repeat))
    assert found["mean_per_iteration_ns"]["value"] == pytest.approx(numpy.median(apart.mean(axis=1)))
    quartiles = numpy.percentile(apart, [25, 75])
    assert [found["per_iteration_ns"][name] for name in ("p25", "p75")] == pytest.approx(quartiles.tolist())
    shares = numpy.array(profiled) / numpy.array(baseline) - 1
    assert found["relative"]["value"] == pytest.approx(numpy.median(numpy.median(shares, axis=1)), abs=1e-6)
    assert found["samples"] == apart.size
    if len(baseline) > 2:
        least = numpy.min(profiled, axis=0) - numpy.min(baseline, axis=0)
        assert found["undisturbed"]["per_iteration_ns"]["value"] == pytest.approx(numpy.median(least))


def test_a_stall_in_one_of_the_iterations_leaves_the_median_and_shows_in_the_mean():
    baseline = [[100, 100, 100, 100]] * 6
    found = cost(slowed(baseline, lambda at: 400 if at == 2 else 5), baseline)
    assert (found["per_iteration_ns"]["value"], found["mean_per_iteration_ns"]["value"]) == (5, 103.75)


@given(st.lists(st.lists(st.integers(0, 10**9), min_size=8, max_size=8), min_size=6, max_size=6))
def test_neighbours_that_leave_each_iteration_alone_once_do_not_change_what_is_undisturbed(disturbance):
    quiet = [1000 + 10 * at for at in range(8)]
    for at in range(8):
        disturbance[at % 6][at] = 0
    baseline = [[wall + more for wall, more in zip(quiet, each, strict=True)] for each in disturbance]
    profiled = [[wall + more + 50 for wall, more in zip(quiet, each, strict=True)] for each in reversed(disturbance)]
    found = cost(profiled, baseline)["undisturbed"]["per_iteration_ns"]
    assert (found["value"], found["low"], found["high"]) == (50, 50, 50)


@pytest.mark.parametrize(("repeats", "known"), [(1, False), (2, False), (3, True)])
def test_the_least_of_few_runs_is_no_undisturbed_one(repeats, known):
    found = cost([[110, 120]] * repeats, [[100, 100]] * repeats)
    assert all((found["undisturbed"][name] is not None) is known for name in ("per_iteration_ns", "per_run_ns"))


def test_what_lies_below_the_noise_is_given_and_said_to():
    baseline = [[100, 100]] * 6
    found = cost([[100 + by, 100 + by] for by in (-3, -2, 1, 2, 3, 4)], baseline)
    assert found["per_iteration_ns"]["value"] == 1.5
    assert found["within_noise"] is True
    assert cost(slowed(baseline, lambda _: 5), baseline)["within_noise"] is False


def test_a_single_repeat_has_no_interval():
    found = cost([[110, 120]], [[100, 100]])
    assert found["per_iteration_ns"] == {
        "value": 15,
        "low": None,
        "high": None,
        "confidence": None,
        "p25": 12.5,
        "p75": 17.5,
    }
    assert found["within_noise"] is None


@pytest.mark.parametrize("operators", [None, {10: 5}, {10: 5, 11: 0}])
def test_without_the_count_of_every_iteration_an_operator_has_no_cost(operators):
    assert cost([[110, 120]], [[100, 100]], Counts(operators=operators))["per_operator_ns"] is None


def test_only_iterations_of_both_runs_are_compared():
    base, run = Timed({3: 100, 4: 100, 5: 100}, 300), Timed({4: 101, 5: 103, 6: 900}, 1104)
    found = costs(Series("torch", (run,)), Series("none", (base,)), Counts())
    assert (found["samples"], found["per_iteration_ns"]["value"]) == (2, 2)


def test_starting_and_stopping_are_the_median_of_what_the_program_noted():
    runs = tuple(Timed({1: 10}, 10, start_ns=start, stop_ns=None) for start in (5, 9, 6))
    found = costs(Series("torch", runs), Series("none", (Timed({1: 10}, 10),) * 3), Counts())
    assert (found["start_ns"], found["stop_ns"]) == (6, None)


def test_a_mode_that_was_not_measured_has_its_reason_and_no_number():
    found = costs(Series("nsight", reason="not defined"), series("none", [[1]]), Counts())
    assert found["reason"] == "not defined"
    assert {found[name] for name in ESTIMATES} == {None}
    assert set(found["undisturbed"].values()) == {None}
    assert found["samples"] == 0


def made(modes=None, **facts):
    baseline = series("none", [[100, 200], [110, 190], [105, 205]])
    measured = [
        series("torch", [[130, 230], [140, 220], [135, 235]], identity=identity_of(MACHINE, PROGRAM, FACTS)),
        Series("nsight", reason="not defined under replay"),
    ]
    known = {
        "program": "train_profiling.py",
        "preset": "tiny",
        "batch_size": 4,
        "precision": "fp32",
        "device_name": "a processor",
    }
    return document(
        modes or measured,
        baseline=baseline,
        counts=Counts(operators={10: 3, 11: 5}, launches=None, reason="on the CPU nothing is launched"),
        facts={"started_utc": "2026-01-01T00:00:00Z", "commit": "abc", **known, **facts},
    )


def test_the_file_holds_what_it_rests_on(tmp_path):
    path = tmp_path / "calibration.json"
    write_calibration(path, made())
    found = read_calibration(path)
    assert found["schema"] == SCHEMA
    assert (found["repeats"], found["iterations"]) == (3, 2)
    assert found["baseline"]["runs_differ_by_ns"] == 5
    assert found["baseline"]["iteration_ns"]["value"] == 150
    assert found["counts"] == {"operators": 4, "launches": None, "reason": "on the CPU nothing is launched"}
    assert found["runs"][0] == {
        "mode": "none",
        "repeat": 0,
        "walls_ns": {"10": 100, "11": 200},
        "run_ns": 300,
        "start_ns": None,
        "stop_ns": None,
    }
    assert [row["mode"] for row in found["modes"]] == ["torch", "nsight"]
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize(
    ("content", "word"),
    [("{", "not JSON"), ("[" * 100_000, "not JSON"), ("[]", "no calibration"), ('{"schema": "x/1"}', "no calibration")],
)
def test_what_is_no_calibration_is_one_line(content, word, tmp_path):
    path = tmp_path / "calibration.json"
    path.write_text(content)
    with pytest.raises(ReadError, match=word):
        read_calibration(path)


def test_a_calibration_that_is_not_there_is_one_line(tmp_path):
    with pytest.raises(ReadError, match=r"calibration\.json: cannot be read"):
        read_calibration(tmp_path / "calibration.json")


def asked(folder, **changes):
    given = {"mode": "torch", "machine": MACHINE, "program": PROGRAM, "facts": FACTS}
    return overhead_for(folder, **{**given, **changes})


@pytest.fixture
def folder(tmp_path):
    write_calibration(tmp_path / CALIBRATION_NAME, made())
    return tmp_path


def test_a_capture_of_the_same_workload_is_told_its_cost(folder):
    found = asked(folder)
    assert found["per_iteration_ns"]["value"] == 30
    assert found["per_operator_ns"]["value"] == 8
    assert found["undisturbed"]["per_iteration_ns"]["value"] == 30
    assert (found["batch_size"], found["samples"], found["within_noise"]) == (4, 6, False)
    assert (found["calibrated_utc"], found["commit"]) == ("2026-01-01T00:00:00Z", "abc")


def test_another_batch_size_is_told_the_cost_of_an_operator_alone(folder):
    found = asked(folder, facts={**FACTS, "batch_size": 8})
    assert found["per_iteration_ns"] is None
    assert found["mean_per_iteration_ns"] is None
    assert found["per_operator_ns"]["value"] == 8
    assert found["undisturbed"]["per_iteration_ns"] is None
    assert found["undisturbed"]["per_operator_ns"]["value"] == 8


def test_another_window_changes_nothing(folder):
    assert asked(folder, facts={**FACTS, "settings": {**FACTS["settings"], "window": None}}) == asked(folder)


@pytest.mark.parametrize(
    "changes",
    [
        {"mode": "torch-detail"},
        {"mode": "nsight"},
        {"options": ("--sample=cpu",)},
        {"program": (*PROGRAM, "--layers")},
        {"program": ("python", "mine.py")},
        {"machine": replace(MACHINE, cpu="another")},
        {"machine": replace(MACHINE, driver="580.1")},
        {"facts": {**FACTS, "tool_version": "2.14"}},
        {"facts": {**FACTS, "tool": "nsys"}},
        {"facts": {**FACTS, "preset": "tbd"}},
        {"facts": {**FACTS, "preset": None}},
        {"facts": {**FACTS, "precision": "bf16"}},
        {"facts": {**FACTS, "settings": {"window": "3:6", "trace": ("cuda",)}}},
        {"facts": {**FACTS, "versions": {"torch": "2.12"}}},
        {"facts": {**FACTS, "versions": None, "devices": None}},
        {"facts": {**FACTS, "devices": [{"device": "cuda", "name": "a processor"}]}},
        {"facts": {**FACTS, "devices": [*FACTS["devices"], *FACTS["devices"]]}},
    ],
)
def test_a_capture_of_anything_else_is_told_nothing(changes, folder):
    assert asked(folder, **changes) is None


@pytest.mark.parametrize(
    "content", ["", "[]", '{"schema": "ds2prof-calibration/1"}', json.dumps({"schema": SCHEMA, "modes": [3]})]
)
def test_a_damaged_calibration_tells_nothing(content, tmp_path):
    (tmp_path / CALIBRATION_NAME).write_text(content)
    assert asked(tmp_path) is None


def test_a_folder_without_a_calibration_tells_nothing(tmp_path):
    assert asked(tmp_path) is None


@pytest.mark.parametrize(
    ("program", "name"),
    [
        (("python3", "a/train.py", "--x"), "train.py"),
        (("/usr/bin/nothing", "-v"), "nothing"),
        (("torchrun", "--nproc-per-node", "2", "train.py"), "train.py"),
        ((), ""),
    ],
)
def test_a_command_goes_by_its_script(program, name):
    assert program_name(program) == name


def test_of_another_program_the_whole_command_has_to_be_the_same():
    mine = ("python", "mine.py", "--width", "64")
    assert identity_of(MACHINE, mine, FACTS) != identity_of(MACHINE, (*mine[:-1], "128"), FACTS)
    assert identity_of(MACHINE, (*PROGRAM, "--seed", "2"), FACTS) == identity_of(MACHINE, PROGRAM, FACTS)


def test_detail_is_a_mode_of_its_own():
    assert (mode_name("torch"), mode_name("torch", detail=True)) == ("torch", "torch-detail")


def test_a_calibration_is_no_measurement(folder):
    other = folder / "torch_bs4.json.gz"
    other.write_bytes(b"x")
    assert [path.name for path in sorted(folder.iterdir()) if is_measurement(path)] == [other.name]


def test_parsing_a_calibration_says_how_to_print_it(folder):
    from ds2prof.parsers import read

    with pytest.raises(ReadError, match="ds2prof calibrate --show"):
        read(folder / CALIBRATION_NAME)


def test_the_text_says_what_was_measured_and_fits_80_columns():
    text = overhead(made())
    assert "tiny, batch 4, fp32, a processor" in text
    said = " ".join(text.split())
    assert "takes 150 ns (undisturbed 145 ns) and has 4 operators; on the CPU nothing is launched" in said
    assert "torch                 +30 ns  +30 to +30 ns  +21.6 %     +8 ns       -" in text
    assert "  undisturbed         +30 ns  +30 to +30 ns  +22.9 %     +8 ns       -" in text
    assert "nsight: not defined under replay" in text
    assert all(len(line) <= 80 for line in text.splitlines())


def test_a_program_without_a_preset_goes_by_its_name():
    text = overhead(made(program="mine.py", preset=None, batch_size=None, precision=None, device_name=None))
    assert text.splitlines()[0] == "What profiling costs: mine.py"


def test_the_text_says_what_is_noise_and_what_has_no_interval():
    baseline = series("none", [[100], [104]])
    noisy = series("torch", [[101], [103]])
    text = overhead({**made(), "modes": [costs(noisy, baseline, Counts())]})
    assert "torch: within the noise, its interval holds 0" in text
    assert "with 50 % it holds the true value" in text
    alone = costs(series("torch", [[101]]), series("none", [[100]]), Counts())
    assert "One run of each gives no intervals." in overhead({**made(), "modes": [alone]})


def test_hostile_text_in_a_calibration_cannot_steer_a_terminal():
    text = overhead(made(modes=[Series("to\x1brch", reason="\x1b[2J")], device_name="\x1b[31mred"))
    assert "\x1b" not in text


@pytest.mark.parametrize(
    ("low_ns", "high_ns", "text"),
    [
        (-120_000, 1_230_000, "-0.12 to +1.23 ms"),
        (0, 0, "+0 to +0 ns"),
        (-5, 7, "-5 to +7 ns"),
        (999.7, 999.9, "+1 to +1 us"),
        (-999.4, 0, "-999 to +0 ns"),
        (2_000_000_000, 3_500_000_000, "+2 to +3.5 s"),
        (None, 3, "-"),
    ],
)
def test_an_interval_reads_in_one_unit(low_ns, high_ns, text):
    assert units.format_ns_between(low_ns, high_ns) == text


@pytest.mark.parametrize(
    ("dur_ns", "text"), [(1_234_000, "+1.234 ms"), (-1_234, "-1.234 us"), (0, "0 ns"), (None, "-")]
)
def test_a_difference_carries_its_sign(dur_ns, text):
    assert units.format_ns_signed(dur_ns) == text


def test_operators_and_launches_are_counted_in_the_iteration_they_begin_in():
    made_up = profile(
        meta=replace(META, domain="gpu"),
        ranges=(
            ("name", "kind", "value", "start_ns", "dur_ns"),
            [("i8", "iteration", "8", 200, 100), ("i7", "iteration", "7", 100, 90), ("u", "user", "9", 0, 900)],
        ),
        ops=(
            ("name", "thread", "start_ns", "dur_ns"),
            [("a", 1, 100, 5), ("b", 2, 150, 99), ("c", 1, 195, 1), ("d", 1, 299, 1), ("e", 1, 300, 1), ("f", 1, 9, 1)],
        ),
        api=(
            ("name", "start_ns", "dur_ns", "correlation"),
            [("launch", 110, 5, 1), ("launch", 120, 5, 2), ("query", 130, 5, 3), ("copy", 210, 5, 4)],
        ),
        kernels=(
            ("name", "start_ns", "dur_ns", "correlation"),
            [("k", 400, 5, 1), ("k", 410, 5, 1), ("k", 420, 5, 2)],
        ),
        copies=(("name", "kind", "start_ns", "dur_ns", "correlation"), [("c", "memcpy", 500, 5, 4)]),
    )
    assert iteration_counts.operators(made_up) == {7: 2, 8: 1}
    assert iteration_counts.launches(made_up) == {7: 2, 8: 1}


def test_a_trace_without_iterations_or_without_launches_gives_no_counts():
    bare = profile(ops=(("name", "start_ns", "dur_ns"), [("a", 100, 5)]))
    assert (iteration_counts.operators(bare), iteration_counts.launches(bare)) == (None, None)
    ranged = profile(ranges=(("name", "kind", "value", "start_ns", "dur_ns"), [("i", "iteration", "0", 0, 9)]))
    assert (iteration_counts.operators(ranged), iteration_counts.launches(ranged)) == (None, None)
