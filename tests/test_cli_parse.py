from __future__ import annotations

import csv
import gzip
import io
import json
import os
import shlex
import subprocess
import sys
import tarfile
from pathlib import Path

import pytest
from click.testing import CliRunner

from ds2prof.analysis import questions
from ds2prof.cli import cli
from ds2prof.cli.parse import BY
from ds2prof.measurements import write_sidecar
from tests.conftest import ROOT

PYTHON = shlex.quote(sys.executable)
HEADER = '"ID","Process ID","Process Name","Host Name","Kernel Name","Context","Stream","Block Size","Grid Size","Device","CC","Section Name","Metric Name","Metric Unit","Metric Value"\n'  # noqa: E501
FMA = "sm__inst_executed_pipe_fma.avg.pct_of_peak_sustained_elapsed"
THREE = [("k_a(int)", "100", "10"), ("k_b(int)", "100", "10"), ("k_c(int)", "800", "90")]


def ncu_csv(launches):
    lines = [HEADER]
    for ident, (name, cycles, fma) in enumerate(launches):
        start = f'"{ident}","7","python","127.0.0.1","{name}","1","7","(32, 1, 1)","(8, 1, 1)","0","9.0","Command line profiler metrics"'  # noqa: E501
        lines.append(f'{start},"gpc__cycles_elapsed.max","cycle","{cycles}"\n')
        lines.append(f'{start},"gpu__time_duration.sum","nsecond","1,000"\n')
        lines.append(f'{start},"{FMA}","%","{fma}"\n')
    return "".join(lines)


def trace(*, rank=None, device=0, with_kernels=True):
    launch = {"ph": "X", "cat": "cuda_runtime", "name": "cudaLaunchKernel", "pid": 9, "tid": 9, "ts": 110.0, "dur": 1.0}
    kernel = {"ph": "X", "cat": "kernel", "name": "ampere_sgemm_128x64_tn", "pid": device, "tid": 7}
    events = [
        {
            "ph": "X",
            "cat": "user_annotation",
            "name": "ds2prof:window:0-1",
            "pid": 9,
            "tid": 9,
            "ts": 100.0,
            "dur": 100.0,
        },
        {
            "ph": "X",
            "cat": "user_annotation",
            "name": "ds2prof:phase:forward",
            "pid": 9,
            "tid": 9,
            "ts": 100.0,
            "dur": 50,
        },
        {"ph": "X", "cat": "cpu_op", "name": "aten::mm", "pid": 9, "tid": 9, "ts": 105.0, "dur": 20.0},
    ]
    if with_kernels:
        events.append({**launch, "args": {"correlation": 5}})
        events.append({**kernel, "ts": 120.001, "dur": 30.5, "args": {"device": device, "stream": 7, "correlation": 5}})
    made = {"schemaVersion": 1, "traceEvents": events}
    return json.dumps({**made, "distributedInfo": {"rank": rank}} if rank is not None else made)


def ds2prof(*args, cwd=ROOT, stdin=None):
    command = [sys.executable, "-m", "ds2prof", "parse", *map(str, args)]
    return subprocess.run(command, cwd=cwd, capture_output=True, text=True, input=stdin)


@pytest.fixture
def counters_file(tmp_path):
    path = tmp_path / "named at will.txt"
    path.write_text("==PROF== Connected to process 7\nepoch 1\n" + ncu_csv(THREE))
    return path


@pytest.fixture
def trace_file(tmp_path):
    path = tmp_path / "trace"
    path.write_bytes(gzip.compress(trace().encode()))
    return path


def test_the_ancestors_lines_count_the_last_kernel(counters_file):
    done = ds2prof(counters_file, "--format", "tbd")
    assert done.stdout.splitlines() == ["fma\t74.00000 %", "fp16\tn/a", "tensor\tn/a", "sfu\tn/a"]
    assert done.returncode == 0


def test_one_launch_with_thousands_separators_works(tmp_path):
    path = tmp_path / "one.csv"
    path.write_text(ncu_csv([("k", "123,456", "17.5")]))
    assert ds2prof(path, "--format", "tbd").stdout.splitlines()[0] == "fma\t17.50000 %"


def test_a_file_with_counters_shows_core_and_then_kernels(counters_file):
    lines = ds2prof(counters_file).stdout
    assert lines.index("Core utilization") < lines.index("Kernels by name")
    assert "74.00 %" in lines


def test_json_by_core_has_the_documented_fields(counters_file):
    (row,) = json.loads(ds2prof(counters_file, "--by", "core", "--format", "json").stdout)["rows"]
    assert row["pipe"] == "fma"
    assert row["utilization"] == pytest.approx(0.74)
    assert row["effective_utilization"] is None
    assert row["coverage"] == 1.0


def test_json_of_a_replayed_capture_has_no_window(counters_file):
    made = json.loads(ds2prof(counters_file, "--format", "json").stdout)
    assert made["schema"] == "ds2prof/1"
    assert made["by"] == "name"
    assert made["totals"]["kernel_dur_ns"] == 3000
    assert made["totals"]["window_ns"] is None
    assert [row["dur_ns"] for row in made["rows"]] == [1000, 1000, 1000]


def test_core_on_a_file_without_counters_names_the_command_that_collects_them(trace_file):
    done = ds2prof(trace_file, "--by", "core")
    assert (done.returncode, done.stdout) == (1, "")
    assert len(done.stderr.splitlines()) == 1
    assert "bash run_profile.sh nsight" in done.stderr


def test_times_keep_their_nanoseconds(trace_file):
    made = json.loads(ds2prof(trace_file, "--format", "json").stdout)
    assert made["rows"][0]["dur_ns"] == 30500
    assert made["totals"]["busy_ns"] == 30500
    assert made["totals"]["window_ns"] == 100_000
    assert made["totals"]["window_source"] == "capture range"
    assert made["totals"]["gpu_compute_utilization"] == pytest.approx(0.305)


def test_kernels_belong_to_the_phase_that_launched_them(trace_file):
    made = json.loads(ds2prof(trace_file, "--by", "phase", "--format", "json").stdout)
    assert [(row["phase"], row["dur_ns"]) for row in made["rows"]] == [("forward", 30500)]


def test_a_cpu_run_is_labelled_and_has_no_gpu_figures(tmp_path):
    path = tmp_path / "cpu.json"
    path.write_text(trace(with_kernels=False))
    made = json.loads(ds2prof(path, "--format", "json").stdout)
    assert made["source"]["domain"] == "cpu"
    assert made["totals"]["gpu_compute_utilization"] is None
    assert made["rows"][0]["name"] == "aten::mm"
    assert "CPU run" in ds2prof(path).stdout


def test_an_archive_of_ranks_is_a_list_in_order_of_the_ranks(tmp_path):
    path = tmp_path / "ranks.tar.gz"
    with tarfile.open(path, "w:gz") as archive:
        for rank in (10, 2, 0):
            content = trace(rank=rank, device=rank).encode()
            info = tarfile.TarInfo(f"run/rank{rank}.json")
            info.size = len(content)
            archive.addfile(info, io.BytesIO(content))
    made = json.loads(ds2prof(path, "--format", "json").stdout)
    assert [one["source"]["rank"] for one in made] == [0, 2, 10]


def test_standard_input_is_read(counters_file):
    done = ds2prof("-", "--format", "tbd", stdin=counters_file.read_text())
    assert done.stdout.startswith("fma\t74.00000 %")


def test_a_folder_means_its_measurements_without_sidecars_and_logs(tmp_path):
    (tmp_path / "nsight_bs4.csv").write_text(ncu_csv(THREE))
    write_sidecar(tmp_path / "nsight_bs4.csv", {"preset": "tiny", "batch_size": 4})
    (tmp_path / "nsight_bs4.csv.log").write_text("noise")
    (tmp_path / "raw.qdstrm").write_text("noise")
    made = json.loads(ds2prof(tmp_path, "--format", "json").stdout)
    assert made["source"]["run"]["batch_size"] == 4


def test_csv_has_base_units(counters_file):
    rows = list(csv.DictReader(io.StringIO(ds2prof(counters_file, "--format", "csv").stdout)))
    assert [row["dur_ns"] for row in rows] == ["1000"] * 3
    assert rows[0]["excl_ns"] == ""


def test_parquet_goes_to_a_file(counters_file, tmp_path):
    import pyarrow.parquet as pq

    target = tmp_path / "out.parquet"
    assert ds2prof(counters_file, "--format", "parquet", "-o", target).returncode == 0
    assert pq.read_table(target).column("dur_ns").to_pylist() == [1000] * 3


def test_output_to_a_file_leaves_standard_output_empty(counters_file, tmp_path):
    target = tmp_path / "out.txt"
    assert ds2prof(counters_file, "-o", target).stdout == ""
    assert "74.00 %" in target.read_text()


def test_top_cuts_the_rows_and_says_how_many_are_left(counters_file):
    assert "... 2 more" in ds2prof(counters_file, "--by", "name", "--top", "1").stdout
    made = json.loads(ds2prof(counters_file, "--format", "json", "--top", "1").stdout)
    assert len(made["rows"]) == 1
    assert made["totals"]["launches"] == 3


@pytest.mark.parametrize(
    ("args", "code"),
    [
        (["--by", "nonsense"], 2),
        (["--format", "parquet"], 2),
        (["--format", "tbd", "--by", "name"], 2),
        (["--top", "0"], 2),
    ],
)
def test_wrong_usage_exits_2(counters_file, args, code):
    done = ds2prof(counters_file, *args)
    assert (done.returncode, done.stdout) == (code, "")


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"", "empty"),
        (b"SQLite format 3\x00....", "SQLite database, but of no profiler"),
        (b"SQLite format 3\x00..CREATE TABLE StringIds..CUPTI_ACTIVITY_KIND_KERNEL", "damaged SQLite database"),
        (b"SQLite format 3\x00..CREATE TABLE StringTable..CUPTI_ACTIVITY_KIND_KERNEL", "nvprof profile"),
        (gzip.compress(gzip.compress(b"x", mtime=0), mtime=0), "gzip within gzip"),
        (b"\x80\x04\x95...", "pickle"),
        (b'{"rocprofiler-sdk-tool":[]}', "rocprofv3"),
        (b"Time (%),Total Time (ns),Instances,Name\n", "nsys stats"),
        (b"NVR\x00....", "Nsight Compute report"),
        (b"{}", "no PyTorch trace"),
        (b"\x1f\x8b\x08broken", "damaged gzip"),
        (b"hello", "no known format"),
        (b"\x00\xff" * 4000, "no known format"),
    ],
)
def test_what_cannot_be_read_is_one_line_and_exit_1(tmp_path, content, said):
    path = tmp_path / "file"
    path.write_bytes(content)
    done = ds2prof(path)
    assert (done.returncode, done.stdout, len(done.stderr.splitlines())) == (1, "", 1)
    assert said in done.stderr
    assert "file" in done.stderr


def test_a_file_named_to_hurt_a_terminal_is_one_clean_line(tmp_path):
    path = tmp_path / "evil\n\x1b[2J\udcff"
    path.write_text("hello")
    done = ds2prof(path)
    assert (done.returncode, done.stdout, len(done.stderr.splitlines())) == (1, "", 1)
    assert "\x1b" not in done.stderr


@pytest.mark.parametrize("form", ["table", "csv", "json", "parquet"])
@pytest.mark.parametrize("to_file", [False, True])
def test_a_file_with_half_a_character_in_its_name_is_read(counters_file, tmp_path, form, to_file):
    path = counters_file.rename(tmp_path / "half\udcff")
    to = ["-o", tmp_path / "out"] if to_file or form == "parquet" else []
    done = ds2prof(path, path, "--format", form, *to)
    assert (done.returncode, done.stderr) == (0, "")


def test_a_terminal_of_few_letters_gets_escapes(tmp_path, monkeypatch):
    path = tmp_path / "counters"
    path.write_text(ncu_csv([("カーネル", "100", "10")]))
    monkeypatch.setenv("PYTHONIOENCODING", "latin-1")
    done = ds2prof(path, "--by", "name")
    assert (done.returncode, done.stderr) == (0, "")
    assert "\\u30ab" in done.stdout


def test_what_a_shell_pipes_in_under_a_name_is_read(counters_file):
    command = f"{PYTHON} -m ds2prof parse <(cat '{counters_file}') --format tbd"
    done = subprocess.run(["bash", "-c", command], cwd=ROOT, capture_output=True, text=True)
    assert done.stdout.startswith("fma\t74.00000 %")


def test_a_pipe_to_write_to_stays_one(counters_file, tmp_path):
    target = tmp_path / "pipe"
    os.mkfifo(target)
    reader = subprocess.Popen(["cat", str(target)], stdout=subprocess.PIPE, text=True)
    assert ds2prof(counters_file, "--format", "tbd", "-o", target).returncode == 0
    assert reader.communicate(timeout=20)[0].startswith("fma\t74.00000 %")
    assert target.is_fifo()


def test_a_link_to_write_to_stays_one(counters_file, tmp_path):
    (tmp_path / "link").symlink_to(tmp_path / "real")
    assert ds2prof(counters_file, "-o", tmp_path / "link").returncode == 0
    assert (tmp_path / "link").is_symlink()
    assert "74.00 %" in (tmp_path / "real").read_text()


@pytest.mark.parametrize(
    ("target", "said"), [(".", "is a folder"), ("f/x", "cannot be written"), ("a" * 300, "too long")]
)
@pytest.mark.parametrize("form", ["table", "parquet"])
def test_what_cannot_be_written_is_one_line_and_leaves_nothing(counters_file, tmp_path, target, said, form):
    (tmp_path / "f").write_text("kept")
    done = ds2prof(counters_file, "--format", form, "-o", tmp_path / target)
    assert (done.returncode, done.stdout, len(done.stderr.splitlines())) == (1, "", 1)
    assert said in done.stderr
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted([counters_file.name, "f"])


@pytest.mark.skipif(not Path("/dev/full").is_char_device(), reason="no /dev/full, a tool for this test")
def test_a_full_disk_is_one_line(counters_file):
    command = f"{PYTHON} -m ds2prof parse '{counters_file}' >/dev/full"
    done = subprocess.run(["bash", "-c", command], cwd=ROOT, capture_output=True, text=True)
    assert (done.returncode, len(done.stderr.splitlines())) == (1, 1)
    assert "No space left" in done.stderr


def test_a_missing_file_is_one_line_and_exit_1(tmp_path):
    done = ds2prof(tmp_path / "nowhere.csv")
    assert (done.returncode, len(done.stderr.splitlines())) == (1, 1)


def test_a_reader_that_goes_away_is_no_error(counters_file):
    command = f"{PYTHON} -m ds2prof parse '{counters_file}' --by launch | head -n 1 >/dev/null"
    done = subprocess.run(
        ["bash", "-c", f"{command}; exit ${{PIPESTATUS[0]}}"], cwd=ROOT, capture_output=True, text=True
    )
    assert (done.returncode, done.stderr) == (0, "")


@pytest.mark.parametrize("width", [80, 200])
def test_tables_fit_the_terminal(counters_file, width, monkeypatch):
    monkeypatch.setenv("COLUMNS", str(width))
    lines = ds2prof(counters_file, "--by", "name").stdout.splitlines()
    assert max(map(len, lines[3:])) <= width


def test_every_command_has_help_with_an_example():
    for command in ([], ["parse"], ["run"]):
        done = subprocess.run(
            [sys.executable, "-m", "ds2prof", *command, "--help"], cwd=ROOT, capture_output=True, text=True
        )
        assert done.returncode == 0
        assert f"ds2prof {' '.join(command)}".strip() in done.stdout


def test_the_command_offers_every_key_that_can_be_answered():
    assert set(BY) == set(questions.KEYS)


def test_one_bad_file_of_several_does_not_cost_the_others(counters_file, tmp_path):
    (tmp_path / "bad").write_bytes(b"NVR\x00....")
    done = ds2prof(tmp_path / "bad", counters_file, "--format", "tbd")
    assert done.stdout.startswith("fma\t74.00000 %")
    assert (done.returncode, len(done.stderr.splitlines())) == (1, 1)
    assert "bad: an Nsight Compute report" in done.stderr


def test_a_folder_with_an_unreadable_kind_shows_the_rest_and_names_it(tmp_path):
    (tmp_path / "nsight_bs4.csv").write_text(ncu_csv(THREE))
    (tmp_path / "nsys_bs4.nsys-rep").write_bytes(b"NVIDIA Tegra Profiler Report 1.")
    done = ds2prof(tmp_path, "--by", "core", "--format", "json")
    assert json.loads(done.stdout)["rows"][0]["utilization"] == pytest.approx(0.74)
    assert (done.returncode, len(done.stderr.splitlines())) == (1, 1)
    assert "nsys_bs4.nsys-rep" in done.stderr


def test_each_bad_file_has_a_line_of_its_own(tmp_path):
    (tmp_path / "one").write_bytes(b"NVR\x00....")
    (tmp_path / "two").write_bytes(b"SQLite format 3\x00....")
    done = ds2prof(tmp_path)
    assert (done.returncode, done.stdout) == (1, "")
    assert ["one: " in line or "two: " in line for line in done.stderr.splitlines()] == [True, True]


def test_every_key_that_can_be_asked_for_has_an_answer_and_the_other_way_round():
    assert set(BY) == set(questions.KEYS)


@pytest.mark.parametrize("command", ["parse", "summary"])
def test_a_dash_is_standard_output_and_no_file(command, golden, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    path = str(golden / "torch_kineto" / "cpu_run" / "input.json.gz")
    told, plain = (CliRunner().invoke(cli, [command, path, *more]) for more in (["-o", "-"], []))
    assert told.exit_code == plain.exit_code == 0
    assert told.stdout == plain.stdout != ""
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("command", ["parse", "summary"])
@pytest.mark.parametrize("whole_folder", [True, False])
def test_no_output_replaces_a_measurement_that_is_read(command, whole_folder, golden, tmp_path):
    path = tmp_path / "torch_bs4.json.gz"
    path.write_bytes((golden / "torch_kineto" / "cpu_run" / "input.json.gz").read_bytes())
    before = path.read_bytes()
    found = CliRunner().invoke(cli, [command, str(tmp_path if whole_folder else path), "-o", str(path)])
    assert found.exit_code != 0
    assert "is one of the files to read; give another name" in str(found.exception) + found.output
    assert path.read_bytes() == before
