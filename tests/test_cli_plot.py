"""``ds2prof plot``: which files it writes, what it says of what it cannot draw, and how it ends."""

from __future__ import annotations

import pytest
from click.testing import CliRunner

from ds2prof.cli import plot
from ds2prof.cli.plot import command
from ds2prof.errors import ExistsError, MissingDataError, ReadError
from ds2prof.report.figures import FIGURES
from ds2prof.report.figures.saving import FORMS, file_name
from tests.known.cases import runs
from tests.known.formats import WRITERS


@pytest.fixture(scope="module")
def measurements(tmp_path_factory):
    """A timeline and two pages of counters of different batches."""
    folder = tmp_path_factory.mktemp("measurements")
    of = {run.name: run for run in runs()}
    WRITERS["kineto"](of["host_bound"], folder / "torch_bs4.json")
    for batch in (4, 8):
        WRITERS["ncu_raw"](of["counters"], folder / f"nsight_bs{batch}.csv")
    return folder


def run(*arguments):
    return CliRunner().invoke(command, [str(each) for each in arguments])


def written(folder):
    return sorted(path.name for path in folder.iterdir())


def test_the_choices_are_the_figures_that_there_are():
    assert tuple(FIGURES) == plot.NAMES
    assert plot.FORMS == FORMS


def test_the_help_names_every_figure():
    text = run("--help").stdout
    assert [name for name in FIGURES if name not in text] == []


def test_a_figure_is_named_after_itself_and_the_measurement_and_printed(measurements, tmp_path):
    done = run(measurements / "torch_bs4.json", "-o", tmp_path / "new", "--figure", "ledger", "--format", "svg")
    assert (done.exit_code, done.stdout) == (0, f"{tmp_path / 'new' / 'ledger_torch_bs4.svg'}\n")
    assert written(tmp_path / "new") == ["ledger_torch_bs4.svg"]


def test_without_a_choice_all_is_drawn_that_the_file_tells_and_one_line_names_the_rest(measurements, tmp_path):
    done = run(measurements / "nsight_bs4.csv", "-o", tmp_path)
    assert done.exit_code == 0
    assert written(tmp_path) == [
        f"{name}_nsight_bs4.png" for name in ("class-times", "core-utilization", "kernel-times", "kernel-utilization")
    ]
    lines = done.stderr.splitlines()
    assert len(lines) == 1
    assert "nsight_bs4.csv: not drawn: ledger, " in lines[0]


def test_a_figure_that_was_asked_for_says_why_it_is_not_there(measurements, tmp_path):
    done = run(measurements / "nsight_bs4.csv", "-o", tmp_path, "--figure", "ledger", "--figure", "core-utilization")
    assert done.exit_code == 0
    assert "ledger: " in done.stderr
    assert "launches were replayed" in done.stderr


def test_nothing_drawn_ends_with_1(measurements, tmp_path):
    done = run(measurements / "nsight_bs4.csv", "-o", tmp_path, "--figure", "timeline")
    assert isinstance(done.exception, MissingDataError)
    assert done.exception.exit_code == 1
    assert written(tmp_path) == []


def test_figures_over_batches_take_all_files_together(measurements, tmp_path):
    pages = sorted(measurements.glob("nsight_*.csv"))
    done = run(*pages, "-o", tmp_path, "--figure", "core-by-batch", "--dark", "--format", "pdf", "--format", "svg")
    assert done.exit_code == 0
    assert written(tmp_path) == ["core-by-batch.pdf", "core-by-batch.svg"]


def test_what_is_there_is_neither_replaced_nor_drawn_beside(measurements, tmp_path):
    (tmp_path / "class-times_torch_bs4.png").write_text("mine")
    asked = (measurements / "torch_bs4.json", "-o", tmp_path, "--figure", "kernel-times", "--figure", "class-times")
    refused = run(*asked)
    assert isinstance(refused.exception, ExistsError)
    assert "--force" in str(refused.exception)
    assert written(tmp_path) == ["class-times_torch_bs4.png"]
    assert run(*asked, "--force").exit_code == 0
    assert (tmp_path / "class-times_torch_bs4.png").read_bytes()[:4] == b"\x89PNG"


def test_two_measurements_of_one_name_get_two_files(measurements, tmp_path):
    again = tmp_path / "again"
    again.mkdir()
    (again / "torch_bs4.json").write_bytes((measurements / "torch_bs4.json").read_bytes())
    done = run(measurements / "torch_bs4.json", again / "torch_bs4.json", "-o", tmp_path / "o", "--figure", "ledger")
    assert done.exit_code == 0
    assert written(tmp_path / "o") == ["ledger_torch_bs4.png", "ledger_torch_bs4_2.png"]


def test_one_file_that_cannot_be_read_costs_no_other_and_counts(measurements, tmp_path):
    bad = tmp_path / "bad.json"
    bad.write_text("{")
    done = run(bad, measurements / "torch_bs4.json", "-o", tmp_path / "o", "--figure", "ledger")
    assert isinstance(done.exception, ReadError)
    assert written(tmp_path / "o") == ["ledger_torch_bs4.png"]


def test_the_names_of_files_hold_nothing_that_a_shell_or_a_folder_would_mind():
    assert file_name("ledger", "a/b/run 1;rm -rf *.tar:rank0.json.gz", "png") == "ledger_run_1_rm_-rf_.tar_rank0.png"
    assert file_name("ledger", "../..", "png") == "ledger_measurement.png"
    assert len(file_name("ledger", "x" * 500, "svg")) < 140
