"""What ``nsys stats`` prints, read: each dialect, each report, and what is wrong with a text."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ds2prof.errors import ReadError
from ds2prof.parsers import nsys_stats
from ds2prof.parsers.nsys_stats_cells import device_of, grids, scaled, whole
from tests.nsys_stats_support import profile_of, rows_of

SUM = "Time (%),Total Time (ns),Instances,Avg (ns),Med (ns),Min (ns),Max (ns),StdDev (ns)"
TRACE = (
    "Start (ns),Duration (ns),CorrId,GrdX,GrdY,GrdZ,BlkX,BlkY,BlkZ,Reg/Trd,StcSMem (B),DymSMem (B),Bytes (B),"
    "Throughput (MBps),SrcMemKd,DstMemKd,Device,Ctx,Strm,Name"
)
KERNEL = "{start},{dur},7,1,1,1,32,1,1,16,48,49152,None,,None,None,NVIDIA L4 (0),1,7,{name}"


def golden_profile(golden, case):
    (path,) = (golden / "nsys_stats" / case).glob("input*")
    return profile_of(path.read_bytes())


def trace(*kernels: tuple[object, object, str]) -> str:
    return "\n".join([TRACE, *(KERNEL.format(start=start, dur=dur, name=name) for start, dur, name in kernels), ""])


def kernel_sum(*rows: str, titles: str = f"{SUM},Name") -> str:
    return "\n".join([titles, *rows, ""])


def column(table, name):
    return table[name].tolist()


# -- golden cases


def test_a_trace_gives_kernels_with_launch_settings_and_devices(golden):
    kernels = golden_profile(golden, "csv_traces").table("kernels")
    assert column(kernels, "name") == ["void gemm<float, (int)32>(const float *, float *, int)", "ctc_loss(float *)"]
    assert column(kernels, "start_ns") == [1010000, 1030000]
    assert column(kernels, "dur_ns") == [40000, 25024]
    assert column(kernels, "correlation") == [103, 104]
    assert [column(kernels, f"grid_{axis}") for axis in "xyz"] == [[64, 8], [2, 1], [1, 1]]
    assert [column(kernels, name) for name in ("device", "context", "stream")] == [[0, 1], [1, 2], [7, 14]]


def test_names_of_copies_are_no_names_of_kernels(golden):
    kernels = golden_profile(golden, "csv_traces").table("kernels")
    assert list(kernels["name"].categories) == column(kernels, "name")


def test_shared_memory_rounded_to_kilobytes_is_unknown(golden):
    kernels = golden_profile(golden, "csv_traces").table("kernels")
    assert column(kernels, "dynamic_shared_bytes") == [None, None]
    assert column(profile_of(trace((1, 2, "k"))).table("kernels"), "dynamic_shared_bytes") == [49152]


def test_a_trace_gives_copies_whose_sizes_are_unknown_where_they_are_printed_as_nothing(golden):
    profile = golden_profile(golden, "csv_traces")
    copies = profile.table("copies")
    assert column(copies, "kind") == ["memcpy", "memset", "memcpy"]
    assert column(copies, "size_bytes") == [4_194_000, None, None]
    assert column(copies, "source_kind") == ["pinned", None, "device"]
    assert column(copies, "destination_kind") == ["device", "device", "pageable"]
    assert profile.meta.facts["size_resolution_bytes"] == 1000


def test_devices_have_their_names_and_mig_slices(golden):
    devices = golden_profile(golden, "csv_traces").table("devices")
    assert column(devices, "name") == ["NVIDIA H100 80GB HBM3", "NVIDIA A30 MIG 2g.12gb"]
    assert column(devices, "mig") == [None, "2g.12gb"]


def test_a_call_recorded_again_for_its_backtrace_is_set_apart(golden):
    profile = golden_profile(golden, "csv_traces")
    calls = profile.table("api")
    assert column(calls, "domain") == ["backtrace", "runtime", "driver", "runtime", "runtime", "runtime"]
    assert column(calls, "return_code") == [0, 0, 0, 0, 0, 2]
    assert column(calls, "thread")[4] == 4250
    assert any("printed again" in warning for warning in profile.warnings)


def test_threads_have_their_names(golden):
    threads = golden_profile(golden, "csv_traces").table("threads")
    assert column(threads, "name") == ["python3", "pt_autograd_0"]


def test_ranges_lose_the_domain_that_new_versions_print_before_their_names(golden):
    ranges = golden_profile(golden, "csv_traces").table("ranges")
    assert column(ranges, "name") == ["ds2prof:iteration:3", "ncclAllReduce"]
    assert column(ranges, "domain") == [None, "NCCL"]
    assert column(ranges, "kind") == ["iteration", "user"]
    assert column(ranges, "depth") == [0, 1]


def test_a_summary_beside_its_trace_is_not_counted_again(golden):
    profile = golden_profile(golden, "csv_traces")
    assert len(profile.table("kernels")) == 2
    assert profile.meta.facts["used"]["kernels"] == ["cuda_gpu_trace"]
    assert profile.meta.facts["other_reports"] == ["cuda_gpu_kern_sum", "openmp_sum"]


def test_columns_within_the_programs_output_are_read(golden):
    profile = golden_profile(golden, "columns")
    kernels = profile.table("kernels")
    assert [column(kernels, name) for name in ("calls", "dur_ns")] == [[7, 2], [75000, 25000]]
    assert [column(kernels, f"{name}_dur_ns") for name in ("min", "max")] == [[9000, 10000], [15000, 15000]]
    assert "start_ns" not in kernels
    assert any("1 name cut by the tool" in warning for warning in profile.warnings)


def test_sizes_and_times_of_copies_are_joined_by_name(golden):
    copies = golden_profile(golden, "columns").table("copies")
    assert column(copies, "name") == ["[CUDA memcpy Host-to-Device]", "[CUDA memset]"]
    assert column(copies, "dur_ns") == [6000, 4000]
    assert column(copies, "size_bytes") == [12_583_000, None]


def test_calls_of_the_operating_system_stand_beside_those_of_cuda(golden):
    calls = golden_profile(golden, "columns").table("api")
    assert column(calls, "domain") == ["runtime", "driver", "osrt", "osrt"]
    assert column(calls, "calls") == [9, 1, 10, 5]


def test_ranges_of_both_styles_are_summed_up_once(golden):
    ranges = golden_profile(golden, "columns").table("ranges")
    assert column(ranges, "name") == ["forward", "epoch 1, part | 2"]
    assert column(ranges, "domain") == [None, "trainer"]
    assert column(ranges, "dur_ns") == [800000, 200000]


def test_units_in_headings_hold_for_titles_without_any(golden):
    profile = golden_profile(golden, "columns_2020")
    assert rows_of(profile.table("copies"))[0]["size_bytes"] == 8192 * 1024
    assert column(profile.table("copies"), "dur_ns") == [8000]
    assert column(profile.table("kernels"), "name") == ["add(int, float*)"]
    assert column(profile.table("api"), "domain") == ["runtime", "runtime", "osrt"]
    assert [column(profile.table("ranges"), name) for name in ("kind", "value")] == [["phase"], ["forward"]]


def test_launches_in_boxes_are_joined_to_their_kernels(golden):
    profile = golden_profile(golden, "boxes")
    kernels, calls = profile.table("kernels"), profile.table("api")
    assert column(kernels, "name") == ["a | b(int)", "c<1, 2>(float)", "c<1, 2>(float)"]
    assert column(kernels, "start_ns") == [1_012_500, 1_110_000, 1_141_000]
    assert column(kernels, "correlation") == [1, 2, 2]
    assert [column(calls, name) for name in ("name", "correlation")] == [
        ["cudaLaunchKernel", "cudaGraphLaunch"],
        [1, 2],
    ]
    assert column(calls, "thread") == [78, 78]


def test_a_projected_range_has_its_time_on_the_host(golden):
    ranges = golden_profile(golden, "boxes").table("ranges")
    assert [column(ranges, name) for name in ("start_ns", "dur_ns")] == [[999_000], [60_000]]


# -- which report is used


def test_kernels_by_grid_are_preferred_to_those_without():
    plain = kernel_sum("100.0,30,3,10.0,10.0,10,10,0.0,k")
    by_grid = kernel_sum(
        "66.7,20,2,10.0,10.0,10,10,0.0,   2    1    1,  64    1    1,k",
        "33.3,10,1,10.0,10.0,10,10,0.0,   4    1    1,  64    1    1,k",
        titles=f"{SUM},GridXYZ,BlockXYZ,Name",
    )
    kernels = profile_of(plain + "\n" + by_grid).table("kernels")
    assert [column(kernels, name) for name in ("calls", "grid_x")] == [[2, 1], [2, 4]]


def test_a_report_printed_twice_is_read_once():
    profile = profile_of(2 * (kernel_sum("100.0,30,3,10.0,10.0,10,10,0.0,k") + "\n"))
    assert column(profile.table("kernels"), "dur_ns") == [30]
    assert any("printed 2 times" in warning for warning in profile.warnings)


def test_reports_of_a_second_file_are_left_out():
    header = "Processing [{}.sqlite] with [/opt/reports/gpukernsum.py]... \n"
    row = "100.0,{},1,1.0,1.0,1,1,0.0,{}"
    text = "\n".join(header.format(name) + kernel_sum(row.format(dur, name)) for name, dur in (("a", 5), ("b", 6)))
    profile = profile_of(text)
    assert column(profile.table("kernels"), "name") == ["a"]
    assert any("b.sqlite are left out" in warning for warning in profile.warnings)


def test_headers_end_a_table_that_no_empty_line_ends():
    text = kernel_sum("100.0,30,3,10.0,10.0,10,10,0.0,k") + (
        "Time (%),Total Time (ns),Num Calls,Avg (ns),Med (ns),Min (ns),Max (ns),StdDev (ns),Name\n"
        "100.0,9,1,9.0,9.0,9,9,0.0,cudaMalloc\n"
    )
    profile = profile_of(text)
    assert column(profile.table("kernels"), "name") == ["k"]
    assert column(profile.table("api"), "name") == ["cudaMalloc"]


def test_a_gpu_summary_gives_kernels_copies_and_calls():
    text = (
        f"{SUM},Category,Operation\n"
        "50.0,50,1,50.0,50.0,50,50,0.0,CUDA_API,cudaLaunchKernel\n"
        "30.0,30,2,15.0,15.0,10,20,0.0,CUDA_KERNEL,k\n"
        "20.0,20,4,5.0,5.0,5,5,0.0,MEMORY_OPER,[CUDA memcpy DtoH]\n"
    )
    profile = profile_of(text)
    found = [(name, column(profile.table(name), "dur_ns")) for name in ("kernels", "copies", "api")]
    assert found == [("kernels", [30]), ("copies", [20]), ("api", [50])]
    assert column(profile.table("copies"), "source_kind") == ["device"]


def test_a_summary_of_means_gives_totals_of_single_launches_alone():
    kinds = [f"{kind}{what} (ns)" for kind in "TAQK" for what in ("Avg", "Med", "Min", "Max", "StdDev")]
    titles = ",".join(["PID", "TID", "DevId", "Count", "QCount", *kinds, "API Name", "Kernel Name"])
    times = ",".join(["9.0,9.0,9,9,0.0"] * 3)
    once = f"1,2,0,1,1,{times},7.0,7.0,7,7,0.0,cuLaunchKernel,a"
    often = f"1,2,0,5,1,{times},7.4,7.0,7,8,0.1,cuLaunchKernel,b"
    profile = profile_of(f"{titles}\n{once}\n{often}\n")
    kernels = profile.table("kernels")
    assert [column(kernels, name) for name in ("name", "calls", "dur_ns")] == [["a", "b"], [1, 5], [7, None]]
    assert any("means alone" in warning for warning in profile.warnings)


def test_kernels_by_range_alone_are_refused_as_counted_several_times():
    text = (
        "NVTX Range,Style,PID,TID,NVTX Inst,Kern Inst,Total Time (ns),Avg (ns),Med (ns),Min (ns),Max (ns),StdDev (ns),"
        "Kernel Name\nstep,PushPop,1,1,5,5,100,20.0,20.0,20,20,0.0,k\n"
    )
    with pytest.raises(ReadError, match="counted several times"):
        profile_of(text)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (f"{SUM},Name\n", "have no rows"),
        ("[1/2] [====100%] report1.nsys-rep\n[2/2] [====100%] report1.sqlite\n", "without a table"),
        ("SKIPPED: a.sqlite does not contain CUDA kernel data.\n", "skipped 1 for want of data"),
    ],
)
def test_a_text_without_rows_is_refused_in_one_line(text, said):
    with pytest.raises(ReadError, match=said) as caught:
        profile_of(text)
    assert "\n" not in str(caught.value)


# -- what can be wrong


@pytest.mark.parametrize(
    ("start", "dur", "said"),
    [
        (5, -1, "negative duration"),
        (5, 8 * 86_400 * 10**9, "longer than a week"),
        ("x", 1, "no readable time"),
        (1 << 70, 1, "no readable time"),
        ("NaN", 1, "no readable time"),
    ],
)
def test_a_kernel_whose_times_cannot_be_is_left_out(start, dur, said):
    profile = profile_of(trace((1, 2, "good"), (start, dur, "bad")))
    assert column(profile.table("kernels"), "name") == ["good"]
    assert any(f"1 kernel left out, {said}" in warning for warning in profile.warnings)


def test_a_row_with_too_few_cells_is_left_out():
    profile = profile_of(trace((1, 2, "k")) + "3,4,5\n")
    assert len(profile.table("kernels")) == 1
    assert any("1 row left out" in warning for warning in profile.warnings)


def test_a_stray_quote_costs_its_own_row_alone():
    profile = profile_of(trace((1, 2, "a"), (3, 4, 'b"'), *((5 + row, 1, "c") for row in range(40))))
    assert len(profile.table("kernels")) >= 41


def test_a_name_may_hold_line_breaks_quotes_and_commas():
    name = 'loop\n"x", <y>'
    text = (
        "Start (ns),End (ns),Duration (ns),Name,PID,TID,Lvl,RangeId\n"
        + '1,3,2,"loop\n""x"", <y>",1,1,0,1\n4,5,1,z,1,1,0,2\n'
    )
    assert column(profile_of(text).table("ranges"), "name") == [name, "z"]


def test_carriage_returns_end_lines():
    assert column(profile_of(trace((1, 2, "k")).replace("\n", "\r\n")).table("kernels"), "name") == ["k"]


def test_an_end_within_a_line_is_told_of():
    profile = profile_of(trace((1, 2, "k"), (3, 4, "half of a na")).rstrip("\n"))
    assert any("was it cut off" in warning for warning in profile.warnings)


def test_times_without_a_unit_are_unknown_where_they_have_decimals():
    text = trace((1, 2, "k")).replace(" (ns)", "")
    assert column(profile_of(text).table("kernels"), "start_ns") == [1]
    assert len(profile_of(text.replace("1,2,7", "1.5,2.5,7")).table("kernels")) == 0


def test_a_text_in_pieces_reads_as_in_one(monkeypatch):
    text = "noise\n" + trace(*((row, 2, f'"k<{row}, 1>"') for row in range(200))) + "\nmore noise\n"
    whole_rows = rows_of(profile_of(text).table("kernels"))
    monkeypatch.setattr("ds2prof.parsers.nsys_stats_lines.CHUNK_BYTES", 37)
    assert rows_of(profile_of(text).table("kernels")) == whole_rows
    assert len(whole_rows) == 200


@pytest.mark.parametrize(
    "head",
    [
        b"Time(%),Time,Calls,Avg,Min,Max,Name\n",
        b'"Type","Time(%)","Time","Calls","Avg","Min","Max","Name"\n',
        b'"Start","Duration","Grid X","Grid Y"\n',
        b"Name,streamId,type,bytes,Trace Type,Event Type,Timestamp (ns),_matching_event\n",
        b"timestamp, index, name, utilization.gpu [%]\n",
        b"==PROF== Connected to process 1\n",
    ],
)
def test_other_tools_tables_are_not_taken_for_ours(head):
    assert not nsys_stats.sniff(head)


# -- cells


@given(st.lists(st.integers(0, 10**14), min_size=1), st.sampled_from([",", ".", "'", "\u2019", "\u202f", "\u00a0"]))
def test_whole_numbers_read_alike_however_they_are_grouped(numbers, separator):
    cells = [f"{number:,}".replace(",", separator) for number in numbers]
    assert whole(cells).column.tolist() == numbers


@given(
    st.lists(st.integers(0, 10**14), min_size=1), st.sampled_from([(",", "."), (".", ","), ("\u2019", "."), ("", ".")])
)
def test_microseconds_with_three_decimals_are_exact_nanoseconds(times_ns, marks):
    group, decimal = marks
    cells = [f"{ns // 1000:,}".replace(",", group) + f"{decimal}{ns % 1000:03}" for ns in times_ns]
    found = scaled(cells, 1000)
    assert (found.column.tolist(), found.decimals, found.bad) == (times_ns, 3, 0)


@given(st.lists(st.one_of(st.none(), st.integers(-(10**6), 10**6)), min_size=1))
def test_nulls_stay_nulls_in_every_spelling(numbers):
    spelled = ["None", "", "-", "N/A"]
    cells = [spelled[row % 4] if number is None else str(number) for row, number in enumerate(numbers)]
    found = whole(cells)
    assert (found.column.tolist(), found.bad) == (numbers, 0)


@given(st.text(max_size=40))
def test_no_cell_is_too_odd(text):
    for scale in (1, 1000, 1024, 10**9):
        assert len(scaled([text, "1"], scale).column) == 2
    assert len(grids([text])[0][0]) == 1
    assert device_of(f"{text[:9]} (3)")[0] == 3


def test_what_is_beyond_64_bits_is_counted_as_bad():
    found = whole([str(1 << 63), "1"])
    assert (found.column.tolist(), found.bad) == ([None, 1], 1)


@given(st.binary(max_size=400))
def test_no_bytes_behind_a_header_are_too_odd(noise):
    profile = profile_of(trace((1, 2, "k")).encode() + noise)
    assert column(profile.table("kernels"), "name")[0] == "k"


def test_a_table_without_names_is_not_read():
    with pytest.raises(ReadError, match="without a table"):
        profile_of("Time (%),Total Time (ns),Operations,Average\n100.0,5,1,5.0\n")


def test_of_two_columns_of_one_title_the_first_is_read():
    titles = f"{SUM},Name".replace("Min (ns)", "Total Time (ns)")
    profile = profile_of(kernel_sum("100.0,30,3,10.0,10.0,77,10,0.0,k", titles=titles))
    assert column(profile.table("kernels"), "dur_ns") == [30]
