"""What nvprof prints of real files, against the files' own SQLite tables, read here with plain queries."""

from __future__ import annotations

import shutil
import sqlite3
import subprocess
from collections import Counter, defaultdict

import pytest

from ds2prof import read

TABLES = ("kernels", "copies", "api", "ranges", "devices")
FILES = (
    "UCBerkeley-Spring2022-CS267-project__blinkplus-nccl-base__output.nvvp",
    "josiahdavis__profiling-lm__net.sql",
    "syed-ahmed__TensorFlow-Tutorial__out.nvvp",
)
EMPTY = "josiahdavis__profiling-lm__net.1c98352.sql"
LAUNCHES = (
    "select k.start, k.end - k.start, k.gridX, k.gridY, k.gridZ, k.blockX, k.blockY, k.blockZ, k.registersPerThread, "
    "k.staticSharedMemory, k.dynamicSharedMemory, k.deviceId, k.contextId, k.streamId, k.correlationId "
    "from CUPTI_ACTIVITY_KIND_CONCURRENT_KERNEL k order by k.start, k.deviceId"
)
LAUNCH_COLUMNS = (
    *("start_ns", "dur_ns", "grid_x", "grid_y", "grid_z", "block_x", "block_y", "block_z", "registers"),
    *("static_shared_bytes", "dynamic_shared_bytes", "device", "context", "stream", "correlation"),
)


def query(path, sql):
    connection = sqlite3.connect(f"file:{path}?mode=ro&immutable=1", uri=True)
    try:
        return connection.execute(sql).fetchall()
    finally:
        connection.close()


def copies_of(path):
    return query(
        path,
        "select start, end - start, bytes, deviceId from CUPTI_ACTIVITY_KIND_MEMCPY union all "
        "select start, end - start, bytes, deviceId from CUPTI_ACTIVITY_KIND_MEMSET order by 1",
    )


def calls_of(path):
    """(start, duration) of all API calls."""
    return query(
        path,
        "select start, end - start from CUPTI_ACTIVITY_KIND_RUNTIME union all "
        "select start, end - start from CUPTI_ACTIVITY_KIND_DRIVER order by 1",
    )


def ranges_of(path):
    """(name, thread, duration) of all NVTX ranges."""
    found = query(
        path,
        "select s.value, b.objectId, e.timestamp - b.timestamp from CUPTI_ACTIVITY_KIND_MARKER b "
        "join CUPTI_ACTIVITY_KIND_MARKER e on b.id = e.id and b.flags & 2 and e.flags & 4 "
        "join StringTable s on s._id_ = b.name",
    )
    return [(name, int.from_bytes(thread[4:8], "little"), dur_ns) for name, thread, dur_ns in found]


def rows_of(table, *columns):
    return list(zip(*(table[name].tolist() for name in columns), strict=True))


def close(found, wanted, step_ns):
    """Whether a printed time is the wanted one, rounded or cut off to the step."""
    return abs(found - wanted) <= (step_ns if step_ns > 1 else 0)


def assert_is_the_trace(path, profile):
    meta = profile.meta
    step_ns, began = meta.time_resolution_ns, min(row[0] for row in [*query(path, LAUNCHES), *copies_of(path)])
    wanted = query(path, LAUNCHES)
    found = rows_of(profile.table("kernels"), *LAUNCH_COLUMNS)
    assert len(found) == len(wanted)
    for one, other in zip(found, wanted, strict=True):
        assert close(one[0], other[0] - began, step_ns)
        assert close(one[1], other[1], step_ns)
        assert one[2:9] == other[2:9]
        assert all(abs(a - b) <= 1 for a, b in zip(one[9:11], other[9:11], strict=True))
        assert one[11] in (other[11], None)
        assert one[12:] == other[12:]
    copies, wanted = rows_of(profile.table("copies"), "start_ns", "dur_ns", "size_bytes"), copies_of(path)
    assert len(copies) == len(wanted)
    for one, other in zip(copies, wanted, strict=True):
        assert close(one[0], other[0] - began, step_ns)
        assert close(one[1], other[1], step_ns)
        assert abs(one[2] - other[2]) <= max(1, other[2] / 200)


def launches_by_name(path):
    """(calls, sum, shortest, longest) of each kernel, copy kind and set, the longest first."""
    sums = "select count(*), sum(end - start), min(end - start), max(end - start) from CUPTI_ACTIVITY_KIND_"
    return query(
        path,
        f"{sums}CONCURRENT_KERNEL group by name union all {sums}MEMCPY group by copyKind having count(*) "
        f"union all {sums}MEMSET having count(*)",
    )


def assert_is_the_summary(path, profile, *, exact):
    columns = ("calls", "dur_ns", "min_dur_ns", "max_dur_ns")
    found = sorted(rows_of(profile.table("kernels"), *columns) + rows_of(profile.table("copies"), *columns))
    wanted = sorted(launches_by_name(path))
    assert [row[0] for row in found] == [row[0] for row in wanted]
    if exact:
        assert found == wanted
        return
    step_ns = profile.meta.time_resolution_ns
    by_time = zip(sorted(found, key=lambda row: row[:2]), wanted, strict=True)
    assert all(close(a[1], b[1], step_ns) for a, b in by_time)


@pytest.mark.parametrize("name", FILES)
def test_a_trace_holds_the_launches_and_copies_of_its_file(corpus, name):
    assert_is_the_trace(
        corpus / "nvvp" / name, read(corpus / "expected/nvprof-csv" / f"{name}.gputrace.csv", tables=TABLES)
    )


@pytest.mark.parametrize("name", FILES)
def test_a_summary_in_microseconds_holds_every_nanosecond(corpus, name):
    profile = read(corpus / "expected/nvprof-csv" / f"{name}.gpusum.us.csv", tables=TABLES)
    assert_is_the_summary(corpus / "nvvp" / name, profile, exact=True)
    assert (profile.meta.time_resolution_ns, profile.warnings) == (1, ())


@pytest.mark.parametrize("name", FILES)
def test_a_summary_with_a_unit_for_each_column_is_the_same(corpus, name):
    coarse = read(corpus / "expected/nvprof-csv" / f"{name}.gpusum.csv", tables=TABLES)
    assert_is_the_summary(corpus / "nvvp" / name, coarse, exact=coarse.meta.time_resolution_ns == 1)
    fine = read(corpus / "expected/nvprof-csv" / f"{name}.gpusum.us.csv", tables=TABLES)
    assert coarse.table("kernels")["name"].tolist() == fine.table("kernels")["name"].tolist()


@pytest.mark.parametrize("name", FILES)
def test_a_summary_of_calls_counts_them_all(corpus, name):
    profile = read(corpus / "expected/nvprof-csv" / f"{name}.apisum.csv", tables=TABLES)
    table, wanted = profile.table("api"), calls_of(corpus / "nvvp" / name)
    assert int(table.ints("calls").sum()) == len(wanted)
    lost_ns = profile.meta.time_resolution_ns * len(table)
    assert abs(int(table.ints("dur_ns").sum()) - sum(dur_ns for _, dur_ns in wanted)) <= lost_ns
    runtime = sum(calls for domain, calls in rows_of(table, "domain", "calls") if domain == "runtime")
    assert [(runtime,)] == query(corpus / "nvvp" / name, "select count(*) from CUPTI_ACTIVITY_KIND_RUNTIME")


@pytest.mark.parametrize("kind", ["gputrace", "gpusum", "gpusum.us", "apisum"])
def test_a_file_in_which_nothing_was_profiled_is_an_empty_profile_that_says_so(corpus, kind):
    profile = read(corpus / "expected/nvprof-csv" / f"{EMPTY}.{kind}.csv", tables=TABLES)
    assert [len(profile.table(name)) for name in TABLES] == [0] * len(TABLES)
    assert "nothing was profiled" in profile.warnings[0]


@pytest.mark.parametrize("kind", ["gpusum.us", "apisum"])
def test_ranges_of_a_summary_are_those_of_the_file(corpus, kind):
    path, page = corpus / "nvvp" / FILES[1], corpus / "expected/nvprof-csv" / f"{FILES[1]}.{kind}.csv"
    ranges = read(page, tables=TABLES).table("ranges")
    assert len(ranges) == page.read_text(encoding="utf-8").count('"Range:"')  # nvprof leaves out some that nest
    wanted = defaultdict(list)
    for name, thread, dur_ns in ranges_of(path):
        wanted[name, thread].append(dur_ns)
    found = rows_of(ranges, "name", "thread", "calls", "dur_ns")
    whole = [row for row in found if row[2] == len(wanted[row[:2]])]
    assert len(whole) > 0.97 * len(found)  # of a range within one of its own name only one is printed
    assert all(dur_ns == sum(wanted[name, thread]) for name, thread, _, dur_ns in whole)


def test_a_text_summary_of_a_real_run_is_read_whole(corpus):
    (path,) = (corpus / "nvprof-txt").iterdir()
    profile = read(path, tables=TABLES)
    kernels, copies, api = (profile.table(name) for name in ("kernels", "copies", "api"))
    lines = path.read_text(encoding="utf-8").split("NVTX result")[0].splitlines()
    rows = [line.split("%", 1)[1].split() for line in lines if "%" in line and "Time(%)" not in line]
    assert len(kernels) + len(copies) + len(api) == len(rows)
    counts = [int(row[1]) for row in rows]
    assert sum(counts) == sum(int(table.ints("calls").sum()) for table in (kernels, copies, api))
    assert int(kernels.ints("calls").max()) == 1200
    assert len(profile.table("ranges")) == path.read_text(encoding="utf-8").count("          Range:  ")
    assert profile.meta.time_resolution_ns == 10_000


def printed(path, folder, *options):
    """The file that nvprof's own print of ``path`` is."""
    if shutil.which("nvprof") is None:
        pytest.skip("no nvprof (tool) here")
    out = folder / f"{'_'.join(options).replace('-', '')}.txt"
    done = subprocess.run(["nvprof", "-i", str(path), *options], capture_output=True, check=True, timeout=120)
    out.write_bytes(done.stderr + done.stdout)
    return out


@pytest.mark.parametrize("name", FILES)
@pytest.mark.parametrize("unit", ["s", "ms", "us", "ns", "col", "auto"])
@pytest.mark.parametrize("form", [(), ("--csv",)], ids=["text", "csv"])
def test_a_trace_is_the_same_in_every_dialect(corpus, tmp_path, name, unit, form):
    path = corpus / "nvvp" / name
    assert_is_the_trace(path, read(printed(path, tmp_path, *form, "-u", unit, "--print-gpu-trace"), tables=TABLES))


@pytest.mark.parametrize("name", FILES)
@pytest.mark.parametrize("unit", ["s", "ms", "us", "ns", "col", "auto"])
@pytest.mark.parametrize("form", [(), ("--csv",)], ids=["text", "csv"])
def test_a_summary_is_the_same_in_every_dialect(corpus, tmp_path, name, unit, form):
    path = corpus / "nvvp" / name
    profile = read(printed(path, tmp_path, *form, "-u", unit, "--print-summary"), tables=TABLES)
    exact = profile.meta.time_resolution_ns == 1
    assert exact or unit in ("s", "col", "auto") or not form
    assert_is_the_summary(path, profile, exact=exact)
    assert int(profile.table("api").ints("calls").sum()) == len(calls_of(path))


@pytest.mark.parametrize("form", [(), ("--csv",)], ids=["text", "csv"])
def test_a_summary_per_device_tells_the_devices_apart(corpus, tmp_path, form):
    path = corpus / "nvvp" / FILES[0]
    profile = read(printed(path, tmp_path, *form, "-u", "us", "--print-summary-per-gpu"), tables=TABLES)
    wanted = query(
        path,
        "select deviceId, count(*) from CUPTI_ACTIVITY_KIND_CONCURRENT_KERNEL group by deviceId, name order by 1, 2",
    )
    assert sorted(rows_of(profile.table("kernels"), "device", "calls")) == wanted
    assert profile.table("devices")["device"].tolist() == list(range(8))


@pytest.mark.parametrize("form", [(), ("--csv",)], ids=["text", "csv"])
@pytest.mark.parametrize("name", FILES)
def test_a_trace_of_calls_holds_them_all(corpus, tmp_path, name, form):
    path = corpus / "nvvp" / name
    profile = read(printed(path, tmp_path, *form, "-u", "us", "--print-api-trace"), tables=TABLES)
    wanted, table = calls_of(path), profile.table("api")
    assert len(table) == len(wanted)
    if form:
        assert sorted(table["dur_ns"].tolist()) == sorted(dur_ns for _, dur_ns in wanted)


def test_ranges_of_a_trace_are_those_of_the_file(corpus, tmp_path):
    path = corpus / "nvvp" / FILES[1]
    page = printed(path, tmp_path, "--csv", "-u", "us", "--print-gpu-trace", "--print-api-trace")
    profile = read(page, tables=TABLES)
    pairs = [(name, dur_ns) for name, _, dur_ns in ranges_of(path)]
    found = Counter(rows_of(profile.table("ranges"), "name", "dur_ns"))
    assert found <= Counter(pairs)
    assert sum(found.values()) > 0.9 * len(pairs)
    assert_is_the_trace(path, read(printed(path, tmp_path, "--csv", "-u", "us", "--print-gpu-trace"), tables=TABLES))
