"""Traces for timeline viewers: checked by a second reader, and read back by our own."""

from __future__ import annotations

import functools
import gzip
import io
import itertools
import json
from fractions import Fraction

import numpy as np
import pytest
from click.testing import CliRunner
from hypothesis import given, settings
from hypothesis import strategies as st

import ds2prof
from ds2prof.analysis.attribution import launches
from ds2prof.analysis.ledger import idle_ledger
from ds2prof.analysis.totals import totals
from ds2prof.cli import cli
from ds2prof.errors import Ds2profError, MissingDataError
from ds2prof.report.exports.lanes import lanes
from ds2prof.report.exports.trace import TABLES, TraceOptions, write_trace
from ds2prof.report.exports.trace_counters import nice_step_ns
from ds2prof.report.exports.trace_rows import us
from ds2prof.tables import Meta, Profile, float_column, int_column, text_column
from tests.known.cases import TIMELINES, runs
from tests.known.formats import written
from tests.trace_reader import read_trace

RUNS = {run.name: run for run in runs()}
FORMS = [form for form in TIMELINES if form != "nsys_stats"]
EVERYWHERE = ("streams", "two_processes")
AT_ONCE = (*EVERYWHERE, "graph", "waits", "autograd", "copies", "loading", "sub_microsecond", "two_devices")
"""Runs that are tried at once, in every format or in that of PyTorch alone; the rest is for the long tests."""


def _at_once(form):
    return AT_ONCE if form == "kineto" else EVERYWHERE


def cases(*chosen):
    """Every run in every format (or in the chosen ones); those of a further variant marked so."""
    return [
        pytest.param(name, form, marks=() if name in _at_once(form) else pytest.mark.long)
        for name, run in RUNS.items()
        for form in run.formats
        if form in (chosen or FORMS)
    ]


CASES = cases()
KERNEL = ("name", "start_ns", "dur_ns", "device", "stream", "registers", "grid_x", "block_x", "occupancy", "graph")
COPY = ("name", "kind", "start_ns", "dur_ns", "device", "stream", "size_bytes")
RANGE = ("name", "kind", "value", "start_ns", "dur_ns", "process", "thread")
CALL = ("name", "domain", "start_ns", "dur_ns", "process", "thread", "correlation")
OP = ("name", "start_ns", "dur_ns", "process", "thread", "external_id", "sequence", "forward_thread", "shapes")


def whole(path):
    """The profile with all tables of a trace, read in one pass."""
    return ds2prof.read(path, tables=TABLES)


def exported(profile, path, options=None):
    with path.open("w", encoding="utf-8") as out:
        write_trace(profile, out, options)
    return path


@pytest.fixture(scope="module")
def both(tmp_path_factory):
    """(the profile of a run in a format, its trace, the profile that is read back from the trace), made once."""

    @functools.cache
    def make(name, form):
        folder = tmp_path_factory.mktemp(f"{name}-{form}")
        profile = whole(written(RUNS[name], form, folder))
        path = exported(profile, folder / "trace.json")
        return profile, read_trace(path), whole(path)

    return make


def rows(table, columns):
    return sorted(zip(*(table[column].tolist() for column in columns), strict=True), key=repr)


@pytest.mark.parametrize(("name", "form"), CASES)
def test_kernels_copies_and_ranges_come_back_as_they_were(name, form, both):
    profile, _, back = both(name, form)
    assert rows(back.table("kernels"), KERNEL) == rows(profile.table("kernels"), KERNEL)
    assert rows(back.table("copies"), COPY) == rows(profile.table("copies"), COPY)
    ranges = profile.table("ranges")
    timed = ranges.take(ranges["start_ns"].present & ranges["dur_ns"].present)
    assert rows(back.table("ranges"), RANGE) == rows(timed, RANGE)


@pytest.mark.parametrize(("name", "form"), cases("kineto"))
def test_calls_and_operators_of_a_pytorch_trace_come_back_as_they_were(name, form, both):
    profile, _, back = both(name, form)
    for table, columns in (("api", CALL), ("ops", OP), ("overhead", ("name", "start_ns", "dur_ns"))):
        assert rows(back.table(table), columns) == rows(profile.table(table), columns)


@pytest.mark.parametrize(("name", "form"), CASES)
def test_each_operation_still_has_its_launch(name, form, both):
    profile, _, back = both(name, form)

    def launched(which):
        kernels, api, call = which.table("kernels"), which.table("api"), launches(which, "kernels")
        starts = kernels["start_ns"].tolist()
        at = np.where(call >= 0, api.ints("start_ns")[call], -1).tolist()
        return sorted(zip(starts, at, strict=True))

    assert launched(back) == launched(profile)


@pytest.mark.parametrize(("name", "form"), cases("kineto"))
def test_totals_and_ledger_of_what_is_read_back_are_the_same(name, form, both):
    profile, _, back = both(name, form)
    assert totals(back) == totals(profile)
    assert idle_ledger(back).columns == idle_ledger(profile).columns


@pytest.mark.parametrize(("name", "form"), CASES)
def test_slices_nest_on_every_row(name, form, both):
    _, trace, _ = both(name, form)
    assert trace.misplaced == []


@pytest.mark.parametrize(("name", "form"), CASES)
def test_the_second_reader_finds_the_kernels_to_the_nanosecond(name, form, both):
    profile, trace, _ = both(name, form)
    kernels = profile.table("kernels")
    names = ("name", "start_ns", "dur_ns", "device", "stream")
    found = [
        (each.name, each.start_ns, each.end_ns - each.start_ns, each.args.get("device"), each.args.get("stream"))
        for each in trace.of("kernel")
    ]
    assert sorted(found, key=repr) == rows(kernels, names)


@pytest.mark.parametrize(("name", "form"), CASES)
def test_an_arrow_leads_from_each_call_to_what_it_launched(name, form, both):
    profile, trace, _ = both(name, form)
    expected = []
    for work in ("kernels", "copies"):
        table, api, calls = profile.table(work), profile.table("api"), launches(profile, work)
        for start, call in zip(table["start_ns"].tolist(), calls.tolist(), strict=False):
            if call >= 0:
                expected.append((api["name"].tolist()[call], api["start_ns"].tolist()[call], start))
    found = [(source.name, source.start_ns, target.start_ns) for source, target in trace.arrows]
    assert sorted(found) == sorted(expected)


@pytest.mark.parametrize("name", ["streams", "two_devices", "two_processes", "autograd"])
def test_every_row_has_a_name_and_a_place(name, both):
    _, trace, _ = both(name, "kineto")
    used = {each.row for each in trace.slices}
    assert used <= set(trace.thread_names)
    assert used <= set(trace.thread_order)
    assert {pid for pid, _ in used} <= set(trace.process_names)
    for pid in {pid for pid, _ in used}:
        order = [trace.thread_order[row] for row in trace.thread_order if row[0] == pid]
        assert len(set(order)) == len(order)


@pytest.mark.parametrize(("name", "form"), CASES)
def test_the_row_of_idle_time_tells_each_cause_as_the_ledger_does(name, form, both):
    profile, trace, _ = both(name, form)
    told = {}
    for each in trace.of("ds2prof idle"):
        assert sum(each.args.values()) == each.end_ns - each.start_ns
        assert each.args[f"{each.name}_ns"] == max(each.args.values())
        device = int(trace.process_labels[each.row[0]].removeprefix("GPU "))
        for cause, ns in each.args.items():
            told[device, cause] = told.get((device, cause), 0) + ns
    busy = ("compute", "exposed_communication", "exposed_copy")
    ledger = {(row["device"], f"{row['cause']}_ns"): row["dur_ns"] for row in idle_ledger(profile).rows()}
    assert told == {key: ns for key, ns in ledger.items() if ns and key[1].removesuffix("_ns") not in busy}


@pytest.mark.parametrize(("name", "form"), CASES)
def test_nothing_runs_where_the_device_is_said_to_be_idle(name, form, both):
    _, trace, _ = both(name, form)
    for gap in trace.of("ds2prof idle"):
        for each in trace.of("kernel", "gpu_memcpy", "gpu_memset"):
            if each.row[0] == gap.row[0] and each.end_ns > each.start_ns:
                assert each.end_ns <= gap.start_ns or each.start_ns >= gap.end_ns


def test_streams_are_rows_of_their_device_and_lanes_stand_right_below_them(both):
    _profile, trace, _ = both("streams", "kineto")
    streams = [row for row in trace.thread_names if row[0] == 0 and row in {each.row for each in trace.of("kernel")}]
    named = [trace.thread_names[row] for row in sorted(streams, key=lambda row: trace.thread_order[row])]
    assert named == ["stream 7", "stream 7 (overlapping, 2)", "stream 8", "stream 9"]
    assert trace.process_order[0] > trace.process_order[900]


def test_launches_of_two_processes_keep_apart_though_their_ids_are_the_same(both):
    for form in ("nsys_2026", "nvvp"):
        if form not in RUNS["two_processes"].formats:
            continue
        profile, _, back = both("two_processes", form)
        linked = launches(profile, "kernels")
        assert (launches(back, "kernels") >= 0).tolist() == (linked >= 0).tolist()
        assert len(set(back.table("api")["correlation"].tolist())) >= len(set(linked[linked >= 0].tolist()))


@pytest.mark.parametrize(("name", "form"), cases("kineto", "nsys_2026"))
def test_the_busy_share_adds_up_to_the_busy_time(name, form, both):
    profile, trace, _ = both(name, form)
    kernels = profile.table("kernels")
    for device in totals(profile).devices:
        (values,) = [points for (_, track, _), points in trace.counters.items() if track == f"GPU {device.device} busy"]
        busy = sum((after - at) * percent / 100 for (at, percent), (after, _) in itertools.pairwise(values))
        assert busy == pytest.approx(device.busy_ns, rel=1e-5)
        assert values[-1][1] == 0
        assert values[0][0] >= min(kernels["start_ns"].tolist())


def test_each_step_of_the_busy_share_is_the_union_of_kernels_in_it(tmp_path):
    spans = [(0, 4_000), (3_000, 9_000), (12_000, 12_000), (19_000, 31_000), (38_500, 41_000)]
    profile = made(kernels=[("k", 0, 7 + n, start, end - start) for n, (start, end) in enumerate(spans)])
    trace = read_trace(exported(profile, tmp_path / "t.json", TraceOptions(step_ns=10_000)))
    # 9 of 10 us, 1 of 10, all, 1 + 1.5 of 10, 1 of 1; then nothing
    expected = [(0, 90), (10_000, 10), (20_000, 100), (30_000, 25), (40_000, 100), (41_000, 0)]
    assert trace.counters[0, "GPU 0 busy", "busy %"] == expected


def made(*, kernels=(), ranges=(), samples=(), clock=None, times="real"):
    """A profile of kernels (name, device, stream, start, dur), ranges (name, thread, start, dur), samples."""
    meta = Meta(file="made", tool="test", format="test", clock=clock, times=times)
    names = ("name", "device", "stream", "start_ns", "dur_ns")
    tables = {}
    if kernels:
        columns = dict(zip(names, zip(*kernels, strict=True), strict=True))
        tables["kernels"] = {
            name: text_column(values) if name == "name" else int_column(list(values))
            for name, values in columns.items()
        }
    if ranges:
        name, thread, start, dur = zip(*ranges, strict=True)
        tables["ranges"] = {
            "name": text_column(name),
            "kind": text_column(["user"] * len(name)),
            "process": int_column([5] * len(name)),
            "thread": int_column(list(thread)),
            "start_ns": int_column(list(start)),
            "dur_ns": int_column(list(dur)),
        }
    if samples:
        metric, unit, value, start = zip(*samples, strict=True)
        tables["samples"] = {
            "metric": text_column(metric),
            "unit": text_column(unit),
            "value": float_column(value),
            "start_ns": int_column(list(start)),
            "device": int_column([0] * len(metric)),
        }
    return Profile.of(meta, tables)


SPANS = st.lists(st.tuples(st.integers(0, 2), st.integers(0, 40), st.integers(0, 15)), min_size=1, max_size=30)


@settings(deadline=None)
@given(spans=SPANS)
def test_lanes_hold_slices_that_nest_and_lose_none(spans):
    tracks, starts, lengths = (np.array(each, dtype=np.int64) for each in zip(*spans, strict=True))
    found = lanes(tracks, starts, starts + lengths)
    for row in set(zip(tracks.tolist(), found.tolist(), strict=True)):
        mine = [i for i in range(len(spans)) if (tracks[i], found[i]) == row]
        for a in mine:
            for b in mine:
                a0, a1, b0, b1 = starts[a], starts[a] + lengths[a], starts[b], starts[b] + lengths[b]
                assert not a0 < b0 < a1 < b1, "two slices of one row overlap and neither holds the other"


@settings(deadline=None)
@given(spans=SPANS)
def test_what_nests_stands_on_its_own_row(spans):
    tracks, starts, lengths = (np.array(each, dtype=np.int64) for each in zip(*spans, strict=True))
    ends = starts + lengths
    crossing = any(
        tracks[a] == tracks[b] and starts[a] < starts[b] < ends[a] < ends[b]
        for a in range(len(spans))
        for b in range(len(spans))
    )
    assert bool(lanes(tracks, starts, ends).any()) == crossing


@settings(max_examples=30, deadline=None)
@given(spans=SPANS)
def test_any_ranges_make_a_trace_whose_slices_nest_and_come_back(spans, tmp_path_factory):
    ranges = [(f"r{thread}", thread, 10**18 + start, dur) for thread, start, dur in spans]
    profile = made(ranges=ranges, clock="unix")
    path = exported(profile, tmp_path_factory.mktemp("trace") / "trace.json")
    trace, back = read_trace(path), ds2prof.read(path, tables=("ranges",))
    assert trace.misplaced == []
    assert rows(back.table("ranges"), RANGE) == rows(profile.table("ranges"), RANGE)


@given(ns=st.integers(-(10**19), 10**19))
def test_microseconds_are_exact(ns):
    assert Fraction(us(ns)) * 1000 == ns


@given(length=st.integers(1, 10**15))
def test_steps_are_round_and_at_most_two_thousand(length):
    step = nice_step_ns(length)
    assert str(step).rstrip("0") in ("1", "2", "5")
    assert length <= 2000 * step
    assert step == 1000 or length > 2000 * step / 2.5


def test_times_since_the_epoch_count_from_a_base_that_a_double_can_add_to(tmp_path):
    start = 1_795_226_998_123_456_789
    path = exported(made(kernels=[("k", 0, 7, start, 77)], clock="unix"), tmp_path / "t.json")
    document = json.loads(path.read_text())
    assert document["baseTimeNanoseconds"] == 1_795_226_998_123_456_000
    (event,) = [each for each in document["traceEvents"] if each["ph"] == "X"]
    assert event["ts"] == 0.789  # as a viewer reads it, in a double
    assert ds2prof.read(path).table("kernels")["start_ns"].tolist() == [start]


def test_what_recorded_the_events_is_still_told(tmp_path):
    path = exported(made(kernels=[("k", 0, 7, 100, 9)]), tmp_path / "t.json")
    again = exported(ds2prof.read(path), tmp_path / "u.json")
    assert [ds2prof.read(each).meta.tool for each in (path, again)] == ["test, exported by ds2prof"] * 2


def test_times_of_another_clock_stay_as_they_are(tmp_path):
    path = exported(made(kernels=[("k", 0, 7, 12_345_678, 9)]), tmp_path / "t.json")
    back = ds2prof.read(path)
    assert back.table("kernels")["start_ns"].tolist() == [12_345_678]
    assert back.meta.clock is None


def test_a_device_and_a_process_of_the_same_number_are_told_apart(tmp_path):
    profile = made(kernels=[("k", 5, 7, 100, 9)], ranges=[("r", 7, 100, 50)])
    path = exported(profile, tmp_path / "t.json")
    trace = read_trace(path)
    assert len({each.row for each in trace.slices}) == 2
    assert ds2prof.read(path).table("kernels")["device"].tolist() == [5]


def test_unknown_devices_streams_and_threads_stay_unknown(tmp_path):
    profile = made(kernels=[("k", None, None, 100, 9), ("m", 0, 7, 100, 9)], ranges=[("r", None, 100, 50)])
    back = ds2prof.read(exported(profile, tmp_path / "t.json"))
    assert sorted(
        zip(back.table("kernels")["device"].tolist(), back.table("kernels")["stream"].tolist(), strict=False), key=repr
    ) == [
        (0, 7),
        (None, None),
    ]
    assert back.table("ranges")["thread"].tolist() == [None]


def test_threads_beyond_32_bits_do_not_fall_together(tmp_path):
    threads = [139_872_331_278_080, 139_872_331_278_080 + (1 << 32), 3]
    profile = made(ranges=[(f"r{n}", thread, 100, 50) for n, thread in enumerate(threads)])
    path = exported(profile, tmp_path / "t.json")
    rows_used = {each.row for each in read_trace(path).slices}
    assert len(rows_used) == 3
    assert all(isinstance(tid, str) or tid < 1 << 31 for _, tid in rows_used)
    assert sorted(ds2prof.read(path).table("ranges")["thread"].tolist()) == sorted(threads)


def test_hostile_names_can_neither_end_the_string_nor_steer_a_terminal(tmp_path):
    names = ['"},{"ph":"X', "\x1b[31m\u202e", "</script><script>alert(1)</script>", "\ud800", "a\\", "", "ü\n\t"]
    profile = made(kernels=[(name, 0, 7, 100 * n, 9) for n, name in enumerate(names)])
    path = exported(profile, tmp_path / "t.json")
    assert path.read_bytes().isascii()
    assert [each.name for each in read_trace(path).of("kernel")] == names


def test_sampled_readings_are_counter_tracks_and_come_back_as_readings(tmp_path):
    metric = "sm__inst_executed_pipe_fma.avg.pct_of_peak_sustained_elapsed"
    samples = [(metric, "ratio", 0.25, 300), (metric, "ratio", 0.5, 100), (metric, "ratio", float("nan"), 200)]
    profile = made(kernels=[("k", 0, 7, 100, 900)], samples=samples)
    path = exported(profile, tmp_path / "t.json")
    trace = read_trace(path)
    assert trace.counters[0, f"GPU 0 {metric}", metric] == [(100, 50.0), (300, 25.0)]
    table = ds2prof.read(path).table("samples")
    assert list(zip(table["metric"].tolist(), table["value"].tolist(), table["start_ns"].tolist(), strict=False)) == [
        (metric, 0.5, 100),
        (metric, 0.25, 300),
    ]


def test_tracks_that_were_worked_out_are_not_read_back_as_measured(tmp_path):
    path = exported(made(kernels=[("k", 0, 7, 100, 900)]), tmp_path / "t.json")
    assert len(ds2prof.read(path, tables=("samples",)).table("samples")) == 0


def test_pipes_of_kernels_side_by_side_add_up_and_fall_to_zero_between(tmp_path):
    profile = made(kernels=[("a", 0, 7, 100, 100), ("b", 0, 8, 150, 100), ("c", 0, 7, 400, 50), ("d", 0, 7, 500, 50)])
    pipes = {"fma": np.array([0.25, 0.5, np.nan, 0.125])}
    trace = read_trace(exported(profile, tmp_path / "t.json", TraceOptions(pipes=pipes)))
    levels = trace.counters[0, "GPU 0 fma", "fma %"]
    assert levels == [(100, 25.0), (150, 75.0), (200, 50.0), (250, 0.0), (500, 12.5), (550, 0.0)]
    assert [each.args.get("fma %") for each in trace.of("kernel")] == [25, 50, None, 12.5]


def test_a_replayed_capture_is_refused_with_what_to_do():
    with pytest.raises(MissingDataError, match="replayed launches, no timeline; export a timeline, with --counters"):
        write_trace(made(kernels=[("k", 0, 7, None, 9)], times="replay"), io.StringIO())


def test_rows_without_times_are_counted(tmp_path):
    profile = made(kernels=[("k", 0, 7, 100, 9), ("m", 0, 7, None, 9)], ranges=[("mark", 7, 100, None)])
    trace = read_trace(exported(profile, tmp_path / "t.json"))
    assert trace.head["otherData"]["rows_without_times"] == {"ranges": 1, "kernels": 1}


def test_sums_without_times_are_refused():
    with pytest.raises(MissingDataError, match="sums of launches without times"):
        write_trace(made(kernels=[("k", 0, 7, None, 9)]), io.StringIO())


def test_text_is_written_piece_by_piece():
    """The longest piece does not grow with the trace."""

    class Pieces(io.StringIO):
        longest = 0

        def write(self, text):
            Pieces.longest = max(Pieces.longest, len(text))
            return len(text)

    count = 50_000
    profile = made(kernels=[("k", 0, 7, 10 * n, 9) for n in range(count)])
    write_trace(profile, Pieces())
    assert Pieces.longest < 3_000_000 < count * 100


def run_cli(*arguments):
    return CliRunner().invoke(cli, list(map(str, arguments)), standalone_mode=True)


def test_the_command_writes_gzip_by_the_name_and_the_same_bytes_each_time(tmp_path):
    source = written(RUNS["streams"], "kineto", tmp_path)
    for name in ("a.json.gz", "b.json.gz", "c.json"):
        done = run_cli("export", source, "--to", "perfetto", "-o", tmp_path / name)
        assert done.exit_code == 0, done.output
    packed = (tmp_path / "a.json.gz").read_bytes()
    assert packed == (tmp_path / "b.json.gz").read_bytes()
    assert gzip.decompress(packed) == (tmp_path / "c.json").read_bytes()
    assert len(read_trace(tmp_path / "a.json.gz").of("kernel")) == len(RUNS["streams"].kernels)


def test_counters_of_a_replayed_capture_become_tracks_of_the_timeline(tmp_path):
    run = RUNS["counters"]
    (tmp_path / "n").mkdir()
    timeline = written(run, "kineto", tmp_path)
    counters = written(run, "ncu_raw", tmp_path / "n")
    path = tmp_path / "t.json"
    done = run_cli(
        *("export", timeline, "--to", "perfetto", "--counters", counters, "--sm-clock-mhz", "1000", "-o", path)
    )
    assert done.exit_code == 0, done.output
    trace = read_trace(path)
    tracks = {name for _, name, _ in trace.counters}
    assert {"GPU 0 busy", "GPU 0 fma"} <= tracks
    # At 1,000 MHz a kernel has as many cycles as nanoseconds: what its counters say is work over them.
    kernels = {(kernel.full_name, kernel.start): kernel for kernel in run.kernels}
    zero = trace.of("kernel")[0].start_ns - min(kernel.start for kernel in run.kernels)
    for each in trace.of("kernel"):
        kernel = kernels[each.name, each.start_ns - zero]
        percents = dict(kernel.percents)
        fma = next((value for name, value in percents.items() if "fma" in name and "pct" in name), None)
        if fma is not None and "fma %" in each.args:
            work = kernel.cycles * fma
            assert float(each.args["fma %"]) == pytest.approx(float(work / (kernel.end - kernel.start)), rel=1e-3)


def test_work_without_a_clock_is_refused(tmp_path):
    run = RUNS["counters"]
    (tmp_path / "n").mkdir()
    done = run_cli(
        *("export", written(run, "kineto", tmp_path), "--to", "perfetto"),
        *("--counters", written(run, "ncu_raw", tmp_path / "n"), "-o", tmp_path / "t.json"),
    )
    assert isinstance(done.exception, Ds2profError)
    assert "--sm-clock-mhz" in str(done.exception)
    assert not (tmp_path / "t.json").exists()


@pytest.mark.parametrize(
    "pattern",
    [
        *("*h100_bert-small*", "*cuda_event_sync_multi_stream*"),
        *(
            pytest.param(each, marks=pytest.mark.long)
            for each in ("*ns_resolution*", "*mi300_bert*", "*with_gpu_user*")
        ),
    ],
)
def test_real_traces_come_back_as_they_were(pattern, corpus, tmp_path):
    (file,) = (corpus / "kineto").glob(pattern)
    profile = whole(file)
    path = exported(profile, tmp_path / "t.json")
    trace, back = read_trace(path), whole(path)
    assert trace.misplaced == []
    for table, columns in (("kernels", (*KERNEL, "correlation")), ("copies", COPY), ("ranges", RANGE), ("api", CALL)):
        assert rows(back.table(table), columns) == rows(profile.table(table), columns)
    assert totals(back) == totals(profile)
