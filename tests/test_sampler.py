"""The sampler beside a program: what it counts, whom it asks about GPUs, and that the program notices nothing of it."""

from __future__ import annotations

import os
import pty
import re
import shlex
import shutil
import signal
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ds2prof import read
from ds2prof.capture.launchers import launcher
from ds2prof.sampling import gpu_sources, host, marks, tree
from ds2prof.sampling.__main__ import MAX_PERIOD_MS
from ds2prof.sampling.cores import Cores, Share, ticks_in
from ds2prof.sampling.gpu_fields import ENERGY, Reading, Slow, number_in
from ds2prof.sampling.gpus import Gpus, Patience
from ds2prof.sampling.pace import Pace
from ds2prof.sampling.rows import COLUMNS, Row, Writer, fact, line
from tests.conftest import ROOT
from tests.sampler_support import (
    SAMPLER,
    nvml_folder,
    process,
    rows,
    sample,
    smi_folder,
    stat_line,
    thread,
    until_read,
)

S = 10**9
MS = 10**6


@pytest.fixture
def nvml(tmp_path):
    if shutil.which("cc") is None:
        pytest.skip("the tool cc, which makes a library that stands in for NVML, is not on this machine")
    return nvml_folder(tmp_path / "nvml")


def alive(pid: int) -> bool:
    """Whether a process is there and no zombie."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] not in "ZX"
    except OSError:
        return False


def gone(pid: int) -> bool:
    """Whether a process goes within a generous time."""
    for _ in range(400):
        if not alive(pid):
            return True
        time.sleep(0.05)
    return False


# Processor cores.


@given(st.integers(0, 9), st.lists(st.tuples(st.booleans(), st.integers(1, 600)), min_size=1, max_size=50))
def test_shares_of_periods_sum_to_the_ticks_counted(phase_ms, steps):
    share, tick_ms, clock_ms, counted, summed_ms = Share(10 * MS), 10, phase_ms, 0, 0.0
    for busy, period_ms in steps:
        ticks = ((clock_ms + period_ms) // tick_ms - clock_ms // tick_ms) * busy
        clock_ms += period_ms
        counted += ticks
        found = share(ticks, period_ms * MS)
        assert 0 <= found <= 1
        summed_ms += found * period_ms
    assert counted * tick_ms - tick_ms - 1e-6 <= summed_ms <= counted * tick_ms + 1e-6


def test_busy_leaves_out_waiting_for_input_and_time_of_the_hypervisor_and_counts_guests_once():
    text = stat_line("cpu3", user=10, nice=20, system=30, idle=1000, iowait=7, irq=1, softirq=2, steal=9, guest=10)
    assert list(ticks_in(f"{text}\nintr 5\n".encode())) == [("cpu3", (63, 7, 9))]


def test_the_share_of_the_host_is_active_time_over_cores_times_elapsed(tmp_path):
    stat = tmp_path / "stat"
    stat.write_text("\n".join([stat_line("cpu", user=0), stat_line("cpu0"), stat_line("cpu1"), "intr 1", ""]))
    cores = Cores(str(stat), tick_hz=100)
    assert (cores.count, cores.rows(0, 0, each=True)) == (2, [])
    # One second later: 80 ticks of 10 ms on one core, 25 on the other.
    lines = [stat_line("cpu", user=105, steal=3, iowait=10), stat_line("cpu0", user=80), stat_line("cpu1", system=25)]
    stat.write_text("\n".join([*lines, "intr 1", ""]))
    found = cores.rows(5 * S, S, each=True)
    cores.close()
    assert [(row.metric, row.entity, row.value, row.start_ns, row.period_ns) for row in found] == [
        ("cpu.utilization", None, (0.8 + 0.25) / (2 * 1), 0, S),
        ("cpu.iowait", None, 0.05, 0, S),
        ("cpu.steal", None, 0.015, 0, S),
        ("cpu.utilization", "core 0", 0.8, 0, S),
        ("cpu.utilization", "core 1", 0.25, 0, S),
    ]


def test_cores_that_are_read_more_rarely_cover_the_time_since_they_were_read_last(tmp_path):
    stat = tmp_path / "stat"
    cores = None
    for second, busy in enumerate((0, 100, 150)):
        lines = [stat_line("cpu", user=busy), stat_line("cpu0", user=busy), "intr 1", ""]
        stat.write_text("\n".join(lines))
        cores = cores or Cores(str(stat), tick_hz=100)
        found = cores.rows(second * S, second * S, each=second != 1)
    cores.close()
    last = {row.entity: (row.value, row.start_ns, row.period_ns) for row in found if row.metric == "cpu.utilization"}
    assert last == {None: (0.5, S, S), "core 0": (0.75, 0, 2 * S)}


def test_a_core_that_comes_online_counts_from_then_on(tmp_path):
    stat = tmp_path / "stat"
    stat.write_text("\n".join([stat_line("cpu"), stat_line("cpu0"), "intr 1", ""]))
    cores = Cores(str(stat), tick_hz=100)
    cores.rows(0, 0, each=True)
    for second in (1, 2):
        late = stat_line("cpu7", user=900 + 50 * second)
        stat.write_text("\n".join([stat_line("cpu"), stat_line("cpu0"), late, "intr 1", ""]))
        found = cores.rows(second * S, second * S, each=True)
    cores.close()
    assert [(row.value, row.start_ns) for row in found if row.entity == "core 7"] == [(0.5, S)]


def test_a_host_of_many_cores_is_read_whole(tmp_path):
    stat = tmp_path / "stat"
    counts = [stat_line(f"cpu{core}", user=10**12 + core, idle=10**13) for core in range(512)]
    stat.write_text("\n".join([stat_line("cpu"), *counts, "intr " + "0 " * 9000, ""]))
    cores = Cores(str(stat), tick_hz=100)
    cores.rows(0, 0, each=True)
    found = cores.rows(S, S, each=True)
    cores.close()
    assert (cores.count, len([row for row in found if row.entity])) == (512, 512)


def test_what_is_counted_lies_between_two_looks_of_psutil():
    psutil = pytest.importorskip("psutil")

    def busy(times) -> float:
        return times.user + times.nice + times.system + times.irq + times.softirq

    cores, tick_s = Cores(), 1 / os.sysconf("SC_CLK_TCK")
    outer = psutil.cpu_times(percpu=True)
    cores.rows(0, 0, each=True)
    inner = psutil.cpu_times(percpu=True)
    core = min(os.sched_getaffinity(0))
    code = f"import os, time\nos.sched_setaffinity(0, [{core}])\nwhile time.process_time() < 0.3: pass"
    subprocess.run([sys.executable, "-c", code], check=True)
    inner_after = psutil.cpu_times(percpu=True)
    # Over a period that is longer than any that went by, no share is capped.
    found = cores.rows(0, 100 * S, each=True)
    outer_after = psutil.cpu_times(percpu=True)
    cores.close()
    of_core = {row.entity: row.value * 100 for row in found if row.metric == "cpu.utilization"}
    for number in range(len(outer)):
        least = busy(inner_after[number]) - busy(inner[number])
        most = busy(outer_after[number]) - busy(outer[number])
        assert least - tick_s / 2 <= of_core[f"core {number}"] <= most + tick_s / 2
    assert of_core[f"core {core}"] >= 0.3 - 3 * tick_s


# The program's processes.


@given(st.dictionaries(st.integers(2, 30), st.integers(1, 30)))
def test_descendants_are_those_whose_chain_of_parents_meets_the_root(parent_of):
    def meets(pid, seen=()):
        return pid == 5 or (pid not in seen and pid in parent_of and meets(parent_of[pid], (*seen, pid)))

    assert tree.descendants([5], parent_of) == {5, *filter(meets, parent_of)}


def test_a_child_counts_once_whether_it_lives_or_was_waited_for(tmp_path):
    process(tmp_path, 100, own=0, threads=3, pages=7)
    process(tmp_path, 999, own=5000)
    found = tree.Tree(100, proc=tmp_path, tick_ns=10 * MS)
    found.begin(0, 0)
    found.find()
    assert found.rows(S, S)[0].value == 0
    process(tmp_path, 100, own=50, threads=3, pages=7)
    process(tmp_path, 101, parent=100, own=30, name="a (b) c")
    found.find()
    assert found.rows(2 * S, 2 * S)[0].value == pytest.approx(0.8)
    census = {row.metric: row.value for row in found.census_rows(0)}
    assert (census["program.processes"], census["program.threads"]) == (2, 4)
    assert census["program.resident"] == 17 * os.sysconf("SC_PAGE_SIZE")
    (tmp_path / "101" / "stat").write_text("")  # what reading it gives once it is gone
    process(tmp_path, 100, own=50, children=40)
    assert found.rows(3 * S, 3 * S)[0].value == pytest.approx(0.1)
    found.close()


def test_a_child_that_nobody_waited_for_takes_nothing_away(tmp_path):
    process(tmp_path, 100, own=10)
    process(tmp_path, 101, parent=100, own=500)
    found = tree.Tree(100, proc=tmp_path, tick_ns=10 * MS)
    found.find()
    found.rows(0, 0)
    (tmp_path / "101" / "stat").write_text("")
    assert found.rows(S, S)[0].value == 0
    found.close()


def test_the_busiest_thread_is_a_share_of_one_core(tmp_path):
    process(tmp_path, 100)
    for tid, run_ns in ((100, 5 * S), (107, 0)):
        thread(tmp_path, 100, tid, run_ns=run_ns)
    found = tree.Tree(100, proc=tmp_path)
    found.find()
    assert found.thread_rows(0, 0) == []
    for tid, run_ns in ((100, 5 * S + 100 * MS), (107, 990 * MS), (108, 77 * S)):
        thread(tmp_path, 100, tid, run_ns=run_ns)
    (row,) = found.thread_rows(S, S)
    assert (row.value, row.start_ns, row.period_ns) == (0.99, 0, S)
    found.close()


def test_the_sum_over_the_run_is_what_the_kernel_says_of_the_program(tmp_path):
    out = tmp_path / "out.csv"
    child = "import time\nwhile time.process_time() < 0.3: pass"
    code = f"import subprocess, sys, time\nsubprocess.run([sys.executable, '-c', {child!r}])\n{child}"
    assert sample(out, sys.executable, "-c", code, options=("--gpu", "none")).returncode == 0
    summed = sum(float(row["value"]) * int(row["period_ns"]) / 1e9 for row in rows(out, "program.cpu"))
    (told,) = rows(out, "program.cpu_s")
    ticks = 6 / os.sysconf("SC_CLK_TCK")  # user and system time of both, each cut to ticks, and a period's rounding
    assert float(told["value"]) - ticks <= summed <= float(told["value"]) + ticks


# The host.


def test_numbers_are_written_as_the_kernel_lists_cores():
    assert host.ranges_text([0, 1, 2, 3, 8, 10, 11]) == "0-3 8 10-11"


@pytest.mark.parametrize(
    ("cgroup", "files", "wanted"),
    [
        ("0::/a/b\n", {"a/cpu.max": "400000 100000", "a/b/cpu.max": "max 100000"}, 4.0),
        ("0::/a/b\n", {"a/cpu.max": "400000 100000", "a/b/cpu.max": "150000 100000"}, 1.5),
        ("3:cpu,cpuacct:/d\n", {"cpu/d/cpu.cfs_quota_us": "250000", "cpu/d/cpu.cfs_period_us": "100000"}, 2.5),
        ("3:cpu,cpuacct:/d\n", {"cpu/d/cpu.cfs_quota_us": "-1", "cpu/d/cpu.cfs_period_us": "100000"}, None),
        ("5:memory:/d\n", {"memory/d/cpu.max": "1 1"}, None),
        ("", {}, None),
    ],
)
def test_the_quota_is_the_least_of_the_groups_around(tmp_path, cgroup, files, wanted):
    (tmp_path / "self").mkdir()
    (tmp_path / "self" / "cgroup").write_text(cgroup)
    for name, text in files.items():
        path = tmp_path / "groups" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text + "\n")
    assert host.quota_cores(proc=tmp_path, cgroups=tmp_path / "groups") == wanted


def test_a_quota_that_ran_out_is_a_share_of_its_own_periods(tmp_path):
    folder = tmp_path / "groups" / "a"
    (tmp_path / "self").mkdir()
    (tmp_path / "self" / "cgroup").write_text("0::/a\n")
    folder.mkdir(parents=True)
    (folder / "cpu.max").write_text("400000 100000\n")
    quota = host.Quota(proc=tmp_path, cgroups=tmp_path / "groups")
    (folder / "cpu.stat").write_text("usage_usec 5\nnr_periods 100\nnr_throttled 30\nthrottled_usec 7\n")
    assert quota.rows(0, 0) == []
    (folder / "cpu.stat").write_text("usage_usec 5\nnr_periods 120\nnr_throttled 35\nthrottled_usec 7\n")
    (row,) = quota.rows(5 * S, 2 * S)
    assert (row.metric, row.value, row.start_ns, row.period_ns) == ("cpu.quota_exhausted", 0.25, 0, 2 * S)


def test_without_a_quota_none_runs_out(tmp_path):
    assert host.Quota(proc=tmp_path, cgroups=tmp_path).rows(0, 0) == []


# Pace, marks and rows.


@given(st.integers(1, 1000), st.lists(st.tuples(st.integers(0, 10**8), st.integers(0, 5000)), min_size=2, max_size=30))
def test_readings_lie_on_the_grid_and_leave_out_what_was_missed(period_ms, steps):
    pace, now_ns = Pace(period_ms * MS), 12345
    for cost_ns, late_ms in steps:
        pace.done(now_ns, cost_ns=cost_ns)
        assert pace.due_ns > now_ns
        assert (pace.due_ns - 12345) % (period_ms * MS) == 0
        now_ns = pace.due_ns + late_ms * MS


def test_what_costs_more_than_its_share_is_read_more_rarely():
    pace, now_ns = Pace(100 * MS, share=0.01), S
    for _ in range(60):
        pace.done(now_ns, cost_ns=5 * MS)
        now_ns = pace.due_ns
    assert pace.interval_ns == 500 * MS
    assert Pace(100 * MS).interval_ns == 100 * MS


def test_marks_are_whole_new_lines_of_ours(tmp_path):
    path = tmp_path / "status"
    path.write_text("open 1 2 3\n")
    found = marks.Marks(path)
    assert found.rows() == []
    with path.open("a") as lines:
        lines.write("loaded 77\nopen 77 3 1795247051676189766\nstep 77 4\nclosed 77 6 17952")
        lines.flush()
        assert found.rows() == [Row("window.open", "count", 3, 1795247051676189766, entity="77", aggregation="mark")]
        lines.write("47052676189766\n")
    assert [(row.metric, row.value, row.start_ns) for row in found.rows()] == [
        ("window.closed", 6, 1795247052676189766)
    ]


def test_a_mark_without_its_time_is_of_the_moment_at_which_it_was_found(tmp_path):
    path = tmp_path / "status"
    found = marks.Marks(path)
    path.write_text("open 77 3\n")
    before_ns = time.time_ns()
    (row,) = found.rows()
    assert before_ns <= row.start_ns <= time.time_ns()


@given(st.text(), st.floats(-1e18, 1e18) | st.integers(-(2**62), 2**62))
def test_a_row_is_one_line_of_eight_cells_whatever_it_holds(text, value):
    written = line(Row("m", "u", value, 2**62, entity=text))
    assert written.count(",") == len(COLUMNS) - 1
    assert written.count("\n") == 1
    assert '"' not in written
    assert float(written.split(",")[6]) == pytest.approx(value, rel=1e-6)


def test_whole_numbers_are_written_in_full():
    assert line(Row("m", "byte", 98765432101.0, 1)).split(",")[6] == "98765432101"


# Who tells about GPUs.


@pytest.mark.parametrize(
    ("cell", "wanted"),
    [
        *(("37", 37.0), ("71.20", 71.2), ("P8", 8.0), ("Active", 1.0), ("Not Active", 0.0)),
        *(("[N/A]", None), ("N/A", None), ("[Unknown Error]", None), ("[Not Supported]", None), ("", None)),
        *(("ERR!", None), ("nan", None), ("inf", None), ("1e5", None), ("0x4", None), ("Unknown", None)),
    ],
)
def test_a_cell_of_nvidia_smi_is_a_number_or_nothing(cell, wanted):
    assert number_in(cell) == wanted


@pytest.mark.parametrize(
    ("choice", "wanted"),
    [(None, [0, 1, 2]), ("2,0", [0, 2]), ("GPU-b", [1]), ("1,x,0", [1]), ("MIG-5", [0, 1, 2]), ("-1", [])],
)
def test_rows_of_gpus_that_the_program_cannot_see_are_left_out(choice, wanted):
    found = [
        at for at, uuid in enumerate(("GPU-a", "GPU-bb", "GPU-c")) if gpu_sources.chosen(choice, index=at, uuid=uuid)
    ]
    assert found == wanted


def test_a_row_is_of_the_moment_that_it_states_unless_that_cannot_be():
    assert gpu_sources._time_ns("2026/11/21 07:30:00.125", 1795246205 * S) == 1795246200 * S + 125 * MS
    assert gpu_sources._time_ns("2026/11/21 09:30:00.125", 1795246205 * S) == 1795246205 * S
    assert gpu_sources._time_ns("[N/A]", 7) == 7


def test_reasons_become_the_share_of_readings_in_which_they_held():
    slow = Slow()
    for at, held in enumerate((1.0, 0.0, 0.0, 0.0)):
        slow.add(
            Reading(S + at * 100 * MS, 2, {"clocks_event_reasons.sw_power_cap": held, "temperature.gpu": 40.0 + at})
        )
    found = {row.metric: row for row in slow.rows(2 * S)}
    assert found["held_back.power_cap"][2:6] == (0.25, S, S, 2)
    assert found["temperature.gpu"][2:6] == (43.0, 2 * S, None, 2)
    assert list(slow.rows(3 * S)) == []


def test_power_comes_from_what_was_consumed_between_two_readings():
    slow = Slow()
    slow.add(Reading(S, 0, {ENERGY: 1000.0}))
    assert list(slow.rows(2 * S)) == []
    slow.add(Reading(5 * S, 0, {ENERGY: 3000.0}))
    (row,) = slow.rows(6 * S)
    assert (row.metric, row.value, row.start_ns, row.period_ns) == ("power.mean", 500.0, S, 4 * S)


@pytest.mark.parametrize("generation", ["new", "old", "older"])
def test_every_generation_of_nvidia_smi_is_asked_for_what_it_knows(tmp_path, generation):
    out = tmp_path / "out.csv"
    options = ("--gpu", "nvidia-smi")
    done = sample(
        out,
        *until_read(out, "memory.used", times=2),
        options=options,
        PATH=smi_folder(tmp_path / "bin"),
        FAKE_SMI=generation,
        FAKE_GPUS="2",
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert {row["device"] for row in rows(out, "utilization.gpu")} == {"0", "1"}
    assert {row["value"] for row in rows(out, "utilization.gpu")} == {"0.37"}
    assert {row["value"] for row in rows(out, "memory.used")} == {str(1 << 30)}
    assert {row["value"] for row in rows(out, "clocks.current.sm")} == {"1410000000"}
    assert bool(rows(out, "utilization.memory")) is (generation != "older")
    held = {row["value"] for row in rows(out, "held_back.power_cap")}
    assert held == (set() if generation == "older" else {"1"})
    devices = read(out, tables=("devices",)).table("devices")
    assert (devices["name"].tolist()[0], devices["chip"].tolist(), devices["uuid"].tolist()) == (
        "NVIDIA A100-SXM4-80GB",
        ["GA100", "GA100"],
        ["GPU-00", "GPU-11"],
    )


def test_what_the_driver_does_not_tell_is_absent(tmp_path):
    out = tmp_path / "out.csv"
    path = smi_folder(tmp_path / "bin")
    sample(out, *until_read(out, "memory.used"), options=("--gpu", "nvidia-smi"), PATH=path, FAKE_SMI="absent")
    assert rows(out, "power.draw") == rows(out, "utilization.gpu") == rows(out, "temperature.gpu") == []
    assert rows(out, "memory.used")


def test_a_source_that_ends_midway_is_said_and_what_it_told_is_kept(tmp_path):
    out = tmp_path / "out.csv"
    path, program = smi_folder(tmp_path / "bin"), until_read(out, "utilization.gpu", times=3)
    done = sample(out, *program, options=("--gpu", "nvidia-smi"), PATH=path, FAKE_SMI="dies")
    assert (done.returncode, done.stderr) == (0, "")
    assert len(rows(out, "utilization.gpu")) >= 3
    (warning,) = read(out).warnings
    assert "gaps (nvidia-smi: Unable to determine the device handle for GPU 0000:01:00.0: GPU is lost)" in warning


def test_a_source_that_ended_is_started_again(tmp_path):
    source = gpu_sources.SmiSource(str(Path(smi_folder(tmp_path / "bin").partition(":")[0]) / "nvidia-smi"))
    environ = {**os.environ, "FAKE_SMI": "dies"}
    gpus = Gpus([source], period_ms=1, environ=environ, patience=Patience(again_s=0, restarts=2))
    said = []
    try:
        while not said:
            gpus.read()
            gpus.tend()
            said = gpus.news()
    finally:
        gpus.close()
    assert (gpus.readings, len(gpus.complaints)) == (9, 3)  # three before each end
    assert said[0].startswith("the readings of the GPUs end here (nvidia-smi: Unable to determine")


def test_a_source_that_says_nothing_gives_way_to_the_next(tmp_path):
    smi = str(Path(smi_folder(tmp_path / "bin").partition(":")[0]) / "nvidia-smi")
    silent = gpu_sources.SmiSource(smi, name="silent")
    silent.environ = lambda environ: {**environ, "FAKE_SMI": "hangs"}
    gpus = Gpus([silent, gpu_sources.SmiSource(smi)], period_ms=1, patience=Patience(silence_s=0.2))
    child = gpus.process
    try:
        while not gpus.readings:
            gpus.read()
            gpus.tend()
    finally:
        gpus.close()
    assert gpus.complaints == ["silent: nothing for 0 s"]
    assert gone(child)


def test_without_a_driver_the_host_is_sampled_and_it_is_said_why(tmp_path, nvml):
    out = tmp_path / "out.csv"
    path = smi_folder(tmp_path / "bin")
    library = nvml_folder(tmp_path / "broken", code=9)
    done = sample(out, "sleep", "3", PATH=path, FAKE_SMI="no driver", LD_LIBRARY_PATH=library)
    assert done.returncode == 0
    assert "no GPU is sampled (NVML: Driver Not Loaded; nvidia-smi: NVIDIA-SMI has failed" in done.stderr
    assert rows(out, "cpu.utilization")
    assert "no GPU was sampled" in " ".join(read(out).warnings)


def test_no_gpu_that_was_asked_for_is_none_that_was_missed(tmp_path):
    done = sample(tmp_path / "a.csv", "true", options=("--gpu", "none"))
    assert (done.returncode, done.stderr) == (0, "")
    assert sample(tmp_path / "b.csv", "true", CUDA_VISIBLE_DEVICES="").stderr == ""


def test_nvml_tells_of_gpus_and_slices_in_base_units(tmp_path, nvml):
    out = tmp_path / "out.csv"
    done = sample(out, *until_read(out, "memory.used", times=3), LD_LIBRARY_PATH=nvml)
    assert (done.returncode, done.stderr) == (0, "")

    def told(metric):
        return {(row["device"], row["entity"], row["value"]) for row in rows(out, metric)}

    assert told("utilization.gpu") == {("0", "", "0.87")}
    assert told("utilization.memory") == {("0", "", "0.43")}
    assert told("memory.used") == {("0", "", "98765432101"), ("1", "", "98765432101"), ("1", "MIG-5", "12345678901")}
    assert told("power.draw") == {("0", "", "654.321"), ("1", "", "654.321")}
    assert told("clocks.current.sm") == {("0", "", "1755000000"), ("1", "", "1755000000")}
    assert told("clocks.current.memory") == {("0", "", "3201000000"), ("1", "", "3201000000")}
    assert told("temperature.gpu") == {("0", "", "55"), ("1", "", "55")}
    assert told("pstate") == {("0", "", "0")}
    assert told("held_back.power_cap") == {("0", "", "1"), ("1", "", "1")}
    assert told("held_back.hw_slowdown") == {("0", "", "0"), ("1", "", "0")}
    assert {device for device, _, _ in told("power.mean")} <= {"0"}
    devices = read(out, tables=("devices",)).table("devices")
    assert (devices["chip"].tolist(), devices["memory_bytes"].tolist()) == (["GH100", "GH100"], [1 << 37, 1 << 37])


@pytest.mark.parametrize(
    ("choice", "wanted"),
    [("1", {("1", ""), ("1", "MIG-5")}), ("GPU-0", {("0", "")}), ("MIG-5", {("1", ""), ("1", "MIG-5")})],
)
def test_nvml_is_asked_about_the_gpus_that_the_program_sees(tmp_path, nvml, choice, wanted):
    out = tmp_path / "out.csv"
    program = until_read(out, "memory.used", times=len(wanted))
    sample(out, *program, LD_LIBRARY_PATH=nvml, CUDA_VISIBLE_DEVICES=choice)
    assert {(row["device"], row["entity"]) for row in rows(out, "memory.used")} == wanted


# The program.


def test_the_programs_exit_code_and_output_are_its_own(tmp_path):
    code = "import sys; sys.stdout.write('out'); sys.stderr.write('err'); sys.exit(5)"
    done = sample(tmp_path / "out.csv", sys.executable, "-c", code, options=("--gpu", "none"))
    assert (done.returncode, done.stdout, done.stderr) == (5, "out", "err")
    assert [row["value"] for row in rows(tmp_path / "out.csv", "program.exit_code")] == ["5"]
    assert [path.name for path in tmp_path.iterdir()] == ["out.csv"]


def test_a_program_that_a_signal_ends_gives_a_shells_code(tmp_path):
    assert sample(tmp_path / "out.csv", "sh", "-c", "kill -9 $$", options=("--gpu", "none")).returncode == 137


def test_the_program_is_the_one_that_env_starts(tmp_path):
    sample(tmp_path / "out.csv", "env", "A=1", "sleep", "0", options=("--gpu", "none"))
    assert [row["entity"] for row in rows(tmp_path / "out.csv", "program.name")] == ["sleep"]


def test_a_program_that_is_not_there_is_one_line(tmp_path):
    done = sample(tmp_path / "out.csv", "no-such-program", options=("--gpu", "none"))
    assert (done.returncode, done.stderr) == (
        127,
        "ds2prof: sampler: no-such-program: cannot be started: No such file or directory\n",
    )


def test_a_full_disk_costs_the_samples_and_not_the_program():
    if not Path("/dev/full").exists():
        pytest.skip("this system has no /dev/full, the tool for a full disk")
    done = sample(
        Path("/dev/full"), "sh", "-c", "sleep 0.3; echo whole", options=("--gpu", "none"), DS2PROF_STATUS="/dev/null"
    )
    assert (done.returncode, done.stdout) == (1, "whole\n")
    assert "cannot write the samples: No space left on device" in done.stderr


PROGRAM = """
import os, signal, sys, time
caught = []
signal.signal(signal.SIGTERM, lambda *_: caught.append(1))
print(os.getpid(), flush=True)
while not caught:
    time.sleep(0.01)
time.sleep(0.3)
print(len(caught), flush=True)
sys.exit(7)
"""


def started(tmp_path, **environ):
    """A sampler that runs, and the process id of its program."""
    words = [sys.executable, "-I", "-S", str(SAMPLER), "--period-ms", "20", "--gpu", "nvidia-smi"]
    sampler = subprocess.Popen(
        [*words, "--output", str(tmp_path / "out.csv"), "--", sys.executable, "-c", PROGRAM],
        env={**os.environ, "PATH": smi_folder(tmp_path / "bin"), **environ},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        start_new_session=True,
        text=True,
    )
    return sampler, int(sampler.stdout.readline())


def gpu_child(sampler: subprocess.Popen) -> int:
    """The sampler's other child, once it is there."""
    deadline_s = time.monotonic() + 60
    while time.monotonic() < deadline_s:
        for folder in Path("/proc").glob("[0-9]*"):
            try:
                words = (folder / "cmdline").read_bytes()
                if b"--query-gpu" in words and f") S {sampler.pid} " in (folder / "stat").read_text():
                    return int(folder.name)
            except OSError:
                continue
        assert sampler.poll() is None
        time.sleep(0.02)
    raise AssertionError("the sampler started nobody to ask about GPUs")


@pytest.mark.parametrize("to_group", [False, True], ids=["to the sampler", "to its group"])
def test_a_signal_reaches_the_program_once_and_its_code_comes_back(tmp_path, to_group):
    sampler, _ = started(tmp_path)
    other = gpu_child(sampler)
    (os.killpg if to_group else os.kill)(sampler.pid, signal.SIGTERM)
    out, _ = sampler.communicate(timeout=60)
    assert (sampler.returncode, out) == (7, "1\n")
    assert gone(other)
    assert rows(tmp_path / "out.csv", "sampler.end")


def test_ctrl_c_at_a_terminal_reaches_the_program_once(tmp_path):
    """There the terminal tells the whole process group, in which the program is."""
    words = [sys.executable, "-I", "-S", str(SAMPLER), "--gpu", "none", "--output", str(tmp_path / "out.csv"), "--"]
    child, terminal = pty.fork()
    if child == 0:
        os.execv(sys.executable, [*words, sys.executable, "-c", PROGRAM.replace("SIGTERM", "SIGINT")])
    said = b""
    while b"\n" not in said:
        said += os.read(terminal, 1000)
    os.write(terminal, b"\x03")
    with suppress(OSError):  # the other end is closed
        while new := os.read(terminal, 1000):
            said += new
    os.close(terminal)
    _, status = os.waitpid(child, 0)
    assert os.waitstatus_to_exitcode(status) == 7
    assert said.replace(b"^C", b"").split()[-1] == b"1"


def test_a_sampler_that_is_killed_leaves_nothing_running(tmp_path):
    sampler, program = started(tmp_path)
    other = gpu_child(sampler)
    sampler.kill()
    sampler.communicate(timeout=60)
    assert gone(program)
    assert gone(other)


def test_what_a_killed_sampler_has_written_can_be_read(tmp_path):
    out = tmp_path / "out.csv"
    sampler, _ = started(tmp_path)
    while out.stat().st_size < 1000:
        time.sleep(0.02)
    sampler.kill()
    sampler.communicate(timeout=60)
    profile = read(out, tables=("samples",))
    assert len(profile.table("samples")) > 0
    assert "its end is missing" in " ".join(profile.warnings)


def test_rows_that_do_not_fit_on_the_disk_are_let_go_of(tmp_path):
    writer = Writer(tmp_path / "out.csv")
    os.close(writer._file)
    writer._file = os.open("/dev/null", os.O_RDONLY)  # a write fails
    writer.add([fact("a", 1, start_ns=1)])
    writer.flush()
    writer.add([fact("b", 1, start_ns=1)] * 1000)
    assert writer.error is not None
    assert writer._lines == []


# The launcher.


def smi_sh(*command, **environ):
    said = {"PATH": os.environ["PATH"], "DS2PROF_OUTPUT": "out.csv", "DS2PROF_TOOL": sys.executable, **environ}
    script = ROOT / "profilers" / "smi.sh"
    return subprocess.run(["bash", script, *command], env=said, capture_output=True, text=True, check=False)


def test_the_launchers_dry_run_can_be_pasted(tmp_path):
    out = tmp_path / "a b.csv"
    said = smi_sh(
        "echo",
        "it's $HOME",
        DS2PROF_DRY_RUN="1",
        DS2PROF_OUTPUT=str(out),
        DS2PROF_ENVIRONMENT="A=1 2\nB=3",
        DS2PROF_OPTIONS="--period-ms\n50\n--gpu=none",
    )
    words = shlex.split(said.stdout)
    assert words[0:3] == [sys.executable, "-I", "-S"]
    assert words[words.index("--") :] == ["--", "env", "A=1 2", "B=3", "echo", "it's $HOME"]
    assert not out.exists()
    done = subprocess.run(["bash", "-c", said.stdout], capture_output=True, text=True, check=True)
    assert done.stdout == "it's $HOME\n"
    assert [row["value"] for row in rows(out, "sampler.period_ns")] == [str(50 * MS)]


def test_the_programs_python_path_is_not_the_samplers(tmp_path):
    (tmp_path / "sitecustomize.py").write_text("import os; os.write(1, b'loaded ')")
    done = smi_sh(
        sys.executable,
        "-c",
        "print('program')",
        DS2PROF_OUTPUT=str(tmp_path / "o.csv"),
        PYTHONPATH=str(tmp_path),
        DS2PROF_OPTIONS="--gpu=none",
    )
    assert done.stdout == "loaded program\n"


@pytest.mark.parametrize("words", [["--period-ms", "0"], ["--period-ms", "x"], ["--gpu", "amd"], []])
def test_wrong_usage_ends_with_two(tmp_path, words):
    command = ["--", "true"] if words else []
    done = subprocess.run(
        [sys.executable, SAMPLER, *words, "--output", tmp_path / "o.csv", *command], capture_output=True, check=False
    )
    assert done.returncode == 2


@pytest.mark.slow
def test_our_training_script_marks_its_window(tmp_path):
    pytest.importorskip("torch")
    out = tmp_path / "out.csv"
    script = [str(ROOT / "train_profiling.py"), "--preset", "tiny", "--batch-size", "2", "--device", "cpu"]
    window = ["--profiler", "external", "--profile-start", "1", "--profile-stop", "3"]
    done = sample(out, sys.executable, *script, *window, options=("--gpu", "none"), OMP_NUM_THREADS="1")
    assert done.returncode == 0, done.stderr
    ranges = read(out, tables=("ranges",)).table("ranges")
    assert (ranges["name"].tolist(), ranges["process"].tolist()) == (
        ["ds2prof:window:1-3"],
        [int(row["value"]) for row in rows(out, "program.process")],
    )


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--period-ms", "abc"], "--period-ms abc: give milliseconds from 1 to 60000"),
        (["--period-ms", "0"], "--period-ms 0: give milliseconds from 1 to 60000"),
        (["--period-ms=60001"], "--period-ms 60001: give milliseconds from 1 to 60000"),
        (["--gpu", "bogus"], "--gpu bogus: give auto, nvml, nvidia-smi or none"),
        (["--tool-option", "--gpu=bogus"], "--gpu bogus: give auto, nvml, nvidia-smi or none"),
        (["--tool-option", "--bogus"], "--bogus: smi has --period-ms, --gpu alone"),
        (["--tool-option", "word"], "word: smi has --period-ms, --gpu alone"),
    ],
)
def test_an_option_that_cannot_be_is_refused_before_anything_starts(words, said, tmp_path):
    command = [sys.executable, "-m", "ds2prof", "run", "smi", *words, "-o", str(tmp_path / "s.csv"), "--"]
    started = tmp_path / "started"
    done = subprocess.run([*command, "touch", str(started)], cwd=ROOT, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout, done.stderr) == (2, "", f"ds2prof: {said}\n")
    assert not list(tmp_path.iterdir())


def test_the_launcher_and_the_sampler_agree_on_the_periods_that_there_are():
    pattern = launcher("smi").values["--period-ms"].fits
    assert all(re.fullmatch(pattern, str(number)) for number in (1, 9, 10, 9999, 10_000, MAX_PERIOD_MS))
    assert not any(re.fullmatch(pattern, str(number)) for number in (-1, 0, MAX_PERIOD_MS + 1, 100_000))
