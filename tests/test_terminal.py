"""Tables on a terminal: widths, colour, totals that add up, names that stay apart, and pictures that are kept."""

from __future__ import annotations

import os
import pty
import subprocess
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner
from hypothesis import given
from hypothesis import strategies as st

from ds2prof.analysis import questions
from ds2prof.analysis.answers import Answer
from ds2prof.cli import cli
from ds2prof.cli.options import wants_colour
from ds2prof.report.paint import Paint, unpainted
from ds2prof.report.screen import footers, screen
from ds2prof.report.text import all_shortened, display_width
from tests import terminal_pictures
from tests.known import cases
from tests.known.formats import written
from tests.profiles import profile

ROOT = Path(__file__).resolve().parent.parent


def ran(*words, columns=80, **environment):
    cleared = {"NO_COLOR": "", "FORCE_COLOR": "", "CLICOLOR_FORCE": ""}
    return CliRunner().invoke(cli, list(map(str, words)), env={"COLUMNS": str(columns), **cleared, **environment})


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("terminal")


def placed(case, form, path):
    """The file of a case in a format, at a path."""
    path.parent.mkdir(exist_ok=True)
    return written(cases.run_of(case, (form,)), form, path.parent).rename(path)


@pytest.fixture(scope="module")
def many_names(folder):
    return placed(cases.many_names, "kineto", folder / "measurements" / "torch_bs4.json")


@pytest.fixture(scope="module")
def phased(folder):
    return placed(cases.host_bound, "kineto", folder / "measurements" / "torch_bs8.json")


@pytest.fixture(scope="module")
def counted(folder):
    return placed(cases.counters, "ncu_raw", folder / "measurements" / "nsight_bs4.csv")


def body(done):
    """What was printed, the file's own line left out."""
    assert done.exit_code == 0, done.stderr
    return done.stdout.split("\n", 1)[1]


# --- widths and totals -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("columns", [60, 80, 120, 200])
@pytest.mark.parametrize(
    "by", ["name", "kernel", "class", "launch", "phase", "iteration", "stream", "device", "ledger"]
)
def test_no_line_is_longer_than_the_terminal(many_names, phased, by, columns):
    path = phased if by == "phase" else many_names
    lines = body(ran("parse", path, "--by", by, columns=columns)).splitlines()
    assert max(map(display_width, lines)) <= columns


def test_the_total_is_that_of_the_file_and_what_is_not_shown_is_in_it(many_names):
    lines = body(ran("parse", many_names, "--by", "name", "--top", "2")).splitlines()
    (more,), (total,) = ([line for line in lines if line.startswith(start)] for start in ("... ", "total"))
    shares = [float(line.split()[-2]) for line in lines if line.endswith(" %")]
    assert total.split()[-2:] == ["100.00", "%"]
    assert sum(shares) - 100 == pytest.approx(100, abs=0.02)  # the rows shown and the rest, each rounded
    assert float(more.split()[-2]) == shares[-2]
    assert lines[-1].startswith("--top ")


def test_a_total_that_would_repeat_the_only_row_is_left_out():
    of = profile(kernels=(("name", "device", "start_ns", "dur_ns"), [("a", 0, 1, 5), ("a", 0, 9, 5)]))
    (answer,) = questions.answers(of, "name")
    assert footers(answer, 20) == []


def test_rows_that_overlap_have_no_total():
    assert footers(Answer("api", {"name": ["a", "b"], "dur_ns": [1, 2]}), 20) == []


def test_what_is_unknown_in_a_row_has_no_sum():
    (total,) = footers(
        Answer("name", {"name": ["a", "b"], "calls": [1, 2], "dur_ns": [1, 2], "share": [None, 0.5]}), 20
    )
    assert total == {"name": "total", "calls": 3, "dur_ns": 3}


durations = st.lists(st.integers(1, 10**10), min_size=2, max_size=40)


@given(durations, st.integers(1, 20))
def test_totals_add_up(lengths, top):
    rows = [(f"k{place % 7}", 0, place * 5 * 10**9, length) for place, length in enumerate(lengths)]
    of = profile(kernels=(("name", "device", "start_ns", "dur_ns"), rows))
    totals = questions.totals_of(of)
    for by in ("name", "launch"):
        (answer,) = questions.answers(of, by)
        ends = footers(answer, top)
        if len(answer) < 2:
            continue
        assert ends[-1]["dur_ns"] == totals["kernel_dur_ns"] == sum(lengths)
        assert ends[-1]["excl_ns"] == totals["busy_ns"]
        assert ends[-1]["share"] == pytest.approx(1)
        shown = sum(answer.columns["dur_ns"][:top])
        assert shown + sum(end["dur_ns"] for end in ends[:-1]) == ends[-1]["dur_ns"]


def test_numbers_and_their_total_stand_beneath_each_other(many_names):
    lines = body(ran("parse", many_names, "--by", "class")).splitlines()
    table = [line for line in lines if line.endswith("%") and "utilization" not in line]
    assert len({len(line) for line in table}) == 1


# --- names -----------------------------------------------------------------------------------------------------------


def test_a_template_keeps_what_it_is_an_instance_for():
    (short,) = all_shortened(["vectorized_elementwise_kernel<CUDAFunctor_add<BFloat16>>"], 34)
    assert short.startswith("vectorized")
    assert short.endswith("CUDAFunctor_add<BFloat16>>"[-18:])


def test_names_that_would_be_cut_to_the_same_stay_apart():
    names = [f"cudnn_infer_volta_scudnn_128x64_{kind}_small_nn_v1" for kind in ("relu", "stridedB", "sliced1x4")]
    made = all_shortened(names, 30)
    assert len(set(made)) == 3
    assert all(short.endswith("nn_v1") for short in made)


ENDS = st.text("abcdef_", min_size=30, max_size=60)


@given(ENDS, st.lists(st.text("xyz0123456789", min_size=1, max_size=6), min_size=2, max_size=5, unique=True), ENDS)
def test_names_that_differ_in_the_middle_are_told_apart(head, middles, tail):
    made = all_shortened([f"{head}{middle}{tail}" for middle in middles], 30)
    assert len(set(made)) == len(middles)


@given(st.lists(st.text(st.characters() | st.sampled_from("漢<>_"), max_size=80), max_size=6), st.integers(6, 60))
def test_shortened_names_fit(names, width):
    assert all(display_width(short) <= width for short in all_shortened(names, width))


@given(
    st.lists(st.text(st.characters(), min_size=1, max_size=60), min_size=1, max_size=5), st.sampled_from([60, 80, 200])
)
def test_no_name_steers_the_terminal_or_breaks_the_table(names, width):
    rows = [(name, 0, 1000 * place, 500) for place, name in enumerate(names)]
    of = profile(kernels=(("name", "device", "start_ns", "dur_ns"), rows))
    (answer,) = questions.answers(of, "kernel")
    made = screen(of.meta, [answer], totals=questions.totals_of(of), top=20, width=width, devices=names)
    assert all(character.isprintable() or character in "\n " or character >= "\xa0" for character in made)
    assert "\x1b" not in made
    table = made.split("Kernels by full name\n", 1)[1]
    assert max(map(display_width, table.split("\n"))) <= width


# --- colour ----------------------------------------------------------------------------------------------------------


class Terminal:
    def isatty(self):
        return True


class Pipe:
    def isatty(self):
        return False


@pytest.mark.parametrize(
    ("choice", "stream", "environment", "wanted"),
    [
        ("auto", Terminal(), {}, True),
        ("auto", Pipe(), {}, False),
        ("auto", None, {"FORCE_COLOR": "1"}, True),
        ("auto", Terminal(), {"NO_COLOR": "1"}, False),
        ("auto", Terminal(), {"NO_COLOR": ""}, True),
        ("auto", Pipe(), {"FORCE_COLOR": "1"}, True),
        ("auto", Pipe(), {"CLICOLOR_FORCE": "1"}, True),
        ("auto", Terminal(), {"FORCE_COLOR": "0"}, False),
        ("auto", Terminal(), {"FORCE_COLOR": "1", "NO_COLOR": "1"}, False),
        ("auto", Terminal(), {"TERM": "dumb"}, False),
        ("always", Pipe(), {"NO_COLOR": "1"}, True),
        ("never", Terminal(), {"FORCE_COLOR": "1"}, False),
    ],
)
def test_colour_is_decided_as_other_programs_do(choice, stream, environment, wanted):
    assert wants_colour(choice, stream=stream, environment=environment) is wanted


@pytest.mark.parametrize("command", ["parse", "summary"])
def test_a_pipe_gets_no_colour_and_always_gives_the_same_text_in_colour(many_names, command):
    plain = ran(command, many_names)
    painted = ran(command, many_names, "--color", "always")
    assert "\x1b" not in plain.stdout
    assert "\x1b[1m" in painted.stdout
    assert unpainted(painted.stdout) == plain.stdout


def test_a_terminal_gets_colour(many_names):
    made, theirs = pty.openpty()
    kept = {name: value for name, value in os.environ.items() if name not in ("NO_COLOR", "FORCE_COLOR")}
    code = "from ds2prof.cli import main; main()"
    with subprocess.Popen(
        [sys.executable, "-c", code, "summary", str(many_names)],
        stdout=theirs,
        cwd=ROOT,
        env={**kept, "TERM": "xterm", "COLUMNS": "80"},
    ) as process:
        os.close(theirs)
        shown = b""
        while True:
            try:
                part = os.read(made, 65536)
            except OSError:  # Linux tells so that the other end was closed
                break
            if not part:
                break
            shown += part
    os.close(made)
    assert process.returncode == 0
    assert b"\x1b[1;36mBusy\x1b[0m" in shown


def test_json_and_csv_have_no_colour(many_names):
    for form in ("json", "csv"):
        assert "\x1b" not in ran("parse", many_names, "--format", form, "--color", "always").stdout


def test_a_painted_role_is_closed_again():
    assert Paint(is_on=True)("loss", "x") == "\x1b[33mx\x1b[0m"
    assert Paint(is_on=True)("loss", "") == ""
    assert Paint()("loss", "x") == "x"


GOLDEN_80 = """\
measurements/nsight_bs4.csv: Nsight Compute
  6 launches
  times are of replayed launches, not of the run: they say nothing about idle
      time

Kernels by name
name                                  calls      fma   tensor       xu  coverage
------------------------------------  -----  -------  -------  -------  --------
ampere_sgemm_128x64_tn                    2  13.28 %  68.45 %   0.31 %  100.00 %
vectorized_ele…el<AddFunctor<float>>      2   2.77 %   0.00 %   1.91 %  100.00 %
gates<float>                              2  75.41 %   1.15 %  15.49 %  100.00 %
hidden: class (widen the terminal, or --format csv)
"""
GOLDEN_200 = """\
measurements/nsight_bs4.csv: Nsight Compute
  6 launches
  times are of replayed launches, not of the run: they say nothing about idle time

Kernels by name
name                                              class        calls      fma   tensor       xu  coverage
------------------------------------------------  -----------  -----  -------  -------  -------  --------
ampere_sgemm_128x64_tn                            gemm             2  13.28 %  68.45 %   0.31 %  100.00 %
vectorized_elementwise_kernel<AddFunctor<float>>  elementwise      2   2.77 %   0.00 %   1.91 %  100.00 %
gates<float>                                      other            2  75.41 %   1.15 %  15.49 %  100.00 %
"""


@pytest.mark.parametrize(("columns", "wanted"), [(80, GOLDEN_80), (200, GOLDEN_200)])
def test_a_table_at_eighty_and_at_two_hundred_columns(folder, counted, columns, wanted, monkeypatch):
    monkeypatch.chdir(folder)
    assert ran("parse", counted.relative_to(folder), "--by", "name", columns=columns).stdout == wanted


# --- what it looks like ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("columns", [80, 200])
@pytest.mark.parametrize("name", ["summary", "parse-name", "parse-ledger", "summary-counters", "parse-core"])
def test_pictures_of_the_terminal_are_kept(folder, many_names, counted, name, columns, monkeypatch):
    monkeypatch.chdir(folder)
    command, _, by = name.partition("-")
    path = counted if by in ("counters", "core") else many_names
    asked = ["--by", by] if command == "parse" else []
    done = ran(command, path.relative_to(folder), *asked, "--color", "always", columns=columns)
    assert done.exit_code == 0
    shown = done.stdout.rstrip("\n")
    picture = terminal_pictures.kept(name, shown, columns=columns).read_text(encoding="utf-8")
    drawn = terminal_pictures.text_of(picture)
    assert drawn == [line.rstrip() for line in unpainted(shown).split("\n")]
