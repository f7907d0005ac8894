from __future__ import annotations

import csv
import io
import json
import os
import shlex
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from ds2prof.capture.metric_plans import plan_for
from ds2prof.counters import core_metrics
from ds2prof.metrics.table import AVAILABILITY, CHIPS
from tests.launch_support import SMI, executable
from tests.metric_support import listing_tool

Run = Callable[..., "subprocess.CompletedProcess[str]"]


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """A folder that holds all programs that are found: none but what a test puts there."""
    folder = tmp_path / "bin"
    folder.mkdir()
    for name in ("bash", "env", "cat"):
        (folder / name).symlink_to(f"/bin/{name}" if Path(f"/bin/{name}").exists() else f"/usr/bin/{name}")
    return folder


@pytest.fixture
def run(path: Path, tmp_path: Path, root: Path) -> Run:
    """``ds2prof metrics`` where there is neither a GPU nor a CUPTI, unless the test puts one there."""

    def command(*arguments: str, **more: str) -> subprocess.CompletedProcess[str]:
        environ = {"PATH": str(path), "DS2PROF_CUPTI": str(tmp_path), "PYTHONPATH": str(root), **more}
        asked = [sys.executable, "-m", "ds2prof", "metrics", *arguments]
        return subprocess.run(asked, capture_output=True, text=True, check=False, env=environ, cwd=tmp_path)

    return command


# plan


def test_the_names_go_to_standard_output_and_the_prose_to_standard_error(run: Run) -> None:
    done = run("plan", "--chip", "GH100")
    assert done.returncode == 0
    assert done.stdout == ",".join(core_metrics("GH100")) + "\n"
    assert (
        "core for GH100: 12 metrics, 4 passes a launch by a table made with CUPTI 13.5 (ncu may add some)"
        in done.stderr
    )
    assert "a part of fma: never add the two" in done.stderr
    assert "tc: not on this chip: only GB100" in done.stderr


def test_the_names_can_be_put_on_the_command_line_of_ncu(run: Run, path: Path, tmp_path: Path) -> None:
    executable(path / "show", '#!/bin/bash\n[[ $1 == --metrics && $# == 2 ]] && echo "$2"\n')
    plan = f"{shlex.quote(sys.executable)} -m ds2prof metrics plan --chip GA100 --want memory"
    environ = {**os.environ, "PATH": str(path), "DS2PROF_CUPTI": str(tmp_path)}
    line = f'show --metrics "$({plan})"'
    done = subprocess.run(["bash", "-c", line], capture_output=True, text=True, check=True, env=environ)
    assert done.stdout.strip().split(",") == list(plan_for(["GA100"], ["memory"]).names)


def test_wants_may_be_repeated(run: Run) -> None:
    done = run("plan", "--chip", "GV100", "--want", "core", "--want", "occupancy", "--format", "lines")
    assert done.stdout.splitlines() == list(plan_for(["GV100"], ["core", "occupancy"]).names)


@pytest.mark.parametrize(("named", "chip"), [("gh100", "GH100"), ("H200", "GH100"), ("RTX 4090", "AD102")])
def test_a_chip_may_be_named_by_a_product(run: Run, named: str, chip: str) -> None:
    assert run("plan", "--chip", named).stdout.strip().split(",") == list(core_metrics(chip))


def test_a_compute_capability_gives_what_all_of_its_chips_have(run: Run) -> None:
    done = run("plan", "--cc", "8.6", "--want", "flop")
    assert done.stdout.strip().split(",") == list(
        plan_for(["GA102", "GA103", "GA104", "GA106", "GA107"], ["flop"]).names
    )
    assert "GA102 or GA103 or GA104 or GA106 or GA107 (names that all of them have)" in done.stderr


def test_the_gpu_of_this_machine_is_taken_when_none_is_named(run: Run, path: Path) -> None:
    executable(path / "nvidia-smi", SMI)
    done = run("plan")
    assert done.stdout.strip().split(",") == list(core_metrics("GH100"))
    assert "core for GH100" in done.stderr


def test_a_gpu_that_is_not_known_gets_the_names_that_all_have(run: Run, path: Path) -> None:
    executable(path / "nvidia-smi", SMI.replace("9.0, NVIDIA H200", "99.0, NVIDIA Something"))
    done = run("plan")
    assert done.stdout.strip().split(",") == list(core_metrics(None))
    assert "an unknown chip (names that all known chips have)" in done.stderr
    assert "1 to 3 passes" in done.stderr


def test_an_ncu_on_the_path_cuts_the_plan_and_what_fell_out_is_said(run: Run, path: Path) -> None:
    listing_tool(path / "ncu", set(AVAILABILITY) - {"sm__pipe_tma_cycles_active", "sm__inst_executed_pipe_tma"})
    done = run("plan", "--chip", "GH100")
    assert "tma" not in done.stdout
    assert f"fell out, since {path}/ncu does not list it:\n  sm__pipe_tma_cycles_active.avg" in done.stderr
    assert "how many passes they take is not known: pip install 'ds2prof[passes]' tells" in done.stderr


def test_a_plan_for_another_machine_is_left_uncut(run: Run, path: Path) -> None:
    listing_tool(path / "ncu", ["gpu__time_duration", "sm__inst_executed_pipe_fma"])
    assert run("plan", "--chip", "GH100", "--uncut").stdout.strip().split(",") == list(core_metrics("GH100"))


def test_a_tool_may_be_named(run: Run, tmp_path: Path) -> None:
    tool = listing_tool(tmp_path / "other ncu", set(AVAILABILITY) - {"sm__inst_executed_pipe_lsu"})
    done = run("plan", "--chip", "GH100", "--tool", str(tool))
    assert "pipe_lsu" not in done.stdout
    assert "lsu: this ncu does not list sm__inst_executed_pipe_lsu" in done.stderr


def test_an_ncu_that_is_older_than_the_chip_is_said_to_be(run: Run, path: Path) -> None:
    listing_tool(path / "ncu", AVAILABILITY)
    done = run("plan", "--chip", "GB100")
    assert done.stdout.strip().split(",") == list(core_metrics("GB100"))
    assert f"{path}/ncu: lists no metrics for GB100, so the plan is not cut to it" in done.stderr


def test_json_says_all_that_the_prose_says(run: Run, path: Path) -> None:
    listing_tool(path / "ncu", set(AVAILABILITY) - {"sm__ops_path_tensor_src_fp8"})
    document = json.loads(run("plan", "--chip", "GH100", "--want", "flop", "--format", "json").stdout)
    assert document["schema"] == "ds2prof-metric-plan/1"
    assert document["chips"] == ["GH100"]
    assert document["dropped"] == [{"metric": "sm__ops_path_tensor_src_fp8.sum", "instead": None}]
    assert {"quantity": "tensor_fp8_flop", "reason": "this ncu does not list sm__ops_path_tensor_src_fp8"} in document[
        "absent"
    ]
    weights = {each["metric"]: each["flop_per_count"] for each in document["metrics"]}
    assert weights["smsp__sass_thread_inst_executed_op_ffma_pred_on.sum"] == 2
    assert weights["gpu__time_duration.sum"] is None
    assert document["passes"] == {}


def test_passes_of_json_name_their_source(run: Run) -> None:
    document = json.loads(run("plan", "--chip", "GA100", "--format", "json").stdout)
    assert document["passes"] == {"GA100": {"passes": 3, "source": "a table made with CUPTI 13.5"}}


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        ((), 1, "no NVIDIA GPU is visible here; name a chip: --chip GH100, --cc 9.0"),
        (("--chip", "GH999"), 2, "--chip GH999: no chip or product that is known; there are GV100"),
        (("--cc", "1.0"), 2, "--cc 1.0: no compute capability whose chips are known: 7.0"),
        (("--chip", "GH100", "--cc", "9.0"), 2, "--chip, --cc: one of them is enough"),
        (("--chip", "GH100", "--tool", "nowhere"), 1, "nowhere: no such program; --tool names an ncu"),
        (("--chip", "GH100", "--tool", "x", "--uncut"), 2, "--uncut: contradicts --tool"),
    ],
)
def test_what_cannot_be_planned_is_one_line(run: Run, arguments: tuple[str, ...], code: int, said: str) -> None:
    done = run("plan", *arguments)
    assert done.returncode == code
    assert done.stdout == ""
    assert done.stderr.startswith(f"ds2prof: {said}")
    assert done.stderr.count("\n") == 1


def test_an_empty_plan_is_an_error(run: Run, path: Path) -> None:
    listing_tool(path / "ncu", ["gpu__time_duration", "gpc__cycles_elapsed", "sm__cycles_active"])
    done = run("plan", "--chip", "GH100", "--want", "memory")
    assert done.returncode == 1
    assert done.stdout == ""
    assert done.stderr.startswith(
        "ds2prof: GH100: this ncu lists no metric for memory; dram_bytes: this ncu does not list"
    )
    assert done.stderr.count("\n") == 1


def test_a_want_that_does_not_exist_is_a_usage_error(run: Run) -> None:
    assert run("plan", "--chip", "GH100", "--want", "everything").returncode == 2


# table


def test_the_table_names_every_chip_and_fits_eighty_columns(run: Run) -> None:
    lines = run("table").stdout.splitlines()
    assert max(map(len, lines)) <= 80
    assert {word for line in lines if line and not line.startswith(" ") for word in line.split()} >= set(CHIPS)


def test_the_table_of_one_chip_says_what_it_lacks_and_what_is_deprecated(run: Run) -> None:
    text = run("table", "--chip", "AD102").stdout
    assert "  tma     not on this chip" in text
    assert "sm__inst_executed_pipe_tensor  deprecated, ancestor's" in text
    assert "sm__inst_executed_pipe_fma_type_fp16  a part of fma, ancestor's" in text


def test_the_table_as_csv_is_the_table_of_the_source(run: Run) -> None:
    rows = list(csv.DictReader(io.StringIO(run("table", "--format", "csv").stdout)))
    assert {row["chip"] for row in rows} == set(CHIPS)
    assert all(row["chip"] in AVAILABILITY[row["metric"]] for row in rows)
    assert [row["metric"] for row in rows if (row["chip"], row["pipe"], row["order"]) == ("GH100", "tensor", "1")] == [
        "sm__pipe_tensor_cycles_active"
    ]


def test_the_table_as_json_has_the_same_rows(run: Run) -> None:
    document = json.loads(run("table", "--format", "json", "--chip", "gv100").stdout)
    assert document["schema"] == "ds2prof-pipes/1"
    assert {row["pipe"] for row in document["rows"]} == {"fma", "fp16", "fp64", "tensor", "xu", "alu", "lsu"}


# section


def test_the_section_goes_to_standard_output(run: Run, root: Path) -> None:
    assert run("section").stdout == (root / "profilers" / "sections" / "PertSustainedElapsed.section").read_text()


def test_the_section_is_written_once(run: Run, tmp_path: Path) -> None:
    done = run("section", "-o", "mine.section")
    assert done.returncode == 0
    assert done.stdout == ""
    assert (tmp_path / "mine.section").read_text() == run("section").stdout
    again = run("section", "-o", "mine.section")
    assert again.returncode == 1
    assert "mine.section: is there already; --force replaces it" in again.stderr
    assert run("section", "-o", "mine.section", "--force").returncode == 0


# Start


def test_planning_loads_nothing_heavy(root: Path) -> None:
    heavy = {"torch", "pandas", "matplotlib", "numpy", "msgspec", "yaml"}
    code = f"import sys, ds2prof.cli.metrics; print(sorted({heavy!r} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", code], cwd=root, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
