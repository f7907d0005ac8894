"""Training logs and results of other systems, as runs to compare with."""

from __future__ import annotations

import contextlib
import io
import json
import re

import pytest

from ds2prof import read
from ds2prof.cli import main
from ds2prof.errors import ReadError
from ds2prof.parsers import PARSERS, parse_source, parser
from ds2prof.parsers.sources import HEAD_BYTES, Source

LINE = "Epoch: [1][1/6]\tTime 0.454 (0.454)\tData 0.004 (0.004)\tLoss 66.0771 (66.0771)\t\n"
CTC_LINE = LINE.replace("\tLoss", "\tCTC Time 0.011 (0.011)\tLoss")
MLLOG = (
    ':::MLLOG {"namespace": "", "time_ms": 1000, "event_type": "INTERVAL_START", "key": "run_start", "value": null}\n'
)


def source(text: str) -> Source:
    content = text.encode()
    return Source("log", content[:HEAD_BYTES], lambda: io.BufferedReader(io.BytesIO(content)))


def read_text(text: str):
    return parse_source(source(text)).require("iterations", "samples", "ranges")


def read_golden(golden, name, case, *tables):
    (path,) = (golden / name / case).glob("input*")
    return read(path, tables=tables)


def rows(table, *columns):
    return list(zip(*(table[name].tolist() for name in columns), strict=True))


def ds2prof(*arguments):
    out, err = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        try:
            main(["parse", *map(str, arguments)])
        except SystemExit as exit:
            return exit.code, out.getvalue(), err.getvalue()
    return 0, out.getvalue(), err.getvalue()


@pytest.mark.parametrize(("name", "case_file"), [("log_tbd", "input.log"), ("log_mlperf_ds2", "input.out")])
def test_iterations_are_those_of_the_lines(golden, name, case_file):
    path = golden / name / "handwritten" / case_file
    found = re.findall(r"\]\[\d+/\d+\]\tTime (\d)\.(\d{3}) .*?\tLoss (\S+) ", path.read_text())
    table = read(path, tables=("iterations",)).table("iterations")
    assert table["iteration"].tolist() == list(range(12))
    assert table["wall_ns"].tolist() == [(int(s) * 1000 + int(ms)) * 10**6 for s, ms, _ in found]
    assert table["loss"].tolist() == [None if loss == "0.0000" else float(loss) for *_, loss in found]


def test_a_skipped_update_marks_the_next_iteration(golden):
    table = read_golden(golden, "log_tbd", "handwritten", "iterations").table("iterations")
    assert table["skipped"].tolist() == [0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 0]
    assert table["loss"].tolist()[3] is None


def test_an_infinite_loss_is_not_known_but_its_update_was_made(golden):
    table = read_golden(golden, "log_mlperf_ds2", "handwritten", "iterations").table("iterations")
    assert (table["skipped"].tolist()[3], table["loss"].tolist()[3]) == (0, None)


def test_epochs_and_parameters_are_facts(golden):
    facts = read_golden(golden, "log_tbd", "handwritten", "iterations").meta.facts
    assert facts["parameters"] == 86618400
    assert facts["epochs"][1] == {
        "epoch": 2,
        "time_s": 3,
        "average_loss": 183.998,
        "wer_percent": 58.0,
        "cer_percent": 28.0,
    }
    assert facts["data_ns"] == 104 * 10**6
    assert facts["learning_rates"] == [0.000273, 0.000248]


@pytest.mark.parametrize(
    ("text", "name"),
    [(LINE, "log_tbd"), (CTC_LINE, "log_mlperf_ds2"), (MLLOG, "log_mllog"), ("x\n" * 99 + LINE, "log_tbd")],
)
def test_a_log_is_known_by_its_lines(text, name):
    assert [each for each in PARSERS if parser(each).sniff(text.encode())] == [name]


@pytest.mark.parametrize(
    "noise",
    [
        "==PROF== Connected to process 7 (/usr/bin/python)\n",
        "==12345== NVPROF is profiling process 12345, command: python train.py\n",
        '"ID","Process ID","Process Name"\n',
        "[1/8] [========================100%] report1.nsys-rep\n",
    ],
)
def test_lines_in_a_profilers_log_are_its_noise(noise):
    for text in (LINE + noise, noise + CTC_LINE, noise + MLLOG):
        for name in ("log_tbd", "log_mlperf_ds2", "log_mllog"):
            assert not parser(name).sniff(text.encode())


def test_iterations_that_occur_twice_are_kept_and_counted():
    profile = read_text(LINE + LINE + LINE.replace("[1/6]", "[2/6]"))
    assert profile.table("iterations")["iteration"].tolist() == [0, 0, 1]
    assert "1 iterations are in it more than once" in profile.warnings[0]


def test_a_time_that_cannot_be_is_not_kept():
    profile = read_text(LINE.replace("Time 0.454", "Time -0.454") + LINE.replace("Time 0.454", "Time 700000.000"))
    assert profile.table("iterations")["wall_ns"].tolist() == [None, None]
    assert profile.warnings[0] == "log:1: a time below zero or over a week; not kept (2 such)"


def test_a_log_shows_its_iterations_and_their_mean(golden):
    code, out, _ = ds2prof(golden / "log_tbd" / "handwritten" / "input.log")
    assert code == 0
    assert "12 iterations, mean 479.167 ms as printed, warm-up included" in out
    assert "deepspeech.pytorch training" in out


def test_a_log_of_another_system_has_no_rates_unless_it_states_them(golden):
    _, out, _ = ds2prof(golden / "log_tbd" / "handwritten" / "input.log", "--format", "json")
    totals = json.loads(out)["totals"]
    assert "samples_per_s" not in totals
    assert (totals["iterations"], totals["wall_ns"]) == (12, 5_750_000_000)


def test_intervals_of_the_benchmark_are_ranges(golden):
    ranges = read_golden(golden, "log_mllog", "rnnt", "ranges").table("ranges")
    assert rows(ranges, "name", "value", "start_ns", "dur_ns") == [
        ("init", None, 1651948143000 * 10**6, 7 * 10**9),
        ("epoch", "1", 1651948150010 * 10**6, 36 * 10**9),
        ("eval", "1", 1651948186020 * 10**6, 2 * 10**9),
        ("epoch", "2", 1651948188040 * 10**6, 35 * 10**9),
        ("run", None, 1651948150000 * 10**6, 75 * 10**9),
    ]


def test_numbers_of_epochs_and_timers_of_ranks_are_samples(golden):
    table = read_golden(golden, "log_mllog", "rnnt", "samples").table("samples")
    assert rows(table, "metric", "unit", "value", "entity") == [
        ("throughput", "sample/s", 7600.5, None),
        ("eval_accuracy", "unknown", 0.9921, None),
        ("fwd_time_total", "ns", 12.5e9, "rank 0"),
        ("fwd_time_count", "count", 1000.0, "rank 0"),
        ("throughput", "sample/s", 7700.25, None),
    ]


def test_settings_are_facts(golden):
    facts = read_golden(golden, "log_mllog", "rnnt", "samples").meta.facts
    assert (facts["global_batch_size"], facts["submission_benchmark"], facts["status"]) == (1536, "rnnt", "success")


def test_the_older_log_lines_have_exact_times_and_count_once(golden):
    profile = read_golden(golden, "log_mllog", "v05", "samples", "ranges")
    assert profile.meta.dialect == "MLPv0.5.0"
    assert rows(profile.table("samples"), "metric", "value", "start_ns") == [
        ("eval_accuracy", 0.6356, 1538678139500000001)
    ]
    assert rows(profile.table("ranges"), "name", "value", "dur_ns") == [
        ("eval", "0", 1_600_000_000),
        ("run", None, 2_750_000_000),
    ]
    assert profile.warnings == ()


def test_an_interval_that_never_ends_or_ends_before_its_start_is_left_out():
    stop = MLLOG.replace("run_start", "run_stop").replace("INTERVAL_START", "INTERVAL_END").replace("1000", "999")
    assert "ends before its start" in read_text(MLLOG + stop).warnings[0]
    assert "without an end" in read_text(MLLOG).warnings[0]
    assert len(read_text(MLLOG + stop).table("ranges")) == 0


def test_a_damaged_log_line_is_left_out():
    profile = read_text(MLLOG + MLLOG[:60] + "\n" + MLLOG.replace("run_start", "run_stop").replace("1000", "3000"))
    assert profile.table("ranges")["dur_ns"].tolist() == [2 * 10**9]
    assert profile.warnings == ("log:2: a log line that cannot be read; left out",)


def test_deepmarks_results_are_samples_and_rates(golden):
    profile = read_golden(golden, "log_deepmark", "torch", "samples")
    found = {metric: (unit, value) for metric, unit, value in rows(profile.table("samples"), "metric", "unit", "value")}
    assert found["forward"] == ("ns", 540.11e6)
    assert found["EPOCH TIME"] == ("ns", 4013e9)
    assert profile.meta.facts["rates"] == {"samples_per_s": 31.9, "audio_s_per_s": 189.46}
    assert profile.meta.facts["device"] == "GeForce GTX TITAN X"


def test_deepmarks_older_results_are_milliseconds():
    text = (
        "Running on device: Tesla K40m\nModelType: DeepSpeech2\tKernels: cudnn\tInput shape: 20x1x161x1500\n"
        "cudnn                                    :updateOutput():     100.50\n"
    )
    assert rows(read_text(text).table("samples"), "metric", "unit", "value") == [("updateOutput()", "ns", 100.5e6)]


def test_cambricons_results_are_samples_of_each_run(golden):
    profile = read_golden(golden, "log_cambricon", "two_runs", "samples")
    assert rows(profile.table("samples"), "metric", "unit", "value", "entity") == [
        ("batch_time_avg", "ns", 412e6, "DeepSpeech2 fp32, batch 8, 16 cards"),
        ("hardware_time_avg", "ns", 398e6, "DeepSpeech2 fp32, batch 8, 16 cards"),
        ("throughput", "sample/s", 310.68, "DeepSpeech2 fp32, batch 8, 16 cards"),
        ("batch_time_avg", "ns", 377e6, "DeepSpeech2 fp32, batch 8, 1 cards"),
    ]
    assert "rates" not in profile.meta.facts


def test_one_result_has_its_rate_in_the_totals(golden):
    code, out, _ = ds2prof(golden / "log_cambricon" / "one_run" / "input.json", "--format", "json")
    made = json.loads(out)
    assert (code, made["totals"]["samples_per_s"], made["totals"]["audio_s_per_s"]) == (0, 310.68, None)
    _, text, _ = ds2prof(golden / "log_cambricon" / "one_run" / "input.json")
    assert "throughput, as it is stated there: 310.68 samples/s" in text


def test_a_result_that_was_cut_off_is_left_out(golden):
    (path,) = (golden / "log_cambricon" / "two_runs").glob("input*")
    profile = read_text(path.read_text()[:-40])
    assert profile.meta.facts["results"] == 1
    assert "not a whole JSON object" in profile.warnings[0]
    with pytest.raises(ReadError, match="no whole result"):
        read_text(path.read_text()[:200]).table("samples")


def test_deep_json_in_a_result_is_refused():
    text = '{"date": "x", "net": "y", "batch_time_avg": ' + "[" * 200_000
    with pytest.raises(ReadError, match="no whole result"):
        read_text(text).table("samples")
