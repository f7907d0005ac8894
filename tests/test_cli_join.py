"""``ds2prof join`` on files as PyTorch and Nsight Compute write them."""

from __future__ import annotations

import csv
import io
import json

import numpy as np
import pytest
from click.testing import CliRunner

from ds2prof.cli.join import BY, command
from ds2prof.errors import MissingDataError, ReadError, UsageError
from tests.join_support import kineto_text, ncu_text, replayed, truth

WHOLE = truth(3, launches=60, streams=2, iterations=3)


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    """(timeline, counters of all of it, counters of its iteration 1, of which some are missing)"""
    folder = tmp_path_factory.mktemp("join")
    one = WHOLE.take(np.flatnonzero(WHOLE.iteration == 1))
    texts = {
        "torch.json": kineto_text(WHOLE),
        "all.csv": ncu_text(replayed(WHOLE, mixed=True)),
        "one.csv": ncu_text(replayed(one, drop=0.05)),
    }
    for name, text in texts.items():
        (folder / name).write_text(text)
    return folder


def run(*arguments, code=0):
    done = CliRunner().invoke(command, [str(argument) for argument in arguments])
    if done.exception is not None and not isinstance(done.exception, SystemExit):
        raise done.exception
    assert done.exit_code == code, done.output
    return done.stdout


def test_utilization_of_real_files_is_that_of_the_truth_to_a_hundredth_of_a_point(files):
    found = json.loads(run(files / "torch.json", files / "all.csv", "--sm-clock-mhz", 1410, "--format", "json"))
    assert found["schema"] == "ds2prof/1"
    assert found["by"] == "core"
    window_ns = WHOLE.step_ns(2)[1] - WHOLE.step_ns(0)[0]
    for row in found["rows"]:
        work = WHOLE.work[row["pipe"]].sum()
        assert row["utilization"] == pytest.approx(WHOLE.utilization(row["pipe"]), abs=0.0001)
        assert row["effective_utilization"] == pytest.approx(work / (1.41 * window_ns), abs=0.0001)
        assert row["coverage"] == 1.0


def test_both_files_are_sources_and_what_did_not_match_is_in_the_document(files):
    found = json.loads(run(files / "torch.json", files / "one.csv", "--sm-clock-mhz", 1410, "--format", "json"))
    assert found["source"]["tool"] == "PyTorch profiler"
    assert found["counters_source"]["tool"] == "Nsight Compute"
    assert found["unmatched"]
    assert {row["stretch"] for row in found["rows"]} == {"captured", "window"}
    assert found["totals"]["matched_launches"] == found["totals"]["counters_used"]


def test_a_captured_iteration_is_told_by_its_range(files):
    found = json.loads(
        run(files / "torch.json", files / "one.csv", "--sm-clock-mhz", 1410, "--format", "json", "--by", "iteration")
    )
    assert [row["matched"] > 0 for row in found["rows"]] == [False, True, False]
    assert all(row["coverage"] > 0.8 for row in found["rows"])


@pytest.mark.parametrize("by", [key for key in BY if key not in ("phase", "layer")])
@pytest.mark.parametrize("form", ["table", "csv", "json"])
def test_every_table_comes_in_every_format(files, by, form):
    text = run(files / "torch.json", files / "one.csv", "--sm-clock-mhz", 1410, "--by", by, "--format", form)
    if form == "csv":
        assert len(list(csv.DictReader(io.StringIO(text)))) >= 3
    elif form == "json":
        assert json.loads(text)["by"] == by
    else:
        assert "What did not match, longest first" in text


def test_the_table_says_what_it_rests_on(files):
    text = " ".join(run(files / "torch.json", files / "one.csv").split())
    assert "assumed between base and boost, 765 to 1,410 MHz" in text
    assert "launches are matched without shared memory: not in both files" in text


def test_output_goes_to_a_file_where_that_is_asked_for(files, tmp_path):
    assert run(files / "torch.json", files / "all.csv", "--format", "csv", "-o", tmp_path / "out.csv") == ""
    assert (tmp_path / "out.csv").read_text().startswith("device,stretch,pipe,utilization,utilization_low,")


def test_a_samplers_file_that_cannot_be_laid_beside_the_timeline_is_refused(files, tmp_path):
    readings = "".join(f"2026/03/01 10:00:0{second}.000, 1305 MHz\n" for second in range(5))
    (tmp_path / "smi.csv").write_text("timestamp, clocks.current.sm [MHz]\n" + readings)
    with pytest.raises(
        MissingDataError, match=r"smi\.csv: the two clocks cannot be laid .*; give the clock with --sm-"
    ):
        run(files / "torch.json", files / "all.csv", "--clocks", tmp_path / "smi.csv")


def test_the_clock_is_told_once(files):
    with pytest.raises(UsageError, match="both tell the SM clock"):
        run(files / "torch.json", files / "all.csv", "--clocks", files / "one.csv", "--sm-clock-mhz", 1410)


def test_files_the_wrong_way_round_are_wrong_usage(files):
    with pytest.raises(UsageError, match="the timeline comes first, ds2prof join "):
        run(files / "one.csv", files / "torch.json")


def test_a_run_without_a_gpu_has_nothing_to_put_counters_on(files, golden):
    trace = next((golden / "torch_kineto" / "cpu_run").glob("input*"))
    with pytest.raises(MissingDataError, match=r"a CPU run, with no launches to put counters on"):
        run(trace, files / "one.csv")


def test_a_key_that_the_timeline_lacks_is_one_line(files):
    with pytest.raises(MissingDataError, match="no phase ranges in this file"):
        run(files / "torch.json", files / "one.csv", "--by", "phase")


def test_a_folder_of_several_files_is_no_timeline(files):
    with pytest.raises(ReadError, match="3 profiles in it; the join takes one on each side"):
        run(files, files / "one.csv")


def test_a_clock_below_one_megahertz_is_wrong_usage(files):
    run(files / "torch.json", files / "one.csv", "--sm-clock-mhz", "0", code=2)
