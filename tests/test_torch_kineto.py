"""The PyTorch trace reader: the format and its golden files, profiles, damage."""

from __future__ import annotations

import gzip
import json
import subprocess
import sys

import pytest

from ds2prof.errors import ReadError, UnknownFormatError
from ds2prof.parsers import parse_source, read, read_all, torch_kineto
from ds2prof.schemas import REQUIRED
from tests.conftest import GOLDEN
from tests.kineto_support import ALL, column, event, kernel, load, op, plain, source

CASES = sorted((GOLDEN / "torch_kineto").iterdir())


def content_of(case):
    data = next(case.glob("input*")).read_bytes()
    return gzip.decompress(data) if data[:2] == b"\x1f\x8b" else data


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_golden_traces_give_the_expected_tables(case):
    assert plain(load(content_of(case))) == json.loads((case / "expected.json").read_text())


@pytest.mark.parametrize("chunk_bytes", [1, 3, 100, 1000])
@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_golden_traces_read_alike_in_chunks_of_any_size(case, chunk_bytes):
    assert plain(load(content_of(case), chunk_bytes=chunk_bytes)) == plain(load(content_of(case)))


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_what_a_trace_says_of_itself_does_not_depend_on_the_tables_asked_for(case):
    whole = load(content_of(case)).meta
    assert [load(content_of(case), {name}).meta for name in sorted(ALL)] == [whole] * len(ALL)


# --- the format ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "head",
    [
        b'{"traceEvents": []}',
        b'\xef\xbb\xbf\n{\n "schemaVersion": 1,',
        b'{"metadata": {"deep": {}}, "distributedInfo" : {"rank": 0}, ',
        b'[{"ph": "X", "cat": "Kernel"',
        b'[\n  {"name": "process_name", "ph":"M"',
    ],
)
def test_a_trace_is_known_by_its_keys_or_events(head):
    assert torch_kineto.sniff(head)


@pytest.mark.parametrize(
    "head",
    [
        b"",
        b"{}",
        b"[]",
        b"[[1, [2, 3]]]",
        b'{"schema": "1.0.1", "pid": 5, "nodes": [',
        b'{"schema": "ds2prof-meta/1", "tool": "torch"}',
        b'{"rows": [1, 2]}',
        b'"traceEvents": []',
        b'ID,"traceEvents":',
    ],
)
def test_what_is_no_trace_is_not_taken_for_one(head):
    assert not torch_kineto.sniff(head)


def test_finding_the_format_loads_no_decoder():
    code = (
        "import sys; from ds2prof.parsers import torch_kineto\n"
        "assert torch_kineto.sniff(b'{\"traceEvents\": []}')\n"
        "sys.exit(int('msgspec' in sys.modules))"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_an_events_key_that_never_comes_is_refused_in_one_line():
    with pytest.raises(ReadError, match=r"^trace\.json: JSON without a list of trace events[^\n]*$"):
        load('{"schemaVersion": 1, "deviceProperties": []}')


def test_a_trace_without_events_is_refused():
    with pytest.raises(ReadError, match="a trace without events"):
        load([])


def test_a_trace_of_another_program_is_refused_by_what_it_holds():
    events = [event("browser", "paint"), {"ph": "C", "name": "memory", "pid": 1, "ts": 1, "args": {"used": 1}}]
    with pytest.raises(ReadError, match=r"2 trace events, none of an operator.*\(browser, phase C\)"):
        load(events)


def test_a_refusal_is_one_line_whatever_the_categories_are_called():
    with pytest.raises(ReadError) as refusal:
        load([event("two\nlines\x1b[31m", "x")])
    assert str(refusal.value).isprintable()


def test_a_memory_timeline_is_refused_by_name():
    with pytest.raises(UnknownFormatError, match="memory timeline"):
        parse_source(source(b"[[0, 1, 2], [3, 4]]"))


def test_a_table_that_was_not_asked_for_is_not_built():
    assert set(load([kernel(), op()], {"kernels"}).tables) == {"kernels"}


def test_a_profile_reads_its_tables_when_they_are_asked_for(tmp_path):
    path = tmp_path / "torch_bs4.json.gz"
    path.write_bytes(gzip.compress(json.dumps({"traceEvents": [kernel(), op()]}).encode()))
    profile = read(path)
    assert len(profile.table("kernels")) == 1
    assert profile.table("ops")["name"].tolist() == ["aten::mm"]


def load_or_refused(content):
    """What a pass gives, or None where it refuses in one line."""
    try:
        return load(content)
    except ReadError as error:
        if "\n" in str(error):
            raise
        return None


# --- damage ----------------------------------------------------------------------------------------------------------


def test_a_trace_cut_in_its_events_keeps_the_whole_ones_and_says_where():
    content = json.dumps({"traceEvents": [kernel(f"k{number}") for number in range(20)]}, indent=2)
    cut = content.index("k15")
    loaded = load(content[:cut])
    assert column(loaded, "kernels", "name") == [f"k{number}" for number in range(15)]
    assert len(loaded.warnings) == 1
    assert "kept: 15 whole events" in loaded.warnings[0]


def test_a_trace_cut_behind_its_events_keeps_them_all():
    content = json.dumps(
        {"host_name": "a", "traceEvents": [kernel()], "baseTimeNanoseconds": 1_740_000_000_000_000_000}
    )
    loaded = load(content[:-5])
    assert len(loaded.tables["kernels"]) == 1
    assert loaded.meta.facts["host_name"] == "a"
    assert "damaged behind its events" in loaded.warnings[0]


def test_a_damaged_header_loses_only_what_it_says():
    content = '{"schemaVersion": 1, "deviceProperties": [oops], "traceEvents": [' + json.dumps(kernel()) + "]}"
    loaded = load(content)
    assert len(loaded.tables["kernels"]) == 1
    assert "metadata around the events is damaged" in loaded.warnings[0]


def test_a_windows_path_in_the_header_does_no_harm():
    content = json.dumps({"traceEvents": [kernel()], "traceName": "PATH", "cupti_version": 12})
    loaded = load(content.replace("PATH", "C:\\work\\new\\x.json"))
    assert (loaded.meta.tool_version, loaded.warnings) == ("CUPTI 12", ())


@pytest.mark.parametrize("cuts", [41, pytest.param(300, marks=pytest.mark.long)])
@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_a_golden_trace_cut_anywhere_gives_rows_of_the_whole_one_or_one_line(case, cuts):
    content = content_of(case)
    whole = load(content)
    for cut in range(0, len(content), max(1, len(content) // cuts)):
        part = load_or_refused(content[:cut])
        for name, table in part.tables.items() if part else ():
            key = "metric" if name == "counters" else "device" if name == "devices" else next(iter(REQUIRED[name]))
            rows = table[key].tolist()
            assert rows == whole.tables[name][key].tolist()[: len(rows)]


def test_a_gzip_that_ends_early_keeps_what_was_in_it(tmp_path):
    events = [kernel(f"kernel number {number}", ts=number) for number in range(5000)]
    packed = gzip.compress(json.dumps({"traceEvents": events}, indent=1).encode())
    path = tmp_path / "torch_bs4.json.gz"
    path.write_bytes(packed[: len(packed) // 2])
    profile = read(path)
    assert 0 < len(profile.table("kernels")) < 5000
    assert "ends inside its list of events" in profile.warnings[0]


def test_a_gzip_that_ends_early_reads_alike_with_isal_and_without(tmp_path, monkeypatch):
    pytest.importorskip("isal", reason="the tool isal is not installed")
    events = [kernel(f"kernel number {number}", ts=number) for number in range(5000)]
    packed = gzip.compress(json.dumps({"traceEvents": events}, indent=1).encode())
    path = tmp_path / "torch_bs4.json.gz"
    path.write_bytes(packed[: len(packed) // 2])
    found = read(path).table("kernels")["name"].tolist()
    monkeypatch.setitem(sys.modules, "isal", None)
    assert read(path).table("kernels")["name"].tolist() == found


def test_ranks_in_an_archive_are_profiles_in_order(tmp_path):
    import io
    import tarfile

    with tarfile.open(tmp_path / "ranks.tar.gz", "w:gz") as archive:
        for rank in (10, 2, 1):
            document = {"distributedInfo": {"rank": rank}, "traceEvents": [kernel()]}
            data = json.dumps(document).encode()
            info = tarfile.TarInfo(f"rank{rank}.json")
            info.size = len(data)
            archive.addfile(info, io.BytesIO(data))
    assert [profile.meta.rank for profile in read_all(tmp_path / "ranks.tar.gz")] == [1, 2, 10]


# --- the tolerant way ------------------------------------------------------------------------------------------------


def fields(record):
    """A record's fields as plain values."""
    import msgspec

    if isinstance(record, msgspec.Raw):
        text = bytes(record)
        return json.loads(text) if text[:1] == b"[" else text
    if isinstance(record, msgspec.Struct):
        return {name: fields(value) for name, value in msgspec.structs.asdict(record).items()}
    return record


SOUND = [case for case in CASES if case.name not in ("damaged_text", "minified_odd")]


@pytest.mark.parametrize("case", SOUND, ids=lambda case: case.name)
def test_events_read_tolerantly_are_those_read_strictly(case):
    from ds2prof.parsers.kineto_collect import details
    from ds2prof.parsers.kineto_events import EventDecoder, Metadata, Other

    decoder = EventDecoder(details(ALL))
    document = json.loads(content_of(case).replace(b"},\n]", b"}\n]"))
    for found in document if isinstance(document, list) else document["traceEvents"]:
        element = json.dumps(found).encode()
        [strict], tolerant = decoder.decode(b"[" + element + b"]"), decoder.salvage(element)
        if isinstance(strict, Metadata | Other):
            continue
        assert type(strict) is type(tolerant)
        assert fields(strict) == fields(tolerant)


@pytest.mark.parametrize("start_us", ["9223372036854775.0", "-9223372036854775.0"])
def test_a_start_whose_end_would_not_fit_is_left_out_with_a_warning(tmp_path, start_us):
    kernel = '{"ph": "X", "cat": "kernel", "name": "k", "ts": %s, "dur": %s, "args": {"device": 0}}'
    path = tmp_path / "trace.json"
    events = ", ".join([kernel % (start_us, "1000"), kernel % ("5.0", "1.5")])
    path.write_text(f'{{"traceEvents": [{events}]}}')
    profile = read(path)
    assert profile.table("kernels")["dur_ns"].tolist() == [1500]
    assert any("no readable time" in warning for warning in profile.warnings)
