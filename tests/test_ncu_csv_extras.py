"""What pages of Nsight Compute tell besides counters: rules, ranges open at a launch, series, workloads."""

import io

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ds2prof.parsers import parse_source
from ds2prof.parsers.ncu_nvtx import of_cells
from ds2prof.parsers.ncu_series import cut_instances
from ds2prof.parsers.sources import HEAD_BYTES, Source

TABLES = ("kernels", "counters", "samples", "rules")
HEAD = ("ID", "Process ID", "Process Name", "Host Name")
LONG = ("Section Name", "Metric Name", "Metric Unit", "Metric Value")
RULE = ("Rule Name", "Rule Type", "Rule Description", "Estimated Speedup Type", "Estimated Speedup")
PUSHED = "thread Domain:Push/Pop_Range:PL_Type:PL_Value:CLR_Type:Color:Msg_Type:Msg"
STARTED = "Id:Domain:Start/Stop_Range:PL_Type:PL_Value:CLR_Type:Color:Msg_Type:Msg"


def page(*rows):
    lines = [",".join('"' + str(cell).replace('"', '""') + '"' for cell in row) for row in rows]
    return ("\n".join(lines) + "\n").encode()


def read(content):
    source = Source("page", content[:HEAD_BYTES], lambda: io.BufferedReader(io.BytesIO(content)))
    return parse_source(source).require(*TABLES)


def rows(profile, table, *columns):
    found = profile.table(table)
    return list(zip(*(found[column].tolist() for column in columns), strict=True))


def raw(names, units, *launches, nvtx=None):
    between = (PUSHED, STARTED) if nvtx else ()
    header = (*HEAD, *between, "Kernel Name", "Context", "Stream", *names)
    blank = ("",) * (len(header) - len(names))
    cells = [
        (order, 7, "app", "box", *(nvtx or ()), name, 1, 7, *values) for order, (name, *values) in enumerate(launches)
    ]
    return page(header, (*blank, *units), *cells)


def details(*rows_, columns=RULE):
    header = (
        *HEAD, "Kernel Name", "Context", "Stream", *LONG, *columns,
    )  # fmt: skip
    return page(header, *rows_)


def metric(order, name="k()", *, value=5, label="dram__bytes.sum", unit="byte"):
    return (order, 7, "app", "box", name, 1, 7, "Memory", label, unit, value, "", "", "", "", "")


def rule(order, name="k()", *, kind="OPT", text="Do it.", speedup=("global", "12.5"), stream=1):
    return (order, 7, "app", "box", name, 1, stream, "SpeedOfLight", "", "", "", "SOLBottleneck", kind, text, *speedup)


# --- rules ---------------------------------------------------------------------------------------------------------


def test_rules_belong_to_their_launch_although_their_rows_repeat_the_context_for_the_stream():
    profile = read(details(metric(0), rule(0), metric(1), rule(1, text="Or that.", kind="WRN", speedup=("", ""))))
    assert rows(profile, "rules", "launch", "section", "name", "kind", "text", "speedup_kind", "estimated_speedup") == [
        (0, "SpeedOfLight", "SOLBottleneck", "optimization", "Do it.", "global", 0.125),
        (1, "SpeedOfLight", "SOLBottleneck", "warning", "Or that.", None, None),
    ]
    assert len(profile.table("kernels")) == 2
    assert profile.warnings == ()


@pytest.mark.parametrize(
    ("printed", "kind"),
    [("OPT", "optimization"), ("WRN", "warning"), ("INF", "info"), ("ERR", "error"), ("", None), ("NEW", "new")],
)
def test_the_type_of_a_rule_is_told_in_words(printed, kind):
    assert rows(read(details(metric(0), rule(0, kind=printed))), "rules", "kind") == [(kind,)]


@pytest.mark.parametrize(
    ("printed", "ratio"), [("12.5", 0.125), ("12,5", 0.125), ("90", 0.9), ("n/a", None), ("", None)]
)
def test_an_estimated_speedup_is_a_ratio_in_any_locale(printed, ratio):
    profile = read(details(metric(0), rule(0, speedup=("local", printed))))
    assert rows(profile, "rules", "estimated_speedup") == [(ratio,)]


def test_a_rule_that_stands_before_its_launch_is_left_out_with_a_warning():
    profile = read(details(rule(0), metric(0)))
    assert len(profile.table("rules")) == 0
    assert "1 rule before the metrics of their launch left out" in profile.warnings[0]


def test_pages_without_columns_for_speedups_have_rules_without_them():
    columns = RULE[:3]
    content = details(metric(0)[:-2], rule(0)[:-2], columns=columns)
    assert rows(read(content), "rules", "kind", "estimated_speedup") == [("optimization", None)]


# --- workloads -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "kind"), [("range", "range"), ("graph", "graph"), ("cmdlist", "command_list"), ("k()", None)]
)
def test_workloads_other_than_kernels_are_told_by_the_name_that_the_tool_gives_them(name, kind):
    profile = read(raw(["gpu__time_duration.sum"], ["ns"], ("k()", 5), (name, 7)))
    assert rows(profile, "kernels", "kind", "dur_ns") == [(None, 5), (kind, 7)]


def test_a_kernel_of_such_a_name_is_known_by_its_registers():
    metrics = ["gpu__time_duration.sum", "launch__registers_per_thread"]
    profile = read(raw(metrics, ["ns", "register/thread"], ("graph", 5, 32), ("graph", 7, "")))
    assert rows(profile, "kernels", "kind") == [(None,), ("graph",)]


# --- series ----------------------------------------------------------------------------------------------------------


def test_listed_readings_of_a_series_are_samples_and_its_own_value_is_no_counter():
    names = ["gpu__time_duration.sum", "pmsampling:sm__cycles_active.avg", "warpsampling:smsp__pcsamp_samples"]
    content = raw(names, ["ns", "%", "warp"], ("k()", 5, "2668 (1.50; 2.50; 4000.25)", "(1; 2)"), ("k()", 6, "", ""))
    profile = read(content)
    assert rows(profile, "samples", "launch", "metric", "unit", "value") == [
        (0, names[1], "ratio", 0.015),
        (0, names[1], "ratio", 0.025),
        (0, names[1], "ratio", 40.0025),
        (0, names[2], "warp", 1.0),
        (0, names[2], "warp", 2.0),
    ]
    assert rows(profile, "counters", "launch", "metric") == [(0, names[0]), (1, names[0])]
    assert profile.warnings == ()


def test_the_own_value_of_a_series_alone_is_left_out_with_a_warning():
    profile = read(
        raw(["gpu__time_duration.sum", "pmsampling:a__b.sum"], ["ns", ""], ("k()", 5, "2668"), ("k()", 6, "7"))
    )
    assert rows(profile, "counters", "metric") == [("gpu__time_duration.sum",)] * 2
    assert len(profile.table("samples")) == 0
    assert "1 metric sampled within launches (first met: pmsampling:a__b.sum)" in profile.warnings[0]


def test_a_series_on_a_details_page_is_no_counter_either():
    label = "pmsampling:sm__cycles_active.avg"
    profile = read(details(metric(0), metric(0, label=label, value="9 (4; 5)", unit="cycle")))
    assert rows(profile, "samples", "metric", "value") == [(label, 4.0), (label, 5.0)]
    assert rows(profile, "counters", "metric") == [("dram__bytes.sum",)]


def test_other_metrics_with_listed_instances_keep_their_own_value():
    profile = read(
        raw(["gpu__time_duration.sum", "inst_executed"], ["ns", "inst"], ("k()", 5, "7 (3; 4)"), ("k()", 6, "(3; 4)"))
    )
    assert rows(profile, "counters", "launch", "metric", "value") == [
        (0, "gpu__time_duration.sum", 5.0),
        (0, "inst_executed", 7.0),
        (1, "gpu__time_duration.sum", 6.0),
    ]
    assert profile.warnings == ()


@given(st.lists(st.floats(0, 1e9).map(lambda value: f"{value:.2f}".encode()), min_size=1))
def test_instances_come_back_as_they_were_listed(instances):
    assert cut_instances(b"7 (" + b"; ".join(instances) + b")") == (b"7", instances)
    assert cut_instances(b"(" + b"; ".join(instances) + b")") == (b"", instances)


# --- ranges ----------------------------------------------------------------------------------------------------------


def item(domain, name, attributes="none:none:none:none:none:none", number=None):
    lead = "" if number is None else f"{number}:"
    return f'"{lead}{domain}:{name}:{attributes}"'


def test_the_ranges_open_at_a_launch_are_told_with_it():
    pushed = "  ".join(
        ("4242", item("<default domain>", "step"), item("ds2prof", "layer:rnn.0", "none:none:RGB:0xff00ff::x:y"))
    )
    started = "  ".join((item("ds2prof", "phase:forward", number=5), item("ds2prof", "iteration:12", number=6)))
    profile = read(raw(["gpu__time_duration.sum"], ["ns"], ("k()", 5), nvtx=(pushed + " ", " " + started)))
    assert rows(profile, "kernels", "nvtx", "iteration", "phase", "layer") == [
        ("ds2prof:phase:forward > ds2prof:iteration:12 > step > ds2prof:layer:rnn.0", "12", "forward", "rnn.0")
    ]


def test_a_launch_within_no_range_has_none():
    profile = read(raw(["gpu__time_duration.sum"], ["ns"], ("k()", 5), nvtx=("4242  ", "")))
    assert profile.table("kernels")["nvtx"].tolist() == [None]


@given(st.lists(st.tuples(st.sampled_from(("<default domain>", "a b")), st.text("abc:.# 12", min_size=1, max_size=12))))
def test_ranges_come_back_as_the_tool_prints_them(ranges):
    named = [(domain, name.strip(" ")) for domain, name in ranges if name.strip(" ")]
    pushed = "  ".join(("77", *(item(domain, name) for domain, name in named)))
    started = "  ".join(item(domain, name, number=place) for place, (domain, name) in enumerate(named))
    assert of_cells(pushed, started) == (*named, *named)


@given(st.text(max_size=200), st.text(max_size=200))
def test_any_text_in_those_cells_is_harmless(pushed, started):
    assert all(len(pair) == 2 for pair in of_cells(pushed, started))
