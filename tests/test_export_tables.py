"""Tables in the forms of other tools: each is read back by the library that its users have."""

from __future__ import annotations

import csv
import io
import json
import subprocess
import sys
from decimal import Decimal
from typing import Final

import jsonschema
import numpy as np
import pytest
from click.testing import CliRunner
from hypothesis import given, settings
from hypothesis import strategies as st

import ds2prof
from ds2prof.analysis import questions
from ds2prof.analysis.answers import Answer
from ds2prof.analysis.questions import totals_of
from ds2prof.analysis.throughput import throughput
from ds2prof.cli import cli
from ds2prof.errors import Ds2profError, ExistsError, MissingDataError, UsageError
from ds2prof.report.exports import FORMS, comma_separated, json_documents, markdown, mlperf, openmetrics, xlsx
from ds2prof.report.exports.sheets import Sheet, of_answer, of_table, unit_of
from ds2prof.tables import Column, Meta, int_column, text_column
from tests.known.cases import runs
from tests.known.formats import written

RUNS = {run.name: run for run in runs()}
META = Meta(file="made.json", tool="test", format="test")
FORMULAS = ["=1+1", "+1", "-1", "@SUM(A1)", "\t=1", '=cmd|" /C calc"!A0', "plain"]
HOSTILE = [
    *FORMULAS,
    "a|b",
    "`x`",
    "``",
    "<img src=x onerror=alert(1)>",
    "a\nb",
    'q"uote',
    "back\\slash",
    "\x1b[31m",
    "ü",
]


def run_cli(*arguments):
    return CliRunner().invoke(cli, list(map(str, arguments)))


def said(done, error):
    """The message of the error that a command ended with."""
    assert isinstance(done.exception, error), done.output
    return str(done.exception)


@pytest.fixture
def trace(tmp_path):
    folder = tmp_path / "in"
    folder.mkdir()
    return written(RUNS["autograd"], "kineto", folder)


def sheet(columns, *, by="name", meta=META, **more):
    return Sheet(meta, by, columns, **more)


def text_of(write, sheets, **more):
    out = io.StringIO(newline="")
    write(sheets, out, **more)
    return out.getvalue()


def expected_rows(path, by):
    return questions.answers(ds2prof.read(path), by)[0].rows()


# CSV


def test_csv_has_the_rows_of_the_answer(trace, tmp_path):
    path = tmp_path / "t.csv"
    assert run_cli("export", trace, "--to", "csv", "--by", "name", "-o", path).exit_code == 0
    with path.open(newline="") as file:
        found = list(csv.DictReader(file))
    assert found == [
        {name: "" if value is None else str(value) for name, value in row.items()}
        for row in expected_rows(trace, "name")
    ]


@pytest.mark.parametrize("name", FORMULAS)
def test_no_text_of_a_csv_begins_as_a_formula(name):
    rows = list(csv.reader(io.StringIO(text_of(comma_separated.write_csv, [sheet({"name": [name], "dur_ns": [-5]})]))))
    assert rows[1] == ([f"'{name}", "-5"] if name != "plain" else ["plain", "-5"])


@settings(deadline=None)
@given(names=st.lists(st.text(st.characters(codec="utf-8")), min_size=1))
def test_any_text_comes_back_from_csv(names):
    made = text_of(comma_separated.write_csv, [sheet({"name": names, "calls": list(range(len(names)))})])
    rows = list(csv.reader(io.StringIO(made, newline="")))[1:]
    assert [row[0].removeprefix("'") for row in rows] == [name.removeprefix("'") for name in names]


def test_several_files_have_a_column_that_names_them(trace, tmp_path):
    other = tmp_path / "other.json"
    other.write_bytes(trace.read_bytes())
    done = run_cli("export", trace, other, "--to", "csv", "--by", "class")
    rows = list(csv.DictReader(io.StringIO(done.stdout)))
    assert {row["file"] for row in rows} == {str(trace), str(other)}


# JSON


def test_json_of_an_answer_is_that_of_parse(trace):
    parsed = json.loads(run_cli("parse", trace, "--by", "name", "--format", "json").stdout)
    assert json.loads(run_cli("export", trace, "--to", "json", "--by", "name").stdout) == parsed


def test_a_table_of_the_file_is_a_document_with_all_its_columns(trace):
    found = json.loads(run_cli("export", trace, "--to", "json", "--table", "ranges").stdout)
    table = ds2prof.read(trace).table("ranges")
    assert found["by"] == "table:ranges"
    assert [row["start_ns"] for row in found["rows"]] == table["start_ns"].tolist()
    assert set(found["rows"][0]) == set(table.columns)


def test_json_has_no_numbers_that_json_lacks():
    made = sheet({"name": ["a", "b"], "dur_ns": [float("nan"), float("inf")]}, totals={"busy_ns": float("nan")})
    found = json.loads(text_of(json_documents.write_json, [made]), parse_constant=pytest.fail)
    assert [row["dur_ns"] for row in found["rows"]] == [None, None]


@pytest.fixture(scope="module")
def validator():
    schema = json_documents.json_schema()
    jsonschema.Draft202012Validator.check_schema(schema)
    return jsonschema.Draft202012Validator(schema)


NOT_TOLD: Final = {
    *("core", "throughput", "fp32", "metric", "memory", "allocation", "wave", "energy", "roofline", "gain", "bound"),
    *("bandwidth", "copy", "collective", "straggler"),
}
"""Keys that this trace has no answer to."""


@pytest.mark.parametrize("by", [None, *sorted({*questions.KEYS} - NOT_TOLD)])
def test_documents_keep_the_schema_by_every_key(by, validator, trace):
    profile = ds2prof.read(trace)
    answers = questions.answers(profile, by)
    sheets = [of_answer(each, meta=profile.meta, totals=totals_of(profile, by)) for each in answers]
    validator.validate(json.loads(text_of(json_documents.write_json, sheets)))


@pytest.mark.parametrize(
    "file",
    [
        *("torch_kineto/cpu_run/input.json.gz", "ds2prof_run/tiny/input.jsonl", "log_tbd", "memory_csv", "smi_csv"),
        *("ncu_csv", "nsys_stats", "nvprof_text", "dcgm_dmon", "rocprof_csv"),
    ],
)
def test_documents_of_parse_keep_the_schema(file, golden, validator):
    found = golden / file
    path = found if found.is_file() else next(each for each in sorted(found.rglob("input*")) if each.is_file())
    validator.validate(json.loads(run_cli("parse", path, "--format", "json").stdout))


@pytest.mark.parametrize("name", ["kernels", "copies", "api", "ops", "ranges", "spans", "devices", "processes"])
def test_tables_of_a_file_keep_the_schema(name, validator, trace):
    found = json.loads(run_cli("export", trace, "--to", "json", "--table", name).stdout)
    validator.validate(found)
    assert found["by"] == f"table:{name}"


def test_the_schema_refuses_what_is_no_document(validator):
    good = json.loads(text_of(json_documents.write_json, [sheet({"name": ["a"]}, by="other")]))
    validator.validate(good)
    for wrong in (
        {**good, "schema": "ds2prof/2"},
        {name: value for name, value in good.items() if name != "rows"},
        {**good, "by": "ledger", "rows": [{"device": 0, "cause": "weather", "dur_ns": 1, "share": 0.5}]},
        {**good, "by": "name", "rows": [{"name": "a"}]},
        {**good, "rows": [{"dur_ns": "1"}]},
    ):
        assert not validator.is_valid(wrong)


# Parquet


def test_parquet_has_types_units_and_its_own_account(trace, tmp_path):
    pq = pytest.importorskip("pyarrow.parquet")
    path = tmp_path / "k.parquet"
    assert run_cli("export", trace, "--to", "parquet", "--table", "kernels", "-o", path).exit_code == 0
    found, table = pq.read_table(path), ds2prof.read(trace).table("kernels")
    about = json.loads(found.schema.metadata[b"ds2prof"])
    assert (about["schema"], about["by"]) == ("ds2prof-parquet/1", "table:kernels")
    assert about["sources"][0]["file"] == str(trace)
    assert found.schema.field("dur_ns").metadata == {b"unit": b"ns"}
    assert str(found.schema.field("start_ns").type) == "int64"
    for name in table.columns:
        assert found[name].to_pylist() == table[name].tolist(), name


def test_parquet_of_answers_keeps_unknown_as_null(trace, tmp_path):
    pq = pytest.importorskip("pyarrow.parquet")
    path = tmp_path / "p.parquet"
    assert run_cli("export", trace, "--to", "parquet", "--by", "phase", "-o", path).exit_code == 0
    assert pq.read_table(path).to_pylist() == expected_rows(trace, "phase")


def test_parquet_is_written_in_groups(tmp_path, monkeypatch):
    pq = pytest.importorskip("pyarrow.parquet")
    from ds2prof.report.exports import parquet

    monkeypatch.setattr(parquet, "GROUP_ROWS", 1000)
    names = Column(np.arange(2500, dtype=np.int32) % 3 - 1, None, ["a", "b"])
    table = sheet({"name": names, "dur_ns": Column(np.arange(2500))}, by="table:kernels")
    parquet.write_parquet([table, table], tmp_path / "t.parquet")
    assert pq.ParquetFile(tmp_path / "t.parquet").num_row_groups == 6
    found = pq.read_table(tmp_path / "t.parquet")
    assert found["dur_ns"].to_pylist() == [*range(2500), *range(2500)]
    assert found["name"].to_pylist()[:4] == [None, "a", "b", None]
    assert found["file"].to_pylist()[0] == "made.json"


# OpenMetrics


def families(text):
    parser = pytest.importorskip("prometheus_client.openmetrics.parser")
    return {family.name: family for family in parser.text_string_to_metric_families(text)}


def test_openmetrics_is_read_by_prometheus_own_parser(trace):
    made = run_cli("export", trace, "--to", "openmetrics").stdout
    assert made.endswith("# EOF\n")
    found = families(made)
    profile = ds2prof.read(trace)
    busy_ns = totals_of(profile)["busy_ns"]
    (sample,) = found["ds2prof_busy_seconds"].samples
    assert Decimal(str(sample.value)) == Decimal(busy_ns) / 10**9
    assert found["ds2prof_busy_seconds"].unit == "seconds"
    assert found["ds2prof_measurement"].samples[0].labels["tool"] == "PyTorch profiler"
    by_name = {sample.labels["name"]: sample.value for sample in found["ds2prof_name_dur_seconds"].samples}
    assert by_name == {
        row["name"]: pytest.approx(row["dur_ns"] / 1e9) for row in questions.answers(profile, "name")[0].rows()
    }


def test_each_unit_of_openmetrics_ends_its_name(trace, golden):
    sources = (trace, golden / "ds2prof_run/tiny/input.jsonl", next((golden / "ncu_csv").rglob("input*")))
    for source in sources:
        for name, family in families(run_cli("export", source, "--to", "openmetrics").stdout).items():
            if family.unit:
                assert name.endswith(f"_{family.unit}")
                assert not name.endswith(f"_{family.unit}_{family.unit}")


@pytest.mark.parametrize("name", HOSTILE)
def test_hostile_labels_come_back_from_openmetrics(name):
    made = text_of(openmetrics.write_openmetrics, [sheet({"name": [name], "calls": [3]})])
    assert made.count("\n") == len(made.splitlines())
    (sample,) = families(made)["ds2prof_name_calls"].samples
    assert (sample.labels["name"], sample.value) == (name, 3)


def test_unknown_figures_are_no_samples():
    made = sheet({"name": ["a", "b"], "dur_ns": [None, 5], "share": [float("nan"), None]})
    found = families(text_of(openmetrics.write_openmetrics, [made]))
    assert [sample.labels["name"] for sample in found["ds2prof_name_dur_seconds"].samples] == ["b"]
    assert "ds2prof_name_share_ratio" not in found


def test_rows_of_the_same_labels_are_told_apart():
    made = sheet({"name": ["a", "a"], "calls": [1, 2]})
    samples = families(text_of(openmetrics.write_openmetrics, [made]))["ds2prof_name_calls"].samples
    assert [(sample.labels.get("row"), sample.value) for sample in samples] == [(None, 1), ("2", 2)]


# xlsx


def book(path):
    return pytest.importorskip("openpyxl").load_workbook(path)


def test_a_workbook_has_a_sheet_for_each_table_with_numbers_as_numbers(trace, tmp_path):
    path = tmp_path / "b.xlsx"
    assert run_cli("export", trace, "--to", "xlsx", "--by", "name", "--by", "phase", "-o", path).exit_code == 0
    found = book(path)
    assert found.sheetnames == ["about", "name", "phase"]
    heading, *rows = found["name"].iter_rows(values_only=True)
    expected = expected_rows(trace, "name")
    assert list(heading) == list(expected[0])
    for row, known in zip(rows, expected, strict=True):
        assert row == tuple(
            pytest.approx(value, rel=1e-14) if isinstance(value, float) else value for value in known.values()
        )
    share = found["name"].cell(2, heading.index("share") + 1)
    assert (share.data_type, share.number_format) == ("n", "0.00%")


@pytest.mark.parametrize("name", FORMULAS)
def test_no_cell_of_a_workbook_is_a_formula(name, tmp_path):
    xlsx.write_xlsx([sheet({"name": [name]}, meta=Meta(file=name, tool=name, format="test"))], tmp_path / "b.xlsx")
    cells = [cell for page in book(tmp_path / "b.xlsx") for row in page.iter_rows() for cell in row]
    assert all(cell.data_type != "f" for cell in cells)
    assert name in [cell.value for cell in cells]
    (mine,) = [cell for cell in cells if cell.parent.title == "name" and cell.row == 2]
    assert mine.quotePrefix == (name != "plain")


def test_times_since_the_epoch_are_exact_in_a_workbook(tmp_path):
    xlsx.write_xlsx([sheet({"start_ns": [1_795_226_998_123_456_789, 5]}, by="launch")], tmp_path / "b.xlsx")
    values = [row[0] for row in book(tmp_path / "b.xlsx")["launch"].iter_rows(values_only=True)]
    assert values == ["start_ns", "1795226998123456789", 5]


def test_titles_are_what_a_workbook_takes(tmp_path):
    by = ["a" * 40, "A" * 40, "[]:*?/\\", "about"]
    xlsx.write_xlsx([sheet({"name": ["x"]}, by=each) for each in by], tmp_path / "b.xlsx")
    titles = book(tmp_path / "b.xlsx").sheetnames
    assert len({title.lower() for title in titles}) == 5
    assert all(len(title) <= 31 for title in titles)


def test_control_characters_do_not_break_a_workbook(tmp_path):
    xlsx.write_xlsx([sheet({"name": ["a\x00\x1b[31mb", "\ud800", "x" * 40_000]})], tmp_path / "b.xlsx")
    values = [row[0] for row in book(tmp_path / "b.xlsx")["name"].iter_rows(values_only=True)]
    assert values[1] == "a\ufffd\ufffd[31mb"
    assert len(values[3]) == 32_767


def test_no_measurement_is_replaced_by_its_export(trace):
    before = trace.read_bytes()
    done = run_cli("export", trace, "--to", "json", "-o", trace, "--force")
    assert "is one of the files to read" in said(done, UsageError)
    assert trace.read_bytes() == before


@pytest.mark.parametrize("form", ["xlsx", "parquet"])
def test_what_is_packed_by_itself_is_not_named_gz(form, trace, tmp_path):
    done = run_cli("export", trace, "--to", form, "-o", tmp_path / "x.gz")
    assert "packed by itself" in said(done, UsageError)
    assert not (tmp_path / "x.gz").exists()


def test_more_rows_than_a_sheet_holds_are_refused(tmp_path, monkeypatch):
    monkeypatch.setattr(xlsx, "MOST_ROWS", 2)
    with pytest.raises(UsageError, match="3 rows by name, a sheet holds 2; add --top"):
        xlsx.write_xlsx([sheet({"name": ["a", "b", "c"]})], tmp_path / "b.xlsx")


# Markdown


def cells_of(line):
    """The cells of a table's row as GitHub splits them: at pipes without a backslash before them."""
    parts, escaped = [""], False
    for character in line.strip().strip("|"):
        if character == "|" and not escaped:
            parts.append("")
            continue
        parts[-1] += character
        escaped = character == "\\" and not escaped
    return [part.strip() for part in parts]


@pytest.mark.parametrize("name", HOSTILE)
def test_hostile_names_stay_in_their_cell(name):
    made = text_of(markdown.write_markdown, [sheet({"name": [name], "calls": [3]})])
    row = made.splitlines()[-2]
    found = cells_of(row)
    assert len(found) == 2, row
    assert found[1] == "3"
    fence = found[0][: len(found[0]) - len(found[0].lstrip("`"))]
    assert fence
    assert found[0].endswith(fence)
    assert fence not in found[0][len(fence) : -len(fence)].replace("`" * (len(fence) + 1), "")


def test_text_beside_code_is_escaped():
    assert markdown.escaped("<b> @me #1 *x* [a](b) `c` a|b") == (
        "&lt;b&gt; &#64;me \\#1 \\*x\\* \\[a\\](b) \\`c\\` a\\|b"
    )
    assert "http://" not in markdown.escaped("see http://example.org")


def test_markdown_says_how_many_rows_it_leaves_out():
    made = text_of(markdown.write_markdown, [sheet({"name": [str(n) for n in range(25)]})])
    assert "5 more rows are left out" in made
    assert len([line for line in made.splitlines() if line.startswith("|")]) == 22


def test_markdown_shows_totals_and_tables_with_units(trace):
    made = run_cli("export", trace, "--to", "markdown").stdout
    assert made.startswith("### ds2prof: `measurement`, PyTorch profiler")
    assert "- GPU compute utilization" in made
    assert "| `compute` |" in made
    assert " us |" in made


# MLPerf


def test_mlperf_lines_of_a_run_are_read_back_by_our_reader(golden, tmp_path):
    source = golden / "ds2prof_run/tiny/input.jsonl"
    path = tmp_path / "out.log"
    assert run_cli("export", source, "--to", "mlperf", "-o", path).exit_code == 0
    found, log = ds2prof.read(path), ds2prof.read(source)
    samples = found.table("samples")
    assert found.meta.tool == "MLPerf logging"
    rates = samples["value"].tolist()
    assert set(samples["metric"].tolist()) == {"throughput"}
    walls, counts = (log.table("iterations")[name].tolist() for name in ("wall_ns", "samples"))
    each = [count * 1e9 / wall for count, wall in zip(counts, walls, strict=True)]
    assert rates == pytest.approx([*each, throughput(log)["samples_per_s"]])
    assert found.table("ranges")["name"].tolist() == ["run"]
    assert found.table("ranges")["dur_ns"].tolist() == [sum(walls) // 10**6 * 10**6]


def test_the_result_line_is_the_run_in_whole_seconds(golden):
    source = golden / "ds2prof_run/tiny/input.jsonl"
    last = run_cli("export", source, "--to", "mlperf").stdout.splitlines()[-1]
    assert last == "RESULT,SPEECH_RECOGNITION,,29,ds2prof,2026-11-21 02:09:58 AM"


def test_lines_of_a_file_without_a_start_have_no_interval_and_no_result():
    made = sheet({"name": ["a"]}, totals={"busy_ns": 5, "mfu": None, "window_source": "session"})
    lines = text_of(mlperf.write_mlperf, [made], now_ms=7).splitlines()
    (line,) = lines
    event = json.loads(line.removeprefix(":::MLLOG "))
    assert (event["time_ms"], event["event_type"], event["key"], event["value"]) == (
        *(7, "POINT_IN_TIME"),
        *("ds2prof_busy_ns", 5),
    )


# The command


@pytest.mark.parametrize("form", FORMS)
def test_every_form_refuses_to_replace_a_file_and_replaces_it_when_told(form, trace, tmp_path):
    path = tmp_path / "out"
    path.write_text("mine")
    done = run_cli("export", trace, "--to", form, "-o", path)
    assert "exists already" in said(done, ExistsError)
    assert path.read_text() == "mine"
    assert run_cli("export", trace, "--to", form, "-o", path, "--force").exit_code == 0
    assert path.read_bytes()[:4] != b"mine"
    assert sorted(each.name for each in tmp_path.iterdir()) == ["in", "out"]


@pytest.mark.parametrize("form", [name for name, form in FORMS.items() if form.kind == "file"])
def test_forms_that_are_no_text_need_a_file(form, trace):
    for output in ((), ("-o", "-")):
        assert "needs -o PATH" in said(run_cli("export", trace, "--to", form, *output), UsageError)


@pytest.mark.parametrize("form", [name for name, form in FORMS.items() if form.kind != "file"])
def test_text_goes_to_standard_output_when_told(form, trace):
    done = run_cli("export", trace, "--to", form, "-o", "-")
    assert done.exit_code == 0
    assert done.stdout


def test_a_failure_leaves_what_was_there_and_no_rubbish(tmp_path, golden):
    source = next((golden / "ncu_csv").rglob("input*"))
    path = tmp_path / "t.json"
    path.write_text("mine")
    assert "replayed" in said(run_cli("export", source, "--to", "chrome", "-o", path, "--force"), MissingDataError)
    assert [each.name for each in tmp_path.iterdir()] == ["t.json"]
    assert path.read_text() == "mine"


def test_several_tables_of_csv_need_a_folder(trace, tmp_path):
    asked = ("export", trace, "--to", "csv", "--by", "name", "--by", "phase", "--table", "ranges")
    assert "name a folder, -o FOLDER/" in said(run_cli(*asked), UsageError)
    assert run_cli(*asked, "-o", f"{tmp_path}/tables/").exit_code == 0
    assert sorted(each.name for each in (tmp_path / "tables").iterdir()) == ["name.csv", "phase.csv", "ranges.csv"]


def test_none_of_several_tables_is_written_where_one_is_there(trace, tmp_path):
    (tmp_path / "phase.csv").write_text("mine")
    done = run_cli("export", trace, "--to", "csv", "--by", "name", "--by", "phase", "-o", f"{tmp_path}/")
    assert "phase.csv: exists already" in said(done, ExistsError)
    assert not (tmp_path / "name.csv").exists()


def test_a_key_that_was_asked_for_and_is_missing_is_an_error(trace):
    done = run_cli("export", trace, "--to", "markdown", "--by", "core")
    assert "counters" in said(done, MissingDataError)


def test_the_first_rows_alone(trace):
    rows = run_cli("export", trace, "--to", "csv", "--table", "kernels", "--top", "2").stdout.splitlines()
    assert len(rows) == 3


@pytest.mark.parametrize(("form", "package"), [("parquet", "pyarrow"), ("xlsx", "openpyxl")])
def test_a_library_that_is_missing_is_one_line(form, package, trace, tmp_path, monkeypatch):
    for name in [name for name in sys.modules if name.split(".")[0] == package]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, package, None)
    done = run_cli("export", trace, "--to", form, "-o", tmp_path / "out")
    assert said(done, Ds2profError) == f'--to {form}: needs {package}; pip install "ds2prof[report]"'


def test_options_of_traces_are_refused_for_tables(trace, tmp_path):
    done = run_cli("export", trace, "--to", "csv", "--counter-step-us", "5")
    assert "has no counter tracks" in said(done, UsageError)
    assert "drop --by" in said(run_cli("export", trace, "--to", "chrome", "--by", "name"), UsageError)


def test_the_command_starts_without_heavy_libraries(root):
    code = (
        "import sys, ds2prof.cli.export, ds2prof.cli.sweep;"
        "print(sorted({'numpy', 'pandas', 'torch', 'pyarrow', 'openpyxl'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=root, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


@pytest.mark.parametrize(
    ("column", "unit"),
    [
        *(("dur_ns", "ns"), ("size_bytes", "byte"), ("bytes_per_s", "byte/s"), ("samples_per_s", "1/s")),
        *(
            ("share", "ratio"),
            ("utilization_low", "ratio"),
            ("gpu_compute_utilization", "ratio"),
            ("fma_high", "ratio"),
        ),
        *(("flop_per_s", "1/s"), ("power_watt", "watt"), ("audio_s", "s"), ("calls", None), ("name", None)),
    ],
)
def test_the_unit_of_a_column_is_in_its_name(column, unit):
    assert unit_of(column) == unit


def test_a_table_is_read_chunk_by_chunk_whole():
    table = sheet({"dur_ns": int_column([1, None, 3] * 5), "name": text_column(["a", None, "b"] * 5)})
    chunks = list(table.chunks(4))
    assert [len(chunk["name"]) for chunk in chunks] == [4, 4, 4, 3]
    assert [value for chunk in chunks for value in chunk["dur_ns"]] == [1, None, 3] * 5
    assert [value for chunk in chunks for value in chunk["name"]] == ["a", None, "b"] * 5


def test_an_empty_answer_is_a_heading():
    made = of_answer(Answer("name", {"name": [], "calls": []}), meta=META, totals={})
    assert text_of(comma_separated.write_csv, [made]) == "name,calls\n"
    assert json.loads(text_of(json_documents.write_json, [made]))["rows"] == []


def test_a_table_has_the_order_of_the_schema(trace):
    profile = ds2prof.read(trace)
    names = list(of_table(profile.table("kernels"), meta=profile.meta).columns)
    assert names[0] == "name"
    assert names.index("start_ns") < names.index("dur_ns") < names.index("grid_x")
