"""``ds2prof compare`` on files: what it prints, and the exit code that a pipeline obeys."""

from __future__ import annotations

import csv
import io
import json
import re
import shlex
import subprocess
import sys
from dataclasses import replace

import numpy as np
import pytest
import yaml
from click.testing import CliRunner

from ds2prof.analysis.compare.fields import FIELDS
from ds2prof.cli.compare import command
from ds2prof.errors import MissingDataError, ReadError, UsageError
from tests.compare_support import ADD, GEMM, OTHER_GEMM, Plan, correlated, write, write_log, write_runs
from tests.known.cases import CASES, run_of
from tests.known.formats import written

NOISY = Plan(noise=0.01, spread=0.005)
SLOWER = replace(NOISY, slowdowns={GEMM: 1.1})


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    """A folder of: three runs each of a base, of the same again, and of a new side 5 % slower; one run of each."""
    folder = tmp_path_factory.mktemp("compare")
    write_runs(folder / "base", NOISY, count=3)
    write_runs(folder / "same", NOISY, count=3, seed=200)
    write_runs(folder / "slow", SLOWER, count=3, seed=100)
    write(folder / "base.json", replace(NOISY, spread=0.0))
    write(folder / "same.json", replace(NOISY, spread=0.0, seed=9))
    write(folder / "slow.json", replace(SLOWER, spread=0.0, seed=3))
    return folder


def run(*arguments, code=0):
    done = CliRunner().invoke(command, [str(argument) for argument in arguments])
    if done.exception is not None and not isinstance(done.exception, SystemExit):
        raise done.exception
    assert done.exit_code == code, done.output
    return done


# Exit codes


def test_a_limit_broken_beyond_the_spread_between_runs_exits_3_and_says_which(files):
    done = run(files / "base", files / "slow", "--gate", "step_ns<=+2%", "--gate", "busy>=-1pt", code=3)
    assert "gate step_ns<=+2%: broken" in done.stderr
    assert "busy" not in done.stderr
    assert "Gates: step_ns<=+2%: broken; busy>=-1pt: not broken." in " ".join(done.stdout.split())


def test_limits_that_are_kept_exit_0_even_strictly(files):
    gates = ("--gate", "step_ns<=+2%", "--gate", "busy>=-1pt", "--strict")
    assert "not broken" in run(files / "base", files / "same", *gates).stdout


def test_a_change_beyond_the_limit_but_within_the_noise_exits_0(tmp_path):
    rng = np.random.default_rng(1)
    for side, mean in (("base", 100e6), ("new", 101e6)):
        for number in range(3):
            write_log(
                tmp_path / side / f"run_bs4_{number}.jsonl", mean * (1 + 0.02 * rng.standard_normal()) * np.ones(9)
            )
    run(tmp_path / "base", tmp_path / "new", "--gate", "step_ns<=+0.1%")


def test_one_run_a_side_breaks_a_limit_beyond_its_own_iterations_and_says_that_it_knows_no_more(files):
    done = run(files / "base.json", files / "slow.json", "--gate", "step_ns<=+1%", code=3)
    assert "beyond the noise of its own iterations; one run a side does not tell how runs vary" in done.stderr
    assert "One run a side does not tell how runs vary: give several of each." in " ".join(done.stdout.split())


def test_one_run_a_side_within_its_own_noise_cannot_be_known_which_strict_makes_3(files):
    sides = files / "base.json", files / "same.json", "--gate", "step_ns<=+1%"
    assert "cannot be known" in run(*sides).stdout
    assert "cannot be known (--strict): not beyond" in run(*sides, "--strict", code=3).stderr


def test_too_few_iterations_cannot_be_known(tmp_path):
    base = write(tmp_path / "a.json", Plan(iterations=3))
    new = write(tmp_path / "b.json", Plan(iterations=3, slowdowns={GEMM: 2.0}))
    done = run(base, new, "--gate", "step_ns<=+1%")
    assert "too few iterations in it to tell its noise" in " ".join(done.stdout.split())
    run(base, new, "--gate", "step_ns<=+1%", "--strict", code=3)


def test_a_number_that_the_files_lack_cannot_be_known(files):
    done = run(files / "base", files / "slow", "--gate", "samples_per_s>=-2%")
    assert "has no samples_per_s" in done.stdout
    run(files / "base", files / "slow", "--gate", "samples_per_s>=-2%", "--strict", code=3)


def test_absolute_limits_are_of_the_new_side_alone(files):
    run(files / "base", files / "slow", "--gate", "step_ns<=119us", code=3)
    run(files / "base", files / "slow", "--gate", "step_ns<=125us", "--gate", "busy>=0.8", "--strict")


def test_a_lower_limit_is_broken_from_below(tmp_path):
    for side, wall in (("base", 1e8), ("new", 1.1e8)):
        for number in range(3):
            write_log(tmp_path / side / f"run_bs4_{number}.jsonl", [wall * (1 + 0.001 * number)] * 9)
    run(tmp_path / "base", tmp_path / "new", "--gate", "samples_per_s>=-5%", code=3)
    run(tmp_path / "base", tmp_path / "new", "--gate", "samples_per_s>=-15%", "--strict")


@pytest.mark.parametrize(
    ("arguments", "why"),
    [
        (("--gate", "step<=2%"), "no such field"),
        (("third",), "BASE and NEW are two"),
        (("--base", "x"), "and no BASE NEW besides"),
    ],
)
def test_wrong_usage_is_one_line(files, arguments, why):
    with pytest.raises(UsageError, match=why) as error:
        run(files / "base", files / "same", *arguments)
    assert "\n" not in str(error.value)


def test_no_measurement_is_replaced_by_its_comparison(tmp_path):
    paths = [write_log(tmp_path / f"{name}.jsonl", [1e8] * 9) for name in "ab"]
    text = paths[0].read_text()
    with pytest.raises(UsageError, match="is one of the files to read"):
        run(*paths, "-o", paths[0])
    assert paths[0].read_text() == text


def test_a_dash_is_standard_output(files, monkeypatch):
    monkeypatch.chdir(files)
    sides = files / "base.json", files / "same.json"
    assert run(*sides, "-o", "-").stdout == run(*sides).stdout
    assert not (files / "-").exists()


def test_without_sides_the_usage_is_wrong():
    with pytest.raises(UsageError, match="name a file, a folder or a pattern"):
        run()


@pytest.mark.parametrize(
    ("pipe", "gate", "code"),
    [
        ("| head -1", "+2%", 3),
        pytest.param("", "+2%", 3, marks=pytest.mark.long),
        pytest.param("", "+20%", 0, marks=pytest.mark.long),
    ],
)
def test_the_process_itself_exits_with_that_code(files, root, pipe, gate, code):
    words = [sys.executable, "-m", "ds2prof", "compare", str(files / "base"), str(files / "slow")]
    script = f"set -o pipefail; {shlex.join([*words, '--gate', f'step_ns<={gate}'])} {pipe} > {files}/out"
    done = subprocess.run(["bash", "-c", script], cwd=root, capture_output=True, text=True, check=False)
    assert done.returncode == code, done.stderr
    assert "Traceback" not in done.stderr


def test_a_gate_that_cannot_be_read_ends_before_any_file_is_opened(root):
    words = [sys.executable, "-m", "ds2prof", "compare", "no", "such", "--gate", "fast"]
    done = subprocess.run(words, cwd=root, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.count("\n") == 1


# End to end: the promises, a handful of trials through files


@pytest.mark.parametrize("seed", range(2))
def test_equal_sides_with_correlated_noise_raise_no_alarm_through_files(tmp_path, seed):
    write_sides(tmp_path, seed=seed, slowdown=0.0)
    run(tmp_path / "base", tmp_path / "new", "--gate", "step_ns<=+1%", "--strict")


@pytest.mark.parametrize("seed", range(2))
def test_a_slowdown_of_three_percent_is_caught_through_files(tmp_path, seed):
    write_sides(tmp_path, seed=seed, slowdown=0.03)
    run(tmp_path / "base", tmp_path / "new", "--gate", "step_ns<=+0%", code=3)


def write_sides(folder, *, seed, slowdown):
    rng = np.random.default_rng(seed)
    for side, factor in (("base", 1.0), ("new", 1.0 + slowdown)):
        for number in range(5):
            noise = 1 + 0.005 * rng.standard_normal() + correlated(rng, 20, 1, rho=0.6, spread=0.01)[:, 0]
            write_log(folder / side / f"run_bs4_{number}.jsonl", 1e8 * factor * noise)


def test_one_run_each_of_independent_iterations_catches_three_percent_through_files(tmp_path):
    rng = np.random.default_rng(2)
    base = write_log(tmp_path / "a.jsonl", 1e8 * (1 + 0.01 * rng.standard_normal(20)))
    slow = write_log(tmp_path / "b.jsonl", 1.03e8 * (1 + 0.01 * rng.standard_normal(20)))
    same = write_log(tmp_path / "c.jsonl", 1e8 * (1 + 0.01 * rng.standard_normal(20)))
    run(base, slow, "--gate", "step_ns<=+1%", code=3)
    run(base, same, "--gate", "step_ns<=+1%")


# What names the sides


def test_patterns_and_single_files_name_the_same_runs_as_a_folder(files):
    whole = json.loads(run(files / "base", files / "slow", "--format", "json").stdout)
    pattern = run(files / "base" / "torch_*.json", files / "slow" / "*.json", "--format", "json")
    assert json.loads(pattern.stdout)["numbers"] == whole["numbers"]
    single = [word for side in ("base", "slow") for path in sorted((files / side).glob("*.json"))
              for word in (f"--{'new' if side == 'slow' else side}", path)]  # fmt: skip
    assert json.loads(run(*single, "--format", "json").stdout)["rows"] == whole["rows"]


def test_a_pattern_without_any_match_is_an_error(files):
    with pytest.raises(ReadError, match="no measurement matches"):
        run(files / "nothing_*.json", files / "base")


def test_a_side_that_cannot_be_read_is_an_error_and_no_pass(files, tmp_path):
    (tmp_path / "broken.json").write_text("{")
    with pytest.raises(ReadError):
        run(files / "base.json", tmp_path / "broken.json", "--gate", "step_ns<=+1%")


def test_a_file_that_is_named_twice_is_one_run(files):
    spelled = files / "base" / ".." / "base.json"
    words = ("--base", files / "base.json", "--base", spelled, "--new", files / "slow.json", "--format", "json")
    assert len(json.loads(run(*words).stdout)["base"]) == 1


# Whether the sides may be compared


def test_what_the_sidecars_tell_of_other_circumstances_is_a_warning(tmp_path):
    for name, clock, torch in (("a", 1_980_000_000, "2.8.0"), ("b", 1_410_000_000, "2.9.0")):
        path = write(tmp_path / f"{name}.json", Plan())
        clocks = [{"ordinal": 0, "sm_clock_hz": clock}]
        told = {"schema": "ds2prof-meta/1", "batch_size": 4, "precision": "bf16" if name == "b" else "fp32"}
        told |= {"clocks": {"before": clocks, "after": clocks}, "versions": {"torch": torch}}
        told |= {"window": {"start": 0, "stop": 12 if name == "a" else 10}}
        path.with_name(f"{path.name}.meta.json").write_text(json.dumps(told))
    told = run(tmp_path / "a.json", tmp_path / "b.json").stderr
    for words in (
        "SM clock at the start and end: 1,980 MHz | 1,410 MHz",
        "PyTorch: 2.8.0 | 2.9.0",
        "precision: fp32 | bf16",
        "window: 0 to 12 | 0 to 10",
    ):
        assert words in told
    assert "batch size" not in told


def test_a_profiler_that_took_much_of_each_step_is_a_warning(tmp_path):
    case, forms = next((case, forms) for case, forms in CASES if case.__name__ == "loading")
    path = written(run_of(case, forms), "kineto", tmp_path)
    assert "the profiler's own overhead" in run(path, path).stderr


def test_equal_circumstances_are_no_warning(files):
    assert run(files / "base", files / "same").stderr == ""


# Forms


@pytest.mark.parametrize(
    "by", ["ledger", "name", *(pytest.param(by, marks=pytest.mark.long) for by in ("phase", "kernel"))]
)
def test_the_document_holds_rows_that_sum_to_its_totals(files, by):
    found = json.loads(run(files / "base", files / "slow", "--by", by, "--format", "json").stdout)
    assert (found["schema"], found["by"]) == ("ds2prof/1", by)
    assert sum(row["change_ns"] for row in found["rows"]) == pytest.approx(found["totals"]["change_ns"])
    assert [len(found[side]) for side in ("base", "new")] == [3, 3]
    assert found["source"]["file"].endswith("slow/torch_bs4_run0.json")
    assert found["base_source"]["file"].endswith("base/torch_bs4_run0.json")


def test_the_document_tells_gates_and_numbers_in_base_units(files):
    found = json.loads(run(files / "base", files / "slow", "--gate", "step_ns<=+2%", "--format", "json", code=3).stdout)
    gate = found["gates"][0]
    assert (gate["field"], gate["limit"], gate["kind"], gate["status"]) == ("step_ns", 0.02, "relative", "broken")
    assert gate["low"] < gate["change"] < gate["high"]
    assert gate["p_value"] < 0.05
    assert found["verdict"].startswith("The step rose by ")
    assert {one["field"] for one in found["numbers"]} >= {"step_ns", "gpu_compute_utilization"}


def test_a_document_of_run_logs_has_no_rows(tmp_path):
    base, new = write_log(tmp_path / "a.jsonl", [1e8] * 9), write_log(tmp_path / "b.jsonl", [1e8] * 9)
    found = json.loads(run(base, new, "--format", "json").stdout)
    assert (found["by"], found["rows"]) == (None, [])
    assert "same on both sides" in found["verdict"]
    with pytest.raises(MissingDataError, match="use --format json"):
        run(base, new, "--format", "csv")


def test_csv_has_a_row_each(files):
    rows = list(csv.DictReader(io.StringIO(run(files / "base", files / "slow", "--format", "csv").stdout)))
    assert rows[0]["name"] == GEMM
    assert float(rows[0]["change_ns"]) > 5_000


@pytest.mark.parametrize("width", [60, 80, pytest.param(120, marks=pytest.mark.long), 200])
def test_a_terminal_of_any_width_has_whole_lines(files, width, monkeypatch):
    monkeypatch.setenv("COLUMNS", str(width))
    done = run(files / "base", files / "slow", "--gate", "step_ns<=+2%", code=3)
    paths = [line for line in done.stdout.split("\n") if str(files) not in line]
    assert max(map(len, paths)) <= width
    assert ("hidden: 95 % bounds" in " ".join(done.stdout.split())) == (width < 120)


def test_only_the_first_rows_are_shown_and_the_rest_is_one(files):
    shown = run(files / "base", files / "slow", "--by", "name", "--top", "1").stdout
    assert "(3 more)" in shown
    assert ADD[:12] not in shown.partition("exclusive time")[2]


def test_markdown_holds_verdict_gates_and_tables(files, tmp_path):
    path = tmp_path / "comparison.md"
    run(files / "base", files / "slow", "--gate", "step_ns<=+2%", "--format", "markdown", "-o", path, code=3)
    text = path.read_text()
    assert text.startswith("### ds2prof compare: a limit is broken\n")
    assert "| `step_ns<=+2%` | BROKEN |" in text
    assert text.count("<details>") == text.count("</details>") == 3
    for block in re.findall(r"(?:^\|.*\|\n)+", text, re.MULTILINE):
        assert len({line.count(" | ") for line in block.strip().split("\n")}) == 1


HOSTILE = "k<img src=x onerror=alert(1)>|`*_[a](http://b)_*`@team #1 :tada: \x1b[31m\u202eevil"


@pytest.mark.parametrize("form", ["markdown", "table", "csv", "json"])
def test_a_hostile_name_neither_breaks_out_nor_steers_the_terminal(tmp_path, form):
    kernels = ((HOSTILE, 60_000, "forward", 64, "aten::mm"), *Plan.kernels[1:])
    base, new = write(tmp_path / "a.json", Plan()), write(tmp_path / "b.json", Plan(kernels=kernels))
    text = run(base, new, "--by", "kernel", "--format", form).stdout
    if form != "csv":  # CSV keeps names as they are where it is no terminal
        assert "\x1b" not in text
        assert "\u202e" not in text
    if form == "markdown":
        outside = re.sub(r"(`+)[^\n]*?\1", "", text)
        assert "<img" not in outside
        assert "@team" not in outside
        rows = [line for line in text.split("\n") if line.startswith("| `")]
        assert all(len(re.findall(r"(?<!\\)\|", line)) == 8 for line in rows if "onerror" in line)


def test_a_renamed_kernel_is_named_below_its_table(tmp_path):
    kernels = ((OTHER_GEMM, 66_000, "forward", 64, "aten::mm"), *Plan.kernels[1:])
    base, new = write(tmp_path / "a.json", Plan()), write(tmp_path / "b.json", Plan(kernels=kernels))
    text = " ".join(run(base, new, "--by", "name").stdout.split())
    assert re.search(rf"{OTHER_GEMM} was {GEMM} \(\d+ % sure\)", text)


# The examples


def test_the_python_of_the_page_runs_as_it_stands(root, tmp_path, monkeypatch, capsys):
    text = (root / "docs" / "COMPARE.md").read_text(encoding="utf-8")
    (code,) = re.findall(r"```python\n(.*?)```", text, re.DOTALL)
    write_runs(tmp_path / "baseline", NOISY, count=2)
    write_runs(tmp_path / "candidate", SLOWER, count=2, seed=9)
    monkeypatch.chdir(tmp_path)
    exec(compile(code, "COMPARE.md", "exec"), {})
    told = capsys.readouterr().out
    assert told.startswith("The step rose by")
    assert "'class': 'gemm'" in told


def test_every_field_of_a_gate_is_on_the_page(root):
    text = (root / "docs" / "COMPARE.md").read_text(encoding="utf-8")
    assert [name for name in FIELDS if name not in text] == []


# The example for a pipeline


def workflow(root):
    return yaml.safe_load((root / "docs" / "ci" / "compare.yml").read_text())


def test_the_example_workflow_is_one_that_actions_would_take(root):
    found = workflow(root)
    assert set(found[True]) == {"pull_request"}  # YAML reads "on" as true
    steps = found["jobs"]["compare"]["steps"]
    assert all(("run" in step) != ("uses" in step) for step in steps)
    assert all(re.fullmatch(r"[\w-]+/[\w-]+@v\d+", step["uses"]) for step in steps if "uses" in step)
    for step in steps:
        if "run" in step:
            subprocess.run(["bash", "-n", "-c", step["run"]], check=True)


def test_no_untrusted_text_is_pasted_into_a_script_of_the_workflow(root):
    scripts = [step["run"] for step in workflow(root)["jobs"]["compare"]["steps"] if "run" in step]
    assert all("${{" not in script for script in scripts)


@pytest.mark.parametrize(("slowdown", "code"), [(0.0, 0), (0.05, 3)])
def test_the_workflows_comparison_passes_equal_sides_and_fails_slower_ones(root, tmp_path, monkeypatch, slowdown, code):
    steps = {step.get("name"): step for step in workflow(root)["jobs"]["compare"]["steps"]}
    words = shlex.split(steps["Compare"]["run"].replace("\\\n", " "))
    assert words[:2] == [".venv/bin/ds2prof", "compare"]
    write_sides(tmp_path, seed=11, slowdown=slowdown)
    monkeypatch.chdir(tmp_path)
    run(*words[2:], code=code)
    assert (tmp_path / "comparison.md").read_text().startswith("### ds2prof compare")
