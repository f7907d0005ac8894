"""Large Nsight Compute CSVs: several processes give what one pass gives, whatever is in the file."""

from __future__ import annotations

import os
import signal
import sys
import threading
import time

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from ds2prof.errors import Ds2profError
from ds2prof.parsers import forked, ncu_csv, ncu_lines, ncu_long, ncu_parts, parse_source
from ds2prof.parsers.sources import find_sources
from ds2prof.schemas import SCHEMAS

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="processes are forked on Linux alone")

HEADER = (
    '"ID","Process ID","Process Name","Host Name","Kernel Name","Context","Stream","Block Size","Grid Size","Device",'
    '"CC","Section Name","Metric Name","Metric Unit","Metric Value"\n'
)
ODD = (
    "",
    "==WARNING== Backing up device memory\n",
    'Epoch: "1,2", twice\n',
    HEADER,
    '"7","4711","python","host","cut off\n',
    '"3","4711","python","host","short","1"\n',
    "\r\n",
)
VALUES = ("1,234", "12,345,678", "98", "0", "n/a", "1.5", "-3", "123456789012345678", "12,34", "")


def launch(order, *, name="kernel(int)", process=4711, cycles="1,234", share="12.34", extra=""):
    start = f'"{order}","{process}","python","host","{name}","1","7","(64, 1, 1)","(2, 1, 1)","0","8.0",'
    section = '"Command line profiler metrics",'
    rows = (
        f'"gpc__cycles_elapsed.max","cycle","{cycles}"',
        f'"sm__inst_executed_pipe_fma.avg.pct_of_peak_sustained_elapsed","%","{share}"',
        f'"dram__bytes.sum","byte","{order * 32:,}"',
    )
    return "".join(f"{start}{section}{row}\n" for row in rows) + (f"{start}{section}{extra}\n" if extra else "")


@st.composite
def files(draw):
    """A file of many launches like each other, with a few oddities anywhere."""
    count = draw(st.integers(30, 90))
    first = draw(st.sampled_from((0, 5)))
    texts = [launch(first + number, name=f"kernel_{number % 7}<int>(int)") for number in range(count)]
    for _ in range(draw(st.integers(0, 4))):
        place = draw(st.integers(0, count - 1))
        order = draw(st.sampled_from((first + place, place // 2, 10_000 + place)))
        kind = draw(st.integers(0, 5))
        if kind == 0:
            texts[place] = draw(st.sampled_from(ODD)) + texts[place]
        elif kind == 1:
            texts[place] = launch(order, cycles=draw(st.sampled_from(VALUES)), share=draw(st.sampled_from(VALUES)))
        elif kind == 2:
            texts[place] = launch(order, process=draw(st.sampled_from((4711, 4712))), name='say ""hi""')
        elif kind == 3:
            texts[place] = launch(order, extra='"gpu__time_duration.sum","nsecond","5"')
        elif kind == 4:
            texts[place] = texts[place][: draw(st.integers(1, 300))] + draw(st.sampled_from(("", "\n")))
        else:
            texts.insert(draw(st.integers(0, count)), texts[place])
    return "noise before\n" + HEADER + "".join(texts)


def read(path):
    """All that a reading tells: tables, warnings and dialect, or the error."""
    try:
        (source,) = find_sources(path)
        profile = parse_source(source).require(*SCHEMAS)
    except Ds2profError as error:
        return str(error)
    tables = {name: {key: profile.table(name)[key].tolist() for key in profile.table(name).columns} for name in SCHEMAS}
    return tables, profile.warnings, profile.meta


def set_sizes(patch, *, processes, chunk=2048):
    """Small sizes for small files: parts from the first byte on, and pieces of few launches."""
    patch.setattr(forked, "processors", lambda: processes)
    patch.setattr(ncu_csv, "LEAST_BYTES", 0)
    patch.setattr(ncu_parts, "_HEAD_BYTES", 3000)
    patch.setattr(ncu_parts, "CHUNK_BYTES", chunk)
    patch.setattr(ncu_lines, "CHUNK_BYTES", chunk)
    patch.setattr(ncu_long, "_LEAST_SPLIT_BYTES", 600)


@pytest.fixture
def taken(monkeypatch):
    """How many launches were taken over from children."""
    counts = []
    take = ncu_csv._Reader.take

    def counted(reader, stretch):
        is_taken = take(reader, stretch)
        counts.append(len(stretch.orders) if is_taken else 0)
        return is_taken

    monkeypatch.setattr(ncu_csv._Reader, "take", counted)
    return counts


@settings(max_examples=12, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(files(), st.integers(2, 5), st.sampled_from((1500, 2048, 20_000)))
def test_any_number_of_parts_gives_what_one_pass_gives(tmp_path_factory, text, processes, chunk):
    path = tmp_path_factory.mktemp("parts") / "nsight.csv"
    path.write_bytes(text.encode())
    with pytest.MonkeyPatch.context() as patch:
        set_sizes(patch, processes=1, chunk=chunk)
        whole = read(path)
        set_sizes(patch, processes=processes, chunk=chunk)
        assert read(path) == whole


@settings(max_examples=12, deadline=None)
@given(files())
def test_splitting_lines_gives_what_reading_row_by_row_gives(tmp_path_factory, text):
    path = tmp_path_factory.mktemp("rows") / "nsight.csv"
    path.write_bytes(text.encode())
    with pytest.MonkeyPatch.context() as patch:
        set_sizes(patch, processes=1)
        split = read(path)
        patch.setattr(ncu_long.LongPage, "_read_launches", lambda page, piece, block: 0)
        assert read(path) == split


def test_children_do_most_of_the_work(tmp_path, monkeypatch, taken):
    path = tmp_path / "nsight.csv"
    path.write_text(HEADER + "".join(launch(number) for number in range(300)))
    set_sizes(monkeypatch, processes=4)
    tables, warnings, _ = read(path)
    assert (len(tables["kernels"]["order"]), warnings) == (300, ())
    assert sum(taken) > 200


def test_an_id_that_comes_again_in_a_childs_part_begins_another_run(tmp_path, monkeypatch, taken):
    path = tmp_path / "nsight.csv"
    path.write_text(HEADER + "".join(launch(number % 200) for number in range(400)))
    set_sizes(monkeypatch, processes=2)
    _, warnings, _ = read(path)
    assert 0 in taken
    assert [line.partition(": ")[2] for line in warnings] == [
        "the IDs of a process begin anew without a header (once); what follows is kept as launches of their own"
    ]


def test_a_file_of_another_kind_of_row_is_read_by_one_process(tmp_path, monkeypatch, taken):
    path = tmp_path / "nsight.csv"
    path.write_bytes((HEADER + "".join(launch(number) for number in range(200))).replace("\n", "\r\n").encode())
    set_sizes(monkeypatch, processes=2)
    tables, _, _ = read(path)
    assert (len(tables["kernels"]["order"]), sum(taken)) == (200, 0)


def test_a_child_that_dies_costs_time_and_no_launch(tmp_path, monkeypatch):
    path = tmp_path / "nsight.csv"
    path.write_text(HEADER + "".join(launch(number) for number in range(200)))
    set_sizes(monkeypatch, processes=3)
    whole = read(path)
    monkeypatch.setattr(ncu_parts, "_cut_out", lambda *_: os.kill(os.getpid(), signal.SIGKILL))
    assert read(path) == whole
    monkeypatch.setattr(ncu_parts, "_cut_out", lambda *_: 1 // 0)
    assert read(path) == whole


def test_a_machine_without_room_for_children_reads_alone(tmp_path, monkeypatch):
    path = tmp_path / "nsight.csv"
    path.write_text(HEADER + "".join(launch(number) for number in range(200)))
    set_sizes(monkeypatch, processes=3)
    whole = read(path)

    def refused():
        raise BlockingIOError(11, "Resource temporarily unavailable")

    monkeypatch.setattr(os, "fork", refused)
    assert read(path) == whole


def test_no_child_is_left_behind_when_the_work_is_broken_off():
    def interrupted():
        with pytest.raises(KeyboardInterrupt), forked.children([lambda: time.sleep(600) or b""]) as (child,):
            raise KeyboardInterrupt
        return child

    child = interrupted()
    with pytest.raises(ChildProcessError):
        os.waitpid(child._process, os.WNOHANG)
    with pytest.raises(ProcessLookupError):
        os.kill(child._process, 0)


def test_a_childs_bytes_come_whole_though_a_pipe_holds_few():
    with forked.children([lambda: b"x" * 1_000_000, lambda: b"y"]) as (first, second):
        assert (len(first.result()), second.result()) == (1_000_000, b"y")


def test_a_process_with_threads_is_not_forked():
    stop = threading.Event()
    thread = threading.Thread(target=stop.wait)
    thread.start()
    try:
        assert forked.processors() == 1
    finally:
        stop.set()
        thread.join()


def test_progress_ends_at_the_size_of_the_file(tmp_path, monkeypatch, taken):
    path = tmp_path / "nsight.csv"
    path.write_text(HEADER + "".join(launch(number) for number in range(300)))
    set_sizes(monkeypatch, processes=3)
    told = []
    (source,) = find_sources(path, progress=told.append)
    told.clear()  # sniffing read the first bytes
    assert len(parse_source(source).table("kernels")) == 300
    assert sum(taken) > 100
    assert sum(told) == path.stat().st_size
