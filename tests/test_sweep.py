"""Sweeps: measurements of many kinds joined by what their sidecars state, against figures worked out beside."""

from __future__ import annotations

import csv
import io
import json
import shutil

import numpy as np
import pytest
from click.testing import CliRunner

import ds2prof
from ds2prof.analysis import core, memory, totals
from ds2prof.analysis.answers import Answer
from ds2prof.analysis.sweep import answer, fits, measured, stated_keys, sweep, value_of
from ds2prof.analysis.uncertainty import iterations
from ds2prof.cli import cli
from ds2prof.errors import MissingDataError
from ds2prof.measurements import write_sidecar
from ds2prof.report.sweep_text import sweep_text
from ds2prof.tables import Meta
from tests.known.cases import runs
from tests.known.formats import WRITERS

RUNS = {run.name: run for run in runs()}
FIXED_S, PER_SAMPLE_S = 0.020, 0.001
BATCHES = (4, 8, 16, 32)


def run_log(folder, batch, *, precision="fp32", noise=0.0, seed=0, name=None, count=20, profiler=None, **header):
    """A run log of iterations that cost FIXED_S + PER_SAMPLE_S x batch, half of it with bf16."""
    rng = np.random.default_rng(seed)
    scale = 0.5 if precision == "bf16" else 1.0
    walls = scale * (FIXED_S + PER_SAMPLE_S * batch) * (1 + noise * rng.standard_normal(count)) * 1e9
    walls = [round(wall) for wall in walls]
    head = {"schema": "ds2prof-run/1", "preset": "tiny", "batch_size": batch, "precision": precision, **header}
    head |= {"device": "cpu", "device_name": "a processor", "warmup": 2, "iterations": count, "profiler": profiler}
    lines = [head] + [
        {"iteration": n, "wall_ns": wall, "samples": batch, "audio_s": 2.0 * batch, "padded_s": 2.0 * batch}
        for n, wall in enumerate(walls)
    ]
    kept = walls[2:]
    stretch = {"first": 2, "stop": count, "wall_ns": sum(kept), "samples": batch * len(kept)}
    lines.append({"stretch": {**stretch, "audio_s": 2.0 * batch * len(kept), "padded_s": 2.0 * batch * len(kept)}})
    path = folder / (name or f"run_bs{batch}_{precision}.jsonl")
    path.write_text("".join(json.dumps(line) + "\n" for line in lines))
    return path


def capture(folder, form, run, batch, **facts):
    """A measurement of a known run with a sidecar."""
    path = folder / f"{form}_{run}_bs{batch}"
    WRITERS[form](RUNS[run], path)
    write_sidecar(path, {"batch_size": batch, "preset": "tiny", "precision": "fp32", **facts})
    return path


def read_all(paths, over):
    return [measured(ds2prof.read(path), over) for path in paths]


def rows(paths, over="batch_size"):
    return answer(sweep(read_all(paths, over), over)).rows()


def run_cli(*arguments):
    return CliRunner().invoke(cli, list(map(str, arguments)))


def test_throughput_and_step_time_are_those_of_the_run_logs(tmp_path):
    found = rows([run_log(tmp_path, batch) for batch in reversed(BATCHES)])
    assert [row["batch_size"] for row in found] == list(BATCHES)
    for row in found:
        step_s = FIXED_S + PER_SAMPLE_S * row["batch_size"]
        assert row["samples_per_s"] == pytest.approx(row["batch_size"] / step_s, rel=1e-6)
        assert row["step_ns"] == pytest.approx(step_s * 1e9, rel=1e-6)
        assert row["audio_s_per_s"] == pytest.approx(2 * row["batch_size"] / step_s, rel=1e-6)
        assert row["rate_source"] == "run log"
    assert [row["relative"] for row in found] == pytest.approx(
        [row["samples_per_s"] / found[0]["samples_per_s"] for row in found]
    )


def test_the_spread_is_the_interval_of_the_iterations(tmp_path):
    path = run_log(tmp_path, 8, noise=0.05)
    (row,) = rows([path])
    told = iterations.totals(ds2prof.read(path))["intervals"]
    assert (row["step_low_ns"], row["step_high_ns"]) == (told["step_ns"]["low"], told["step_ns"]["high"])
    assert row["samples_per_s_low"] == told["samples_per_s"]["low"]
    assert row["step_low_ns"] < row["step_ns"] < row["step_high_ns"]


def test_one_point_has_from_each_measurement_what_it_tells(tmp_path, golden):
    batch = 16
    memory_file = next((golden / "memory_csv").rglob("input*.csv"))
    shutil.copy(memory_file, tmp_path / "memory_bs16.csv")
    smi = next(
        each for each in sorted((golden / "samples_csv").rglob("input*")) if b"utilization.gpu" in each.read_bytes()
    )
    shutil.copy(smi, tmp_path / "smi_bs16.csv")
    timeline = capture(tmp_path, "kineto", "host_bound", batch)
    counters = capture(tmp_path, "ncu_raw", "counters", batch)
    paths = [run_log(tmp_path, batch), timeline, counters, tmp_path / "memory_bs16.csv", tmp_path / "smi_bs16.csv"]
    (row,) = rows(paths)
    assert row["measurements"] == 5
    busy = totals.totals(ds2prof.read(timeline)).gpu_compute_utilization
    assert row["gpu_compute_utilization"] == busy
    pipes = core.core_utilization(ds2prof.read(counters)).rows()
    assert {pipe["pipe"]: row[pipe["pipe"]] for pipe in pipes} == {pipe["pipe"]: pipe["utilization"] for pipe in pipes}
    assert row["peak_bytes"] == memory.totals(ds2prof.read(memory_file))["peak_bytes"]
    assert row["driver_utilization"] is not None
    assert row["samples_per_s"] == pytest.approx(batch / (FIXED_S + PER_SAMPLE_S * batch), rel=1e-6)


def test_without_a_run_log_the_rate_is_of_profiled_steps_and_says_so(tmp_path):
    path = capture(tmp_path, "kineto", "host_bound", 4)
    found = sweep(read_all([path], "batch_size"), "batch_size")
    (row,) = answer(found).rows()
    step_ns = (39_000 + 41_000) / 2  # the two iterations of the run
    assert row["step_ns"] == pytest.approx(step_ns)
    assert row["samples_per_s"] == pytest.approx(4e9 / step_ns)
    assert row["rate_source"] == "profiled steps"
    assert any("a profiler looked on" in note for note in answer(found).notes)


def test_a_run_log_goes_before_profiled_steps(tmp_path):
    (row,) = rows([capture(tmp_path, "kineto", "host_bound", 8), run_log(tmp_path, 8)])
    assert row["rate_source"] == "run log"
    assert row["samples_per_s"] == pytest.approx(8 / (FIXED_S + PER_SAMPLE_S * 8), rel=1e-6)


def test_a_run_log_beneath_a_profiler_gives_no_rate(tmp_path):
    (row,) = rows([run_log(tmp_path, 8, profiler="nsys")])
    assert "samples_per_s" not in row
    assert row["step_ns"] == pytest.approx(1e9 * (FIXED_S + PER_SAMPLE_S * 8), rel=1e-6)


def test_repeats_are_averaged_with_their_range(tmp_path):
    paths = [run_log(tmp_path, 8, noise=0.05, seed=seed, name=f"run_{seed}.jsonl") for seed in range(3)]
    rates = [rows([path])[0]["samples_per_s"] for path in paths]
    (row,) = rows(paths)
    assert row["samples_per_s"] == pytest.approx(np.mean(rates))
    assert (row["samples_per_s_low"], row["samples_per_s_high"]) == (min(rates), max(rates))
    assert row["measurements"] == 3


def test_precisions_are_series_of_a_batch_sweep_and_points_of_their_own(tmp_path):
    paths = [run_log(tmp_path, batch, precision=precision) for batch in BATCHES for precision in ("fp32", "bf16")]
    found = rows(paths)
    assert [(row["precision"], row["batch_size"]) for row in found] == [
        (precision, batch) for precision in ("bf16", "fp32") for batch in BATCHES
    ]
    over = rows(paths, "precision")
    assert [(row["batch_size"], row["precision"]) for row in over] == [
        (batch, precision) for batch in BATCHES for precision in ("bf16", "fp32")
    ]
    assert [row["relative"] for row in over if row["precision"] == "fp32"] == pytest.approx([0.5] * 4, rel=1e-6)


def test_what_does_not_state_its_series_joins_the_only_one(tmp_path):
    paths = [run_log(tmp_path, 4), run_log(tmp_path, 8, precision="bf16")]
    path = tmp_path / "kineto_bs8"
    WRITERS["kineto"](RUNS["host_bound"], path)  # no sidecar: the batch is in its name alone
    found = rows([*paths, path])
    assert [(row["precision"], row["batch_size"], row["measurements"]) for row in found] == [
        ("bf16", 8, 2),
        ("fp32", 4, 1),
    ]


def test_any_key_of_the_sidecars_can_be_swept_over(tmp_path):
    paths = [
        capture(tmp_path, "kineto", "host_bound", 4, versions={"torch": "2.6"}, window={"start": 3}),
        capture(tmp_path, "kineto", "queue_bound", 4, versions={"torch": "2.10"}, window={"start": 10}),
    ]
    assert [row["versions.torch"] for row in rows(paths, "versions.torch")] == ["2.10", "2.6"]
    assert [row["window.start"] for row in rows(paths, "window.start")] == [3, 10]


@pytest.mark.parametrize(
    ("path", "value"),
    [
        *(("a", 1), ("b.c", "x"), ("d.1.name", "second"), ("e", "true"), ("f", 0.5)),
        *(("b", None), ("b.c.d", None), ("d.7", None), ("missing", None), ("n", None), ("device_name", None)),
    ],
)
def test_a_key_is_looked_up_by_its_path(path, value):
    run = {"a": 1, "b": {"c": "x"}, "d": [{}, {"name": "second"}], "e": True, "f": 0.5, "n": float("nan")}
    assert value_of(Meta(file="f", tool="t", format="f", run=run), path) == value


@pytest.mark.parametrize(
    ("file", "batch"),
    [("a/nsight_bs32.csv", 32), ("torch_bs4_rank1.json.gz", 4), ("nsight.csv", None), ("x_bs12y.csv", None)],
)
def test_the_batch_is_read_off_a_name(file, batch):
    assert value_of(Meta(file=file, tool="t", format="f"), "batch_size") == batch


def test_the_sidecar_goes_before_the_name():
    meta = Meta(file="nsight_bs32.csv", tool="t", format="f", run={"batch_size": 8})
    assert value_of(meta, "batch_size") == 8


def test_the_curve_is_fitted_to_each_series(tmp_path):
    paths = [run_log(tmp_path, batch, precision=precision) for batch in BATCHES for precision in ("fp32", "bf16")]
    found = fits(sweep(read_all(paths, "batch_size"), "batch_size"))
    assert [series for series, _ in found] == [{"precision": "bf16"}, {"precision": "fp32"}]
    for (_, fit), scale in zip(found, (0.5, 1.0), strict=True):
        assert fit.curve.knee_batch == pytest.approx(FIXED_S / PER_SAMPLE_S, rel=1e-5)
        assert fit.curve.max_per_s == pytest.approx(1 / (scale * PER_SAMPLE_S), rel=1e-5)


def test_too_few_batches_have_a_reason_and_no_curve(tmp_path):
    ((_, fit),) = fits(sweep(read_all([run_log(tmp_path, 4), run_log(tmp_path, 8)], "batch_size"), "batch_size"))
    assert fit.curve is None
    assert "needs 3 batch sizes" in fit.reason


def test_there_is_no_curve_over_another_key(tmp_path):
    paths = [run_log(tmp_path, 4, precision=precision) for precision in ("fp32", "bf16")]
    assert fits(sweep(read_all(paths, "precision"), "precision")) == []


def test_the_command_takes_a_folder_and_says_what_it_leaves_out(tmp_path):
    for batch in BATCHES:
        run_log(tmp_path, batch)
    WRITERS["kineto"](RUNS["host_bound"], tmp_path / "nobatch.json")
    done = run_cli("sweep", tmp_path)
    assert done.exit_code == 0, done.output
    assert "Sweep over batch_size: 4 measurements, 4 points" in done.stdout
    assert "knee at batch 20" in done.stdout
    assert "nobatch.json: states no batch_size; left out" in done.stderr


def test_timelines_of_different_gpus_are_no_repeats_though_no_sidecar_names_them(tmp_path):
    paths = []
    for place, name in enumerate(("one GPU", "another GPU")):
        path = tmp_path / f"torch{place}_bs4.json"
        WRITERS["kineto"](RUNS["host_bound"], path)
        told = json.loads(path.read_text())
        told["deviceProperties"] = [{"id": 0, "name": name}]
        path.write_text(json.dumps(told))
        paths.append(path)
    found = rows(paths)
    assert [(row["gpu"], row["batch_size"], row["measurements"]) for row in found] == [
        ("another GPU", 4, 1),
        ("one GPU", 4, 1),
    ]


def test_the_gpu_has_no_column_where_sidecars_tell_the_devices_apart(tmp_path):
    paths = []
    for place, name in enumerate(("one GPU", "another GPU")):
        path = capture(tmp_path, "kineto", "host_bound", 4 + place, devices=[{"name": name}])
        told = json.loads(path.read_text())
        told["deviceProperties"] = [{"id": 0, "name": name}]
        path.write_text(json.dumps(told))
        paths.append(path)
    found = rows(paths)
    assert [row["device_name"] for row in found] == ["another GPU", "one GPU"]
    assert "gpu" not in found[0]


def test_a_file_that_is_named_twice_is_no_repeat(tmp_path):
    path = run_log(tmp_path, 4, noise=0.02)
    once = json.loads(run_cli("sweep", path, "--format", "json").stdout)["rows"]
    assert json.loads(run_cli("sweep", tmp_path, path, path, "--format", "json").stdout)["rows"] == once


def test_no_measurement_is_replaced_by_its_sweep(tmp_path):
    path = run_log(tmp_path, 4)
    text = path.read_text()
    done = run_cli("sweep", tmp_path, "-o", path)
    assert "is one of the files to read" in str(done.exception)
    assert path.read_text() == text


def test_a_dash_is_standard_output(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    path = run_log(tmp_path, 4)
    assert run_cli("sweep", path, "-o", "-").stdout == run_cli("sweep", path).stdout
    assert not (tmp_path / "-").exists()


def test_json_is_a_document_with_the_fit_in_its_totals(tmp_path):
    jsonschema = pytest.importorskip("jsonschema")
    from ds2prof.report.exports.json_documents import json_schema

    paths = [run_log(tmp_path, batch) for batch in BATCHES]
    found = json.loads(run_cli("sweep", *paths, "--format", "json").stdout)
    jsonschema.validate(found, json_schema())
    assert found["by"] == "batch_size"
    assert [row["batch_size"] for row in found["rows"]] == list(BATCHES)
    (fit,) = found["totals"]["saturation"]
    assert fit["knee_batch"] == pytest.approx(20, rel=1e-5)
    assert fit["batch_at_90_percent"] == pytest.approx(180, rel=1e-5)
    assert len(found["source"]["facts"]["files"]) == 4


def test_csv_has_the_rows_and_their_bounds(tmp_path):
    paths = [run_log(tmp_path, batch, noise=0.02) for batch in BATCHES]
    found = list(csv.DictReader(io.StringIO(run_cli("sweep", *paths, "--format", "csv").stdout)))
    assert [float(row["samples_per_s"]) for row in found] == [row["samples_per_s"] for row in rows(paths)]
    assert {"samples_per_s_low", "step_low_ns", "step_high_ns"} <= set(found[0])


def test_markdown_is_one_table(tmp_path):
    made = run_cli("sweep", *(run_log(tmp_path, batch) for batch in BATCHES), "--format", "markdown").stdout
    table = [line for line in made.splitlines() if line.startswith("|")]
    assert len(table) == 2 + len(BATCHES)
    assert len({line.replace("\\|", "").count("|") for line in table}) == 1


@pytest.mark.parametrize("width", [60, 80, 120, 200])
def test_lines_fit_the_terminal(width, tmp_path, monkeypatch):
    monkeypatch.setenv("COLUMNS", str(width))
    paths = [run_log(tmp_path, batch, noise=0.02) for batch in BATCHES]
    paths += [capture(tmp_path, "kineto", "host_bound", 8), capture(tmp_path, "ncu_raw", "counters", 8)]
    lines = run_cli("sweep", *paths).stdout.splitlines()
    assert max(map(len, lines)) <= width
    assert "samples/s" in lines[1]


def test_bounds_stand_behind_a_figure_in_percent_or_both_where_they_are_far_apart():
    columns = {"batch_size": [4, 8], "step_ns": [2e6, 2e6], "step_low_ns": [1.9e6, 1e6], "step_high_ns": [2.1e6, 5e6]}
    lines = sweep_text(Answer("batch_size", columns), title="t", width=80).splitlines()
    assert lines[3].split() == ["4", "2.000", "ms", "±5.0%"]
    assert lines[4].split() == ["8", "2.000", "ms", "(1.000", "ms", "to", "5.000", "ms)"]


def test_a_key_that_none_states_names_those_that_vary(tmp_path):
    done = run_cli("sweep", run_log(tmp_path, 4), run_log(tmp_path, 8), "--over", "colour")
    assert isinstance(done.exception, MissingDataError)
    assert "none of 2 measurements states 'colour'" in str(done.exception)
    assert "batch_size" in str(done.exception)


def test_one_bad_file_does_not_cost_the_others(tmp_path):
    bad = tmp_path / "bad_bs4"
    bad.write_bytes(b"nothing that anybody knows")
    done = run_cli("sweep", run_log(tmp_path, 4), bad)
    assert done.exit_code == 1
    assert "1 measurement, 1 point" in done.stdout


def test_keys_that_vary_are_found_in_depth():
    metas = [Meta(file="f", tool="t", format="f", run={"a": 1, "b": {"c": n}, "d": "same"}) for n in range(2)]
    assert stated_keys(metas) == ["b.c"]
