"""A folder of measurements may hold what was made of them: it is told from the bytes and passed over."""

from __future__ import annotations

import gzip

import pytest
from click.testing import CliRunner

from ds2prof.cli import cli
from ds2prof.derived import is_derived
from ds2prof.errors import ReadError
from ds2prof.measurements import is_measurement
from ds2prof.parsers import read_all
from tests.conftest import ROOT
from tests.known.cases import runs
from tests.known.formats import written

FORMS = ("chrome", "parquet", "csv", "json", "openmetrics", "xlsx", "mlperf", "markdown")
GOLDEN = sorted(path for path in (ROOT / "tests" / "golden").glob("*/*/input*") if path.is_file())


@pytest.fixture(scope="module")
def trace(tmp_path_factory):
    run = next(run for run in runs() if run.name == "communication")
    return written(run, "kineto", tmp_path_factory.mktemp("measurements"))


def ran(*words):
    found = CliRunner().invoke(cli, [str(word) for word in words])
    assert found.exit_code == 0, found.output
    return found


def test_everything_that_is_made_of_measurements_is_passed_over_under_any_name(trace, tmp_path):
    pytest.importorskip("pyarrow")
    pytest.importorskip("openpyxl")
    for form in FORMS:
        ran("export", trace, "--to", form, "-o", tmp_path / f"as_{form}")
    ran("export", trace, "--to", "chrome", "-o", tmp_path / "packed.json.gz")
    ran("report", trace, "-o", tmp_path / "page")
    for form in ("png", "svg", "pdf"):
        ran("plot", trace, "--figure", "ledger", "--format", form, "-o", tmp_path)
    (tmp_path / "parsed").write_text(ran("parse", trace, "--format", "json").stdout)
    files = sorted(tmp_path.iterdir())
    assert len(files) == len(FORMS) + 6
    assert [file.name for file in files if not is_derived(file)] == []
    with pytest.raises(ReadError, match="no measurement in this folder"):
        list(read_all(tmp_path))


def test_a_folder_is_reported_again_with_its_last_report_and_export_inside(trace, tmp_path):
    (tmp_path / "trace.json").write_bytes(trace.read_bytes())
    ran("export", tmp_path / "trace.json", "--to", "chrome", "-o", tmp_path / "export.json")
    ran("report", tmp_path, "-o", tmp_path / "report.html")
    again = ran("report", tmp_path, "-o", tmp_path / "report.html", "--force")
    assert again.stderr.endswith("of 1 profile\n")


def test_an_export_that_is_named_is_read(trace, tmp_path):
    ran("export", trace, "--to", "chrome", "-o", tmp_path / "export.json")
    assert len(list(read_all(tmp_path / "export.json"))) == 1


def test_a_report_that_is_named_says_what_it_is(trace, tmp_path):
    ran("report", trace, "-o", tmp_path / "report.html")
    with pytest.raises(ReadError, match="what ds2prof made of a measurement; name the file that it was made of"):
        list(read_all(tmp_path / "report.html"))


def test_no_file_of_a_profiler_is_passed_over(corpus):
    files = [path for path in corpus.rglob("*") if path.is_file() and "expected" not in path.parts]
    assert len(files) > 50
    assert [path.name for path in files if is_derived(path)] == []


def test_no_golden_input_is_passed_over():
    assert len(GOLDEN) > 50
    assert [path for path in GOLDEN if is_derived(path)] == []


@pytest.mark.parametrize("content", [b"", b"\x1f\x8b", gzip.compress(b"")[:12], b"\x1f\x8b\x08" + bytes(40)])
def test_what_cannot_be_unpacked_is_left_to_its_reader(tmp_path, content):
    (tmp_path / "f").write_bytes(content)
    assert not is_derived(tmp_path / "f")
    assert is_measurement(tmp_path / "f")
    assert not is_derived(tmp_path / "nowhere")


def test_the_log_of_a_run_is_a_measurement(tmp_path):
    (tmp_path / "log.jsonl").write_text('{"schema": "ds2prof-run/1", "run": {}}\n')
    assert not is_derived(tmp_path / "log.jsonl")
