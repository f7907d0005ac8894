"""The first screen: busy share, losses with their cost, pipes, what to ask next; each figure recomputed by hand."""

from __future__ import annotations

import json
import shlex

import pytest
from click.testing import CliRunner
from hypothesis import given, settings
from hypothesis import strategies as st

from ds2prof.analysis import losses, questions, summary
from ds2prof.cli import cli
from ds2prof.parsers import read_all
from ds2prof.report.paint import Paint, unpainted
from ds2prof.report.summary_documents import escaped
from ds2prof.report.summary_several import overview
from ds2prof.report.summary_text import next_commands, spread, summary_text
from ds2prof.report.text import display_width
from ds2prof.tables import Meta
from tests.known import cases
from tests.known.formats import written
from tests.profiles import REPLAY, counters_profile, profile

HOSTILE = "void k<\x1b[31mred\x1b[0m\x07\r\n\u202eevil>(int) | `x` <script>"


def ran(*words, columns=80, **environment):
    return CliRunner().invoke(cli, ["summary", *map(str, words)], env={"COLUMNS": str(columns), **environment})


def timeline(**more):
    """A window of 1,000 ns: busy for 250, one copy of 100 alone, and 650 idle in the tail."""
    return profile(
        kernels=(("name", "device", "stream", "start_ns", "dur_ns"), [("a", 0, 7, 1000, 150), ("b", 0, 7, 1150, 100)]),
        copies=(("name", "kind", "device", "stream", "start_ns", "dur_ns"), [("[copy]", "HtoD", 0, 7, 1250, 100)]),
        ranges=(("name", "kind", "value", "thread", "start_ns", "dur_ns"), [("w", "window", "0", 1, 1000, 1000)]),
        **more,
    )


@pytest.fixture
def host_bound(tmp_path):
    return written(cases.run_of(cases.host_bound, ("kineto",)), "kineto", tmp_path)


# --- what it is made of ----------------------------------------------------------------------------------------------


def test_losses_of_a_timeline_are_those_of_the_window_the_dearest_first():
    found = summary.summary(timeline())
    assert found.kind == summary.TIMELINE
    assert [(loss.name, loss.cost_ns, loss.share) for loss in found.losses] == [
        ("tail", 650, 0.65),
        ("exposed_copy", 100, 0.1),
    ]
    assert found.totals["gpu_compute_utilization"] == 0.25


def test_the_ledger_of_a_summary_sums_to_the_window():
    found = summary.summary(timeline())
    assert sum(found.ledger.columns["dur_ns"]) == found.totals["window_ns"] == 1000


def test_a_unit_that_is_not_used_costs_the_rest_of_the_kernels_time():
    found = losses.of_counters(counters_profile([("a", 100.0, 0.25), ("b", 100.0, 0.75)]))
    assert [(loss.name, loss.cost_ns, loss.share) for loss in found] == [("a", 750, 0.375), ("b", 250, 0.125)]
    assert "busiest unit (fma) reaches 25.0 %" in found[0].words


def test_without_durations_cycles_weigh():
    rows = [("a", 100.0, 0.25), ("b", 300.0, 0.75)]
    of = counters_profile(rows)
    bare = profile(
        meta=REPLAY,
        kernels=(("name", "device"), [("a", 0), ("b", 0)]),
        counters=(
            ("launch", "metric", "unit", "value"),
            [
                row
                for launch, (_, cycles, fma) in enumerate(rows)
                for row in (
                    (launch, "gpc__cycles_elapsed.max", "cycle", cycles),
                    (launch, "sm__inst_executed_pipe_fma.avg.pct_of_peak_sustained_elapsed", "ratio", fma),
                )
            ],
        ),
    )
    assert len(losses.of_counters(of)) == 2
    found = losses.of_counters(bare)
    assert [(loss.name, loss.cost_ns, loss.share) for loss in found] == [("a", None, 0.1875), ("b", None, 0.1875)]
    assert {loss.of for loss in found} == {"cycles of kernels"}


def test_kernels_that_nothing_is_known_of_are_not_said_to_be_lost():
    (loss,) = losses.of_counters(counters_profile([("a", None, None)]))
    assert (loss.kind, loss.cost_ns, loss.share) == ("kernel", 1000, 1.0)


def test_counters_have_pipes_and_no_busy_share():
    found = summary.summary(counters_profile([("a", 100.0, 0.25)]))
    assert found.kind == summary.COUNTERS
    assert found.pipes.rows()[0]["utilization"] == 0.25
    assert found.totals["gpu_compute_utilization"] is None
    assert found.missing[0].startswith("busy share and idle time: launches were replayed")


def test_padding_is_what_is_computed_and_holds_no_speech():
    (loss,) = losses.of_log({"audio_s_per_s": 3.0, "padded_s_per_s": 4.0})
    assert loss.share == 0.25
    assert losses.of_log({"audio_s_per_s": 4.0, "padded_s_per_s": 4.0}) == []
    assert losses.of_log({}) == []


def test_readings_that_saw_no_work_are_one_less_their_mean():
    rows = [(0, "utilization.gpu", "ratio", value) for value in (0.2, 0.6)]
    meta = Meta(file="smi.csv", tool="nvidia-smi", format="smi_csv", times=None)
    of = profile(meta=meta, samples=(("device", "metric", "unit", "value"), rows))
    (loss,) = summary.summary(of).losses
    assert loss.share == pytest.approx(0.6)


def test_an_empty_file_says_what_is_missing_and_asks_nothing():
    found = summary.summary(profile())
    assert found.kind == summary.CALLS
    assert found.asks == ()
    assert any(each.startswith("kernels: no launches") for each in found.missing)


# --- how it reads ----------------------------------------------------------------------------------------------------

GOLDEN_80 = """\
made.json: test
  2 launches, 250 ns of kernels, 250 ns busy; 1 copy or set, 100 ns

Busy       GPU compute utilization 25.00 % of the window (1.000 us, capture
           range)
           [###############++++++.......................................]
           # compute 25.00 %, + exposed copies 10.00 %, . idle 65.00 %

Largest losses  (shares of the window)
  1. 650 ns  65.0 %  tail: after the device's last operation
                       look at: The window stays open after the last work:
                         capture whole steps.
  2. 100 ns  10.0 %  exposed copy: copies that nothing hides
                       100 ns of [copy]

Busy with  other 100.0 %
           longest: a, 1 call, 150 ns, 60.0 %

Look next
  all causes of idle time, to the nanosecond
    ds2prof parse made.json --by ledger
  every kernel and its time
    ds2prof parse made.json --by name
  not in this file: hardware counters of a few iterations
    ds2prof run nsight -- python my_training.py
  all of it on one page, for a browser
    ds2prof report made.json -o report.html

missing: pipes: neither counters nor samples of any in this file"""


def text_of(of, *, width=80, path=None, paint=None, warnings=()):
    found = summary.summary(of)
    more = {} if paint is None else {"paint": paint}
    return summary_text(of.meta, found, path=path or of.meta.file, width=width, warnings=warnings, **more)


def test_the_first_screen_at_eighty_columns():
    assert text_of(timeline()) == GOLDEN_80


def test_the_first_screen_at_two_hundred_columns_says_the_same():
    assert " ".join(text_of(timeline(), width=200).split()) == " ".join(GOLDEN_80.split())


def test_it_fits_a_screen():
    assert len(text_of(timeline()).splitlines()) <= 40


def test_colour_changes_nothing_but_colour():
    painted = text_of(timeline(), paint=Paint(is_on=True))
    assert "\x1b[" in painted
    assert unpainted(painted) == GOLDEN_80


@given(st.lists(st.integers(0, 10**12), min_size=1, max_size=6).filter(sum), st.integers(10, 80))
def test_a_bar_is_as_long_as_it_has_to_be_and_shows_what_is_there(parts, cells):
    counts = spread(parts, cells)
    assert sum(counts) == cells
    assert all(count >= 1 for part, count in zip(parts, counts, strict=True) if part)
    assert all(count == 0 for part, count in zip(parts, counts, strict=True) if not part)


names = st.text(st.characters() | st.sampled_from("漢字<>:_,\x1b\r\n\u202e"), min_size=1, max_size=90)


@settings(max_examples=40)
@given(st.lists(names, min_size=1, max_size=4), st.sampled_from([60, 80, 200]))
def test_no_name_breaks_the_lines_or_steers_the_terminal(kernels, width):
    rows = [(name, 0, 7, 1000 + 200 * place, 150) for place, name in enumerate(kernels)]
    of = profile(
        kernels=(("name", "device", "stream", "start_ns", "dur_ns"), rows),
        ranges=(("name", "kind", "value", "thread", "start_ns", "dur_ns"), [("w", "window", "0", 1, 0, 5000)]),
        warnings=[f"made.json: {kernels[0]}"],
    )
    made = text_of(of, width=width, warnings=of.warnings)
    assert not set(made) & {"\x1b", "\r", "\u202e", "\x07"}
    assert max(map(display_width, made.split("\n"))) <= width


def test_a_hostile_file_cannot_steer_terminal_or_markdown():
    of = profile(
        meta=Meta(file=HOSTILE, tool=HOSTILE, format="x"),
        kernels=(("name", "device", "stream", "start_ns", "dur_ns"), [(HOSTILE, 0, 7, 1000, 150)]),
    )
    made = text_of(of, path=HOSTILE, warnings=[HOSTILE])
    assert not set(made) & {"\x1b", "\r", "\u202e", "\x07"}
    assert "<script>" not in escaped(HOSTILE)
    assert "\n" not in escaped(HOSTILE)


def test_a_path_with_blanks_is_quoted_in_the_commands():
    commands = [command for _, command in next_commands(summary.summary(timeline()), "my runs/a b.json")]
    assert shlex.split(commands[0])[:3] == ["ds2prof", "parse", "my runs/a b.json"]


def test_what_follows_from_standard_input_names_a_file():
    assert next_commands(summary.summary(timeline()), "-")[0][1] == "ds2prof parse FILE --by ledger"


def test_what_is_lacking_is_captured_from_our_own_training_only_where_the_run_was_ours():
    found = summary.summary(timeline())
    ours = Meta(file="made.json", tool="t", format="x", run={"preset": "tbd"})
    assert next_commands(found, "made.json", meta=ours)[-1][1] == "bash run_profile.sh nsight"
    others = Meta(file="made.json", tool="t", format="x", run={"batch_size": 4, "preset": None})
    for meta in (others, Meta(file="made.json", tool="t", format="x"), None):
        assert next_commands(found, "made.json", meta=meta)[-1][1] == "ds2prof run nsight -- python my_training.py"


@pytest.mark.parametrize(
    ("device", "asked"), [("NVIDIA H100", True), ("AMD Instinct MI300X", False), ("gfx942", False)]
)
def test_nobody_is_sent_to_a_tool_that_does_not_know_the_device(device, asked):
    of = profile(
        kernels=(("name", "device", "stream", "start_ns", "dur_ns"), [("k", 0, 7, 1000, 150)]),
        devices=(("device", "name"), [(0, device)]),
    )
    assert any("nsight" in command for _, command in next_commands(summary.summary(of), "made.json")) == asked


def test_the_dearest_loss_alone_says_what_to_look_at():
    made = " ".join(text_of(timeline()).split())
    assert "look at: The window stays open after the last work: capture whole steps." in made
    assert made.count("look at:") == 1


def test_losses_of_several_devices_say_that_their_times_are_sums():
    rows = [("k", device, 7, 1000, 150) for device in (0, 1)] + [("k", 0, 7, 2000, 150), ("k", 1, 7, 2000, 150)]
    of = profile(kernels=(("name", "device", "stream", "start_ns", "dur_ns"), rows))
    assert "(shares of the window; times are sums over 2 devices)" in text_of(of)
    assert "sums over" not in text_of(timeline())


def test_a_run_without_a_gpu_tells_its_step_as_the_table_by_phase_does():
    ranges = [(f"ProfilerStep#{step}", "iteration", str(step), 1, 1, 1000 * step, 900) for step in (1, 2, 3)]
    ops = (("name", "thread", "process", "start_ns", "dur_ns"), [("aten::mm", 1, 1, 1000 * s, 500) for s in (1, 2, 3)])
    of = profile(
        meta=Meta(file="made.json", tool="t", format="x", domain="cpu"),
        ranges=(("name", "kind", "value", "process", "thread", "start_ns", "dur_ns"), ranges),
        ops=ops,
    )
    found = summary.summary(of)
    assert found.kind == summary.HOST
    assert found.totals["step_ns"] == questions.totals_of(of, "phase")["step_ns"] is not None
    assert "  step " in text_of(of)


def test_warnings_stand_below_without_the_file_again():
    made = text_of(timeline(), warnings=["made.json: something was lost", "made.json:5: cut off"])
    assert made.endswith("warning: something was lost\nwarning: line 5: cut off")


def test_several_profiles_are_a_table_with_the_largest_loss_of_each():
    rows = [(Meta(file=f"runs/{name}.json", tool="t", format="x"), summary.summary(timeline())) for name in "ab"]
    lines = overview(rows, width=80).splitlines()
    assert lines[3].split() == ["a.json", "t", "25.00", "%", "1.000", "us", "tail", "650", "ns", "65.0", "%"]
    assert len({len(line) for line in lines[2:]}) == 1


# --- the command -----------------------------------------------------------------------------------------------------


def test_the_commands_to_type_next_are_answered_by_the_file(host_bound):
    (of,) = read_all(str(host_bound), tables=summary.TABLES)
    found = summary.summary(of)
    assert found.asks
    for ask in found.asks:
        words = ["parse", str(host_bound), "--by", ask.by, *(["--per", ask.per] if ask.per else [])]
        assert CliRunner().invoke(cli, words).exit_code == 0, ask


@pytest.mark.parametrize("form", [*cases.TIMELINES, *cases.KERNELS_ALONE, "ncu_raw", "ncu_details", "ncu_rep"])
def test_every_format_has_a_first_screen_whose_commands_are_answered(form, tmp_path):
    case = cases.counters if form.startswith("ncu") else cases.host_bound
    path = written(cases.run_of(case, (form,)), form, tmp_path)
    done = ran(path)
    assert done.exit_code == 0
    assert max(len(line) for line in done.stdout.splitlines() if str(path) not in line) <= 80
    for row in json.loads(ran(path, "--format", "json").stdout)["next"]:
        words = shlex.split(row["command"])
        assert words[:2] == ["ds2prof", "run"] or CliRunner().invoke(cli, words[1:]).exit_code == 0, row


def test_ranks_of_one_run_are_shown_together(tmp_path):
    paths = []
    for rank in (0, 1):
        (tmp_path / f"rank{rank}").mkdir()
        made = written(cases.run_of(cases.communication, ("kineto",)), "kineto", tmp_path / f"rank{rank}")
        document = json.loads(made.read_text(encoding="utf-8"))
        document["distributedInfo"] = {"backend": "nccl", "rank": rank, "world_size": 2}
        made.write_text(json.dumps(document), encoding="utf-8")
        paths.append(made)
    shown = ran(*paths).stdout
    assert shown.startswith("2 profiles, and the largest loss of each\n")
    assert "\nOne run\n  2 ranks in 2 files" in shown
    assert "--by straggler" in shown


def test_the_busy_share_is_that_of_parse(host_bound):
    of_summary = json.loads(ran(host_bound, "--format", "json").stdout)
    of_parse = json.loads(CliRunner().invoke(cli, ["parse", str(host_bound), "--format", "json"]).stdout)
    shared = set(of_parse["totals"])
    assert {name: of_summary["totals"][name] for name in shared} == of_parse["totals"]


def test_the_document_is_of_the_schema_and_its_rows_are_the_losses(host_bound):
    found = json.loads(ran(host_bound, "--format", "json").stdout)
    assert (found["schema"], found["by"], found["kind"]) == ("ds2prof/1", "summary", "timeline")
    assert [row["cost_ns"] for row in found["rows"]] == sorted((row["cost_ns"] for row in found["rows"]), reverse=True)
    assert sum(row["dur_ns"] for row in found["ledger"]) == found["totals"]["window_ns"]
    idle = [row["cost_ns"] for row in found["rows"] if row["kind"] == "idle"]
    told = [row["dur_ns"] for row in found["ledger"] if row["cause"] != "compute" and row["dur_ns"]]
    assert sorted(idle) == sorted(cost for cost in told if cost >= 0.001 * found["totals"]["window_ns"])


def test_markdown_has_a_table_of_losses(host_bound):
    made = ran(host_bound, "--format", "markdown").stdout
    assert made.startswith("### ")
    assert "| largest losses | cost | what |" in made


def test_a_bad_file_does_not_cost_the_others(host_bound, tmp_path):
    bad = tmp_path / "bad"
    bad.write_text("nothing that is known")
    done = ran(bad, host_bound)
    assert "Largest losses" in done.stdout
    assert done.exception.exit_code == 1


def test_a_file_gets_no_colour(host_bound, tmp_path):
    done = ran(host_bound, "-o", tmp_path / "out.txt", FORCE_COLOR="1")
    assert done.exit_code == 0
    assert "\x1b" not in (tmp_path / "out.txt").read_text()


@pytest.mark.parametrize("width", [80, 200])
def test_the_real_files_read_well(corpus, width, monkeypatch):
    """Each file of the corpus: lines fit, save those that hold its path; the commands named are answered."""
    monkeypatch.chdir(corpus)
    for path in ("nvvp/syed-ahmed__TensorFlow-Tutorial__out.nvvp", "ncu-rep/yzwang2000__cudaCode__profile.ncu-rep"):
        done = ran(path, columns=width)
        assert done.exit_code == 0
        assert all(len(line) <= width for line in done.stdout.splitlines() if path not in line)


def test_every_command_named_for_real_files_is_answered(corpus, monkeypatch):
    monkeypatch.chdir(corpus)
    for path in (
        "kineto/facebookresearch__HolisticTraceAnalysis__cuda_event_sync_trace.json.gz",
        "ncu-csv/AveryClapp__ESMM-Research__metrics.csv",
        "nvprof-txt/Mlightsnow__DD2360-llm.c__fp32_prof.txt",
        "smi-csv/RCKola__Rectified-Point-Flow__gpu_usage.csv",
        "nsys-sqlite/lighttransport__gemm__profile.sqlite",
    ):
        for row in json.loads(ran(path, "--format", "json").stdout)["next"]:
            words = shlex.split(row["command"])
            if words[:2] != ["ds2prof", "run"]:
                assert CliRunner().invoke(cli, words[1:]).exit_code == 0, row


def test_replay_is_told_from_a_timeline():
    assert summary.kind_of(profile(meta=REPLAY, kernels=(("name", "dur_ns"), [("a", 5)]))) == summary.COUNTERS


def test_a_table_of_profiles_tells_the_window_of_each_device():
    rows = [("k", device, 7, start, 150) for device in (0, 1) for start in (1000, 2000)]
    of = profile(kernels=(("name", "device", "stream", "start_ns", "dur_ns"), rows))
    made = overview([(of.meta, summary.summary(of)), (of.meta, summary.summary(timeline()))], width=150)
    assert "2 x 1.150 us" in made
    assert " 1.000 us" in made
