"""Runs with known answers: ds2prof gives them, to the nanosecond, from every format that tells the facts."""

from __future__ import annotations

import functools
import json
from fractions import Fraction

import pytest

import ds2prof
from ds2prof.analysis import ranks
from ds2prof.analysis.kernels import kernel_times
from ds2prof.analysis.ledger import idle_ledger
from ds2prof.analysis.phases import range_times
from ds2prof.analysis.questions import answers, totals_of
from ds2prof.analysis.totals import totals
from tests.known.answers_on_file import FOLDER, facts_told, key_of, on_file, reckoned, sampling_written
from tests.known.cases import runs
from tests.known.formats import written
from tests.known.sampling import SAMPLERS, run_log

RUNS = {run.name: run for run in runs()}
TABLES = ("kernels", "copies", "api", "ops", "ranges", "overhead", "spans", "counters", "devices")
TIMELINES = [(name, form) for name, run in RUNS.items() for form in run.formats if not form.startswith("ncu")]
COUNTERS = [(name, form) for name, run in RUNS.items() for form in run.formats if form.startswith("ncu")]


@functools.cache
def expected(name, form):
    """The answers on file for what the format tells."""
    return on_file(RUNS[name])["answers"][key_of(facts_told(RUNS[name], form))]


def told(answer, key, *columns):
    """Key -> the values of the columns; "-" for work that has no key."""
    rows = zip(key(answer), *(answer.columns[column] for column in columns), strict=True)
    return {name: list(values) for name, *values in rows}


def named(column):
    return lambda answer: ["-" if value is None else str(value) for value in answer.columns[column]]


def streams(answer):
    return [
        f"{device}/{stream}" for device, stream in zip(*(answer.columns[c] for c in ("device", "stream")), strict=True)
    ]


@pytest.fixture(scope="module")
def profile_of(tmp_path_factory):
    """The profile that is read from a run's file in a format, written and read once for all tests."""

    @functools.cache
    def read(name, form):
        return ds2prof.read(written(RUNS[name], form, tmp_path_factory.mktemp(f"{name}-{form}")), tables=TABLES)

    return read


@pytest.mark.parametrize("name", RUNS)
def test_the_answers_on_file_are_those_that_the_truth_gives(name):
    assert on_file(RUNS[name]) == reckoned(RUNS[name])


@pytest.mark.parametrize(("name", "form"), TIMELINES)
def test_totals_are_those_of_the_truth(name, form, profile_of):
    found, known = totals(profile_of(name, form)), expected(name, form)
    assert (found.launches, found.kernel_dur_ns) == (known["launches"], known["kernel_dur_ns"])
    if form != "rocprof_csv":
        assert (found.copies, found.copy_dur_ns) == (known["copies"], known["copy_dur_ns"])
    assert {
        str(device.device): (device.busy_ns, device.window_ns, device.window_busy_ns) for device in found.devices
    } == {
        device: (each["busy_ns"], each["window_ns"], each["window_busy_ns"])
        for device, each in known["devices"].items()
    }
    assert found.window_source == known["devices"]["0"]["window_source"]
    for device in found.devices:
        each = known["devices"][str(device.device)]
        assert device.gpu_compute_utilization == each["window_busy_ns"] / each["window_ns"]


@pytest.mark.parametrize(("name", "form"), TIMELINES)
def test_tables_of_kernels_are_those_of_the_truth(name, form, profile_of):
    profile, known = profile_of(name, form), expected(name, form)
    columns = ("calls", "dur_ns", "excl_ns")
    assert told(kernel_times(profile, "name"), named("name"), *columns) == known["by_name"]
    assert told(kernel_times(profile, "class"), named("name"), *columns) == known["by_class"]
    assert told(kernel_times(profile, "stream"), streams, *columns) == known["by_stream"]


@pytest.mark.parametrize(("name", "form"), [(n, f) for n, f in TIMELINES if "by_iteration" in expected(n, f)])
def test_tables_of_ranges_are_those_of_the_truth(name, form, profile_of):
    profile, known = profile_of(name, form), expected(name, form)
    for by in ("phase", "layer", "iteration"):
        if f"by_{by}" in known:
            found = told(range_times(profile, by), named(by), "calls", "dur_ns", "excl_ns", "copy_dur_ns")
            assert found == known[f"by_{by}"]


@pytest.mark.parametrize(("name", "form"), TIMELINES)
def test_the_ledger_is_that_of_the_truth(name, form, profile_of):
    answer = idle_ledger(profile_of(name, form))
    rows = zip(*(answer.columns[column] for column in ("device", "cause", "dur_ns")), strict=True)
    found = {}
    for device, cause, length in rows:
        if length:
            found.setdefault(str(device), {})[cause] = length
    known = expected(name, form)["devices"]
    assert found == {device: each["ledger"] for device, each in known.items()}
    assert {device: sum(each.values()) for device, each in found.items()} == {
        device: each["window_ns"] for device, each in known.items()
    }


@pytest.mark.parametrize(("name", "form"), TIMELINES)
def test_the_sums_of_each_rank_are_those_of_the_ledger_of_the_truth(name, form, tmp_path):
    profile = ds2prof.read(written(RUNS[name], form, tmp_path), tables=ranks.TABLES)
    for lane in ranks.lanes_of(profile):
        causes = dict(expected(name, form)["devices"][str(lane.device)]["ledger"])
        for cause in ("compute", "exposed_communication", "exposed_copy"):
            assert getattr(lane.sums, f"{cause}_ns") == causes.pop(cause, 0)
        assert lane.sums.idle_ns == sum(causes.values())


@pytest.mark.parametrize(
    ("name", "form"),
    [(n, f) for n, f in TIMELINES if "ledger_by_iteration" in expected(n, f)["devices"]["0"]],
)
def test_each_iteration_has_the_ledger_of_the_truth(name, form, profile_of):
    answer = idle_ledger(profile_of(name, form), per="iteration")
    found = {}
    for row in answer.rows():
        if row["dur_ns"]:
            key = "-" if row["iteration"] is None else str(row["iteration"])
            found.setdefault(str(row["device"]), {}).setdefault(key, {})[row["cause"]] = row["dur_ns"]
    assert found == {device: each["ledger_by_iteration"] for device, each in expected(name, form)["devices"].items()}


@pytest.mark.parametrize(
    ("name", "form"),
    [
        (n, f)
        for n, f in TIMELINES
        if len(expected(n, f)["devices"]) == 1 and "steps_ns" in expected(n, f)["devices"]["0"]
    ],
)
def test_steps_on_the_device_are_as_long_as_in_the_truth(name, form, profile_of):
    answer = range_times(profile_of(name, form), "iteration")
    found = {
        str(key): length for key, length in zip(*(answer.columns[c] for c in ("iteration", "step_ns")), strict=True)
    }
    assert {key: length for key, length in found.items() if key != "None"} == (
        expected(name, form)["devices"]["0"]["steps_ns"]
    )


@pytest.mark.parametrize(("name", "form"), COUNTERS)
def test_core_utilization_is_that_of_the_truth(name, form, profile_of):
    profile, known = profile_of(name, form), on_file(RUNS[name])["answers"]["counters"]
    (answer,) = answers(profile, "core")
    found = dict(zip(answer.columns["pipe"], answer.columns["utilization"], strict=True))
    assert found == pytest.approx({pipe: float(Fraction(text)) for pipe, text in known["core"].items()}, rel=1e-12)
    by_name = kernel_times(profile, "name")
    for row in by_name.rows():
        for pipe, text in known["by_name"][row["name"]].items():
            assert row[pipe] == pytest.approx(float(Fraction(text)), rel=1e-12, abs=1e-15)


@pytest.mark.parametrize("name", ["copies", "many_names", "streams"])
def test_a_summary_holds_the_sums_of_the_truth(name, profile_of):
    profile, known = profile_of(name, "nvprof_summary"), expected(name, "kineto")
    found = totals(profile)
    assert (found.launches, found.kernel_dur_ns, found.busy_ns) == (known["launches"], known["kernel_dur_ns"], None)
    sums = told(kernel_times(profile, "name"), named("name"), "calls", "dur_ns")
    assert sums == {key: row[:2] for key, row in known["by_name"].items()}


def test_the_answers_to_samplers_are_those_of_what_was_read():
    assert (FOLDER / "sampling.json").read_text(encoding="utf-8") == sampling_written()


@pytest.mark.parametrize("form", SAMPLERS)
def test_readings_are_those_of_the_truth(form, tmp_path):
    text, quantity_of = SAMPLERS[form]
    (tmp_path / "measurement").write_text(text(), encoding="utf-8")
    (answer,) = answers(ds2prof.read(tmp_path / "measurement"), "metric")
    known = json.loads((FOLDER / "sampling.json").read_text(encoding="utf-8"))["readings"]
    found = {quantity: {} for quantity in known}
    for row in answer.rows():
        if row["metric"] in quantity_of:
            read = [row["readings"], row["mean"], row["min"], row["max"]]
            found[quantity_of[row["metric"]]][str(row["device"])] = read
    for quantity, devices in known.items():
        for device, (count, *ratios) in devices.items():
            assert found[quantity][device] == pytest.approx([count, *map(float, map(Fraction, ratios))], rel=1e-12)


def test_a_run_log_has_the_rates_of_the_truth(tmp_path):
    (tmp_path / "measurement").write_text(run_log(), encoding="utf-8")
    found = totals_of(ds2prof.read(tmp_path / "measurement"))
    known = json.loads((FOLDER / "sampling.json").read_text(encoding="utf-8"))["log"]
    for name, value in known.items():
        assert found[name] == pytest.approx(float(Fraction(value)), rel=1e-12)
