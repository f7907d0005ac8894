"""The command line on real files, against what was computed from them without ds2prof (the corpus's ``expected/``)."""

from __future__ import annotations

import contextlib
import csv
import gzip
import io
import json
import re
from collections import defaultdict
from decimal import Decimal
from fractions import Fraction
from itertools import pairwise

import numpy as np
import pytest

from ds2prof import read, read_all
from ds2prof.analysis import questions
from ds2prof.analysis.intervals import union_ns
from ds2prof.analysis.windows import ends_ns
from ds2prof.cli import main
from ds2prof.errors import MissingDataError
from ds2prof.kernel_names import kernel_class
from ds2prof.report.screen import screen

TRACELENS = {
    "h100__Falconsai_nsfw_image_detection__1016002": "h100_Falconsai_nsfw.json.gz",
    "h100__facebook_timesformer-base-finetuned-k400__1016002": "h100_timesformer.json.gz",
    "h100__gaunernst_bert-small-uncased__1016001": "h100_bert-small.json.gz",
    "mi210__gpu_only_trace__gpu_only_trace": "mi210_gpu_only_trace.json.gz",
    "mi300__gaunernst_bert-small-uncased__1016001": "mi300_bert-small.json.gz",
    "torch_compile_triton__trace": "torch_compile_triton_trace.json.gz",
}
HTA = "facebookresearch__HolisticTraceAnalysis__"
NOT_READ = {
    "nvvp-session-xml": "Visual Profiler session",
}
"""Folder -> what each file in it is called."""


def ds2prof(*arguments):
    """(exit code, standard output, standard error) of ``ds2prof parse``, run in this process."""
    out, err = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        try:
            main(["parse", *map(str, arguments)])
        except SystemExit as exit:
            return exit.code, out.getvalue(), err.getvalue()
    return 0, out.getvalue(), err.getvalue()


def document(path, *arguments):
    code, out, err = ds2prof(path, *arguments, "--format", "json")
    assert (code, err) == (0, "")
    return json.loads(out)


def union(intervals):
    """Length of the union, the slow and obvious way."""
    length = reached = 0
    for start, end in sorted(intervals):
        length += max(end - max(start, reached), 0)
        reached = max(reached, end)
    return length


def exact_shares(intervals):
    """What each interval has of the union where every instant is divided evenly, as fractions."""
    shares = [Fraction(0)] * len(intervals)
    edges = sorted({edge for interval in intervals for edge in interval})
    opening, closing = defaultdict(list), defaultdict(list)
    for row, (start, end) in enumerate(intervals):
        opening[start].append(row)
        closing[end].append(row)
    running = set()
    for start, end in pairwise(edges):
        running = (running | set(opening[start])) - set(closing[start])
        for row in running:
            shares[row] += Fraction(end - start, len(running))
    return shares


def events(path):
    """The complete events of a trace with times in integer ns, from the decimal text."""
    loaded = json.loads(gzip.decompress(path.read_bytes()), parse_float=Decimal)
    found = []
    for event in loaded["traceEvents"]:
        if event.get("ph") == "X":
            start = int(Decimal(event["ts"]) * 1000)
            found.append({**event, "start": start, "end": start + int(Decimal(event.get("dur", 0)) * 1000)})
    return found


def of_category(found, *categories):
    return [event for event in found if event.get("cat", "").lower() in categories]


def test_busy_time_is_the_union_computed_on_its_own_for_every_trace(corpus):
    expected = json.loads((corpus / "expected" / "kernel_unions.json").read_text())
    traces = {name: wanted for name, wanted in expected.items() if name.startswith("kineto/")}
    assert len(traces) > 20
    for name, wanted in traces.items():
        totals = document(corpus / name)["totals"]
        found = {
            "launches": totals["launches"],
            "kernel_dur_ns": totals["kernel_dur_ns"],
            "busy_ns": {str(device["device"]): device["busy_ns"] for device in totals["devices"]},
        }
        assert found == wanted, name
        assert totals["busy_ns"] == sum(wanted["busy_ns"].values())


@pytest.mark.parametrize("case", TRACELENS)
def test_computation_and_busy_time_are_those_of_tracelens(corpus, case):
    timeline = csv.DictReader((corpus / "expected" / "tracelens" / case / "gpu_timeline.csv").open())
    wanted_ns = {row["type"]: Decimal(row["time ms"]) * 1_000_000 for row in timeline}
    profile = read(corpus / "kineto" / f"AMD-AGI__TraceLens__{TRACELENS[case]}", tables=("kernels", "copies"))
    kernels, copies = profile.table("kernels"), profile.table("copies")
    computing = np.array([kernel_class(name) != "communication" for name in kernels["name"].tolist()])
    sets = np.array([kind == "memset" for kind in copies["kind"].tolist()], dtype=np.bool_)

    def busy_ns(*tables):
        starts = np.concatenate([table.ints("start_ns") for table in tables])
        return union_ns(starts, np.concatenate([ends_ns(table) for table in tables]))

    assert abs(busy_ns(kernels.take(computing), copies.take(sets)) - wanted_ns["computation_time"]) <= 60
    assert abs(busy_ns(kernels, copies) - wanted_ns["busy_time"]) <= 60


@pytest.mark.parametrize(("trace", "busy_us"), [("1623143089861", 591_532), ("1623212756351", 594_868)])
def test_the_resnet_traces_have_their_published_kernel_time(corpus, trace, busy_us):
    totals = document(corpus / "kineto" / f"pytorch__kineto__worker0.{trace}.pt.trace.json.gz")["totals"]
    assert (totals["kernel_dur_ns"], totals["busy_ns"]) == (busy_us * 1000, busy_us * 1000)


@pytest.mark.parametrize("name", ["cuda_event_sync_trace", "cuda_event_sync_multi_stream_trace"])
def test_waits_are_not_busy(corpus, name):
    path = corpus / "kineto" / f"{HTA}{name}.json.gz"
    rows = events(path)
    kernels = [(event["start"], event["end"]) for event in of_category(rows, "kernel")]
    waits = [(event["start"], event["end"]) for event in of_category(rows, "cuda_sync")]
    totals = document(path)["totals"]
    assert totals["busy_ns"] == union(kernels) < union(kernels + waits)
    assert totals["launches"] == len(kernels)


def test_what_hta_counts_as_busy_too_much_are_the_waits(corpus):
    name = f"{HTA}critical_path_alexnet_trace.json.gz"
    expected = json.loads((corpus / "expected" / "hta_0.5.0_computed.json").read_text())[name]["temporal_breakdown"][0]
    hta_busy_us = expected["compute_time(us)"] + expected["non_compute_time(us)"]
    rows = events(corpus / "kineto" / name)
    work = [(e["start"], e["end"]) for e in of_category(rows, "kernel", "gpu_memcpy", "gpu_memset")]
    waits = [(e["start"], e["end"]) for e in of_category(rows, "cuda_sync")]
    profile = read(corpus / "kineto" / name, tables=("kernels", "copies"))
    tables = (profile.table("kernels"), profile.table("copies"))
    ours_ns = union_ns(
        np.concatenate([table.ints("start_ns") for table in tables]),
        np.concatenate([ends_ns(table) for table in tables]),
    )
    assert hta_busy_us * 1000 == union(work + waits)
    assert ours_ns == union(work) < hta_busy_us * 1000


def test_an_archive_of_ranks_is_a_list_in_order_with_htas_busy_times(corpus):
    made = document(corpus / "kineto" / "facebookresearch__param__dlrm_kineto.tar.gz")
    assert [one["source"]["rank"] for one in made] == list(range(8))
    expected = json.loads((corpus / "expected" / "hta_0.5.0_computed.json").read_text())["dlrm_8rank"]
    for one, hta in zip(made, expected["temporal_breakdown"], strict=True):
        busy_ns = int(1000 * (hta["compute_time(us)"] + hta["non_compute_time(us)"]))
        # Kernels alone here; HTA has the copies among its busy time, and whole microseconds lose nothing in it.
        assert 0 <= busy_ns - one["totals"]["busy_ns"] <= one["totals"]["copy_dur_ns"]


@pytest.mark.parametrize("folder", NOT_READ)
def test_what_is_not_read_yet_is_refused_in_one_line_that_says_what_it_is(corpus, folder):
    files = sorted(path for path in (corpus / folder).iterdir() if path.is_file())
    assert files
    for path in files:
        code, out, err = ds2prof(path)
        assert (code, out, err.count("\n")) == (1, "", 1), path
        assert err.startswith(f"ds2prof: {path}: ")
        assert re.search(NOT_READ[folder], err), err


@pytest.mark.parametrize(
    ("name", "what"), [("benchmark_simple_add_et.json.gz", "execution trace"), ("memory_timeline.raw.gz", "timeline")]
)
def test_json_that_is_no_trace_is_refused_in_one_line_that_says_what_it_is(corpus, name, what):
    code, out, err = ds2prof(corpus / "kineto" / f"{HTA}{name}")
    assert (code, out, err.count("\n")) == (1, "", 1)
    assert name in err
    assert what in err


def test_every_key_of_every_trace_gives_a_table_or_one_line(corpus):
    refused = []
    needed = tuple(dict.fromkeys(name for by in questions.KEYS for name in questions.tables_for(by)))
    for path in sorted((corpus / "kineto").iterdir()):
        if path.name in (f"{HTA}benchmark_simple_add_et.json.gz", f"{HTA}memory_timeline.raw.gz"):
            continue
        for profile in read_all(path, tables=needed):
            totals = questions.totals_of(profile)
            for by in questions.KEYS:
                try:
                    found = questions.answers(profile, by)
                except MissingDataError as error:
                    refused.append(str(error))
                else:
                    made = screen(profile.meta, found, totals=totals, top=20, width=120, devices=())
                    assert made.count("\n") > 4
    assert refused
    assert all("\n" not in line for line in refused)


def test_the_exclusive_times_of_a_trace_with_streams_are_exact(corpus):
    path = corpus / "kineto" / f"{HTA}sampled_rank-0.json.gz"
    kernels = of_category(events(path), "kernel")
    wanted = defaultdict(lambda: [0, 0, Fraction(0)])
    shares = exact_shares([(event["start"], event["end"]) for event in kernels])
    for event, share in zip(kernels, shares, strict=True):
        sums = wanted[event["name"]]
        sums[:] = sums[0] + 1, sums[1] + event["end"] - event["start"], sums[2] + share
    made = document(path, "--by", "kernel")
    assert {row["name"]: (row["calls"], row["dur_ns"]) for row in made["rows"]} == {
        name: (calls, dur_ns) for name, (calls, dur_ns, _) in wanted.items()
    }
    assert all(abs(row["excl_ns"] - wanted[row["name"]][2]) < 1 for row in made["rows"])
    assert sum(row["excl_ns"] for row in made["rows"]) == made["totals"]["busy_ns"]
    assert all(row["share"] == row["excl_ns"] / made["totals"]["busy_ns"] for row in made["rows"])


@pytest.mark.parametrize("name", ["sampled_rank-1", "nccl_data"])
def test_iterations_own_what_was_launched_in_them(corpus, name):
    path = corpus / "kineto" / f"{HTA}{name}.json.gz"
    rows = events(path)
    steps = [
        event for event in rows if event["name"].startswith("ProfilerStep#") and event["cat"] != "gpu_user_annotation"
    ]
    calls = of_category(rows, "runtime", "cuda_runtime", "cuda_driver")
    launch_of = {}
    for call in sorted(calls, key=lambda event: event["start"], reverse=True):
        launch_of[call.get("args", {}).get("correlation")] = call["start"]
    wanted = {int(step["name"].partition("#")[2]): [0, 0, 0] for step in steps}
    for event in of_category(rows, "kernel", "memcpy", "memset", "gpu_memcpy", "gpu_memset"):
        at = launch_of.get(event["args"].get("correlation"))
        owner = [step for step in steps if at is not None and step["start"] <= at < step["end"]]
        if owner:
            sums = wanted[int(owner[0]["name"].partition("#")[2])]
            is_kernel = event["cat"].lower() == "kernel"
            sums[:] = (
                sums[0] + is_kernel,
                sums[1] + is_kernel * (event["end"] - event["start"]),
                max(sums[2], event["end"]),
            )
    before, step_ns = min(step["start"] for step in steps), []
    for number in sorted(wanted):
        step_ns.append(wanted[number][2] - before)
        before = wanted[number][2]
    found = [row for row in document(path, "--by", "iteration")["rows"] if row["iteration"] is not None]
    assert [row["iteration"] for row in found] == sorted(wanted)
    assert [[row["calls"], row["dur_ns"]] for row in found] == [wanted[number][:2] for number in sorted(wanted)]
    assert [row["step_ns"] for row in found] == step_ns


def test_bwd29_has_154_launches_and_all_their_nanoseconds(corpus):
    totals = document(corpus / "expected/ncu-csv/bwd29__self-join-MiSTIC__profile.ncu-rep.raw.base.csv")["totals"]
    assert (totals["launches"], totals["kernel_dur_ns"]) == (154, 10_418_906_688)
    assert totals["window_ns"] is None


@pytest.mark.parametrize("form", ["table", "csv", "json", "parquet"])
def test_a_page_that_lost_precision_is_warned_of_in_every_format(corpus, form, tmp_path):
    path = corpus / "expected/ncu-csv/bwd29__self-join-MiSTIC__profile.ncu-rep.raw.csv"
    code, _, err = ds2prof(path, "--format", form, "-o", tmp_path / "out")
    warned = (tmp_path / "out").read_text() if form == "json" else err
    assert code == 0
    assert "durations are rounded" in warned


def raw_page(path):
    """(units, rows) of ``ncu --page raw --csv``, a dict each."""
    with path.open(encoding="utf-8", newline="") as lines:
        units, *rows = csv.DictReader(lines)
    return units, rows


def numbers(rows, metric):
    texts = [row.get(metric, "").replace(",", "") for row in rows]
    return [Decimal(text) if re.fullmatch(r"[0-9.]+", text) else None for text in texts]


def test_core_utilization_is_the_cycle_weighted_mean_of_the_raw_page(corpus):
    paths = sorted((corpus / "expected" / "ncu-csv").glob("*.raw.base.csv"))
    assert len(paths) == 5
    for path in paths:
        units, rows = raw_page(path)
        cycles = numbers(rows, "gpc__cycles_elapsed.max")
        active, elapsed = numbers(rows, "sm__cycles_active.avg"), numbers(rows, "sm__cycles_elapsed.avg")
        found = document(path, "--by", "core")["rows"]
        assert {"fma", "tensor", "xu", "fp64"} <= {row["pipe"] for row in found}
        for row in found:
            assert units[row["metric"]] == "%"
            shares = numbers(rows, row["metric"])
            if row["metric"].endswith("_active"):
                whole = [a if b is None else b for a, b in zip(cycles, elapsed, strict=True)]
                triples = zip(shares, active, whole, strict=True)
                shares = [None if None in three else three[0] * three[1] / three[2] for three in triples]
            both = [(c, s) for c, s in zip(cycles, shares, strict=True) if c is not None and s is not None]
            weight = sum(c for c, _ in both)
            mean = sum(c * s for c, s in both) / weight / 100
            assert row["utilization"] == pytest.approx(float(mean), rel=1e-12, abs=1e-15), (path.name, row["pipe"])
            coverage = weight / sum(c for c in cycles if c is not None)
            assert row["coverage"] == pytest.approx(float(coverage), rel=1e-12)
            assert row["launches"] == len(both)


def test_operators_of_a_cpu_trace_sum_to_the_time_that_any_ran(corpus):
    path = corpus / "kineto" / f"{HTA}cpu_only_rank-34.full.pt.trace.json.gz"
    operators = of_category(events(path), "cpu_op", "operator")
    dur_ns = defaultdict(int)
    for event in operators:
        dur_ns[event["name"]] += event["end"] - event["start"]
    made = document(path, "--by", "kernel")
    assert made["source"]["domain"] == "cpu"
    assert {row["name"]: row["dur_ns"] for row in made["rows"]} == dict(dur_ns)
    assert sum(row["excl_ns"] for row in made["rows"]) == union([(e["start"], e["end"]) for e in operators])
    assert {made["totals"][name] for name in ("launches", "busy_ns", "window_ns", "gpu_compute_utilization")} == {None}
