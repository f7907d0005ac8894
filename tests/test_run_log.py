from __future__ import annotations

import json

import pytest

from ds2prof.analysis import questions
from ds2prof.errors import ReadError
from ds2prof.parsers import read

HEADER = {"schema": "ds2prof-run/1", "preset": "tiny", "batch_size": 4, "device": "cpu", "warmup": 1}
STEPS = [
    {
        "iteration": i,
        "wall_ns": 10_000_000,
        "samples": 4,
        "audio_s": 2.5,
        "padded_s": 3.0,
        "loss": 9.0 - i,
        "skipped": False,
    }
    for i in range(3)
]
STRETCH = {"stretch": {"first": 1, "stop": 3, "wall_ns": 20_000_000, "samples": 8, "audio_s": 5.0, "padded_s": 6.0}}


def written(tmp_path, *records, tail=""):
    path = tmp_path / "anything.bin"
    path.write_text("".join(json.dumps(record) + "\n" for record in records) + tail)
    return path


def test_the_rates_are_those_of_the_fenced_stretch(tmp_path):
    profile = read(written(tmp_path, HEADER, *STEPS, STRETCH))
    totals = questions.totals_of(profile)
    assert (totals["samples_per_s"], totals["audio_s_per_s"], totals["padded_s_per_s"]) == (400.0, 250.0, 300.0)
    assert totals["launches"] is None
    assert profile.warnings == ()


def test_the_log_of_a_run_on_a_gpu_says_nothing_of_its_launches(tmp_path):
    totals = questions.totals_of(read(written(tmp_path, {**HEADER, "device": "cuda"}, *STEPS, STRETCH)))
    assert totals["samples_per_s"] == 400.0
    assert {totals[key] for key in ("launches", "kernel_dur_ns", "busy_ns", "copies", "window_ns")} == {None}
    assert totals["devices"] == ()


def test_iterations_are_kept_as_written(tmp_path):
    rows = questions.answers(read(written(tmp_path, HEADER, *STEPS, STRETCH)), None)[0].rows()
    assert rows == [{**step, "skipped": 0} for step in STEPS]


def test_a_log_that_was_cut_off_keeps_its_iterations_and_has_no_rates(tmp_path):
    profile = read(written(tmp_path, HEADER, *STEPS[:2], tail='{"iteration": 2, "wa'))
    assert len(profile.table("iterations")) == 2
    assert questions.totals_of(profile)["samples_per_s"] is None
    assert len(profile.warnings) == 2


def test_a_damaged_header_is_one_line(tmp_path):
    path = tmp_path / "run.jsonl"
    path.write_text('{"schema": "ds2prof-run/1", "pre\n')
    with pytest.raises(ReadError, match=r"run.jsonl:1: damaged header"):
        read(path)


@pytest.mark.parametrize("value", [-1, 1 << 70, "12", None, 1.5, True])
def test_an_odd_value_is_unknown_not_a_crash(tmp_path, value):
    profile = read(written(tmp_path, HEADER, {**STEPS[0], "wall_ns": value, "loss": "nan"}, STRETCH))
    assert profile.table("iterations")["wall_ns"].tolist() in ([None], [1])
    assert profile.table("iterations")["loss"].tolist() == [None]


@pytest.mark.parametrize("key", ["loss", "audio_s", "wall_ns", "samples"])
def test_a_number_beyond_any_measure_is_unknown(tmp_path, key):
    huge = 10**400
    profile = read(
        written(tmp_path, {**HEADER, "seed": huge}, {**STEPS[0], key: huge}, {"stretch": {key: huge, "wall_ns": 5}})
    )
    assert profile.table("iterations")[key].tolist() == [None]
    assert profile.meta.facts["seed"] is None
    assert questions.totals_of(profile)["samples_per_s"] is None


def test_an_iteration_of_over_a_week_is_reported_and_its_time_unknown(tmp_path):
    profile = read(written(tmp_path, HEADER, *STEPS, {**STEPS[0], "iteration": 3, "wall_ns": 10**15}, STRETCH))
    assert profile.table("iterations")["wall_ns"].tolist() == [10_000_000] * 3 + [None]
    assert [warning.partition(": ")[2] for warning in profile.warnings] == [
        "an iteration without a wall_ns that can be; not known"
    ]


def test_many_damaged_lines_are_one_warning(tmp_path):
    profile = read(written(tmp_path, HEADER, *STEPS, STRETCH, tail="x\n" * 1000))
    assert len(profile.warnings) == 1
    assert "(1,000 such)" in profile.warnings[0]


def test_iterations_that_occur_twice_are_kept_and_reported(tmp_path):
    profile = read(written(tmp_path, HEADER, *STEPS, STEPS[1], STRETCH))
    assert profile.table("iterations")["iteration"].tolist() == [0, 1, 2, 1]
    assert "1 iterations are in it more than once" in profile.warnings[0]
