"""What can be asked of a capture: its window, filters, ranks and names, and the command lines that come of it."""

from __future__ import annotations

import shlex
from pathlib import Path

import pytest
from click.testing import CliRunner
from hypothesis import given
from hypothesis import strategies as st

from ds2prof.capture.job import Asked, Job
from ds2prof.capture.launchers import known_options, launcher, optional
from ds2prof.capture.opening import Opening, by_our_range, opening
from ds2prof.capture.provenance import steps_asked
from ds2prof.capture.ranks import rank_of, several_ranks
from ds2prof.capture.told import settings_in, told
from ds2prof.cli.run import command, default_output, expanded, filter_words, program_name
from ds2prof.config import Window
from ds2prof.errors import ExistsError, UsageError
from ds2prof.launch import command_line, notes_for, plan
from ds2prof.machine import Machine
from tests.launch_support import NEW, NO_GPU, OLD, executable

OUTPUTS = {"nsight": "a.csv", "nsys": "a.nsys-rep", "nvprof": "a.nvvp", "torch": "a.json.gz", "memory": "a.csv"}
TRAINING = ["python", "train_profiling.py", "--batch-size", "4"]
NO_TOOLS = {"PATH": "/usr/bin:/bin"}


def words(
    name: str,
    program: list[str],
    *,
    machine: Machine = NEW,
    asked: Asked | None = None,
    environ: dict[str, str] | None = None,
    output: str | None = None,
) -> list[str]:
    """The words of the command line of a capture."""
    planned = plan(launcher(name), program, output=Path(output or OUTPUTS[name]), asked=asked or Asked())
    return shlex.split(command_line(planned, machine=machine, environ=environ or NO_TOOLS))


def test_our_training_script_opens_the_window_itself() -> None:
    assert "--capture-range=cudaProfilerApi" in words("nsys", TRAINING)
    line = words("nsight", TRAINING)
    assert line[line.index("--profile-from-start") + 1] == "off"


def test_another_program_is_captured_whole() -> None:
    assert not [word for word in words("nsys", ["./a.out"]) if word.startswith("--capture-range")]
    assert "--profile-from-start" not in words("nsight", ["./a.out"])
    assert "--profile-from-start" not in words("nvprof", ["./a.out"], machine=OLD)


def test_steps_are_counted_by_what_is_loaded_into_the_program() -> None:
    line = words("nsys", ["python", "a.py"], asked=Asked(opening("10:12")), environ={**NO_TOOLS, "PYTHONPATH": "/mine"})
    assert "--capture-range=cudaProfilerApi" in line
    behind = line[line.index("env") :]
    path = next(word for word in behind if word.startswith("PYTHONPATH="))
    assert path.endswith("/ds2prof/inject/site:/mine")
    expected = {"DS2PROF_INJECT=signal", "DS2PROF_PROFILE_START=10", "DS2PROF_PROFILE_STOP=12"}
    assert expected <= set(behind)
    assert behind[-2:] == ["python", "a.py"]


def test_steps_for_our_training_script_are_its_options() -> None:
    line = words("nsys", TRAINING, asked=Asked(opening("10:12")))
    assert line[-4:] == ["--profile-start", "10", "--profile-stop", "12"]
    assert not [word for word in line if word.startswith("DS2PROF_INJECT")]


@pytest.mark.parametrize("program", [TRAINING, ["python", "a.py"]])
def test_without_a_gpu_nsys_is_opened_by_the_range_of_the_window(program: list[str]) -> None:
    line = words("nsys", program, machine=NO_GPU, asked=Asked(opening("3:6")))
    assert "--capture-range=nvtx" in line
    assert "--nvtx-capture=window:3-6@ds2prof" in line
    assert "--trace=nvtx,osrt" in line
    assert not [word for word in line if word.startswith("--trace=cuda")]


def test_a_command_for_a_machine_with_a_gpu_is_printed_without_one_too() -> None:
    line = words("nsight", TRAINING, machine=NO_GPU)
    assert line[line.index("--profile-from-start") + 1] == "off"
    assert "--nvtx-include" not in line


def test_without_a_gpu_the_window_of_the_training_script_is_its_default() -> None:
    assert "--nvtx-capture=window:3-6@ds2prof" in words("nsys", TRAINING, machine=NO_GPU)
    assert "--nvtx-capture=window:3-6@ds2prof" in words("nsys", [*TRAINING, "--device", "cpu"])


def test_without_a_gpu_nothing_can_open_a_window_by_cudas_call() -> None:
    with pytest.raises(UsageError, match="nothing calls cudaProfilerStart"):
        words("nsys", ["./a.out"], machine=NO_GPU, asked=Asked(opening("api")))


def test_a_range_opens_the_window_in_each_tools_own_syntax() -> None:
    asked = Asked(opening("nvtx:step 3@mine"))
    assert "--nvtx-capture=step 3@mine" in words("nsys", ["./a.out"], asked=asked)
    line = words("nsight", ["./a.out"], asked=asked)
    assert [line[at + 1] for at, word in enumerate(line) if word == "--nvtx-include"] == ["mine@step 3/", "mine@step 3"]
    with pytest.raises(UsageError, match="nvprof cannot be opened by an NVTX range"):
        words("nvprof", ["./a.out"], asked=asked)


@pytest.mark.parametrize("text", ["3", "6:3", "3:3", "-1:3", "nvtx:", "none", "", "1:2:3", "٣:٦"])
def test_what_opens_no_window_is_refused(text: str) -> None:
    with pytest.raises(UsageError, match="--window"):
        opening(text)


@given(start=st.integers(0, 10**6), length=st.integers(1, 1000))
def test_what_opens_a_window_reads_as_it_is_written(start: int, length: int) -> None:
    for each in (
        Opening("steps", steps=Window(start, start + length)),
        by_our_range(Window(start, start + length)),
        Opening("all"),
        Opening("api"),
    ):
        assert opening(str(each)) == each


def test_a_profiler_refuses_what_it_cannot_do() -> None:
    for name, asked in (
        ("nsys", Asked(detail=True)),
        ("nsys", Asked(want=("flop",))),
        ("torch", Asked(opening("api"))),
    ):
        with pytest.raises(UsageError):
            plan(launcher(name), ["./a.out"], output=Path(OUTPUTS[name]), asked=asked)


def test_an_option_of_the_tool_given_by_the_user_takes_the_place_of_ours() -> None:
    line = words("nsight", ["./a.out"], asked=Asked(options=("--clock-control", "base", "--set=full")))
    assert [line[at + 1] for at, word in enumerate(line) if word == "--clock-control"] == ["base"]
    assert "--set=full" in line
    assert "--sample=cpu" in words("nsys", ["./a.out"], asked=Asked(options=("--sample=cpu",)))
    assert "--sample=none" not in words("nsys", ["./a.out"], asked=Asked(options=("--sample=cpu",)))


def test_filters_reach_the_tool_they_belong_to_in_its_own_form() -> None:
    given_ = {"kernel_name": "regex:gemm", "launch_count": "5", "trace": None}
    assert filter_words(launcher("nsight"), given_) == ("--kernel-name", "regex:gemm", "--launch-count", "5")
    assert filter_words(launcher("nsys"), {"gpu_metrics_device": "0"}) == ("--gpu-metrics-device=0",)
    with pytest.raises(UsageError, match="--kernel-name: is an option of nsight, and nsys has none such"):
        filter_words(launcher("nsys"), given_)


def test_a_report_is_written_where_the_name_says_so() -> None:
    line = words("nsight", ["./a.out"], output="x.ncu-rep")
    assert line[line.index("--export") + 1] == "x.ncu-rep"
    assert "--csv" not in line
    assert "--csv" in words("nsight", ["./a.out"])


@pytest.mark.parametrize(
    ("program", "several"),
    [
        (["torchrun", "--nproc-per-node", "2", "a.py"], True),
        (["torchrun", "--nproc_per_node=gpu", "a.py"], True),
        (["torchrun", "--nproc-per-node", "1", "a.py"], False),
        (["torchrun", "a.py"], False),
        (["python", "-m", "torch.distributed.run", "--nproc-per-node=4", "a.py"], True),
        (["mpirun", "-np", "4", "./a.out"], True),
        (["mpirun", "-np", "1", "./a.out"], False),
        (["/usr/bin/srun", "./a.out"], True),
        (["python", "a.py", "--np", "4"], False),
    ],
)
def test_several_ranks_are_seen_in_the_command(program: list[str], several: bool) -> None:
    assert several_ranks(program, {}) is several


def test_the_rank_is_what_the_launcher_of_ranks_tells() -> None:
    assert rank_of({"RANK": "3", "WORLD_SIZE": "8"}) == (3, 8)
    assert rank_of({"SLURM_PROCID": "1", "SLURM_STEP_NUM_TASKS": "2"}) == (1, 2)
    assert rank_of({"RANK": "0", "WORLD_SIZE": "1"}) is None
    assert rank_of({"RANK": "x", "WORLD_SIZE": "2"}) is None


def test_of_several_ranks_no_communication_kernel_is_replayed() -> None:
    program = ["torchrun", "--nproc-per-node", "2", "a.py"]
    line = words("nsight", program)
    assert line[line.index("--kernel-name") + 1].startswith("regex:^(?!(?i).*(nccl|")
    planned = plan(launcher("nsight"), program, output=Path("a.csv"))
    assert "communication kernels are left out" in "\n".join(notes_for(planned, machine=NEW, environ=NO_TOOLS))


@pytest.mark.parametrize("options", [("--replay-mode", "range"), ("--kernel-name=regex:gemm",)])
def test_who_chooses_kernels_or_replay_decides_on_communication_too(options: tuple[str, ...]) -> None:
    program = ["torchrun", "--nproc-per-node", "2", "a.py"]
    line = words("nsight", program, asked=Asked(opening("1:2"), options=options))
    assert not [word for word in line if "nccl" in word]


def test_replaying_a_whole_run_is_said_to_take_long() -> None:
    whole = plan(launcher("nsight"), ["./a.out"], output=Path("a.csv"))
    assert "--launch-count N" in "\n".join(notes_for(whole, machine=NEW, environ=NO_TOOLS))
    few = plan(launcher("nsight"), ["./a.out"], output=Path("a.csv"), asked=Asked(options=("--launch-count", "3")))
    assert "--launch-count N" not in "\n".join(notes_for(few, machine=NEW, environ=NO_TOOLS))


def test_an_option_that_not_all_versions_know_is_given_to_those_that_name_it(tmp_path: Path) -> None:
    new = executable(tmp_path / "new", "#!/bin/sh\necho '  --graph-profiling arg (=node)'\n")
    old = executable(tmp_path / "old", "#!/bin/sh\necho '  --graph-other arg'\n")
    silent = executable(tmp_path / "silent", "#!/bin/sh\nexit 3\n")
    nsight = launcher("nsight")
    assert optional(nsight, str(new)) == ("--graph-profiling=node",)
    assert optional(nsight, str(old)) == ()
    assert optional(nsight, str(silent)) == ()
    assert optional(nsight, None) == ("--graph-profiling=node",)
    assert known_options(str(tmp_path / "missing")) is None


def test_the_sidecar_repeats_the_settings_of_the_command_line() -> None:
    planned = plan(launcher("nsight"), ["./a.out", "--clock-control", "mine"], output=Path("a.csv"))
    line = command_line(planned, machine=NEW, environ=NO_TOOLS)
    said = settings_in(line, launcher("nsight"), program=planned.program)
    assert said["clock_control"] == "none"
    assert said["cache_control"] == "none"
    assert said["target_processes"] == "all"
    assert said["replay_mode"] is None


@pytest.mark.parametrize(
    ("program", "name"),
    [
        (["python", "path/to/any_script.py", "--x", "1"], "any_script"),
        (["torchrun", "--nproc-per-node", "2", "train.py"], "train"),
        (["python", "-m", "mypackage.train", "a"], "train"),
        (["python3.11", "-m", "torch.distributed.run", "a.py"], "a"),
        (["bash", "run all.sh"], "run-all"),
        (["env", "A=b", "./a.out"], "a.out"),
        (["python", "-c", "print(1)"], "print-1"),
        (["true"], "true"),
        (["python"], "python"),
    ],
)
def test_a_measurement_of_another_program_goes_by_the_programs_name(program: list[str], name: str) -> None:
    assert program_name(program) == name


def test_the_rank_stands_in_the_name(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RANK", "1")
    monkeypatch.setenv("WORLD_SIZE", "2")
    assert default_output(launcher("nsys"), ["./a.out"], tag="t").name == "nsys_a.out_t_rank1.nsys-rep"
    assert default_output(launcher("nsys"), TRAINING, tag=None).name == "nsys_bs4_rank1.nsys-rep"


def test_a_name_may_hold_variables_and_the_host() -> None:
    assert expanded(Path("a b/x_%q{RANK}.csv"), {"RANK": "3"}) == Path("a b/x_3.csv")
    assert "%h" not in expanded(Path("x_%h.csv"), {}).name
    with pytest.raises(UsageError, match="the environment has no RANK"):
        expanded(Path("x_%q{RANK}.csv"), {})


def test_kernel_replay_by_name_still_leaves_communication_out() -> None:
    program = ["bash", "-c", "torchrun --nproc-per-node 2 a.py"]
    line = words("nsight", program, asked=Asked(options=("--replay-mode", "kernel")))
    assert line[line.index("--kernel-name") + 1].startswith("regex:^(?!(?i).*(nccl|")


def test_range_replay_takes_its_ranges_from_the_programs_calls() -> None:
    line = words("nsight", TRAINING, asked=Asked(options=("--replay-mode", "range")))
    assert "--profile-from-start" not in line
    assert "--profile-from-start" in words("nsight", TRAINING)


@pytest.mark.parametrize(
    ("window", "options", "said"),
    [
        ("all", ("--replay-mode", "range"), "needs ranges"),
        ("1:2", ("--replay-mode=range", "--kernel-name", "a"), "--kernel-name: does not go with range replay"),
        ("nvtx:a", ("--nvtx-include", "b/"), "give one of them"),
        ("nvtx:a/b", (), "as its grammar"),
        ("all", ("-k", "a"), "-k: give the option's long name"),
    ],
)
def test_what_nsight_compute_would_refuse_is_refused_before(window: str, options: tuple[str, ...], said: str) -> None:
    with pytest.raises(UsageError, match=said):
        words("nsight", ["./a.out"], asked=Asked(opening(window), options=options))


def test_filters_by_range_switch_nvtx_on_once() -> None:
    for window in ("all", "nvtx:a"):
        line = words("nsight", ["./a.out"], asked=Asked(opening(window), options=("--nvtx-exclude", "q/")))
        assert line.count("--nvtx") == 1


def test_the_program_keeps_its_locale_and_the_users_own_variables() -> None:
    theirs = {**NO_TOOLS, "LC_ALL": "de_DE.UTF-8"}
    line = words("nsight", ["./a.out"], environ=theirs)
    assert line[:2] == ["env", "LC_ALL=C"]
    assert line[-3:] == ["env", "LC_ALL=de_DE.UTF-8", "./a.out"]
    assert words("nsight", ["./a.out"])[-4:] == ["env", "-u", "LC_ALL", "./a.out"]
    job = Job(plan(launcher("nsys"), ["./a.out"], output=Path("a.nsys-rep")), None, NEW, {**theirs, "STATUS": "mine"})
    assert told(job, Path("a.nsys-rep"))["STATUS"] == "mine"


def test_more_environment_for_nsys_is_joined_to_ours() -> None:
    line = words("nsys", ["./a.out"], asked=Asked(options=("--env-var=FOO=1",)))
    given_ = [word for word in line if word.startswith("--env-var")]
    assert given_ == ["--env-var=FOO=1,NSYS_NVTX_PROFILER_REGISTER_ONLY=0"]


def test_an_asked_window_goes_before_that_of_the_environment() -> None:
    environ = {**NO_TOOLS, "DS2PROF_PROFILE_START": "1", "DS2PROF_PROFILE_STOP": "2"}
    line = words("nsys", TRAINING, machine=NO_GPU, asked=Asked(opening("2:3")), environ=environ)
    assert "--nvtx-capture=window:2-3@ds2prof" in line
    assert {"DS2PROF_PROFILE_START=2", "DS2PROF_PROFILE_STOP=3"} <= set(line)


@pytest.mark.parametrize(("name", "window"), [("torch", "all"), ("memory", "all"), ("smi", "all")])
def test_the_training_script_has_no_window_of_the_whole_run_where_it_records_itself(name: str, window: str) -> None:
    with pytest.raises(UsageError, match="has a window of iterations"):
        plan(launcher(name), TRAINING, output=Path("a." + launcher(name).extension), asked=Asked(opening(window)))


def test_a_command_is_told_apart_from_our_options_by_dashes() -> None:
    done = CliRunner().invoke(command, ["torch", "python", "a.py", "--tag", "theirs"])
    assert done.exit_code == 2
    assert "put -- in front of the command" in done.output


def test_the_rank_does_not_stand_in_a_name_twice(tmp_path: Path) -> None:
    from ds2prof.capture import delivery
    from ds2prof.capture.outcome import Outcome

    planned = plan(launcher("torch"), ["python", "a.py"], output=tmp_path / "torch_a_rank0.json.gz")
    job = Job(planned, None, NO_GPU, {})
    (tmp_path / f"{job.stem}.rank0.json.gz").write_text("trace")
    assert [path.name for path in delivery.written(job, Outcome(planned.launcher, 0, ""))] == ["torch_a_rank0.json.gz"]


def test_files_of_processes_named_by_the_user_are_not_overwritten(tmp_path: Path) -> None:
    from ds2prof.capture.delivery import refuse_replacing

    planned = plan(launcher("torch"), ["python", "a.py"], output=tmp_path / "x_%p.json.gz")
    refuse_replacing(planned, force=False)
    (tmp_path / "x_rank1.json.gz").touch()
    with pytest.raises(ExistsError, match="x_rank1"):
        refuse_replacing(planned, force=False)


def test_the_files_of_processes_and_ranks_are_not_overwritten(tmp_path: Path) -> None:
    from ds2prof.capture.delivery import refuse_replacing

    planned = plan(launcher("torch"), ["python", "a.py"], output=tmp_path / "torch_a.json.gz")
    refuse_replacing(planned, force=False)
    (tmp_path / "torch_a_rank0.json.gz").touch()
    with pytest.raises(ExistsError, match="torch_a_rank0"):
        refuse_replacing(planned, force=False)
    refuse_replacing(planned, force=True)


@pytest.mark.parametrize(
    ("written", "names"),
    [
        (["p77"], ["torch_a.json.gz"]),
        (["rank0", "rank1"], ["torch_a_rank0.json.gz", "torch_a_rank1.json.gz"]),
        (["p1", "p2"], ["torch_a_p1.json.gz", "torch_a_p2.json.gz"]),
        (["rank0"], ["torch_a_rank0.json.gz"]),
    ],
)
def test_each_process_that_wrote_has_a_file_of_its_own(written: list[str], names: list[str], tmp_path: Path) -> None:
    from ds2prof.capture import delivery
    from ds2prof.capture.outcome import Outcome

    planned = plan(launcher("torch"), ["python", "a.py"], output=tmp_path / "torch_a.json.gz")
    job = Job(planned, None, NO_GPU, {})
    for key in written:
        (tmp_path / f"{job.stem}.{key}.json.gz").write_text("trace")
    (tmp_path / f"{job.stem}.p5.json.gz").touch()
    found = delivery.written(job, Outcome(planned.launcher, 0, ""))
    assert sorted(path.name for path in found) == names


def test_a_place_for_the_process_in_the_name_is_used(tmp_path: Path) -> None:
    from ds2prof.capture import delivery
    from ds2prof.capture.outcome import Outcome

    planned = plan(launcher("nvprof"), ["./a.out"], output=tmp_path / "run_%p_x.nvvp")
    job = Job(planned, None, OLD, {})
    for key in ("7", "8"):
        (tmp_path / f"{job.stem}.{key}.nvvp").write_bytes(b"SQLite format 3\0" + bytes(84))
    found = delivery.written(job, Outcome(planned.launcher, 0, ""))
    assert sorted(path.name for path in found) == ["run_p7_x.nvvp", "run_p8_x.nvvp"]


def test_the_window_in_the_environment_holds_for_every_program() -> None:
    both = {"DS2PROF_PROFILE_START": "4", "DS2PROF_PROFILE_STOP": "8"}
    assert steps_asked(both) == Window(4, 8)
    assert steps_asked({}) is None
    assert "DS2PROF_PROFILE_STOP=8" in words("nsys", ["python", "a.py"], environ={**NO_TOOLS, **both})
    for wrong in ({"DS2PROF_PROFILE_START": "4"}, {**both, "DS2PROF_PROFILE_STOP": "2"}):
        with pytest.raises(UsageError, match="DS2PROF_PROFILE_START"):
            steps_asked(wrong)
