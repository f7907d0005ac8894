"""The reader of Nsight Compute reports: on reports composed here, and on damage, which must not reach this process."""

import io
import json
import shutil
import subprocess
import sys

import pytest

from ds2prof.analysis.phases import range_times
from ds2prof.errors import MissingDataError, ReadError
from ds2prof.parsers import ncu_rep, ncu_rep_process, parse_source
from ds2prof.parsers import read as read_file
from ds2prof.parsers.ncu_rep_container import walk
from ds2prof.parsers.sources import HEAD_BYTES, Source
from tests.conftest import GOLDEN
from tests.ncu_rep_support import CASES, Launch, Nvtx, Report, Rule, Series, kinds_and_ranges, metrics_of, workload_of

SHOWN = ("kernels", "counters", "samples", "rules", "devices", "processes")


def source_of(content, name="report"):
    return Source(name, content[:HEAD_BYTES], lambda: io.BufferedReader(io.BytesIO(content)))


def read(content, *tables):
    return parse_source(source_of(content)).require(*(tables or SHOWN))


def report_of(*launches, **options):
    report = Report(**options)
    report.add(*launches)
    return report.content()


def rows(profile, table, *columns):
    found = profile.table(table)
    return list(zip(*(found[column].tolist() for column in columns), strict=True))


def said(content):
    with pytest.raises(ReadError) as caught:
        read(content)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def metrics(profile):
    return {(launch, metric): value for launch, metric, value in rows(profile, "counters", "launch", "metric", "value")}


# --- what a report gives ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("case", CASES)
def test_golden_tables_come_out_whole(case):
    folder = GOLDEN / "ncu_rep" / case
    expected = json.loads((folder / "expected.json").read_text())
    profile = read_file(folder / "input.ncu-rep", tables=SHOWN)
    tables = {name: profile.table(name) for name in SHOWN if len(profile.table(name))}
    found = {name: {key: column.tolist() for key, column in table.columns.items()} for name, table in tables.items()}
    assert found == expected["tables"]
    assert [warning.split(": ", 1)[1] for warning in profile.warnings] == expected["warnings"]


@pytest.mark.parametrize("case", CASES)
def test_golden_inputs_are_what_their_generator_writes(case):
    assert (GOLDEN / "ncu_rep" / case / "input.ncu-rep").read_bytes() == CASES[case]()


def test_values_are_in_base_units_to_the_last_digit():
    more = {"sm__throughput.avg.pct_of_peak_sustained_elapsed": 33.622698174874216, "dram__bytes.sum": 1e18 + 128}
    profile = read(report_of(Launch(metrics=metrics_of(139914240.0, more))))
    found = metrics(profile)
    assert found[0, "sm__throughput.avg.pct_of_peak_sustained_elapsed"] == 33.622698174874216 / 100
    assert found[0, "dram__bytes.sum"] == 1e18 + 128
    assert rows(profile, "kernels", "dur_ns") == [(139_914_240,)]


def test_a_chip_that_the_library_does_not_know_leaves_times_and_percentages_with_their_units():
    more = {"sm__throughput.avg.pct_of_peak_sustained_elapsed": 50.0, "dram__bytes.sum": 8.0}
    known = metrics_of(900.0, more)
    unknown = {name: value for name, value in known.items() if name != "device__attribute_implementation"}
    profile = read(report_of(Launch(metrics=unknown)))
    units = dict(rows(profile, "counters", "metric", "unit"))
    assert units["gpu__time_duration.sum"] == "ns"
    assert units["sm__throughput.avg.pct_of_peak_sustained_elapsed"] == "ratio"
    assert units["dram__bytes.sum"] == ""
    assert metrics(profile)[0, "sm__throughput.avg.pct_of_peak_sustained_elapsed"] == 0.5
    assert rows(profile, "kernels", "dur_ns") == [(900,)]


def test_a_metric_without_a_value_is_no_counter_and_a_zero_is_one():
    more = {"memory_type": Series([(16, 1.0)]), "launch__func_cache_config": "1", "dram__bytes.sum": 0.0}
    found = metrics(read(report_of(Launch(metrics=metrics_of(900.0, more)))))
    assert found[0, "dram__bytes.sum"] == 0.0
    assert (0, "memory_type") not in found
    assert (0, "launch__func_cache_config") not in found


def test_a_metric_with_instances_gives_its_own_value_alone():
    more = {"inst_executed": Series([(16, 3.0), (32, 4.0)], 7)}
    profile = read(report_of(Launch(metrics=metrics_of(900.0, more))))
    assert metrics(profile)[0, "inst_executed"] == 7
    assert len(profile.table("samples")) == 0


def test_series_are_samples_and_never_counters():
    series = {
        "pmsampling:sm__cycles_active.avg": Series([(1000, 0.5), (1032, 2.5)], 3.0),
        "warpsampling:smsp__pcsamp_samples": Series([(None, 1.0)], 1),
    }
    profile = read(report_of(Launch(metrics=metrics_of()), Launch(metrics=metrics_of(900.0, series))))
    assert not any(":" in metric for _, metric in metrics(profile))
    assert rows(profile, "samples", "launch", "metric", "value", "start_ns", "device") == [
        (1, "pmsampling:sm__cycles_active.avg", 0.5, 1000, 0),
        (1, "pmsampling:sm__cycles_active.avg", 2.5, 1032, 0),
        (1, "warpsampling:smsp__pcsamp_samples", 1.0, None, 0),
    ]


def test_a_series_whose_times_run_backwards_keeps_its_values_and_says_so():
    series = {"pmsampling:sm__cycles_active.avg": Series([(1000, 0.5), (900, 2.5)])}
    profile = read(report_of(Launch(metrics=metrics_of(900.0, series))))
    assert rows(profile, "samples", "value", "start_ns") == [(0.5, None), (2.5, None)]
    assert profile.warnings == ("report: 1 series of samples run backwards; their times are left out",)


@pytest.mark.parametrize("kind", ["range", "graph", "command_list"])
def test_workloads_other_than_kernels_are_kept_apart(kind):
    profile = read(report_of(Launch(metrics=metrics_of()), Launch(kind=kind, metrics=workload_of(50.0))))
    assert rows(profile, "kernels", "kind", "dur_ns") == [(None, 1000), (kind, 50)]


def test_a_kernel_that_is_named_as_a_range_is_a_kernel():
    profile = read(report_of(Launch("range", metrics_of())))
    assert rows(profile, "kernels", "name", "kind") == [("range", None)]


def test_phase_layer_and_iteration_of_a_launch_come_from_the_ranges_open_then():
    nvtx = Nvtx(
        pushed=(("<default domain>", "ProfilerStep#9"), ("ds2prof", "layer:a"), ("ds2prof", "layer:b")),
        started=(("ds2prof", "phase:forward"),),
    )
    profile = read(report_of(Launch(metrics=metrics_of(), nvtx=nvtx)))
    assert rows(profile, "kernels", "iteration", "phase", "layer") == [("9", "forward", "b")]


def test_what_rules_say_comes_with_its_kind_and_the_estimated_speedup():
    rules = (
        Rule("A", "S", "text @sass:10:here@, @source:a.cu:7:there@", kind="error"),
        Rule("B", "S", "", kind="", speedup=("local", 50.0)),
    )
    profile = read(report_of(Launch(metrics=metrics_of(), rules=rules)))
    assert rows(profile, "rules", "name", "kind", "text", "speedup_kind", "estimated_speedup") == [
        ("A", "error", "text here, there", None, None),
        ("B", None, None, "local", 0.5),
    ]


def test_launches_of_two_processes_have_their_own():
    report = Report()
    report.add(Launch(metrics=metrics_of()), process=7)
    report.add(Launch(metrics=metrics_of()), process=3)
    report.add(Launch(metrics=metrics_of()), process=None)
    profile = read(report.content())
    assert rows(profile, "kernels", "process", "order") == [(7, 0), (3, 1), (None, 2)]
    assert [row[0] for row in rows(profile, "processes", "process")] == [7, 3]


def test_the_tool_its_version_and_its_controls_are_told():
    command = "ncu --cache-control none --set full -o x python train.py"
    meta = read(report_of(Launch(metrics=metrics_of()), tool="2026.2.0.0 (build 9)", command=command)).meta
    assert (meta.tool, meta.tool_version, meta.times) == ("Nsight Compute", "2026.2.0.0", "replay")
    assert (meta.clock_control, meta.cache_control) == ("base", "none")
    assert read(report_of(Launch(metrics=metrics_of(), clocks=(False, False)))).meta.clock_control == "none"


def test_many_launches_are_shared_out_and_come_back_in_order(monkeypatch):
    monkeypatch.setattr(ncu_rep_process.os, "sched_getaffinity", lambda _: {0, 1, 2}, raising=False)
    launches = [Launch(f"k{place}(int)", metrics_of(100.0 + place)) for place in range(150)]
    profile = read(report_of(*launches))
    assert rows(profile, "kernels", "name", "dur_ns") == [(f"k{place}(int)", 100 + place) for place in range(150)]


def test_kernels_alone_need_no_other_metric(monkeypatch):
    asked = []
    original = ncu_rep_process._task
    monkeypatch.setattr(
        ncu_rep_process, "_task", lambda *args, **kw: asked.append(kw["wanted"]) or original(*args, **kw)
    )
    read(kinds_and_ranges(), "kernels")
    read(kinds_and_ranges(), "counters", "rules")
    assert "dram__bytes.sum" not in asked[0].only
    assert (asked[0].parts, asked[1].parts, asked[1].only) == (("nvtx",), ("rules",), ())


# --- what cannot be read ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("case", CASES)
def test_a_report_cut_at_any_byte_is_refused_with_the_place_or_read_up_to_a_block(case):
    content = CASES[case]()
    ends = {content.index(block) for block in Report.blocks_of(content)}
    for cut in range(4, len(content), 7):
        if cut not in ends:
            assert f"ends at byte {cut}, within" in said(content[:cut])
    for end in sorted(ends)[-2:]:
        assert len(read(content[:end], "kernels").table("kernels")) < len(read(content, "kernels").table("kernels"))


def test_the_place_where_a_report_ends_is_named():
    content = kinds_and_ranges()
    assert f"ends at byte {len(content) - 1}, within" in said(content[:-1])
    assert "ends at byte 6, within its header (from byte 4)" in said(content[:6])


def test_a_length_beyond_the_file_costs_no_memory():
    content = kinds_and_ranges()
    assert "within its header" in said(content[:4] + b"\xff\xff\xff\xff" + content[8:])


def test_a_report_without_results_says_so():
    assert "without results; was the profiled stretch reached?" in said(Report().content())


def test_a_result_that_the_library_reads_in_part_is_refused():
    content = bytearray(report_of(Launch(metrics=metrics_of())))
    at = content.index(b"kernel(int)")
    content[at - 1] = 0x7F  # the name's length now reaches beyond the message
    assert "damaged" in said(bytes(content))


def test_without_the_package_one_line_says_what_it_is_and_how_to_read_it(monkeypatch):
    monkeypatch.setattr(ncu_rep_process, "MODULE", "no_such_module_anywhere")
    line = said(report_of(Launch(metrics=metrics_of()), Launch(metrics=metrics_of())))
    assert "a report of Nsight Compute 2024.1.0.0 with 2 launches" in line
    assert "pip install 'ds2prof[ncu]'" in line
    assert "ncu --import FILE --csv --page raw --print-units base" in line


@pytest.fixture
def child(tmp_path, monkeypatch):
    """Sets the program that runs in place of the library's."""

    def place(text):
        program = tmp_path / "child.py"
        program.write_text(text)
        monkeypatch.setattr(ncu_rep_process, "_PROGRAM", program)

    return place


FRAME = """
import json, sys
def f(facts):
    text = json.dumps(facts).encode()
    sys.stdout.buffer.write(len(text).to_bytes(4, "little") + bytes(4) + text)
"""


@pytest.mark.parametrize(
    ("program", "line"),
    [
        ("import os; os.abort()", "crashed (SIGABRT) on this report"),
        ("import os, signal; os.kill(os.getpid(), signal.SIGSEGV)", "crashed (SIGSEGV) on this report"),
        ("raise SystemExit(3)", "ended with exit code 3 on this report"),
        ("", "of which NVIDIA's library reads none"),
        ("import sys; sys.stdout.write('nonsense ' * 99)", "gave no sound answer"),
        ("import sys; sys.stdout.buffer.write(b'\\xff' * 64)", "gave no sound answer"),
        (FRAME + "f({'layout': 4})", "gave no sound answer"),
        (FRAME + "f({'layout': 0, 'metrics': ['a'], 'units': ['']})", "gave no sound answer"),
        (FRAME + "f({'error': 'a\\nb'})", "cannot read it: a b"),
    ],
)
def test_whatever_becomes_of_the_library_costs_one_line(child, program, line):
    child(program)
    assert line in said(report_of(Launch(metrics=metrics_of())))


def test_a_library_that_never_ends_is_stopped(child, monkeypatch):
    child("import time; time.sleep(600)")
    monkeypatch.setattr(ncu_rep_process, "_SECONDS", 0.2)
    assert "did not finish within" in said(report_of(Launch(metrics=metrics_of())))


def test_the_library_is_never_loaded_into_this_process():
    script = (
        "import sys; from ds2prof.parsers import read; "
        f"read({str(GOLDEN / 'ncu_rep' / 'two_processes' / 'input.ncu-rep')!r}, tables=('kernels', 'counters')); "
        "assert 'ncu_report' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", script], check=True, cwd=GOLDEN.parent.parent)


def test_the_container_tells_what_the_report_holds(tmp_path):
    path = tmp_path / "report"
    path.write_bytes(kinds_and_ranges())
    container = walk(path, "report")
    assert [result.kind for result in container.results] == ["kernel", "range", "graph", "command_list", "kernel"]
    assert [result.process for result in container.results] == [100] * 5
    assert container.processes == {100: ("app", "box")}


def test_only_reports_are_taken_for_reports():
    assert ncu_rep.sniff(b"NVR\0\2\0\0\0")
    assert not ncu_rep.sniff(b"NVR")
    assert not ncu_rep.sniff(b" NVR\0")


@pytest.mark.parametrize(
    ("by", "expected"),
    [
        ("phase", [("forward", 1, 1234), ("backward", 1, 5000), (None, 3, 9200)]),
        ("iteration", [(3, 1, 1234), (None, 4, 14200)]),
        ("layer", [("rnn.1", 1, 1234), (None, 4, 14200)]),
    ],
)
def test_time_by_phase_iteration_and_layer_goes_by_the_ranges_open_at_each_launch(by, expected):
    answer = range_times(parse_source(source_of(kinds_and_ranges())), by)
    found = zip(answer.columns[by], answer.columns["calls"], answer.columns["dur_ns"], strict=True)
    assert list(found) == expected


def test_a_report_without_such_ranges_says_so():
    with pytest.raises(MissingDataError, match="no phase ranges in this file"):
        range_times(read(report_of(Launch(metrics=metrics_of()))), "phase")


def test_a_page_that_the_tool_prints_of_a_report_reads_as_the_report(tmp_path):
    tool = shutil.which("ncu")
    if tool is None:
        pytest.skip("the tool ncu is not installed")
    nvtx = Nvtx(
        pushed=(("<default domain>", "a:b"), ("ds2prof", "layer:rnn.0")),
        started=(("ds2prof", "phase:forward"), ("ds2prof", "iteration:3")),
    )
    series = {
        "pmsampling:sm__cycles_active.avg": Series([(1, 1.5), (2, 2.25)], 3.75),
        "inst_executed": Series([(1, 2.0)], 9),
    }
    content = report_of(
        Launch("k(int)", metrics_of(1234.0, series), nvtx=nvtx),
        Launch(kind="range", metrics=workload_of(99.0)),
        tool="2022.3.0.0 (build 31729285) (public-release)",
    )
    (tmp_path / "report.ncu-rep").write_bytes(content)
    options = ("--csv", "--page", "raw", "--print-units", "base", "--print-metric-instances", "values")
    command = [tool, "--import", str(tmp_path / "report.ncu-rep"), *options]
    printed = subprocess.run(command, check=False, capture_output=True, timeout=120).stdout
    if b"Kernel Name" not in printed:
        pytest.skip("this version of the tool ncu cannot import the report")
    found, whole = read(printed), read(content)
    for column in ("name", "kind", "nvtx", "iteration", "phase", "layer", "dur_ns", "process", "order"):
        assert found.table("kernels")[column].tolist() == whole.table("kernels")[column].tolist()
    assert metrics(found) == metrics(whole)
    columns = ("launch", "metric", "unit", "value")
    assert rows(found, "samples", *columns) == rows(whole, "samples", *columns)
