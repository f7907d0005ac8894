"""Nsight Systems' own reports: the tool is found and run, and whatever it does wrong is one line."""

from __future__ import annotations

import gzip
import io
import os
import re
import shutil
import stat
import subprocess
import sys
import time
from pathlib import Path

import pytest
import yaml

from ds2prof import read
from ds2prof.capture.launchers import find_importer, find_tool, launcher
from ds2prof.errors import ReadError
from ds2prof.parsers import nsys_export, nsys_rep, parse_source
from ds2prof.parsers.sources import HEAD_BYTES, Source
from tests.conftest import GOLDEN
from tests.nsys_support import CASES

REPORT = GOLDEN / "nsys_rep" / "nvtx_2022" / "input.nsys-rep.gz"
OLD = b"NVIDIA Tegra Profiler Report 1.\n"
NEW = b"NVIDIA Tegra Profiler Report 2024@5@1@113-3461954v0.\n"
PROGRAM = """
import nvtx, time
with nvtx.annotate("iteration:0", domain="ds2prof"):
    with nvtx.annotate("phase:forward", domain="ds2prof"):
        time.sleep(0.001)
    with nvtx.annotate("phase:backward", domain="ds2prof"):
        time.sleep(0.001)
"""


def source_of(content: bytes, name: str = "run.nsys-rep") -> Source:
    return Source(name, content[:HEAD_BYTES], lambda: io.BufferedReader(io.BytesIO(content)))


@pytest.fixture
def nsys():
    found = shutil.which("nsys")
    if found is None:
        pytest.skip("the tool nsys is not on this machine")
    return found


@pytest.fixture
def fake(tmp_path, monkeypatch):
    """Puts a program in nsys's place: its text is run by a shell, the export's name in $OUT."""
    folder = tmp_path / "bin"
    folder.mkdir()

    def put(text: str, *, version: str = "2022.4.2.1") -> Path:
        tool = folder / "nsys"
        tool.write_text(
            "#!/bin/sh\n"
            f'if [ "$1" = --version ]; then echo "NVIDIA Nsight Systems version {version}-abc"; exit; fi\n'
            'while [ $# -gt 1 ]; do if [ "$1" = --output ]; then OUT="$2"; fi; shift; done\n'
            'IN="$1"\n' + text
        )
        tool.chmod(tool.stat().st_mode | stat.S_IXUSR)
        return tool

    monkeypatch.setenv("PATH", f"{folder}:/usr/bin:/bin")
    monkeypatch.setattr(nsys_export, "PLACES", ())
    return put


def refused(content: bytes = OLD) -> str:
    with pytest.raises(ReadError) as error:
        nsys_rep.parse(source_of(content)).require("kernels")
    said = str(error.value)
    assert said.startswith("run.nsys-rep: ")
    assert "\n" not in said
    return said


def test_a_report_of_our_own_has_its_ranges(nsys):
    profile = read(REPORT, tables=("ranges",))
    ranges = profile.table("ranges")
    kinds = list(zip(ranges["kind"].tolist(), ranges["value"].tolist(), strict=True))
    steps = [("iteration", str(number)) for number in range(3)]
    assert [pair for pair in kinds if pair[0] == "iteration"] == steps
    assert kinds.count(("phase", "forward")) == kinds.count(("phase", "backward")) == 3
    assert kinds[0] == ("window", "0-2")
    assert ranges["name"].tolist().count("other:here") == 1
    assert set(ranges["category"].tolist()) == {None, "compute"}
    assert profile.meta.format == "nsys-rep"
    assert profile.meta.tool_version == "2022.4.2.1"
    assert profile.table("spans")["dur_ns"].tolist()[0] > 0


def test_columns_that_are_read_later_find_the_export_still_there(nsys):
    ranges = read(REPORT, tables=("ranges",)).table("ranges")
    assert ranges["payload"].tolist() == [None] * len(ranges)


def test_nothing_is_left_behind_when_the_profile_is_gone(nsys, tmp_path, monkeypatch):
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    profile = read(REPORT, tables=("ranges",))
    assert len(list(tmp_path.iterdir())) == 1
    del profile
    assert list(tmp_path.iterdir()) == []


def test_nothing_is_written_beside_the_report(nsys, tmp_path):
    folder = tmp_path / "in"
    folder.mkdir()
    report = folder / "run.nsys-rep"
    report.write_bytes(gzip.decompress(REPORT.read_bytes()))
    before = report.stat().st_mtime_ns
    assert len(read(report, tables=("ranges",)).table("ranges")) == 14
    assert [path.name for path in folder.iterdir()] == ["run.nsys-rep"]
    assert report.stat().st_mtime_ns == before


def test_a_report_that_was_cut_off_is_refused_by_what_the_tool_says(nsys):
    content = gzip.decompress(REPORT.read_bytes())
    said = refused(content[: len(content) // 2])
    assert re.search(r"could not export \(exit code 1: \S.*\); is it whole\?", said)


def test_a_report_of_a_later_release_is_refused_with_both_versions(nsys):
    said = refused(NEW + gzip.decompress(REPORT.read_bytes())[len(OLD) :])
    assert "written by 2024.5.1.113" in said
    assert re.search(r"\(\S+nsys, [0-9.]+\) is too old for", said)


def test_a_program_that_is_profiled_here_is_read_back(nsys, tmp_path):
    pytest.importorskip("nvtx", reason="the tool's companion nvtx is not installed")
    program = tmp_path / "program.py"
    program.write_text(PROGRAM)
    raw, report = tmp_path / "run.qdstrm", tmp_path / "run.nsys-rep"
    command = [nsys, "profile", "--trace=nvtx", "--sample=none", "--cpuctxsw=none", "-o", str(tmp_path / "run")]
    environ = {**os.environ, "NSYS_NVTX_PROFILER_REGISTER_ONLY": "0"}
    subprocess.run([*command, sys.executable, str(program)], env=environ, capture_output=True, timeout=100, check=False)
    if not report.is_file():
        importer = find_importer(launcher("nsys").importer, nsys)
        if importer is None or not raw.is_file():
            pytest.skip("the tool nsys does not work here")
        subprocess.run([importer, "-i", str(raw), "-o", str(report)], capture_output=True, timeout=100, check=True)
    ranges = read(report, tables=("ranges",)).table("ranges")
    assert ranges["name"].tolist() == [
        *("ds2prof:iteration:0", "ds2prof:phase:forward", "ds2prof:phase:backward"),
    ]
    assert all(dur_ns >= 1_000_000 for dur_ns in ranges["dur_ns"].tolist())


def test_reports_are_known_by_their_first_bytes():
    assert nsys_rep.sniff(OLD)
    assert nsys_rep.sniff(NEW)
    assert not nsys_rep.sniff(b"\x00\xff\x00\xffNVIDIA Nsight Systems Stream")
    assert (nsys_rep.written_by(OLD), nsys_rep.written_by(NEW)) == (None, "2024.5.1.113")


def test_nothing_is_run_before_a_table_is_asked_for(fake, tmp_path):
    fake(f"touch {tmp_path}/ran; exit 1")
    parse_source(source_of(OLD))
    assert not (tmp_path / "ran").exists()


def test_without_the_tool_the_line_says_what_to_do(monkeypatch, tmp_path):
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setattr(nsys_export, "PLACES", ())
    said = refused(NEW)
    assert "an Nsight Systems report written by 2024.5.1.113" in said
    assert "nsight-systems-cli" in said
    assert "nsys export --type sqlite" in said


def test_a_partial_export_is_never_looked_at(fake, tmp_path):
    whole = tmp_path / "whole.sqlite"
    whole.write_bytes(CASES["schema_2_9_1"]())
    fake(f'cp {whole} "$OUT"; echo "[2/9] [==50%  ] x"; echo "std::exception::what: ProtobufParse"; exit 1')
    assert "(exit code 1: std::exception::what: ProtobufParse)" in refused()


def test_an_export_that_ends_well_without_a_file_is_refused(fake):
    fake("echo nothing to do")
    assert "exit code 0: nothing to do" in refused()


def test_what_the_tool_exports_is_read_once(fake, tmp_path):
    whole = tmp_path / "whole.sqlite"
    whole.write_bytes(CASES["schema_3_1_7"]())
    fake(f'echo run >> {tmp_path}/runs; cp {whole} "$OUT"')
    profile = nsys_rep.parse(source_of(NEW))
    assert len(profile.table("kernels")) == 2
    assert len(profile.table("copies")) == 3
    assert profile.table("kernels")["grid_x"].tolist() == [1, 1]
    assert (tmp_path / "runs").read_text() == "run\n"
    assert profile.meta.tool_version == "2024.5.1.113"
    assert profile.meta.facts["exported_by"] == "2023.2.3.1004"


def test_the_tool_is_given_a_name_in_a_folder_of_its_own(fake, tmp_path):
    report = tmp_path / "in" / "my report.nsys-rep"
    report.parent.mkdir()
    report.write_bytes(OLD)
    fake(f'echo "$IN $PWD" > {tmp_path}/told; touch "$IN.beside"; exit 1')
    with pytest.raises(ReadError):
        read(report)
    given, _, folder = (tmp_path / "told").read_text().strip().partition(" ")
    assert Path(given).parent == Path(folder)
    assert not Path(folder).exists()
    assert list(report.parent.iterdir()) == [report]


def test_an_export_that_hangs_is_stopped_with_what_it_started(fake, monkeypatch, tmp_path):
    monkeypatch.setattr(nsys_export, "LEAST_SECONDS", 1)
    fake(f"sleep 60 & echo $! > {tmp_path}/child; wait")
    assert "not done after 1 seconds, and stopped" in refused()
    child = Path("/proc") / (tmp_path / "child").read_text().strip()
    deadline = time.monotonic() + 10
    while time.monotonic() < deadline and child.exists() and "Z" not in (child / "stat").read_text().split()[2]:
        time.sleep(0.05)
    assert not child.exists() or (child / "stat").read_text().split()[2] == "Z"


def test_hostile_output_of_the_tool_is_cleaned(fake):
    fake("printf 'bad \\033[31mred\\r\\n'; exit 3")
    said = refused()
    assert "exit code 3: bad ?[31mred" in said


def test_of_several_installed_tools_each_is_tried(fake, monkeypatch, tmp_path):
    whole = tmp_path / "whole.sqlite"
    whole.write_bytes(CASES["schema_3_25"]())
    fake('echo "Version number is invalid"; exit 1')
    newer = tmp_path / "opt" / "2026.1" / "bin" / "nsys"
    newer.parent.mkdir(parents=True)
    newer.write_text(f'#!/bin/sh\nwhile [ "$1" != --output ]; do shift; done\ncp {whole} "$2"\n')
    newer.chmod(0o755)
    monkeypatch.setattr(nsys_export, "PLACES", (f"{tmp_path}/opt/*/bin",))
    assert len(nsys_rep.parse(source_of(NEW)).table("kernels")) == 3


def test_the_tool_is_looked_for_where_the_launcher_looks():
    declared = yaml.safe_load((Path(__file__).parent.parent / "profilers" / "nsys.yaml").read_text())
    assert list(nsys_export.PLACES) == declared["hides_in"]
    assert find_tool(launcher("nsys")) == next(nsys_export.find_tools(os.environ), None)
