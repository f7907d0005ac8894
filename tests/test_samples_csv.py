"""The reader of our own sampler's files, and what is answered from them: window, cores, GPUs."""

from __future__ import annotations

import csv
import io
from collections import defaultdict

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ds2prof import read
from ds2prof.analysis import questions, samples
from ds2prof.errors import MissingDataError
from ds2prof.parsers import parse_source, samples_csv, samples_csv_rows
from ds2prof.parsers.sources import HEAD_BYTES, Source
from ds2prof.report.screen import screen
from ds2prof.sampling.gpu_fields import FIELDS
from ds2prof.sampling.rows import COLUMNS, Row, fact, line

S = 10**9
HEADER = ",".join(COLUMNS) + "\n"
END = line(fact("sampler.end", 1, start_ns=1))


def profile_of(*rows: Row | str, end: str = END):
    text = HEADER + "".join(row if isinstance(row, str) else line(row) for row in rows) + end
    content = text.encode()
    source = Source("readings", content[:HEAD_BYTES], lambda: io.BufferedReader(io.BytesIO(content)))
    return parse_source(source).require("samples", "ranges", "devices", "processes")


def mark(word: str, number: int, at_ns: int, process: str = "77") -> Row:
    return Row(f"window.{word}", "count", number, at_ns, entity=process, aggregation="mark")


def listed(profile, *columns):
    table = profile.table("samples")
    return list(zip(*(table[name].tolist() for name in columns), strict=True))


def core(number: int | None, value: float, start_ns: int, period_ns: int) -> Row:
    entity = None if number is None else f"core {number}"
    return Row("cpu.utilization", "ratio", value, start_ns, period_ns, None, entity, "mean")


def answered(profile, *, screens: bool = False):
    (answer,) = questions.answers(profile, None, screens=screens)
    return {(row["metric"], row["device"], row["entity"]): row for row in answer.rows()}


def test_the_reader_and_the_writer_agree_on_the_columns():
    assert samples_csv.HEADER.decode() == ",".join(COLUMNS)


NAMES = st.text(
    st.characters(codec="ascii", exclude_characters=',"', min_codepoint=33, max_codepoint=126), min_size=1, max_size=8
)
READINGS = st.builds(
    Row,
    metric=NAMES,
    unit=NAMES,
    value=st.integers(-(2**53) + 1, 2**53 - 1),
    start_ns=st.integers(0, 2**63 - 1),
    period_ns=st.none() | st.integers(1, 7 * 86_400 * S),
    device=st.none() | st.integers(0, 2**31),
    entity=st.none() | NAMES,
    aggregation=st.sampled_from(["mean", "last"]),
)


@given(st.lists(READINGS, max_size=20))
def test_what_is_written_is_read_back(rows):
    profile = profile_of(*rows)
    columns = ("metric", "unit", "value", "start_ns", "period_ns", "device", "entity", "aggregation")
    assert listed(profile, *columns) == [tuple(row) for row in rows]
    assert profile.warnings == ()


def test_the_golden_file_is_what_a_plain_reader_finds(golden):
    path = golden / "samples_csv" / "two_gpus" / "input.csv"
    with path.open(encoding="utf-8", newline="") as lines:
        found = [row for row in csv.DictReader(lines) if row["aggregation"] not in ("fact", "mark")]
    profile = read(path, tables=("samples",))
    wanted = [
        (row["metric"], float(row["value"]), int(row["start_ns"]), row["device"], row["entity"], row["period_ns"])
        for row in found
    ]
    texts = [
        (metric, value, start, *("" if cell is None else str(cell) for cell in rest))
        for metric, value, start, *rest in listed(
            profile, "metric", "value", "start_ns", "device", "entity", "period_ns"
        )
    ]
    assert texts == wanted


def test_facts_become_devices_the_program_and_what_the_file_says_of_itself(golden):
    profile = read(golden / "samples_csv" / "two_gpus" / "input.csv", tables=("samples", "devices", "processes"))
    devices = profile.table("devices")
    assert (devices["device"].tolist(), devices["chip"].tolist()) == ([0, 1], ["GH100", "GH100"])
    assert (devices["name"].tolist()[0], devices["uuid"].tolist()) == ("NVIDIA H200", ["GPU-00", "GPU-11"])
    assert profile.table("processes")["name"].tolist() == ["python"]
    meta = profile.meta
    assert (meta.tool, meta.format, meta.dialect, meta.clock) == ("ds2prof sampler", "ds2prof-samples", "NVML", "unix")
    assert (meta.times, meta.facts["cpu.allowed"], meta.facts["program.exit_code"]) == (None, "0-1", 0)


def test_a_pair_of_marks_is_a_window_with_exact_times():
    profile = profile_of(mark("open", 3, 1795247051676189766), mark("closed", 6, 1795247052676189769))
    ranges = profile.table("ranges")
    assert [ranges[name].tolist() for name in ("name", "kind", "value", "start_ns", "dur_ns", "process")] == [
        ["ds2prof:window:3-6"],
        ["window"],
        ["3-6"],
        [1795247051676189766],
        [1000000003],
        [77],
    ]


def test_each_process_has_a_window_of_its_own():
    rows = [mark("open", 3, 10, "1"), mark("open", 3, 12, "2"), mark("closed", 6, 30, "1"), mark("closed", 6, 40, "2")]
    ranges = profile_of(*rows).table("ranges")
    assert list(
        zip(ranges["process"].tolist(), ranges["start_ns"].tolist(), ranges["dur_ns"].tolist(), strict=True)
    ) == [
        (1, 10, 20),
        (2, 12, 28),
    ]


@pytest.mark.parametrize(
    "rows", [[mark("open", 3, 10)], [mark("closed", 3, 10)], [mark("closed", 3, 9), mark("open", 3, 10)]]
)
def test_a_window_that_was_not_closed_is_none_and_that_is_said(rows):
    profile = profile_of(*rows)
    assert len(profile.table("ranges")) == 0
    assert "a window was opened and not closed, or closed and not opened" in profile.warnings[0]


@pytest.mark.parametrize(
    "damaged",
    [
        "1,2,,,m,u\n",
        "1,2,,,,u,3,mean\n",
        "1,2,,,m,,3,mean\n",
        "1,2,,,m,u,,mean\n",
        "1,2,,,m,u,nan,mean\n",
        "1,2,,,m,u,1_0,mean\n",
        "1,2,,,m,u,0x1,mean\n",
    ],
)
def test_a_damaged_row_is_left_out_and_counted(damaged):
    profile = profile_of(core(None, 0.5, 1, 2), damaged, damaged, core(None, 0.5, 3, 2))
    assert listed(profile, "value", "start_ns") == [(0.5, 1), (0.5, 3)]
    assert profile.warnings[0].startswith("readings:3: ")
    assert profile.warnings[0].endswith("left out (2 such)")


def test_a_time_that_is_not_stated_is_not_known():
    profile = profile_of(",,,,m,u,3,mean\n", core(None, 0.5, 1, 2))
    assert listed(profile, "start_ns", "period_ns")[0] == (None, None)
    assert profile.warnings == ()


@pytest.mark.parametrize("number", ["-1", "-5", "x", "9" * 19, "99999999999999999999", "1.5"])
@pytest.mark.parametrize("row", ["{},2,,,m,u,3,mean\n", "1,{},,,m,u,3,mean\n", "1,2,{},,m,u,3,mean\n"])
def test_a_row_with_a_time_or_device_that_cannot_be_is_left_out_and_counted(row, number):
    profile = profile_of(core(None, 0.5, 1, 2), row.format(number))
    assert listed(profile, "value") == [(0.5,)]
    assert profile.warnings == ("readings:3: a start, period or device that is no whole number; left out",)


def test_a_mark_without_a_time_that_can_be_opens_no_window():
    profile = profile_of("-5,,,77,window.open,count,2,mark\n", core(None, 0.5, 1, 2), mark("closed", 4, 9))
    assert not len(profile.table("ranges"))
    assert profile.warnings[0] == "readings:2: a start, period or device that is no whole number; left out"


def test_a_metric_in_a_unit_that_it_does_not_have_is_in_no_answer():
    profile = profile_of(
        core(None, 0.25, 0, 10),
        "10,10,,,cpu.utilization,furlong,1,mean\n",
        "10,,0,,held_back.power_cap,watt,1,mean\n",
        "10,10,,,a.metric.of.later,furlong,1,mean\n",
        core(None, 0.75, 20, 10),
    )
    assert questions.totals_of(profile)["host_cpu_utilization"] == pytest.approx(0.5)
    assert listed(profile, "metric")[1] == ("a.metric.of.later",)
    assert profile.warnings == ("readings:3: a reading in another unit than its metric has; left out (2 such)",)


def test_every_unit_that_the_sampler_gives_a_metric_is_the_one_that_is_read():
    told = {one.metric or one.name: one.unit for one in FIELDS}
    known = {metric: samples_csv_rows._unit(metric) for metric in told}
    assert known == told


def test_a_file_without_its_end_says_so():
    assert profile_of(core(None, 0.5, 1, 2)).warnings == ()
    assert "its end is missing" in profile_of(core(None, 0.5, 1, 2), end="").warnings[0]


# What is answered.

PERIODS = st.lists(st.tuples(st.floats(0, 1), st.integers(1, 300)), min_size=1, max_size=12)


@given(PERIODS, st.integers(0, 1500), st.integers(1, 1500))
def test_the_mean_of_a_window_weighs_periods_by_their_time_in_it(periods, begin, length):
    """An independent way: value by value for each unit of time."""
    by_unit, rows, at = [], [], 0
    for value, period in periods:
        rows.append(core(None, value, at, period))
        by_unit += [float(f"{value:.7g}")] * period
        at += period
    inside = by_unit[begin : begin + length]
    row = answered(profile_of(*rows, mark("open", 1, begin), mark("closed", 2, begin + length)))[
        "cpu.utilization", None, None
    ]
    if inside:
        assert row["mean"] == pytest.approx(sum(inside) / len(inside), rel=1e-9, abs=1e-12)
        assert (row["min"], row["max"]) == (min(inside), max(inside))
    else:
        assert (row["mean"], row["readings"]) == (None, 0)


@given(PERIODS)
def test_without_a_window_the_mean_is_over_all_the_time(periods):
    rows, at = [], 0
    for value, period in periods:
        rows.append(core(None, value, at, period))
        at += period
    row = answered(profile_of(*rows))["cpu.utilization", None, None]
    assert row["mean"] == pytest.approx(
        sum(float(f"{value:.7g}") * period for value, period in periods) / at, rel=1e-9, abs=1e-12
    )


def test_readings_of_a_moment_count_once_each_if_they_are_in_the_window():
    rows = [
        Row("memory.used", "byte", value, at, device=0) for at, value in ((9, 100), (10, 200), (19, 400), (20, 800))
    ]
    row = answered(profile_of(*rows, mark("open", 1, 10), mark("closed", 2, 20)))["memory.used", 0, None]
    assert (row["readings"], row["mean"], row["min"], row["max"]) == (2, 300, 200, 400)


@given(
    st.lists(st.lists(st.floats(0, 1), min_size=3, max_size=3), min_size=1, max_size=6),
    st.lists(st.integers(1, 9), min_size=3, max_size=3),
)
def test_host_cpu_utilization_is_active_time_over_cores_times_elapsed(values, periods):
    rows, active, at = [], 0.0, 0
    for step, period in enumerate(periods):
        of_cores = [float(f"{one[step]:.7g}") for one in values]
        active += sum(value * period for value in of_cores)
        rows += [core(number, value, at, period) for number, value in enumerate(of_cores)]
        rows.append(core(None, sum(of_cores) / len(of_cores), at, period))
        at += period
    totals = questions.totals_of(profile_of(*rows))
    assert totals["host_cpu_utilization"] == pytest.approx(active / (len(values) * at), rel=1e-5, abs=1e-6)
    assert totals["host_cores"] == len(values)
    means = [sum(float(f"{v:.7g}") * p for v, p in zip(one, periods, strict=True)) / at for one in values]
    assert totals["busiest_core_utilization"] == pytest.approx(max(means), rel=1e-6, abs=1e-9)


def many_cores(count: int, *, allowed: str):
    rows = [fact("cpu.allowed", allowed, start_ns=1)]
    for number in range(count):
        rows.append(core(number, 0.99 if number == 17 else 0.25, 0, 10))
    return profile_of(*rows, core(None, 0.26, 0, 10), Row("program.cpu", "cores", 3.5, 0, 10, aggregation="mean"))


def test_the_cores_that_the_program_may_use_have_a_number_of_their_own():
    totals = questions.totals_of(many_cores(128, allowed="16-17 30"))
    assert (totals["host_cores"], totals["allowed_cores"]) == (128, 3)
    assert totals["allowed_cpu_utilization"] == pytest.approx((0.99 + 0.25 + 0.25) / 3)
    assert (totals["cores_above_90_percent"], totals["busiest_core"], totals["program_cores"]) == (1, 17, 3.5)


@pytest.mark.parametrize("allowed", ["", "0-", "a", "0-999999999", "200"])
def test_a_list_of_cores_that_is_none_gives_no_number(allowed):
    assert questions.totals_of(many_cores(4, allowed=allowed))["allowed_cpu_utilization"] is None


def test_cores_are_one_row_on_the_screen_and_a_row_each_when_asked_for():
    profile = many_cores(128, allowed="0-127")
    together = answered(profile, screens=True)
    assert together["cpu.utilization", None, "128 cores"]["max"] == 0.99
    assert len(together) == 3
    assert len(answered(profile)) == 130
    assert len(questions.answers(profile, "metric", screens=True)[0]) == 130


def test_the_screen_fits_into_eighty_columns(golden):
    for path in sorted((golden / "samples_csv").glob("*/input.csv")):
        profile = read(path, tables=("samples",))
        answers = questions.answers(profile, None, screens=True)
        text = screen(profile.meta, answers, totals=questions.totals_of(profile), top=99, width=80, devices=[])
        assert [row for row in text.splitlines()[1:] if len(row) > 80] == []
        assert "host CPU utilization" in text
        assert "in the window" in text


def test_each_gpu_is_a_line_of_its_means(golden):
    profile = read(golden / "samples_csv" / "two_gpus" / "input.csv", tables=("samples",))
    first, second = questions.totals_of(profile)["sampled_gpus"]
    assert (first["utilization"], first["memory_used_bytes"], first["sm_clock_hz"]) == (0.87, 98765432101, 1755e6)
    assert (first["held_back"], first["held_back_by"]) == (1.0, "power_cap")
    assert first["power_watt"] != 654.321  # from the counter of energy, which the second GPU lacks
    assert (second["utilization"], second["power_watt"]) == (None, pytest.approx(654.321))


def test_a_window_leaves_out_what_lies_outside_of_it(golden):
    path = golden / "samples_csv" / "host_alone" / "input.csv"
    profile = read(path, tables=("samples", "ranges"))
    window = samples.window(profile)
    with path.open(encoding="utf-8", newline="") as lines:
        weighted = defaultdict(lambda: [0.0, 0])
        for row in csv.DictReader(lines):
            if row["period_ns"] and row["aggregation"] == "mean":
                begin, end = int(row["start_ns"]), int(row["start_ns"]) + int(row["period_ns"])
                inside = max(0, min(end, window.stop_ns) - max(begin, window.start_ns))
                sums = weighted[row["metric"], row["entity"] or None]
                sums[0] += float(row["value"]) * inside
                sums[1] += inside
    answers = answered(profile)
    assert {("cpu.utilization", "core 0"), ("program.cpu", None)} <= set(weighted)
    for (metric, entity), (total, whole) in weighted.items():
        assert answers[metric, None, entity]["mean"] == pytest.approx(total / whole, rel=1e-9, abs=1e-12)


def test_other_questions_are_refused_in_one_line(golden):
    profile = read(golden / "samples_csv" / "host_alone" / "input.csv")
    with pytest.raises(MissingDataError, match="drop --by name"):
        questions.answers(profile, "name")
