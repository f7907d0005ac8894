"""The answer by metric, and what the command line shows of a sampler's file."""

from __future__ import annotations

import contextlib
import io
import json
import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ds2prof.analysis import questions, samples
from ds2prof.cli import main
from ds2prof.errors import MissingDataError
from ds2prof.tables import Meta, Profile, float_column, int_column, text_column


def profile_of(readings):
    metrics, devices, entities, values = zip(*readings, strict=True) if readings else ((), (), (), ())
    columns = {
        "metric": text_column(metrics),
        "unit": text_column(["ratio"] * len(metrics)),
        "value": float_column(values),
        "device": int_column(list(devices)),
        "entity": text_column(entities),
    }
    meta = Meta(file="f", tool="sampler", format="x", times=None)
    return Profile.of(meta, {"samples": columns if readings else {}, "kernels": {}, "iterations": {}})


def ds2prof(*arguments):
    out, err = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        try:
            main(["parse", *map(str, arguments)])
        except SystemExit as exit:
            return exit.code, out.getvalue(), err.getvalue()
    return 0, out.getvalue(), err.getvalue()


READING = st.tuples(
    st.sampled_from(["a", "b"]),
    st.sampled_from([0, 1, None]),
    st.sampled_from(["GPU-I 0", None]),
    st.floats(-1e6, 1e6) | st.none(),
)


@given(st.lists(READING, min_size=1))
def test_each_metric_of_each_device_has_its_own_count_mean_and_extremes(readings):
    answer = samples.metrics(profile_of(readings))
    groups = {}
    for metric, device, entity, value in readings:
        groups.setdefault((metric, device, entity), []).append(value)
    assert len(answer) == len(groups)
    for row in answer.rows():
        values = [value for value in groups[row["metric"], row["device"], row["entity"]] if value is not None]
        assert row["readings"] == len(values)
        if values:
            assert (row["min"], row["max"]) == (min(values), max(values))
            assert row["mean"] == pytest.approx(math.fsum(values) / len(values), rel=1e-9, abs=1e-6)
        else:
            assert (row["mean"], row["min"], row["max"]) == (None, None, None)


@given(st.lists(READING, min_size=1))
def test_rows_come_by_device_those_of_none_last(readings):
    devices = samples.metrics(profile_of(readings)).columns["device"]
    assert devices == sorted(devices, key=lambda device: (device is None, device or 0))


def test_the_answer_says_what_its_mean_is():
    answer = samples.metrics(profile_of([("utilization.gpu", 0, None, 0.5)]))
    assert answer.notes[0].startswith("mean: of the readings, each counted once")
    assert "not GPU compute utilization" in answer.notes[1]


def test_a_profile_without_readings_says_so():
    with pytest.raises(MissingDataError, match="no sampled readings"):
        questions.answers(profile_of([]), "metric")


def test_other_keys_say_that_there_are_readings_alone():
    with pytest.raises(MissingDataError, match="drop --by name"):
        questions.answers(profile_of([("a", 0, None, 1.0)]), "name")


def test_a_samplers_file_needs_no_key(golden):
    code, out, err = ds2prof(golden / "dcgm_dmon" / "mig_instances" / "input.txt")
    assert code == 0
    assert "39 readings of 7 metrics of 1 device; no launches in this file" in out
    assert "Sampled readings by metric" in out
    assert err.count("warning") == 2
    line = next(line for line in out.splitlines() if line.startswith("PCITX"))
    assert line.split()[1:] == ["0", "-", "2", "1.7", "MB/s", "1.2", "MB/s", "2.2", "MB/s"]


def test_the_document_of_a_samplers_file_has_base_units(golden):
    code, out, _ = ds2prof(golden / "smi_csv" / "home_made" / "input.csv", "--format", "json")
    made = json.loads(out)
    assert (code, made["by"]) == (0, "metric")
    assert made["rows"][0] == {
        "metric": "memory.used",
        "device": None,
        "entity": None,
        "unit": "byte",
        "readings": 3,
        "mean": (594 + 13504 + 13518) * 2**20 / 3,
        "min": 594 * 2**20,
        "max": 13518 * 2**20,
    }
    assert (made["totals"]["readings"], made["totals"]["sampled_ns"]) == (6, 120 * 10**9)
    assert made["totals"]["gpu_compute_utilization"] is None


def test_every_format_of_output_takes_readings(golden, tmp_path):
    path = golden / "smi_dmon" / "dates_and_times" / "input.txt"
    assert ds2prof(path, "--format", "csv")[1].startswith("metric,device,entity,unit,readings,mean,min,max\n")
    assert ds2prof(path, "--top", "2")[1].count("\npwr ") == 1


def test_by_metric_on_a_file_of_kernels_is_one_line(golden):
    path = next((golden / "ncu_csv").rglob("*.csv"))
    code, out, err = ds2prof(path, "--by", "metric")
    assert (code, out) == (1, "")
    assert "no sampled readings in this file; drop --by metric" in err


def test_a_log_of_iterations_is_not_headed_by_kernels(golden):
    _, out, _ = ds2prof(golden / "log_tbd" / "handwritten" / "input.log")
    assert "\nIterations\n" in out


def test_large_counts_are_written_out(golden):
    _, out, _ = ds2prof(golden / "log_deepmark" / "torch" / "input.txt")
    assert next(line for line in out.splitlines() if line.startswith("Samples processed")).split()[4] == "128,000"


def test_ranges_of_a_file_of_readings_can_be_asked_for(golden):
    code, out, _ = ds2prof(golden / "log_mllog" / "rnnt" / "input.log", "--by", "range", "--format", "csv")
    assert code == 0
    assert [line.split(",")[0] for line in out.splitlines()[1:]] == ["run", "epoch", "init", "eval"]
