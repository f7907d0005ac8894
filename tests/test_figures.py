"""Every figure shows what its answer says: lengths, places and words on the axes are the numbers of the analysis."""

from __future__ import annotations

import itertools
import os
import re
import subprocess
import sys
import xml.etree.ElementTree as ET

import matplotlib as mpl
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

mpl.use("agg")

from matplotlib.figure import Figure

from ds2prof import plots
from ds2prof.analysis import core, kernels, phases
from ds2prof.analysis.host_timelines import CAUSES
from ds2prof.analysis.ledger import idle_ledger
from ds2prof.analysis.roofline import tables as roofs
from ds2prof.analysis.sweep import fits, measured, sweep
from ds2prof.analysis.sweep_fit import saturation
from ds2prof.analysis.uncertainty.iterations import iterations_of
from ds2prof.config import PHASES
from ds2prof.counters import PIPES
from ds2prof.errors import MissingDataError, UsageError
from ds2prof.kernel_classes import CLASSES
from ds2prof.parsers import read
from ds2prof.report import style
from ds2prof.report.figures import draw
from ds2prof.report.figures.lanes import strip
from ds2prof.report.figures.pixels import covered_ns, edges_ns
from ds2prof.report.figures.roofline import roofs as roofs_of
from ds2prof.report.figures.sweeps import batch_of, lines
from ds2prof.tables import Meta
from tests.conftest import ROOT
from tests.known.cases import runs
from tests.known.formats import WRITERS
from tests.profiles import counters_profile, profile

KERNEL = ("name", "device", "stream", "start_ns", "dur_ns")
KEPT = ROOT / "build" / "artifacts" / "figures"
HOSTILE = "<script>alert(1)</script>$\\frac{1}{2}$\x1b[31m\u202e&\"'"


@pytest.fixture(scope="module")
def known(tmp_path_factory):
    """Profiles of known runs, by name."""

    def profile_of(name):
        run = next(run for run in runs() if run.name == name)
        path = tmp_path_factory.mktemp("known") / name
        WRITERS[run.formats[0]](run, path)
        return read(path)

    found = {}
    return lambda name: found[name] if name in found else found.setdefault(name, profile_of(name))


def labels(ax):
    return [tick.get_text() for tick in ax.get_yticklabels()]


def caption_of(ax):
    """The line beneath the figure."""
    return " ".join(" ".join(text.get_text().split()) for text in ax.get_figure().texts)


def widths(ax):
    return [bar.get_width() for bar in ax.patches]


def log(batch, rate, **facts):
    """A run log of that throughput."""
    stretch = {"first": 0, "stop": 10, "wall_ns": 10**9, "samples": rate}
    meta = Meta(
        file=f"run_bs{batch}.jsonl",
        tool="ds2prof train",
        format="test",
        times=None,
        facts={"batch_size": batch, "stretch": stretch, **facts},
    )
    return profile(meta=meta, iterations=(("iteration", "wall_ns"), [(number, 10**8) for number in range(10)]))


def timeline_of(rows, **others):
    return profile(kernels=(KERNEL, rows), **others)


# What the bars say.


def test_the_bars_of_the_ledger_are_the_shares_of_its_causes(known):
    answer = idle_ledger(known("two_devices"))
    ax = plots.ledger(known("two_devices"), Figure())
    drawn = {bars.get_label(): [bar.get_width() for bar in bars] for bars in ax.containers}
    for cause, lengths in drawn.items():
        shares = [row["share"] for row in answer.rows() if row["cause"] == cause]
        assert lengths == pytest.approx([100 * share for share in shares])
    assert np.sum(list(drawn.values()), axis=0) == pytest.approx([100, 100])


def test_causes_of_no_length_are_neither_drawn_nor_in_the_legend(known):
    ax = plots.ledger(known("two_devices"), Figure())
    words = [text.get_text() for text in ax.get_legend().get_texts()]
    assert {bars.get_label() for bars in ax.containers} == {
        row["cause"] for row in idle_ledger(known("two_devices")).rows() if row["dur_ns"]
    }
    assert len(words) == len(ax.containers)


def test_each_phase_of_the_ledger_is_as_long_as_its_time(known):
    answer = idle_ledger(known("data_bound"), per="phase")
    sums = {}
    for row in answer.rows():
        sums[row["phase"]] = sums.get(row["phase"], 0) + row["dur_ns"]
    ax = plots.ledger(known("data_bound"), Figure(), per="phase")
    assert ax.get_xlabel() == "time (us)"
    lengths = np.sum([[bar.get_width() for bar in bars] for bars in ax.containers], axis=0)
    told = dict(zip(labels(ax), lengths * 1000, strict=True))
    assert told == pytest.approx({"(outside any phase)" if key is None else key: ns for key, ns in sums.items()})


@pytest.mark.parametrize("most", [0, 40], ids=["as an area", "as bars"])
def test_the_ledger_by_iteration_is_as_high_as_each_step(known, monkeypatch, most):
    monkeypatch.setattr("ds2prof.report.figures.ledger.MOST_BARS", most)
    ax = plots.ledger(known("data_bound"), Figure(), per="iteration")
    rows = [row for row in idle_ledger(known("data_bound"), per="iteration").rows() if row["iteration"] is not None]
    of_step = [sum(row["dur_ns"] for row in rows if row["iteration"] == key) / 1000 for key in (0, 1, 2)]
    if most:
        heights = np.sum([[bar.get_height() for bar in bars] for bars in ax.containers], axis=0)
        assert heights.tolist() == pytest.approx(of_step)
    else:
        top = max(float(area.get_paths()[0].vertices[:, 1].max()) for area in ax.collections)
        assert top == pytest.approx(max(of_step))


def test_bars_of_kernels_are_their_exclusive_times(known):
    answer = kernels.kernel_times(known("many_names"))
    ax = plots.kernel_times(known("many_names"), Figure(), top=5)
    unit = {"exclusive time (us)": 1e3, "exclusive time (ms)": 1e6}[ax.get_xlabel()]
    assert [width * unit for width in widths(ax)] == pytest.approx(answer.columns["excl_ns"][:5])
    assert labels(ax)[0] == answer.columns["name"][0]


def test_bars_of_pipes_are_their_utilization(known):
    rows = core.core_utilization(known("counters")).rows()
    ax = plots.core_utilization(known("counters"), Figure())
    assert dict(zip(labels(ax), widths(ax), strict=True)) == pytest.approx(
        {row["pipe"]: 100 * row["utilization"] for row in rows}
    )


def test_bars_of_phases_are_their_exclusive_times(known):
    answer = phases.range_times(known("communication"), "phase")
    ax = plots.phase_times(known("communication"), Figure())
    assert [width * 1000 for width in widths(ax)] == pytest.approx(answer.columns["excl_ns"])


def test_of_many_layers_the_longest_are_drawn_in_the_order_of_the_network():
    ranges = [(f"ds2prof:layer:l{n}", "layer", f"l{n}", 1, 1, n * 100, 90) for n in range(9)]
    calls = [("cudaLaunchKernel", 1, 1, n * 100 + 1, 2, n + 1) for n in range(9)]
    work = [("k", 0, 7, n * 100 + 10, 10 * (n % 4 + 1), n + 1) for n in range(9)]
    found = profile(
        kernels=((*KERNEL, "correlation"), work),
        api=(("name", "process", "thread", "start_ns", "dur_ns", "correlation"), calls),
        ranges=(("name", "kind", "value", "process", "thread", "start_ns", "dur_ns"), ranges),
    )
    assert labels(plots.phase_times(found, Figure(), by="layer", top=2)) == ["l3", "l7"]


def test_an_unknown_pipe_is_named_so_and_has_no_bar():
    metric = "sm__inst_executed_pipe_fma.avg.pct_of_peak_sustained_elapsed"
    found = counters_profile([("a", 100, 0.5), ("b", None, None)], extra=[(1, metric, "ratio", 0.5)])
    assert [text.get_text() for text in plots.core_utilization(found, Figure()).texts] == ["50.0 %"]


# The roofline.


def test_points_of_the_roofline_stand_at_intensity_and_rate(corpus):
    found = read(corpus / "kineto" / "AMD-AGI__TraceLens__h100_bert-small.json.gz")
    ax = plots.roofline(found, Figure())
    rows = [row for row in roofs.roofline(found).rows() if row["intensity"] and row["flop_per_s"]]
    places = {(round(x, 9), round(y)) for x, y in ax.collections[0].get_offsets().tolist()}
    assert places == {(round(row["intensity"], 9), round(row["flop_per_s"])) for row in rows}


def test_the_roofs_are_the_devices_bandwidth_and_peaks(corpus):
    found = read(corpus / "kineto" / "AMD-AGI__TraceLens__h100_bert-small.json.gz")
    ax = plots.roofline(found, Figure())
    bounds = roofs_of(found)
    lines = {line.get_label(): line.get_xydata() for line in ax.lines}
    slope = lines.pop("memory")
    assert (slope[:, 1] / slope[:, 0]).tolist() == pytest.approx([bounds.bytes_per_s] * 2)
    assert {kind: data[0, 1] for kind, data in lines.items()} == pytest.approx(bounds.flop_per_s)
    for kind, data in lines.items():  # each begins where the slope reaches it
        assert data[0, 0] == pytest.approx(bounds.flop_per_s[kind] / bounds.bytes_per_s)


# The timeline.


def brute(starts, ends, groups, count, edges):
    sums = np.zeros((count, len(edges) - 1))
    for start, end, group in zip(starts, ends, groups, strict=True):
        for part, (lo, hi) in enumerate(itertools.pairwise(edges)):
            sums[group, part] += max(min(end, hi) - max(start, lo), 0)
    return sums


@given(
    rows=st.lists(st.tuples(st.integers(-50, 150), st.integers(0, 120), st.integers(0, 2)), max_size=12),
    hi=st.integers(1, 130),
    pixels=st.integers(1, 20),
)
def test_pixels_hold_the_time_that_an_interval_by_interval_count_finds(rows, hi, pixels):
    starts, lengths, groups = (np.array([row[place] for row in rows], dtype=np.int64) for place in range(3))
    edges = edges_ns(0, hi, pixels)
    found = covered_ns(starts, starts + lengths, groups, 3, edges)
    assert found.tolist() == brute(starts, starts + lengths, groups, 3, edges.tolist()).tolist()


@given(lo=st.integers(-(10**15), 10**18), length=st.integers(1, 10**13), count=st.integers(1, 2000))
def test_the_edges_of_pixels_divide_the_window_evenly(lo, length, count):
    edges = edges_ns(lo, lo + length, count)
    assert (edges[0], edges[-1], len(edges) - 1) == (lo, lo + length, min(count, length))
    assert int(np.ptp(np.diff(edges))) <= 1


def test_each_stream_has_a_lane_whose_pixels_sum_to_its_time(known):
    found = strip(known("communication"), pixels=90)
    lanes = {lane.label: lane for lane in found.lanes}
    assert list(lanes) == [
        *("iterations (host)", "backward (host)", "optimizer (host)", "stream 7", "stream 20", "copies")
    ]
    work = known("communication").table("kernels")
    for stream in (7, 20):
        total = sum(float(ns.sum()) for ns in lanes[f"stream {stream}"].ns_of.values())
        assert total == int(work.ints("dur_ns")[work.ints("stream") == stream].sum())
    assert lanes["stream 20"].busy == pytest.approx(45_000 / 90_000)


def test_what_overlaps_on_one_stream_never_fills_more_than_the_pixel(known):
    for lane in strip(known("streams"), pixels=50).lanes:
        height = sum(ns for ns in lane.ns_of.values())
        assert (height <= 2000 + 1e-6).all()


def test_a_stack_is_as_high_in_the_picture_as_the_stream_was_busy():
    ax = plots.timeline(timeline_of([("gemm", 0, 7, 0, 500), ("gemm", 0, 7, 1500, 500)]), Figure())
    stairs = [patch for patch in ax.patches if patch.get_label() == "stream 7: class_gemm"]
    values, _, baseline = stairs[0].get_data()
    filled = np.isfinite(values)
    assert filled.mean() == pytest.approx(0.5)
    assert (baseline[filled] - values[filled]).tolist() == pytest.approx([0.78] * int(filled.sum()))


def test_beyond_ten_streams_the_least_busy_share_a_lane():
    rows = [("gemm", 0, stream, stream * 100, 50 + stream) for stream in range(13)]
    lanes = [lane.label for lane in strip(timeline_of(rows)).lanes]
    assert lanes == [*(f"stream {stream}" for stream in range(3, 13)), "3 others"]


def test_a_cpu_run_shows_each_thread_by_its_outermost_operators():
    meta = Meta(file="cpu.json", tool="test", format="test", domain="cpu")
    ops = [("aten::linear", 1, 5, 0, 100), ("aten::addmm", 1, 5, 10, 80), ("aten::relu", 1, 6, 100, 100)]
    found = strip(profile(meta=meta, ops=(("name", "process", "thread", "start_ns", "dur_ns"), ops)))
    assert [(lane.label, lane.busy) for lane in found.lanes] == [("thread 5", 0.5), ("thread 6", 0.5)]


def test_replayed_launches_have_no_timeline():
    with pytest.raises(MissingDataError, match="no real times"):
        plots.timeline(counters_profile([("a", 100, 0.1)]), Figure())


# Iterations and sweeps.


def iterations_profile(times):
    starts = np.cumsum([0, *times[:-1]]).tolist()
    rows = [
        (f"step {n}", "iteration", str(n), 1, 1, start, ns)
        for n, (start, ns) in enumerate(zip(starts, times, strict=True))
    ]
    return timeline_of(
        [("k", 0, 7, start, 10) for start in starts],
        ranges=(("name", "kind", "value", "process", "thread", "start_ns", "dur_ns"), rows),
    )


def test_points_are_the_iterations_times_and_the_line_is_their_mean():
    found = iterations_profile([1000 + 7 * (n % 3) for n in range(12)])
    ax = plots.iteration_times(found, Figure())
    step, mean = iterations_of(found), iterations_of(found).mean()
    assert ax.lines[0].get_ydata().tolist() == pytest.approx((step.times_ns[step.counted] / 1000).tolist())
    assert [line.get_ydata()[0] for line in ax.lines if "mean" in line.get_label()] == pytest.approx(
        [mean.value / 1000]
    )
    band = next(patch for patch in ax.patches if "interval" in patch.get_label())
    assert (band.get_y(), band.get_y() + band.get_height()) == pytest.approx((mean.low / 1000, mean.high / 1000))


def test_warm_up_is_hollow_and_an_outlier_is_marked():
    times = [9000, *[1000 + n % 3 for n in range(20)], 3000, *[1000 + n % 3 for n in range(10)]]
    words = [
        text.get_text() for text in plots.iteration_times(iterations_profile(times), Figure()).get_legend().get_texts()
    ]
    assert "outlier" in words
    assert any("left out (warm-up)" in word for word in words)


def test_throughput_stands_at_its_batch_with_the_fitted_curve_and_its_knee():
    sizes = [4, 8, 16, 32]
    logs = [log(size, 1000 * size / (size + 12)) for size in sizes]
    ax = plots.throughput_by_batch(logs, Figure())
    curve = saturation(sizes, [1000 * size / (size + 12) for size in sizes]).curve
    by_label = {line.get_label(): line for line in ax.lines}
    assert by_label["measured"].get_xdata().tolist() == sizes
    assert by_label["measured"].get_ydata() == pytest.approx([1000 * size / (size + 12) for size in sizes])
    x, y = by_label["fitted curve"].get_data()
    assert y == pytest.approx(curve.samples_per_s(x))
    assert by_label["knee, batch 12"].get_xdata()[0] == pytest.approx(12)
    caption = caption_of(ax)
    assert "Model: step = 12.00 ms + 1.000 ms x batch; knee at batch 12" in caption
    assert "residual 0.0 %" in caption


def test_with_two_batches_there_is_no_curve_and_the_figure_says_why():
    ax = plots.throughput_by_batch([log(4, 100), log(8, 150)], Figure())
    assert [line.get_label() for line in ax.lines] == ["measured"]
    assert "No curve: a curve needs 3 batch sizes" in caption_of(ax)


def test_precisions_are_series_of_their_own():
    logs = [log(size, size * rate, precision=kind) for kind, rate in (("fp32", 10), ("bf16", 20)) for size in (4, 8)]
    found = {(line.label, tuple(line.batches), tuple(rate.value for rate in line.rates)) for line in lines(logs)}
    assert found == {("fp32", (4, 8), (40, 80)), ("bf16", (4, 8), (80, 160))}


def test_a_rate_under_a_profiler_gives_way_to_a_run_log_of_the_series():
    timeline = iterations_profile([1000] * 12)
    timeline.attach_run({"batch_size": 4})
    (alone,) = lines([timeline])
    assert ([rate.value for rate in alone.rates], alone.is_profiled) == (pytest.approx([4e6]), True)
    (both,) = lines([timeline, log(8, 5)])
    assert ([rate.value for rate in both.rates], both.is_profiled) == ([5], False)


def test_the_curve_of_the_figure_is_that_of_the_sweep():
    logs = [log(size, 1000 * size / (size + 12 + size % 3)) for size in (4, 8, 16, 32)]
    ((_, fit),) = fits(sweep([measured(each, "batch_size") for each in logs], "batch_size"))
    assert [line.fit for line in lines(logs)] == [fit]


@pytest.mark.parametrize(("name", "batch"), [("nsight_bs32.csv", 32), ("torch_bs4_fp16.json", 4), ("bs.csv", None)])
def test_the_batch_is_read_off_a_measurements_name_where_nothing_states_it(name, batch):
    found = profile(meta=Meta(file=f"folder/{name}", tool="test", format="test"), kernels=(KERNEL, []))
    assert batch_of(found) == batch
    found.attach_run({"batch_size": 7})
    assert batch_of(found) == 7


def test_core_utilization_by_batch_is_a_line_a_pipe_through_the_means():
    pages = []
    for batch, share in ((8, 0.5), (4, 0.1), (4, 0.3)):
        page = counters_profile([("a", 100, share)])
        page.attach_run({"batch_size": batch})
        pages.append(page)
    ax = plots.core_by_batch(pages, Figure())
    assert ax.lines[0].get_label() == "fma"
    assert ax.lines[0].get_ydata() == pytest.approx([20, 50])
    assert [tick.get_text() for tick in ax.get_xticklabels()] == ["4", "8"]


# All of them.


DRAWN_OF = {
    **dict.fromkeys(("kernel-times", "class-times", "ledger", "ledger-by-iteration", "timeline"), "communication"),
    **dict.fromkeys(("ledger-by-phase", "phase-times", "iterations"), "data_bound"),
    **dict.fromkeys(("kernel-utilization", "core-utilization"), "counters"),
    "layer-times": "autograd",
}


def examples(name, known):
    if name == "throughput-by-batch":
        return [log(size, 1000 * size / (size + 12 + size % 3)) for size in (4, 8, 16, 32)]
    if name == "core-by-batch":
        pages = [counters_profile([("a", 100, 0.01 * size)]) for size in (4, 8)]
        for page, size in zip(pages, (4, 8), strict=True):
            page.attach_run({"batch_size": size})
        return pages
    if name in ("roofline", "gains"):
        return [roofline_profile()]
    return [known(DRAWN_OF[name])]


def roofline_profile():
    """Two kernels with counted work on a device whose peak is in the table."""
    counted = {
        "smsp__sass_thread_inst_executed_op_ffma_pred_on.sum": (10**9, 10**6),
        "smsp__sass_thread_inst_executed_op_fadd_pred_on.sum": (0, 0),
        "smsp__sass_thread_inst_executed_op_fmul_pred_on.sum": (0, 0),
        "dram__bytes_read.sum": (10**7, 10**8),
        "dram__bytes_write.sum": (10**7, 10**7),
    }
    rows = [(launch, name, "", values[launch]) for name, values in counted.items() for launch in (0, 1)]
    return profile(
        meta=Meta(file="made.csv", tool="test", format="test", times="replay"),
        kernels=(("name", "device", "dur_ns"), [("sgemm", 0, 10**6), ("elementwise_kernel", 0, 2 * 10**6)]),
        counters=(("launch", "metric", "unit", "value"), rows),
        devices=(("device", "name", "sms"), [(0, "NVIDIA A100-SXM4-40GB", 108)]),
    )


THEMES = [pytest.param("light"), pytest.param("dark", marks=pytest.mark.long)]


@pytest.mark.parametrize("theme", THEMES)
@pytest.mark.parametrize("name", list(plots.FIGURES))
def test_every_figure_has_title_units_and_words_fits_its_frame_and_is_kept(name, theme, known):
    figure = draw(name, examples(name, known), theme=theme)
    ax = figure.axes[0]
    assert ax.get_title("left")
    assert re.search(r"\(.+\)|^iteration$", ax.get_xlabel())
    assert plots.description(ax).startswith(ax.get_title("left"))
    assert len(plots.description(ax)) > len(ax.get_title("left")) + 20
    path = plots.save(figure, KEPT / f"{name}-{theme}.png", theme=theme)
    assert path.read_bytes()[:8] == b"\x89PNG\r\n\x1a\n"
    figure.set_dpi(style.settings()["savefig.dpi"])  # widths of letters differ by the resolution
    box, (width, height) = figure.get_tightbbox(), figure.get_size_inches()  # the box around all that is drawn
    assert min(box.x0, box.y0) > -0.02
    assert (box.x1 < width + 0.02, box.y1 < height + 0.02) == (True, True)


FORMS = ("png", "svg", "pdf")
DRAWING = """
import sys; sys.path.insert(0, sys.argv[1])
from matplotlib.figure import Figure
from ds2prof import plots
from tests.profiles import profile
made, rows = Figure(), [("gemm", 0, 7, 0, 10), ("relu", 0, 7, 20, 10)]
plots.timeline(profile(kernels=(("name", "device", "stream", "start_ns", "dur_ns"), rows)), made)
for form in ("png", "svg", "pdf"):
    plots.save(made, f"{sys.argv[2]}.{form}")
"""


def test_the_same_figure_has_the_same_bytes_in_another_process(tmp_path, monkeypatch):
    monkeypatch.setattr(sys, "argv", ["", str(ROOT), str(tmp_path / "one")])
    exec(DRAWING, {})
    subprocess.run(
        [sys.executable, "-c", DRAWING, str(ROOT), str(tmp_path / "other")],
        check=True,
        env={**os.environ, "PYTHONHASHSEED": "7", "SOURCE_DATE_EPOCH": "86400"},
    )
    for form in FORMS:
        assert (tmp_path / f"one.{form}").read_bytes() == (tmp_path / f"other.{form}").read_bytes()


def test_an_svg_carries_its_title_and_description_and_keeps_text_as_text(tmp_path, known):
    path = plots.save(draw("ledger", [known("two_devices")]), tmp_path / "ledger.svg")
    root = ET.fromstring(path.read_bytes())
    space = "{http://www.w3.org/2000/svg}"
    assert root.get("role") == "img"
    assert root.find(f"{space}title").text == "Where the window went"
    assert "compute" in root.find(f"{space}desc").text
    assert any(text.text == "device 0" for text in root.iter(f"{space}text"))


@pytest.mark.parametrize("form", FORMS)
def test_a_hostile_name_is_drawn_as_plain_text(form, tmp_path):
    found = timeline_of([(HOSTILE, 0, 7, 0, 10), (HOSTILE * 3, 0, 7, 20, 10)])
    made = Figure()
    ax = plots.kernel_times(found, made)
    assert not any("\x1b" in label or "\u202e" in label for label in labels(ax))
    path = plots.save(made, tmp_path / f"hostile.{form}")
    if form == "svg":
        assert not [element for element in ET.fromstring(path.read_bytes()).iter() if "script" in element.tag]


def test_a_figure_of_an_unknown_kind_is_refused(tmp_path):
    with pytest.raises(UsageError, match="png, svg, pdf"):
        plots.save(Figure(), tmp_path / "figure.gif")


def test_drawing_leaves_the_users_settings_as_they_were():
    before = dict(mpl.rcParams)
    plots.kernel_times(timeline_of([("a", 0, 7, 0, 10)]), Figure(), theme="dark")
    assert dict(mpl.rcParams) == before


def test_axes_of_the_user_keep_their_size_and_style():
    made = Figure(figsize=(3, 2), facecolor="pink")
    ax = made.add_subplot()
    assert plots.kernel_times(timeline_of([("a", 0, 7, 0, 10)]), ax) is ax
    assert made.get_size_inches().tolist() == [3, 2]
    assert caption_of(ax) == ""


# The style.


def test_every_cause_class_pipe_and_phase_has_a_look_of_its_own():
    for family, names in (("cause", CAUSES), ("class", CLASSES), ("pipe", PIPES), ("phase", PHASES)):
        roles = [style.role_of(family, name) for name in names]
        for theme in style.THEMES:
            looks = {(style.colour(role, theme), style.HATCHES.get(role)) for role in roles}
            assert len(looks) == len(names)


def test_text_and_outlines_have_the_contrast_that_the_webs_rules_ask_for():
    for theme in style.THEMES:
        ground = style.colour("background", theme)
        for role in ("ink", "ink_soft", "link", "good", "bad", "accent"):
            assert style.contrast(style.colour(role, theme), ground) >= 4.5
        assert style.contrast(style.colour("outline", theme), ground) >= 3
        for role in style.ROLES:
            if role not in style.SURFACES:
                assert style.contrast(style.colour(role, theme), style.label_colour(role, theme)) >= 4.5


_VISIONS = {
    "normal": np.eye(3),
    "protan": [[0.152286, 1.052583, -0.204868], [0.114503, 0.786281, 0.099216], [-0.003882, -0.048116, 1.051998]],
    "deutan": [[0.367322, 0.860646, -0.227968], [0.280085, 0.672501, 0.047413], [-0.011820, 0.042940, 0.968881]],
    "tritan": [[1.255528, -0.076749, -0.178779], [-0.078411, 0.930809, 0.147602], [0.004733, 0.691367, 0.303900]],
}
"""Machado, Oliveira and Fernandes (2009): what those see who lack one kind of cone, in linear RGB."""


def oklab(colour, vision):
    rgb = np.array([int(colour[place : place + 2], 16) / 255 for place in (1, 3, 5)])
    linear = np.where(rgb <= 0.04045, rgb / 12.92, ((rgb + 0.055) / 1.055) ** 2.4)
    seen = np.clip(np.array(_VISIONS[vision]) @ linear, 0, 1)
    cones = np.cbrt(
        np.array(
            [
                [0.41222147, 0.53633254, 0.05144599],
                [0.2119035, 0.68069955, 0.10739696],
                [0.08830246, 0.28171884, 0.6299787],
            ]
        )
        @ seen
    )
    return (
        np.array(
            [
                [0.21045426, 0.79361779, -0.00407205],
                [1.9779985, -2.42859221, 0.45059371],
                [0.02590404, 0.78277177, -0.80867577],
            ]
        )
        @ cones
    )


@pytest.mark.parametrize("vision", list(_VISIONS))
@pytest.mark.parametrize("theme", style.THEMES)
def test_the_series_are_told_apart_by_whatever_eyes(vision, theme):
    colours = [oklab(shade.of(theme), vision) for shade in style.SERIES]
    assert min(np.linalg.norm(one - other) for one, other in itertools.combinations(colours, 2)) > 0.06


def test_one_light_colour_has_one_dark_colour():
    found = {}
    for shade in style.ROLES.values():
        assert found.setdefault(shade.light, shade.dark) == shade.dark


def test_the_style_is_there_without_matplotlib():
    code = "import sys, ds2prof.report.style; print('matplotlib' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"


def test_the_window_of_a_made_up_profile_is_that_of_its_operations():
    assert strip(timeline_of([("a", 0, 7, 100, 10)])).source == "device operations"
