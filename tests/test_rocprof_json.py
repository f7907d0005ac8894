"""The reader of rocprofv3's JSON: golden files, damage, and a real file against Python's json."""

from __future__ import annotations

import gzip
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ds2prof.errors import ReadError, UnknownFormatError
from ds2prof.parsers import parse_source, read, rocprof_json
from ds2prof.parsers.rocprof_records import Call, Damage
from ds2prof.schemas import SCHEMAS
from tests.conftest import GOLDEN
from tests.kineto_support import ALL, plain, source

CASES = sorted((GOLDEN / "rocprof_json").iterdir())
REAL = "AMD-AGI__TraceLens__908_results.json.gz"
T = 63_855_100_000_000


def load(document, names=ALL):
    content = document if isinstance(document, bytes) else json.dumps(document).encode()
    return rocprof_json.load(source(content, "results.json"), frozenset(names))


def results(*dispatches, **parts):
    """A document of one process with these kernels."""
    symbols = [{"kernel_id": 1, "kernel_name": "k.kd", "formatted_kernel_name": "k"}]
    return {
        "rocprofiler-sdk-tool": [
            {
                "metadata": {"pid": 7},
                "agents": [{"id": {"handle": 5}, "type": 2, "logical_node_type_id": 0}],
                "kernel_symbols": symbols,
                "buffer_records": {"kernel_dispatch": list(dispatches)},
                **parts,
            }
        ]
    }


def dispatch(start=T, end=T + 5, order=1, **more):
    info = {"agent_id": {"handle": 5}, "kernel_id": 1, "dispatch_id": order}
    times = {"start_timestamp": start, "end_timestamp": end}
    return {"correlation_id": {"internal": order}, **times, "dispatch_info": info, **more}


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_golden_results_give_the_expected_tables(case):
    found = plain(load(next(case.glob("input*")).read_bytes()))
    assert found == json.loads((case / "expected.json").read_text())


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_what_results_say_of_themselves_does_not_depend_on_the_tables_asked_for(case):
    content = next(case.glob("input*")).read_bytes()
    assert [load(content, {name}).meta for name in sorted(ALL)] == [load(content).meta] * len(ALL)


@pytest.mark.parametrize("head", [b'{"rocprofiler-sdk-tool":[{', b'\n { "rocprofiler-sdk-tool" : {'])
def test_results_are_known_by_their_first_key(head):
    assert rocprof_json.sniff(head)


@pytest.mark.parametrize("head", [b"", b"{}", b'{"traceEvents": []}', b'["rocprofiler-sdk-tool"]', b'{"rocprofiler'])
def test_what_is_no_result_is_not_taken_for_one(head):
    assert not rocprof_json.sniff(head)


@pytest.mark.parametrize("content", [b'{"rocprofiler-sdk-tool":[]}', b'{"rocprofiler-sdk-tool":[{"buffer_records":'])
def test_results_without_a_process_or_an_end_are_refused_in_one_line(content):
    with pytest.raises(ReadError, match=r"^results.json: rocprofv3's results[^\n]*\?$"):
        load(content)


def test_a_record_of_another_form_costs_itself_alone():
    loaded = load(results(dispatch(), dispatch(start="soon"), 5, dispatch(order=3)))
    assert loaded.tables["kernels"]["order"].tolist() == [1, 3]
    assert loaded.warnings == ("results.json: kernel_dispatch: 1 record left out that cannot be read",)


@pytest.mark.parametrize("part", ["metadata", "agents", "kernel_symbols", "strings", "counters"])
@pytest.mark.parametrize("value", [None, 5, "text", [[]], {"pid": []}, [{"id": 5, "kernel_id": "x"}]])
def test_a_damaged_part_leaves_the_launches_standing(part, value):
    loaded = load(results(dispatch(), **{part: value}))
    assert loaded.tables["kernels"]["dur_ns"].tolist() == [5]


def test_a_kernel_without_a_symbol_is_named_by_its_number():
    assert load(results(dispatch(), kernel_symbols=[])).tables["kernels"]["name"].tolist() == ["kernel 1"]


def test_counters_that_are_no_number_are_left_out_and_the_rest_is_read():
    counted = {
        "dispatch_data": {key: value for key, value in dispatch().items() if key != "stream_id"},
        "records": [{"counter_id": {"handle": 9}, "value": 12345}, {"counter_id": {"handle": 9}, "value": 2.5}],
    }
    names = [{"id": {"handle": 9}, "name": "a NaN \\ counter"}]
    document = results(callback_records={"counter_collection": [counted]}, counters=names)
    for word in (b"NaN", b"-Infinity", b"-nan", b"inf", b"null"):
        loaded = load(json.dumps(document).encode().replace(b"12345", word))
        assert loaded.tables["counters"]["value"].tolist() == [2.5]
        assert loaded.tables["counters"]["metric"].tolist() == ["a NaN \\ counter"]
        assert loaded.warnings == (
            "results.json: counters: 1 reading left out: no number, or of a counter without a name",
        )


def test_a_dispatch_both_traced_and_counted_is_one_launch():
    counted = {"dispatch_data": dispatch(order=2), "records": [{"counter_id": {"handle": 9}, "value": 3}]}
    names = [{"id": {"handle": 9}, "name": "SQ_WAVES"}]
    loaded = load(
        results(
            dispatch(order=1), dispatch(order=2), callback_records={"counter_collection": [counted]}, counters=names
        )
    )
    assert len(loaded.tables["kernels"]) == 2
    assert loaded.tables["counters"]["launch"].tolist() == [1]


def test_early_releases_called_the_array_otherwise():
    document = results()
    document["rocprofiler-sdk-tool"][0]["buffer_records"] = {"kernel_dispatches": [dispatch()]}
    assert len(load(document).tables["kernels"]) == 1


@pytest.mark.parametrize("indent", [None, 0, 3])
@pytest.mark.parametrize("size", [1, 7, 64, 500])
def test_an_array_reads_alike_in_pieces_of_any_size(monkeypatch, indent, size):
    monkeypatch.setattr("ds2prof.parsers.rocprof_records.CHUNK_BYTES", size)
    dispatches = [dispatch(order=order, note='"}, {"' * (order % 3)) for order in range(20)]
    loaded = load(json.dumps(results(*dispatches), indent=indent).encode())
    assert loaded.tables["kernels"]["order"].tolist() == list(range(20))


@given(st.lists(st.one_of(st.integers(-(2**70), 2**70), st.none(), st.text(max_size=5)), max_size=8))
def test_every_record_is_a_row_or_counted(starts):
    loaded = load(results(*(dispatch(start=start, end=T) for start in starts)))
    left = sum(int(warning.split(": ")[2].split()[0]) for warning in loaded.warnings if "left out" in warning)
    assert len(loaded.tables["kernels"]) + left == len(starts)


def test_more_names_than_any_file_has_are_refused(monkeypatch):
    monkeypatch.setattr("ds2prof.parsers.rocprof_records.MAX_NAMES", 3)
    with pytest.raises(ReadError, match=r"^results.json: more than 3 kernel_symbols; refused$"):
        load(results(dispatch(), kernel_symbols=[{}] * 4))


@pytest.mark.parametrize(
    "deep", [b'{"rocprofiler-sdk-tool":' + b"[" * 100_000, b'{"rocprofiler-sdk-tool":[{"a":' * 50_000]
)
def test_a_document_of_any_depth_is_refused_in_one_line(deep):
    with pytest.raises(ReadError, match=r"^[^\n]*damaged[^\n]*$"):
        load(deep)


def test_an_empty_array_gives_nothing():
    import msgspec

    for raw in (b"[]", b"[ ]", b"null", b"{}", b"[1, 2]"):
        assert [list(some) for some in Damage("x").many(msgspec.Raw(raw), Call, part="x") if some] == []


@pytest.mark.parametrize(
    ("head", "what"),
    [
        (b'"Kind","Operation","Agent_Id","Allocation_Size"\n', "table of AMD's rocprof"),
        (b'"Node_Id","Logical_Node_Id","Agent_Type","Cpu_Cores_Count"\n', "table of AMD's rocprof"),
        (b'"Name","Calls","TotalDurationNs","AverageNs","Percentage"\n', "table of AMD's rocprof"),
        (b"Index,KernelName,gpu-id,queue-id,queue-index,pid,tid,grd,wgr\n", "table of AMD's rocprof"),
        (b"SQLite format 3\0...CREATE TABLE rocpd_kernel_dispatch_0000(id INTEGER)", "rocpd database"),
    ],
)
def test_the_tools_other_forms_are_refused_by_name(head, what):
    with pytest.raises(UnknownFormatError, match=what):
        parse_source(source(head, "file"))


def test_every_dispatch_of_a_real_run_is_a_launch(corpus):
    path = corpus / "rocprof" / REAL
    (process,) = json.loads(gzip.decompress(path.read_bytes()))["rocprofiler-sdk-tool"]
    name_of = {symbol["kernel_id"]: symbol["formatted_kernel_name"] for symbol in process["kernel_symbols"]}
    device_of = {agent["id"]["handle"]: agent["gpu_index"] for agent in process["agents"] if agent["type"] == 2}
    expected = []
    for record in process["buffer_records"]["kernel_dispatch"]:
        info = record["dispatch_info"]
        block, items = info["workgroup_size"], info["grid_size"]
        grid = [-(-items[axis] // block[axis]) for axis in "xyz"]
        start, end = record["start_timestamp"], record["end_timestamp"]
        place = [device_of[info["agent_id"]["handle"]], record["stream_id"]["handle"], info["dispatch_id"]]
        sizes = [info["group_segment_size"], info["private_segment_size"]]
        names = [name_of[info["kernel_id"]], record["correlation_id"]["internal"]]
        expected.append((*names, start, end - start, *place, *sizes, *block.values(), *grid))
    profile = read(path, tables=tuple(SCHEMAS))
    kernels = profile.table("kernels")
    columns = ["name", "correlation", "start_ns", "dur_ns", "device", "stream", "order", "shared_bytes"]
    columns += ["local_bytes_per_thread", *(f"{what}_{axis}" for what in ("block", "grid") for axis in "xyz")]
    assert list(zip(*(kernels[name].tolist() for name in columns), strict=True)) == expected
    assert len(expected) == 43_915
    assert profile.warnings == ()
    assert profile.table("devices")["name"].tolist() == ["AMD Instinct MI350X"] * 8
