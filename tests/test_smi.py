"""Readings of nvidia-smi: its CSV query in all dialects, dmon and pmon."""

from __future__ import annotations

import csv
import io
from datetime import datetime, timezone
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ds2prof import read
from ds2prof.errors import UnknownFormatError
from ds2prof.parsers import parse_source, samples_clock, smi_csv, smi_dmon
from ds2prof.parsers.samples_units import number, numbers, unit_of
from ds2prof.parsers.sources import HEAD_BYTES, Source


def source(text: str | bytes) -> Source:
    content = text.encode() if isinstance(text, str) else text
    return Source("readings", content[:HEAD_BYTES], lambda: io.BufferedReader(io.BytesIO(content)))


def rows(profile, *columns):
    table = profile.table("samples")
    return list(zip(*(table[name].tolist() for name in columns), strict=True))


def read_text(text: str | bytes):
    return parse_source(source(text)).require("samples", "devices", "processes")


def read_golden(golden, *parts):
    (path,) = golden.joinpath(*parts).glob("input*")
    return read(path, tables=("samples", "devices", "processes"))


def test_units_come_from_the_header_the_cells_or_the_documentation():
    header = read_text("utilization.gpu [%], memory.used [MiB], clocks.sm [MHz]\n45, 2, 210\n")
    cells = read_text("utilization.gpu, memory.used, clocks.sm\n45 %, 2 MiB, 210 MHz\n")
    neither = read_text("utilization.gpu, memory.used, clocks.sm\n45, 2, 210\n")
    wanted = [("utilization.gpu", "ratio", 0.45), ("memory.used", "byte", 2097152.0), ("clocks.sm", "hertz", 2.1e8)]
    assert rows(header, "metric", "unit", "value") == wanted
    assert rows(cells, "metric", "unit", "value") == wanted
    assert rows(neither, "metric", "unit", "value") == wanted


def test_a_unit_of_another_quantity_is_no_reading():
    profile = read_text("utilization.gpu [%], memory.used [MiB]\n45 W, 2 MiB\n50 %, 2 MiB\n")
    assert rows(profile, "metric", "value") == [
        ("memory.used", 2097152.0),
        ("utilization.gpu", 0.5),
        ("memory.used", 2097152.0),
    ]
    assert profile.warnings == ("readings:2: a cell under utilization.gpu that is no reading; left out",)


@pytest.mark.parametrize("cell", ["N/A", "[N/A]", "[Not Supported]", "[Unknown Error]", "[GPU is lost]", ""])
def test_what_says_that_there_is_no_reading_is_none(cell):
    profile = read_text(f"power.draw [W], temperature.gpu\n{cell}, 41\n")
    assert rows(profile, "metric", "value") == [("temperature.gpu", 41.0)]
    assert profile.warnings == ()


def test_utilization_is_a_mean_over_the_drivers_own_period_and_no_kernel_time(golden):
    profile = read_golden(golden, "smi_csv", "query_two_gpus")
    found = dict(rows(profile, "metric", "aggregation"))
    assert (found["utilization.gpu"], found["memory.used"], found["power.draw"]) == ("mean", "last", None)
    assert profile.table("samples")["period_ns"].present.sum() == 0
    assert len(profile.table("kernels")) == 0


def test_timestamps_are_exact_and_of_a_clock_of_their_own(golden):
    profile = read_golden(golden, "smi_csv", "query_two_gpus")
    assert profile.meta.clock == "local time"
    first = datetime(2026, 3, 1, 9, tzinfo=timezone.utc)
    assert profile.table("samples")["start_ns"].tolist()[0] == int(first.timestamp()) * 10**9
    assert profile.table("samples")["start_ns"].tolist()[-1] == int(first.timestamp()) * 10**9 + 2_001_000_000


def test_rows_belong_to_the_device_of_their_index(golden):
    profile = read_golden(golden, "smi_csv", "query_two_gpus")
    used = [row for row in rows(profile, "metric", "device", "value") if row[0] == "utilization.gpu"]
    assert [device for _, device, _ in used] == [0, 1, 0, 1, 0]
    devices = profile.table("devices")
    assert devices["name"].tolist() == ["NVIDIA A10G"] * 2
    assert devices["chip"].tolist() == ["GA102"] * 2
    assert devices["memory_bytes"].tolist() == [23028 << 20] * 2
    assert devices["bus_id"].tolist() == ["00000000:00:1E.0", "00000000:00:1F.0"]
    assert devices["uuid"].tolist()[1].endswith("b")


def test_a_line_that_was_cut_off_is_left_out_with_a_warning(golden):
    profile = read_golden(golden, "smi_csv", "query_two_gpus")
    assert profile.meta.facts["rows"] == 5
    assert "without the 15 cells" in profile.warnings[-1]


def test_properties_are_facts_all_their_values_where_they_change(golden):
    facts = read_golden(golden, "smi_csv", "query_two_gpus").meta.facts
    assert facts["driver_version"] == "580.95.05"
    assert facts["pstate"] == ["P8", "P0"]


def test_whether_clocks_are_held_back_is_a_share_of_readings(golden):
    profile = read_golden(golden, "smi_csv", "query_two_gpus")
    found = [row[1:] for row in rows(profile, "metric", "unit", "value") if row[0].endswith("sw_power_cap")]
    assert found == [("ratio", 0.0), ("ratio", 0.0), ("ratio", 1.0), ("ratio", 0.0), ("ratio", 1.0)]


def test_a_header_before_each_sample_is_no_reading(golden):
    profile = read_golden(golden, "smi_csv", "header_repeated")
    used = [row[1:] for row in rows(profile, "metric", "device", "value") if row[0] == "utilization.gpu"]
    assert used == [(0, 0.12), (1, 0.03), (1, 0.98), (0, 1.0)]
    assert "bus_id" in profile.meta.facts["device_numbering"]


def test_another_header_begins_other_columns():
    profile = read_text("index, memory.used [MiB]\n0, 1 MiB\npower.draw [W], index\n9.5 W, 3\n")
    assert rows(profile, "metric", "unit", "value", "device") == [
        ("memory.used", "byte", 1048576.0, 0),
        ("power.draw", "watt", 9.5, 3),
    ]


def test_a_home_made_timestamp_is_seconds_since_the_epoch(golden):
    profile = read_golden(golden, "smi_csv", "home_made")
    assert profile.meta.clock == "unix"
    assert profile.table("samples")["start_ns"].tolist()[2] == 1772355660250000000
    assert profile.meta.facts["memory.total"] == "24564"


def test_without_a_header_columns_are_named_by_their_places(golden):
    profile = read_golden(golden, "smi_csv", "noheader")
    assert rows(profile, "metric", "unit", "aggregation")[:3] == [
        ("column 3", "ratio", None),
        ("column 4", "byte", None),
        ("column 5", "watt", None),
    ]
    assert "no header" in profile.warnings[0]


def test_memory_of_processes_is_sampled_by_process(golden):
    profile = read_golden(golden, "smi_csv", "compute_apps")
    assert rows(profile, "process", "device", "value") == [
        (4242, 0, 8124.0 * 2**20),
        (4243, 1, 8130.0 * 2**20),
        (4242, 0, 9000.0 * 2**20),
    ]
    assert profile.table("processes")["name"].tolist() == ["python", "python"]


def test_the_table_for_people_is_refused_with_what_to_do_instead():
    text = "Mon Mar  1 09:00:00 2026\n+----+\n| NVIDIA-SMI 580.95.05   Driver Version: 580.95.05 |\n"
    with pytest.raises(UnknownFormatError, match="for people; collect readings with 'nvidia-smi --query-gpu"):
        parse_source(source(text))


@pytest.mark.parametrize(
    "text", ["name, uuid\nTesla T4, GPU-1\n", "a,b\n1,2\n", "Name,Start\n", "DCGM_FI_DEV_GPU_UTIL, gauge, GPU\n"]
)
def test_other_comma_separated_files_are_not_taken_for_readings(text):
    assert not smi_csv.sniff(text.encode())


def test_a_byte_order_mark_and_carriage_returns_are_no_hindrance():
    profile = read_text("\ufeffindex, memory.used [MiB]\r\n0, 1 MiB\r\n1, 2 MiB\r\n")
    assert rows(profile, "device", "value") == [(0, 1048576.0), (1, 2097152.0)]
    assert profile.warnings == ()


def test_a_line_without_an_end_longer_than_memory_should_hold_is_left_out():
    profile = read_text(b"memory.used [MiB]\n1 MiB\n" + b"9" * 3_000_000 + b"\n2 MiB\n")
    assert [value for (value,) in rows(profile, "value")] == [1048576.0, 2097152.0]
    assert "too long" in profile.warnings[0]


def test_blocks_do_not_change_what_is_read():
    lines = [f"2026/03/01 09:00:{i % 60:02d}.{i % 1000:03d}, {i % 8}, {i % 101} %" for i in range(80_000)]
    profile = read_text("timestamp, index, utilization.gpu [%]\n" + "\n".join(lines) + "\n")
    table = profile.table("samples")
    assert table["device"].values.tolist() == [i % 8 for i in range(80_000)]
    assert table["value"].values.tolist() == [(i % 101) / 100 for i in range(80_000)]
    second = datetime(2026, 3, 1, 9, tzinfo=timezone.utc).timestamp()
    wanted = [int(second + i % 60) * 10**9 + (i % 1000) * 10**6 for i in range(80_000)]
    assert table["start_ns"].values.tolist() == wanted


def test_dmon_has_dates_units_and_devices(golden):
    profile = read_golden(golden, "smi_dmon", "dates_and_times")
    assert profile.meta.clock == "local time"
    first = rows(profile, "metric", "unit", "value", "aggregation", "device")[:8]
    assert first == [
        ("pwr", "watt", 16.0, None, 0),
        ("gtemp", "celsius", 24.0, "last", 0),
        ("sm", "ratio", 0.0, "mean", 0),
        ("mem", "ratio", 0.0, "mean", 0),
        ("enc", "ratio", 0.0, "mean", 0),
        ("dec", "ratio", 0.0, "mean", 0),
        ("fb", "byte", 3145728.0, "last", 0),
        ("bar1", "byte", 1048576.0, "last", 0),
    ]
    assert "16 cells" in profile.warnings[0]
    assert profile.meta.facts["rows"] == 5


def test_times_without_dates_are_not_kept():
    profile = read_text("#Time        gpu   pwr\n#HH:MM:SS    Idx     W\n 09:00:00      0    16\n")
    assert profile.meta.clock is None
    assert not profile.table("samples")["start_ns"].present.any()
    assert "-o DT" in profile.warnings[0]


def test_pmon_has_rows_of_processes(golden):
    profile = read_golden(golden, "smi_dmon", "processes")
    assert profile.meta.dialect == "pmon"
    assert rows(profile, "process", "metric", "value")[-1] == (4243, "mem", 0.03)
    assert profile.table("processes")["process"].tolist() == [4242, 4243]


def test_dmon_separated_by_commas_reads_as_by_blanks(golden):
    profile = read_golden(golden, "smi_dmon", "comma_separated")
    assert ("nvltx", "byte/s", 1.2e9) in rows(profile, "metric", "unit", "value")
    assert profile.warnings == ()


@pytest.mark.parametrize("text", ["# gpu\n", "#Entity   GRACT\n", "# a comment about gpu pwr\n", "gpu pwr\n"])
def test_other_lines_with_a_hash_are_no_dmon(text):
    assert not smi_dmon.sniff(text.encode())


@given(
    st.lists(
        st.tuples(st.integers(0, 10**9), st.integers(0, 99)).map(lambda pair: f"{pair[0]}.{pair[1]:02d}"), min_size=1
    ),
    st.sampled_from(["%", "MiB", "W", "MHz", "C", "mJ", "KB/s"]),
    st.booleans(),
)
def test_a_reading_is_the_double_nearest_to_its_text(texts, spelled, in_cells):
    cells = [f" {text} {spelled}".encode() if in_cells else f" {text}".encode() for text in texts]
    unit = unit_of(spelled)
    found, strange = numbers(cells, unit)
    wanted = [float(Fraction(text) * Fraction(10) ** unit.exponent * unit.factor) for text in texts]
    assert strange == 0
    if unit.exponent == 0:
        assert found.tolist() == [float(text) * unit.factor for text in texts]
    else:
        assert found.tolist() == wanted
    assert [number(cell, unit) for cell in cells] == found.tolist()


@given(st.lists(st.integers(0, 10**6).map(str), min_size=8, unique=True), st.sampled_from(["%", "MHz", "MiB"]))
def test_whole_columns_and_single_cells_are_converted_alike(texts, spelled):
    cells = [f" {text} {spelled}".encode() for text in texts]
    found, _ = numbers(cells, unit_of(spelled))
    assert found.tolist() == [number(cell, unit_of(spelled)) for cell in cells]


@given(st.lists(st.binary(max_size=12).filter(lambda cell: b"\n" not in cell), min_size=1))
def test_no_cell_is_too_strange_to_be_left_out(cells):
    found, strange = numbers(cells, unit_of("%"))
    assert len(found) == len(cells)
    assert strange <= int(np.isnan(found).sum())


@given(st.datetimes(datetime(1971, 1, 1), datetime(2200, 1, 1)), st.integers(0, 999))
def test_a_wall_clock_time_is_exact(moment, milliseconds):
    text = f"{moment:%Y/%m/%d %H:%M:%S}.{milliseconds:03d}"
    ns, known, clock = samples_clock.nanoseconds([text.encode(), b" " + text.encode()])
    whole = moment.replace(microsecond=0, tzinfo=timezone.utc) - datetime(1970, 1, 1, tzinfo=timezone.utc)
    wanted = (whole.days * 86_400 + whole.seconds) * 10**9 + milliseconds * 10**6
    assert (ns.tolist(), known.all(), clock) == ([wanted] * 2, True, "local time")
    other, _, _ = samples_clock.nanoseconds([text.encode(), b"never"])
    assert other.tolist() == [wanted, 0]


@pytest.mark.parametrize(
    ("cell", "wanted"),
    [
        (b"1762903990", 1762903990 * 10**9),
        (b"1762903990.000000001", 1762903990 * 10**9 + 1),
        (b"1762903990123", 1762903990123 * 10**6),
        (b"1762903990123456", 1762903990123456 * 10**3),
        (b"1762903990123456789", 1762903990123456789),
    ],
)
def test_an_epoch_is_of_the_unit_that_its_digits_tell(cell, wanted):
    assert samples_clock.nanoseconds([cell])[0].tolist() == [wanted]


@pytest.mark.parametrize(
    "cell",
    [
        *(b"9999999999999999999", b"2026/13/01 00:00:00.000", b"9999/01/01 00:00:00.000", b"1901/01/01 00:00:00.000"),
        *(b"", b"-5", b"nan"),
    ],
)
def test_what_is_no_time_is_not_known(cell):
    _, known, _ = samples_clock.nanoseconds([b"2026/01/01 00:00:00.000", cell])
    assert known.tolist() == [True, False]


def plain_cells(path):
    with path.open(encoding="utf-8", newline="") as lines:
        header, *found = [[cell.strip() for cell in row] for row in csv.reader(lines)]
    return header, [row for row in found if row != header]


@pytest.mark.parametrize(
    ("name", "columns"),
    [
        ("RCKola__Rectified-Point-Flow__gpu_usage.csv", {"memory.used": 2**20, "utilization.gpu": 0.01}),
        ("Unshapendwarf__SlowFast__mvit32_base.out", {"utilization.gpu": 0.01}),
        (
            "microsoft__VirtualClient__query-gpu-4xT4.csv",
            {"temperature.gpu": 1, "utilization.gpu": 0.01, "memory.used": 2**20, "memory.free": 2**20},
        ),
        ("microsoft__VirtualClient__query-gpu-1xH100.csv", {"power.draw.instant": 1, "clocks.current.sm": 10**6}),
        ("microsoft__VirtualClient__query-gpu-1xT4-NA.csv", {"power.draw.instant": 1, "memory.used": 2**20}),
    ],
)
def test_real_readings_are_those_of_a_plain_csv_reader(corpus, name, columns):
    header, found = plain_cells(corpus / "smi-csv" / name)
    profile = read(corpus / "smi-csv" / name, tables=("samples",))
    for metric, scale in columns.items():
        at = next(at for at, cell in enumerate(header) if cell.partition(" ")[0] == metric)
        wanted = [float(row[at].partition(" ")[0]) * scale for row in found]
        values = [value for named, value in rows(profile, "metric", "value") if named == metric]
        assert values == pytest.approx(wanted, rel=1e-15)


def test_four_real_gpus_without_an_index_are_four_devices(corpus):
    profile = read(corpus / "smi-csv" / "microsoft__VirtualClient__query-gpu-4xT4.csv", tables=("samples", "devices"))
    assert profile.table("devices")["chip"].tolist() == ["TU104"] * 4
    assert sorted(set(profile.table("samples")["device"].tolist())) == [0, 1, 2, 3]


def test_what_powershell_redirected_is_refused_with_what_to_do():
    text = "\ufeffindex, memory.used [MiB]\r\n0, 1 MiB\r\n".encode("utf-16-le")
    with pytest.raises(UnknownFormatError, match="UTF-16, as '>' of PowerShell writes it; save it as UTF-8"):
        parse_source(source(text))


def test_headings_repeated_in_between_change_nothing(golden):
    (path,) = (golden / "smi_dmon" / "dates_and_times").glob("input*")
    lines = path.read_text().splitlines()
    body = [line for line in lines if not line.startswith("#")]
    once = read_text("\n".join(lines[:2] + body) + "\n")
    often = read_text("\n".join(line for row in body for line in (*lines[:2], row)) + "\n")
    assert rows(once, "metric", "value", "device", "start_ns") == rows(often, "metric", "value", "device", "start_ns")


def test_other_headings_begin_other_columns_of_dmon():
    profile = read_text("# gpu pwr\n# Idx W\n0 16\n# gpu sm\n# Idx %\n1 50\n# gpu pwr\n# Idx W\n0 17\n")
    assert rows(profile, "metric", "unit", "value", "device") == [
        ("pwr", "watt", 16.0, 0),
        ("sm", "ratio", 0.5, 1),
        ("pwr", "watt", 17.0, 0),
    ]
