"""The reader of rocprofv3's CSV: golden files, headers of several releases, and damage."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ds2prof.errors import ReadError
from ds2prof.parsers import parse_source, rocprof_csv
from tests.conftest import GOLDEN
from tests.kineto_support import ALL, plain, source

CASES = sorted((GOLDEN / "rocprof_csv").iterdir())
KERNELS = "Kind,Agent_Id,Queue_Id,Kernel_Name,Correlation_Id,Start_Timestamp,End_Timestamp"
CALLS = "Domain,Function,Process_Id,Thread_Id,Correlation_Id,Start_Timestamp,End_Timestamp"


def load(*lines, names=ALL):
    content = lines[0] if isinstance(lines[0], bytes) else "\n".join(lines).encode()
    return rocprof_csv.load(source(content, "table.csv"), frozenset(names))


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_golden_tables_give_the_expected_ones(case):
    found = plain(load(next(case.glob("input*")).read_bytes()))
    assert found == json.loads((case / "expected.json").read_text())


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_golden_tables_read_alike_in_blocks_of_any_size(monkeypatch, case):
    content = next(case.glob("input*")).read_bytes()
    whole = plain(load(content))
    monkeypatch.setattr("ds2prof.parsers.rocprof_csv_rows.BLOCK_ROWS", 1)
    assert plain(load(content)) == whole


@pytest.mark.parametrize("header", [KERNELS, CALLS, '"Kind","Agent_Id","Queue_Id","Kernel_Id"', f"\ufeff{CALLS}"])
def test_a_table_is_known_by_its_header(header):
    assert rocprof_csv.sniff(header.encode())


@pytest.mark.parametrize("header", ["", "Kind,Name", "Name,Calls,TotalDurationNs", "ID,Process ID", f"x{CALLS}"])
def test_other_tables_are_not_taken_for_one(header):
    assert not rocprof_csv.sniff(header.encode())


@pytest.mark.parametrize(("cell", "device"), [("4", 4), ("Agent 4", 4), ("GPU 1", 1), ("-1", None), ("", None)])
def test_an_agent_is_the_number_that_it_is_called_by(cell, device):
    loaded = load(KERNELS, f"KERNEL_DISPATCH,{cell},1,k,3,10,20")
    assert loaded.tables["kernels"]["device"].tolist() == [device]


def test_a_cut_header_is_refused_in_one_line():
    with pytest.raises(ReadError, match=r"^table.csv:1: no column Kernel_Name, End_Timestamp; .*\?$"):
        load("Kind,Agent_Id,Queue_Id,Start_Timestamp")


def test_a_column_that_comes_twice_counts_once():
    loaded = load(f"{KERNELS},Kernel_Name", "KERNEL_DISPATCH,4,1,k,3,10,20,again")
    assert loaded.tables["kernels"]["name"].tolist() == ["k"]


def test_a_table_without_rows_is_empty_and_no_error():
    assert not load(KERNELS).tables["kernels"].columns


def test_null_characters_and_strange_bytes_do_no_harm():
    loaded = load(KERNELS.encode() + b"\nKERNEL_DISPATCH,4,1,\xffk\0k,3,10,20\n")
    assert loaded.tables["kernels"]["name"].tolist() == ["\ufffdkk"]


def test_a_cell_without_an_end_is_refused_or_left_out():
    endless = KERNELS.encode() + b'\nKERNEL_DISPATCH,4,1,"' + b"x" * 300_000
    with pytest.raises(ReadError, match=r"^table.csv:2: damaged CSV"):
        load(endless)


@given(st.lists(st.tuples(st.integers(-5, 2**70), st.integers(-5, 2**70)), max_size=8))
def test_every_row_is_a_launch_or_counted(times):
    lines = [f"KERNEL_DISPATCH,4,1,k,3,{start},{end}" for start, end in times]
    loaded = load(KERNELS, *lines)
    left = sum(int(text.split(": ")[1].split()[0]) for text in loaded.warnings if "left out" in text)
    assert len(loaded.tables["kernels"]) + left == len(times)


def test_the_reader_is_found_by_the_content():
    content = next((GOLDEN / "rocprof_csv" / "kernels").glob("input*")).read_bytes()
    assert parse_source(source(content)).meta.format == "rocprofv3-csv"
