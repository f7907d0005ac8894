"""Text logs of Nsight Compute: golden cases, and real reports that ncu prints both as text and as CSV."""

from __future__ import annotations

import io
import shutil
import subprocess

import pytest

from ds2prof import read
from ds2prof.errors import UnknownFormatError
from ds2prof.parsers import ncu_csv, ncu_log, parse_source
from ds2prof.parsers.ncu_log_rows import Translated
from ds2prof.parsers.sources import HEAD_BYTES, Source
from tests.conftest import GOLDEN

TABLES = ("kernels", "counters", "rules", "devices", "processes")
REPORTS = (
    "AveryClapp__ESMM-Research__profile.8fce663.ncu-rep",
    "bwd29__self-join-MiSTIC__profile.ncu-rep",
    "thedavidchu__speedy_scan__profile.ncu-rep",
    "yzwang2000__cudaCode__profile.ncu-rep",
)


def content_of(case):
    return (GOLDEN / "ncu_log" / case / "input.txt").read_bytes()


def read_bytes(content):
    source = Source("case", content[:HEAD_BYTES], lambda: io.BufferedReader(io.BytesIO(content)))
    return parse_source(source).require(*TABLES)


def rows(profile, table, *columns):
    return list(zip(*(profile.table(table)[name].tolist() for name in columns), strict=True))


def test_a_launch_has_what_its_heading_says():
    profile = read_bytes(content_of("details_with_speedups"))
    columns = ("name", "process", "device", "context", "stream", "order", "grid_x", "grid_y", "block_x", "block_y")
    assert rows(profile, "kernels", *columns, "dur_ns") == [
        ("void gates<float, 4>(float *, const float *)", 4242, 0, 1, 7, 0, 640, 2, 128, 4, 336_700),
        ("lookup(int)", 4242, 0, 1, 13, 1, 10, 1, 32, 1, 1_500),
    ]
    assert rows(profile, "devices", "device", "compute_capability") == [(0, "8.0")]
    assert rows(profile, "processes", "process", "name", "host") == [(4242, "python3", "127.0.0.1")]
    assert (profile.meta.format, profile.meta.dialect) == ("ncu-log", "text, details, rules")


def test_labels_become_metrics_in_base_units():
    profile = read_bytes(content_of("details_with_speedups"))
    found = {row[:2]: row[2:] for row in rows(profile, "counters", "launch", "metric", "value", "unit")}
    assert found[0, "gpc__cycles_elapsed.max"] == (1_234_567.0, "cycle")
    assert found[0, "gpc__cycles_elapsed.avg.per_second"] == (1.09e9, "cycle/s")
    assert found[0, "sm__throughput.avg.pct_of_peak_sustained_elapsed"] == (0.876, "ratio")
    assert found[0, "launch__grid_size"] == (1280.0, "")
    assert found[1, "gpu__compute_memory_throughput.avg.pct_of_peak_sustained_elapsed"] == (None, "ratio")


def test_rules_have_their_estimated_speedups():
    found = rows(
        read_bytes(content_of("details_with_speedups")),
        "rules",
        "launch",
        "section",
        "kind",
        "speedup_kind",
        "estimated_speedup",
    )
    assert found == [
        (0, "SpeedOfLight", "optimization", "global", 0.1234),
        (0, "LaunchStats", "optimization", "local", 0.055),
        (0, "LaunchStats", "info", None, None),
    ]


def test_the_text_of_a_rule_is_put_together_from_its_lines():
    texts = [text for (text,) in rows(read_bytes(content_of("details_with_speedups")), "rules", "text")]
    assert texts[0].endswith("to see what the pipelines are doing.")
    assert texts[2].endswith(f"for its line: {'x' * 38}yyy")


def test_launches_with_dates_are_read_though_their_tables_have_no_titles():
    profile = read_bytes(content_of("details_with_dates"))
    assert rows(profile, "kernels", "name", "stream", "dur_ns", "occupancy") == [
        ("step(double *, int)", 15, 990_000, 0.2249),
        ("step(double *, int)", 15, 980_000, None),
    ]
    assert rows(profile, "rules", "launch", "kind") == [(0, "warning")]


def test_a_summary_stands_for_its_launches():
    profile = read_bytes(content_of("summary"))
    assert rows(profile, "kernels", "name", "calls", "dur_ns", "registers") == [("step(double *, int)", 3, 6_000, 16)]


def test_pages_far_behind_the_messages_are_found():
    messages = b'==PROF== Profiling "gates" - 0: 0%....50%....100% - 8 passes\n' * 2000
    content = messages + content_of("details_with_dates")
    assert ncu_csv.sniff(content[:HEAD_BYTES])
    profile = read_bytes(content)
    assert (len(profile.table("kernels")), profile.meta.format) == (2, "ncu-log")


def test_a_log_cut_within_a_row_says_so():
    content = content_of("details_with_dates")
    cut = content[: content.index(b"22.92") + 2]
    profile = read_bytes(cut)
    assert "sm__maximum_warps_per_active_cycle_pct" not in profile.table("counters")["metric"].tolist()
    assert any("ends within a row" in warning for warning in profile.warnings)


def test_rows_keep_the_numbers_of_their_lines():
    content = content_of("details_with_dates")
    translated = io.BufferedReader(Translated(io.BufferedReader(io.BytesIO(content)))).read().split(b"\n")
    number = content.split(b"\n").index(next(line for line in content.split(b"\n") if b"770291" in line))
    assert b'"770291"' in translated[number]


def test_a_page_of_csv_is_not_taken_for_a_log():
    assert not ncu_log.sniff((GOLDEN / "ncu_csv" / "glued_noise" / "input.csv").read_bytes())
    assert not ncu_log.sniff(b"a program printed: 5 invocations\n, Context 1, Stream 7\n")


def test_a_real_log_is_read(corpus):
    (path,) = (corpus / "ncu-log").glob("Scientific*")
    profile = read(path, tables=TABLES)
    assert rows(profile, "kernels", "grid_x", "dur_ns", "device", "process") == [
        (500_000, 43_150_000, 0, 579_500),
        (492_538, 46_930_000, 0, 579_500),
        (500_000, 1_950_000, 0, 579_500),
        (492_538, 14_000_000, 0, 579_500),
    ]
    assert len(profile.table("counters")) == 40
    assert [kind for (kind,) in rows(profile, "rules", "kind")] == ["info", "info", "optimization", "info"]


def test_a_real_log_without_pages_is_refused_by_name(corpus):
    (path,) = (corpus / "ncu-log").glob("NetX*")
    with pytest.raises(UnknownFormatError, match="a text log of Nsight Compute with neither CSV nor pages"):
        read(path)


def printed(path, folder, *options):
    """What ncu prints of a report, as a file."""
    if shutil.which("ncu") is None:
        pytest.skip("no ncu (tool) here")
    out = folder / f"{len(list(folder.iterdir()))}.txt"
    done = subprocess.run(["ncu", "--import", str(path), *options], capture_output=True, check=True, timeout=120)
    out.write_bytes(done.stdout)
    return read(out, tables=TABLES)


def listed(table, *left_out):
    return {name: column.tolist() for name, column in table.columns.items() if name not in left_out}


def words(text):
    return "".join(text.split())


@pytest.mark.parametrize("name", REPORTS)
def test_a_report_printed_as_text_gives_the_tables_of_its_csv(corpus, tmp_path, name):
    path = corpus / "ncu-rep" / name
    text = printed(path, tmp_path, "--page", "details")
    wanted = printed(path, tmp_path, "--page", "details", "--csv")
    assert (text.meta.format, wanted.meta.format) == ("ncu-log", "ncu-csv")
    for table in ("kernels", "counters", "devices", "processes"):
        assert listed(text.table(table)) == listed(wanted.table(table))
    columns = ("launch", "kind", "speedup_kind", "estimated_speedup")
    assert rows(text, "rules", *columns) == rows(wanted, "rules", *columns)
    assert [words(found) for (found,) in rows(text, "rules", "text")] == [
        words(found) for (found,) in rows(wanted, "rules", "text")
    ]


@pytest.mark.parametrize("name", [REPORTS[2], *(pytest.param(each, marks=pytest.mark.long) for each in REPORTS[1::2])])
@pytest.mark.parametrize("page", [("--page", "raw"), ("--print-summary", "per-kernel")], ids=["raw", "summary"])
def test_other_pages_printed_as_text_have_the_values_of_their_csv(corpus, tmp_path, name, page):
    path = corpus / "ncu-rep" / name
    text = printed(path, tmp_path, *page, "--print-units", "base")
    wanted = printed(path, tmp_path, *page, "--csv", "--print-units", "base")
    assert rows(text, "kernels", "name", "stream") == rows(wanted, "kernels", "name", "stream")
    found = dict(zip(rows(text, "counters", "launch", "metric"), text.table("counters")["value"].tolist(), strict=True))
    others = dict(
        zip(rows(wanted, "counters", "launch", "metric"), wanted.table("counters")["value"].tolist(), strict=True)
    )
    both = found.keys() & others.keys()
    assert len(both) > 0.9 * len(others)
    assert all(found[key] == pytest.approx(others[key], rel=1e-5, abs=1e-6) for key in both if others[key] is not None)
