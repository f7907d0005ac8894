"""The GPU campaign: what is run for how long, what is left when something goes wrong, and what fits into few files."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import tarfile
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "scripts"))

from gpu_campaign import cli, lessons, record
from gpu_campaign.context import Context
from gpu_campaign.packing import KINDS, UNPACKED
from gpu_campaign.parts import PARTS, parts
from gpu_campaign.plan import Done, Learned, Part, PartDone, Step
from gpu_campaign.running import ENV_CAMPAIGN, Ended, Grace, Limits, Told, run
from gpu_campaign.schedule import Setting, carried_out, step_done

from ds2prof.cli.run import command as run_command
from ds2prof.measurements import CALIBRATION_NAME
from ds2prof.train.presets import PRESETS
from tests.launch_support import NEW, NO_GPU, SMI, executable

QUICK = Grace(after_int_s=0.3, after_term_s=0.3, after_end_s=0.2)
STUBBORN = """
import signal, subprocess, sys, time
for number in (signal.SIGINT, signal.SIGTERM):
    signal.signal(number, signal.SIG_IGN)
if "--alone" not in sys.argv:
    subprocess.Popen([sys.executable, __file__, "--alone"], start_new_session=True)
print("hanging" * 1000, flush=True)
time.sleep(60)
"""


def shell(name: str, script: str, *files: str, **changes: Any) -> Step:
    """A step that runs a script of the shell, its working folder being $WORK."""
    return Step(name, ("bash", "-c", script), files, **changes)


def setting(work: Path, total_s: float) -> Setting:
    work.mkdir(exist_ok=True)
    environ = {**os.environ, "WORK": str(work)}
    return Setting(work, work, environ, total_s, time.monotonic(), QUICK)


def carried(work: Path, *planned: Part, total_s: float = 60.0, told: Told | None = None) -> list[PartDone]:
    return carried_out(
        planned, setting(work, total_s), learned=Learned(), told=told or Told(), ended=lambda _part: None
    )


def carriers() -> list[str]:
    """The command lines of the processes here that a campaign of this test run started."""
    found = []
    for folder in Path("/proc").iterdir():
        try:
            state = folder.joinpath("stat").read_bytes().rpartition(b")")[2].split()[0]
            if state != b"Z" and f"{ENV_CAMPAIGN}={os.getpid()}-".encode() in folder.joinpath("environ").read_bytes():
                found.append(folder.joinpath("cmdline").read_bytes().decode())
        except (OSError, IndexError):
            continue
    return found


# --- Running one program ---


def ran(command: list[str], folder: Path, *, told: Told | None = None, **limits: Any) -> tuple[Ended, str]:
    values = {"time_s": 30.0, "end_s": time.monotonic() + 30, "grace": QUICK, **limits}
    log = folder / "log"
    with log.open("wb", buffering=0) as stream:
        ended = run(
            command,
            cwd=folder,
            environ=os.environ,
            log=stream,
            stdout=None,
            limits=Limits(**values),
            told=told or Told(),
        )
    return ended, log.read_text()


def test_the_exit_code_is_the_programs_own(tmp_path: Path) -> None:
    ended, printed = ran(["bash", "-c", "echo out; echo err >&2; exit 7"], tmp_path)
    assert (ended.exit_code, ended.stopped, ended.leftovers) == (7, None, ())
    assert printed == "out\nerr\n"


def test_a_program_that_a_signal_ended_has_the_code_of_a_shell(tmp_path: Path) -> None:
    assert ran(["bash", "-c", "kill -SEGV $$"], tmp_path)[0].exit_code == 128 + signal.SIGSEGV


def test_a_program_that_cannot_be_started_has_no_exit_code(tmp_path: Path) -> None:
    ended, printed = ran([str(tmp_path / "missing")], tmp_path)
    assert ended.exit_code is None
    assert "cannot be started" in printed


def test_a_program_that_ignores_signals_is_killed_with_its_children_in_other_sessions(tmp_path: Path) -> None:
    script = tmp_path / "stubborn.py"
    script.write_text(STUBBORN)
    ended, _ = ran([sys.executable, str(script)], tmp_path, printed_bytes=1000)  # when it is ready, and not before
    assert ended.exit_code == 128 + signal.SIGKILL
    assert (ended.stopped or "").startswith("stopped: it printed more than")
    assert carriers() == []


def test_an_interrupt_is_tried_first_so_that_a_program_can_clear_up(tmp_path: Path) -> None:
    script = "trap 'echo cleared; exit 9' INT; yes | head -c 2000; sleep 60 & wait"
    patient = Grace(after_int_s=30, after_term_s=30, after_end_s=0.2)
    ended, printed = ran(["bash", "-c", script], tmp_path, printed_bytes=1000, grace=patient)
    assert ended.exit_code == 9
    assert printed.endswith("cleared\n")


def test_a_program_that_prints_without_end_is_stopped(tmp_path: Path) -> None:
    ended, _ = ran(["bash", "-c", "yes"], tmp_path, printed_bytes=1 << 20)
    assert ended.stopped == "stopped: it printed more than 1 MiB"


def test_each_further_signal_presses_harder(tmp_path: Path) -> None:
    script = tmp_path / "stubborn.py"
    script.write_text(STUBBORN)
    patient = Grace(after_int_s=600, after_term_s=600, after_end_s=0.2)
    ended, _ = ran([sys.executable, str(script)], tmp_path, told=Told(times=3), grace=patient, printed_bytes=1000)
    assert ended.exit_code == 128 + signal.SIGKILL


def test_what_a_program_leaves_running_is_ended_and_named(tmp_path: Path) -> None:
    ended, _ = ran(["bash", "-c", "setsid sleep 60 & exit 0"], tmp_path)
    assert ended.exit_code == 0
    assert [name.partition(" ")[0] for name in ended.leftovers] == ["sleep"]
    assert carriers() == []


# --- Sharing out the time ---


def test_a_failure_keeps_nothing_else_from_being_run(tmp_path: Path) -> None:
    failing = Part("one", "", 1, (shell("bad", "echo the reason >&2; exit 3"), shell("good", "touch $WORK/a", "a")))
    first, second = carried(tmp_path / "work", failing, Part("two", "", 1, (shell("next", "true"),)))
    assert [done.status for done in first.steps] == ["failed", "delivered"]
    assert first.reason == "exit code 3: the reason"
    assert (first.status, second.status) == ("failed", "delivered")


def test_what_ends_well_without_its_file_has_failed(tmp_path: Path) -> None:
    (part,) = carried(tmp_path / "work", Part("one", "", 1, (shell("empty", "true", "measurements/a.csv"),)))
    assert part.reason == "it ended well but did not write measurements/a.csv"


def test_what_a_failed_step_wrote_is_no_measurement(tmp_path: Path) -> None:
    script = "echo half >$WORK/measurements/a.csv; echo {} >$WORK/measurements/a.csv.meta.json; exit 1"
    (part,) = carried(tmp_path / "work", Part("one", "", 1, (shell("half", script, "measurements/a.csv"),)))
    assert part.files == ()
    assert list((tmp_path / "work" / "measurements").iterdir()) == []


def test_what_a_killed_step_was_still_writing_goes(tmp_path: Path) -> None:
    script = "cd $WORK/measurements; touch .a.7.partial.csv other.csv; mkdir .a.8.partial; kill -9 $$"
    carried(tmp_path / "work", Part("one", "", 1, (shell("killed", script, "measurements/a.csv"),)))
    assert [path.name for path in (tmp_path / "work" / "measurements").iterdir()] == ["other.csv"]


def test_the_log_of_a_failed_capture_is_kept_as_a_record(tmp_path: Path) -> None:
    script = "echo why >$WORK/measurements/a.csv.log; exit 1"
    (part,) = carried(tmp_path / "work", Part("one", "", 1, (shell("quiet", script, "measurements/a.csv"),)))
    assert part.steps[0].logs == ("records/a.csv.log",)
    assert (tmp_path / "work" / "records" / "a.csv.log").read_text() == "why\n"


def test_a_file_is_listed_with_its_sidecar_and_what_lies_beside_it(tmp_path: Path) -> None:
    script = "cd $WORK/measurements; touch a.csv a.pickle a.csv.meta.json"
    step = shell("all", script, "measurements/a.csv", besides=("measurements/a.pickle", "measurements/none"))
    (part,) = carried(tmp_path / "work", Part("one", "", 1, (step,)))
    assert part.files == ("measurements/a.csv", "measurements/a.csv.meta.json", "measurements/a.pickle")


def test_standard_output_goes_to_its_file_when_all_went_well(tmp_path: Path) -> None:
    steps = (
        shell("good", "echo data; echo said >&2", "records/a.txt", stdout="records/a.txt"),
        shell("bad", "echo data; exit 1", "records/b.txt", stdout="records/b.txt"),
    )
    carried(tmp_path / "work", Part("one", "", 1, steps))
    assert (tmp_path / "work" / "records" / "a.txt").read_text() == "data\n"
    assert sorted(path.name for path in (tmp_path / "work" / "records").iterdir()) == ["a.txt", "good.log"]


def test_a_file_made_from_another_has_that_ones_sidecar(tmp_path: Path) -> None:
    fact = '{"schema": "ds2prof-meta/1", "batch_size": 4}'
    steps = (
        shell("report", f"cd $WORK/reports; touch r.ncu-rep; echo '{fact}' >r.ncu-rep.meta.json", "reports/r.ncu-rep"),
        shell("table", "echo x", "measurements/r.csv", stdout="measurements/r.csv", sidecar_of="reports/r.ncu-rep"),
    )
    (part,) = carried(tmp_path / "work", Part("one", "", 1, steps))
    facts = json.loads((tmp_path / "work" / "measurements" / "r.csv.meta.json").read_text())
    assert facts == {"schema": "ds2prof-meta/1", "batch_size": 4, "made_from": "r.ncu-rep"}
    assert "measurements/r.csv.meta.json" in part.files


def test_the_middle_of_a_long_log_is_cut_out(tmp_path: Path) -> None:
    carried(tmp_path / "work", Part("one", "", 1, (shell("long", "echo first; yes | head -c 3000000; echo last"),)))
    kept = (tmp_path / "work" / "records" / "long.log").read_text()
    assert kept.startswith("first\n")
    assert kept.endswith("last\n")
    assert "bytes left out" in kept
    assert len(kept) < 600_000


def test_a_part_that_hangs_is_stopped_and_those_behind_it_still_run(tmp_path: Path) -> None:
    hanging = Part("one", "", 1, (shell("hang", "echo begun; sleep 60"), shell("behind", "true")))
    first, second = carried(tmp_path / "work", hanging, Part("two", "", 1, (shell("next", "true"),)), total_s=4)
    assert first.status == "failed"
    assert first.steps[0].reason == "stopped after 2 s, all the time it had; its last words: begun"
    assert first.steps[1].status == "delivered"  # at its second turn
    assert second.status == "delivered"


def test_a_part_has_its_share_and_what_others_leave(tmp_path: Path) -> None:
    planned = [Part(name, "", 1, (shell(f"step-{name}", "true"),)) for name in ("a", "b")]
    first, second = carried(tmp_path / "work", *planned, total_s=1000)
    assert first.share_s == pytest.approx(475, abs=5)
    assert second.share_s == pytest.approx(950, abs=10)


def test_a_part_that_cannot_be_run_takes_no_share(tmp_path: Path) -> None:
    first, second = carried(
        tmp_path / "work",
        Part("a", "", 9, skipped="no tool"),
        Part("b", "", 1, (shell("step", "true"),)),
        total_s=1000,
    )
    assert (first.status, first.reason, first.share_s) == ("skipped", "no tool", 0)
    assert second.share_s == pytest.approx(950, abs=5)


def test_a_step_that_is_known_to_take_longer_than_its_share_waits_for_its_second_turn(tmp_path: Path) -> None:
    long = shell("long", "true", expects_s=lambda _: 600.0)
    behind = Part("b", "", 1, (shell("short", "touch $WORK/b", "b"),))
    seen: list[str] = []
    carried_out(
        [Part("a", "", 1, (long,)), behind],
        setting(tmp_path / "work", 1000),
        learned=Learned(),
        told=Told(),
        ended=lambda part: seen.append(f"{part.part.name} {part.status}"),
    )
    assert seen == ["a skipped", "b delivered", "a delivered"]


def test_a_step_that_can_never_fit_is_skipped_with_the_figures(tmp_path: Path) -> None:
    long = shell("long", "touch $WORK/a", "a", expects_s=lambda _: 5000.0)
    (part,) = carried(tmp_path / "work", Part("a", "", 1, (long,)), total_s=1000)
    assert part.status == "skipped"
    assert part.reason == "950 s were left for it, and it takes about 5000 s"


def test_a_step_is_not_begun_when_its_part_has_less_left_than_the_last_one_took(tmp_path: Path) -> None:
    step = shell("second", "touch $WORK/a", "a")
    part = PartDone(Part("a", "", 1, (step,)), steps=[Done("first", "delivered", dur_ns=70 * 10**9)])
    place = setting(tmp_path / "work", 1000)
    done = step_done(step, part, place, left_s=60.0, learned=Learned(), told=Told())
    assert (done.status, done.reason) == ("skipped", "60 s were left for it, and it takes about 70 s")
    assert step_done(step, part, place, left_s=80.0, learned=Learned(), told=Told()).status == "delivered"


def test_a_step_that_was_stopped_has_a_second_turn_where_much_more_time_is_left(tmp_path: Path) -> None:
    script = "[[ -e $WORK/again ]] && exit 0; touch $WORK/again; sleep 60"
    first, _ = carried(
        tmp_path / "work",
        Part("a", "", 1, (shell("slow at first", script),)),
        Part("b", "", 9, (shell("quick", "true"),)),
        total_s=20,
    )
    assert first.status == "delivered"


def test_what_is_learned_can_speak_against_a_later_step(tmp_path: Path) -> None:
    def learn(learned: Learned, done: Done) -> str:
        learned.no_counters = "not permitted"
        return "tried"

    steps = (shell("probe", "false", learn=learn), shell("rest", "true", unless=lambda learned: learned.no_counters))
    (part,) = carried(tmp_path / "work", Part("a", "", 1, steps))
    assert part.steps[0].note == "tried"
    assert (part.steps[1].status, part.steps[1].reason) == ("skipped", "not permitted")


def test_a_result_that_cannot_be_read_costs_its_note_alone(tmp_path: Path) -> None:
    def learn(_learned: Learned, _done: Done) -> str:
        return str(json.loads("{"))

    (part,) = carried(tmp_path / "work", Part("a", "", 1, (shell("one", "true", learn=learn), shell("two", "true"))))
    assert [(done.status, done.note) for done in part.steps] == [("delivered", None)] * 2


def test_a_file_that_cannot_be_written_fails_its_step_and_no_other(tmp_path: Path) -> None:
    (tmp_path / "work").mkdir()
    (tmp_path / "work" / "measurements").write_text("no folder")
    steps = (shell("blocked", "true", "measurements/a.csv"), shell("next", "true"))
    (part,) = carried(tmp_path / "work", Part("a", "", 1, steps))
    assert [done.status for done in part.steps] == ["failed", "delivered"]
    assert "its files cannot be written" in (part.reason or "")


def test_after_a_signal_nothing_more_is_begun(tmp_path: Path) -> None:
    (part,) = carried(tmp_path / "work", Part("a", "", 1, (shell("one", "true"),)), told=Told(signal.SIGTERM))
    assert (part.status, part.reason) == ("skipped", "the campaign was ended before")


# --- What is run ---

FRAMES = {"4": [100, 100, 100, 900, 500, 100, 700, 100], "32": [1500, 300, 300, 400, 200, 300, 900, 900]}
NCU = """#!/usr/bin/env bash
FMA=sm__inst_executed_pipe_fma.avg.pct_of_peak_sustained_elapsed
if [[ ${1:-} == --version ]]; then echo "Version 2025.3.1.0"; exit; fi
if [[ ${1:-} == --help ]]; then echo "--graph-profiling --metrics"; exit; fi
table() {
    printf '"%s",' ID "Process ID" "Kernel Name" gpc__cycles_elapsed.max; echo "\\"$FMA\\""
    echo "\\"\\",\\"\\",\\"$1\\",\\"cycle\\",\\"%\\""
    echo '"0","1","k","10","5"'
    echo '"1","1","k","10","5"'
}
if [[ ${1:-} == --import ]]; then table "${2##*/}"; exit; fi
if [[ ${1:-} == --query-metrics ]]; then echo "$FMA"; exit; fi
if [[ -n ${FAKE_FORBIDDEN:-} ]]; then echo "==ERROR== ERR_NVGPUCTRPERM"; exit 1; fi
while [[ $# -gt 0 ]]; do
    case $1 in
        --export) printf 'NVR\\0\\0\\0\\0\\0' >"$2" ;;
        --log-file) table "" >"$2" ;;
    esac
    shift
done
"""


def gpu_context(tmp_path: Path, root: Path, **changes: Any) -> Context:
    """A GPU machine made of stand-ins, where the program that is profiled ends at once."""
    tools = tmp_path / "tools"
    if not tools.exists():
        tools.mkdir()
        executable(tools / "ncu", NCU)
        executable(tools / "nvidia-smi", SMI)
    values: dict[str, Any] = {
        "python": sys.executable,
        "root": root,
        "work": tmp_path / "work",
        "device": "cuda",
        "preset": "tbd",
        "batch_sizes": (4, 8, 32),
        "probe": {"frames": FRAMES, "packages": {"pytest": "8", "msgspec": "0"}},
        "environ": {**os.environ, "PATH": f"{tools}:{os.environ['PATH']}"},
    }
    return Context(**{**values, **changes})


def steps_of(context: Context, name: str) -> tuple[Step, ...]:
    (part,) = parts(context, [name])
    return part.steps


def test_no_two_steps_share_a_name_or_a_file(tmp_path: Path, root: Path) -> None:
    steps = [step for part in parts(gpu_context(tmp_path, root)) for step in part.steps]
    files = [name for step in steps for name in step.files]
    assert len({step.name for step in steps}) == len(steps) > 30
    assert len(set(files)) == len(files)
    assert {name.partition("/")[0] for name in files} == set(KINDS)


def test_both_ends_of_the_sweep_come_first_in_every_precision(tmp_path: Path, root: Path) -> None:
    names = [step.name.removeprefix("throughput-") for step in steps_of(gpu_context(tmp_path, root), "throughput")]
    assert names[:4] == ["bs32-fp32", "bs32-bf16", "bs32-tf32", "bs32-fp16"]
    assert names[4:8] == ["bs4-fp32", "bs4-bf16", "bs4-tf32", "bs4-fp16"]
    assert sorted(names[8:]) == ["bs8-bf16", "bs8-fp16", "bs8-fp32", "bs8-tf32"]


def test_the_shortest_and_the_typical_iteration_are_found_among_the_first_ones(tmp_path: Path, root: Path) -> None:
    context = gpu_context(tmp_path, root)
    assert (context.shortest(4), context.typical(4)) == (5, 4)
    assert context.shortest(32) == 4
    assert context.shortest(8) == 10, "where nothing is known of the batches"


def test_trace_and_counters_begin_with_the_same_iteration(tmp_path: Path, root: Path) -> None:
    context = gpu_context(tmp_path, root)
    commands = {step.name: step.command for name in ("torch", "nsight") for step in steps_of(context, name)}
    for name in ("torch-bs4", "torch-detail", "nsight-first", "nsight-bs4"):
        assert commands[name][commands[name].index("--profile-start") + 1] == "5", name
    assert "--layers" in commands["torch-bs4"]
    assert "--detail" in commands["torch-detail"]


def test_every_capture_is_one_that_ds2prof_run_takes(
    tmp_path: Path, root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    context = gpu_context(tmp_path, root)
    for name in ("bin/nsys", "bin/QdstrmImporter"):
        (tmp_path / "bin").mkdir(exist_ok=True)
        executable(tmp_path / name, "#!/bin/sh\n")
    path = f"{tmp_path / 'bin'}:{context.environ['PATH']}"
    context = replace(context, environ={**context.environ, "PATH": path})
    monkeypatch.setenv("PATH", path)
    commands = [step.command for part in parts(context) for step in part.steps]
    captures = [list(command[command.index("run") + 1 :]) for command in commands if "run" in command]
    assert {words[0] for words in captures} == {"torch", "nsight", "memory", "smi", "nsys"}
    for words in captures:
        done = CliRunner().invoke(run_command, [words[0], "--dry-run", *words[1:]])
        assert (done.exit_code, str(done.exception or "")) == (0, ""), f"{words}: {done.output}"


def test_a_rehearsal_says_of_each_part_that_needs_a_gpu_why_it_is_skipped(tmp_path: Path, root: Path) -> None:
    context = gpu_context(tmp_path, root, device="cpu", preset="tiny")
    skipped = {part.name: part.skipped for part in parts(context) if part.skipped}
    assert set(skipped) == {"nsight", "nsys", "ancestor"}
    assert all("GPU" in skipped[name] for name in ("nsight", "nsys"))
    assert "a host takes minutes" in skipped["ancestor"]
    assert "tf32" not in " ".join(step.name for step in steps_of(context, "throughput"))


def test_without_the_package_that_reads_traces_all_the_rest_is_read_and_that_is_said(
    tmp_path: Path, root: Path
) -> None:
    probe = {"frames": {}, "packages": {"msgspec": None, "pytest": None}}
    context = gpu_context(tmp_path, root, probe=probe)
    skipped = {part.name: part.skipped or "" for part in parts(context, ["read", "tests", "torch"])}
    assert "pytest" in skipped["tests"]
    assert skipped["torch"] == skipped["read"] == ""
    for name in ("nsight_bs4.csv", "memory_bs4.csv", "smi_bs32.csv", "torch_bs4.json.gz"):
        (context.work / "measurements").mkdir(parents=True, exist_ok=True)
        (context.work / "measurements" / name).touch()
    reasons = {step.name: step.unless(Learned()) for step in steps_of(context, "read")}
    assert "msgspec" in (reasons["read-torch_bs4-phase"] or "")
    assert "msgspec" in (reasons["read-torch_bs32-name"] or "")
    read = [name for name, reason in reasons.items() if reason is None]
    assert read == ["read-nsight_bs4-core", "read-memory_bs4-memory", "read-smi_bs32-metric"]


def test_a_calibration_lies_where_later_captures_look_for_it(tmp_path: Path, root: Path) -> None:
    first, *_ = steps_of(gpu_context(tmp_path, root), "calibrate")
    assert first.files == (f"measurements/{CALIBRATION_NAME}",)
    assert Path(first.command[first.command.index("-o") + 1]) == tmp_path / "work" / "measurements" / CALIBRATION_NAME


def test_a_gpu_that_lacks_a_precision_is_not_asked_for_it(tmp_path: Path, root: Path) -> None:
    probe = {"frames": {}, "packages": {}, "devices": [{"name": "Tesla V100", "compute_capability": "7.0"}]}
    context = gpu_context(tmp_path, root, probe=probe, batch_sizes=(4,))
    reasons = {step.name: step.unless(Learned()) for step in steps_of(context, "throughput")}
    assert reasons == {
        "throughput-bs4-fp32": None,
        "throughput-bs4-bf16": "Tesla V100 is older than Ampere and has no bf16",
        "throughput-bs4-tf32": "Tesla V100 is older than Ampere and has no tf32",
        "throughput-bs4-fp16": None,
    }


def test_every_preset_is_traced_before_the_first_is_timed(tmp_path: Path, root: Path) -> None:
    steps = steps_of(gpu_context(tmp_path, root), "presets")
    traced = [step.name.removeprefix("preset-") for step in steps[: len(PRESETS)]]
    assert sorted(traced) == sorted(PRESETS)
    assert traced[-1] == "tbd", "other parts have that"
    assert traced.index("rnnt") < traced.index("tbd-gru"), "an ancestor comes before a variant"
    assert [step.name for step in steps[len(PRESETS) :]] == [f"preset-{name}-throughput" for name in traced]
    assert all("--layers" in step.command for step in steps[: len(PRESETS)])


def test_presets_are_timed_at_their_own_batch_size_where_the_gpu_has_room(tmp_path: Path, root: Path) -> None:
    def sizes(memory_gib: int) -> dict[str, str]:
        device = {"name": "GPU", "compute_capability": "9.0", "memory_bytes": memory_gib << 30}
        context = gpu_context(tmp_path, root, probe={"frames": {}, "packages": {}, "devices": [device]})
        timed = [step for step in steps_of(context, "presets") if step.name.endswith("throughput")]
        return {step.name: step.command[step.command.index("--batch-size") + 1] for step in timed}

    assert sizes(140)["preset-rnnt-throughput"] == "64"
    assert set(sizes(16).values()) == {"4"}


def test_what_the_benchmarks_are_told_is_understood(tmp_path: Path, root: Path) -> None:
    """The options that are given exist: each command line is taken apart, and nothing is run."""
    from ds2prof.cli.bench_allreduce import command as allreduce
    from ds2prof.cli.bench_deepmark import command as deepmark
    from ds2prof.cli.bench_latency import command as latency

    seen = []
    for device in ("cuda", "cpu"):
        context = gpu_context(tmp_path, root, device=device)
        for name, command in (("deepmark", deepmark), ("latency", latency), ("allreduce", allreduce)):
            for step in steps_of(context, name):
                words = list(step.within(100.0).command)
                arguments = words[words.index("bench") + 2 :]
                with command.make_context(name, arguments) as parsed:
                    seen.append((name, parsed.params["device"]))
    assert len(set(seen)) == 6


def test_the_comparison_with_the_ancestor_is_understood(
    tmp_path: Path, root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("torch")
    from benchmarks.ancestor_training import arguments

    for step in steps_of(gpu_context(tmp_path, root), "ancestor"):
        words = step.within(100.0).command
        monkeypatch.setattr(sys, "argv", list(words[1:]))
        asked = arguments()
        assert asked.precision == ["fp32", "bf16"]
        assert asked.batches == [4, 8, 16, 24, 32]
        assert asked.json == tmp_path / "work" / step.files[0]


@pytest.mark.parametrize(("time_s", "turns"), [(10.0, "6"), (60.0, "6"), (110.0, "9"), (1000.0, "15")])
def test_the_comparison_with_the_ancestor_takes_the_turns_that_fit(
    tmp_path: Path, root: Path, time_s: float, turns: str
) -> None:
    first, _ = steps_of(gpu_context(tmp_path, root), "ancestor")
    assert first.cut(time_s) == ("--steps", turns)
    assert first.expects_s(Learned()) == 75.0


def test_searches_and_latencies_end_within_their_time(tmp_path: Path, root: Path) -> None:
    context = gpu_context(tmp_path, root)
    searches = [step for step in steps_of(context, "deepmark") if not step.name.endswith("given")]
    assert [step.name for step in searches] == ["deepmark-fastest", "deepmark-largest"]
    assert [step.cut(100.0) for step in searches] == [("--search-s", "55")] * 2  # behind it comes the pass
    latency, *_ = steps_of(context, "latency")
    assert latency.cut(100.0) == ("--most-s", "26")  # three batch sizes


@pytest.mark.parametrize(
    ("devices", "reason"),
    [([{}], "it takes two GPUs, and PyTorch sees 1"), ([{}, {}], None), (None, None)],
)
def test_tensors_are_added_up_where_there_are_several_gpus(
    tmp_path: Path, root: Path, devices: list[dict[str, Any]] | None, reason: str | None
) -> None:
    probe: dict[str, Any] = {"frames": {}, "packages": {}}
    (part,) = parts(
        gpu_context(tmp_path, root, probe=probe | ({} if devices is None else {"devices": devices})), ["allreduce"]
    )
    assert part.skipped == reason
    assert len(part.steps) == (1 if reason is None else 0)


def test_slow_tests_come_last_and_are_none_of_a_rehearsals(tmp_path: Path, root: Path) -> None:
    assert [step.name for step in steps_of(gpu_context(tmp_path, root), "tests")] == ["tests", "tests-slow"]
    assert [step.name for step in steps_of(gpu_context(tmp_path, root, device="cpu"), "tests")] == ["tests"]


def test_a_step_is_told_how_long_it_has(tmp_path: Path) -> None:
    step = shell("cut", 'echo "$0 $@"', cut=lambda time_s: ("--most-s", f"{time_s:.0f}"))
    (part,) = carried(tmp_path / "work", Part("a", "", 1, (step,)), total_s=1000)
    assert part.steps[0].command[-2:] == ("--most-s", "950")
    assert (tmp_path / "work" / "records" / "cut.log").read_text() == "--most-s 950\n"


def test_where_counters_are_known_to_be_forbidden_none_is_tried(tmp_path: Path, root: Path) -> None:
    (part,) = parts(gpu_context(tmp_path, root, counters_permitted=False), ["nsight"])
    assert part.skipped == (
        "the driver does not let this process read hardware counters; doctor.txt says what to change"
    )


def test_the_parts_are_those_of_the_help_and_of_the_documentation(root: Path) -> None:
    text = subprocess.run(
        ["bash", str(root / "scripts" / "gpu_campaign.sh"), "--help"], capture_output=True, text=True, check=True
    ).stdout
    documented = (root / "docs" / "CAMPAIGN.md").read_text()
    assert [name for name in PARTS if f" {name} " not in text or f"`{name}`" not in documented] == []


def test_counters_of_a_whole_iteration_come_with_the_table_made_of_the_report(tmp_path: Path, root: Path) -> None:
    context = gpu_context(tmp_path, root, batch_sizes=(4,))
    (part,) = parts(context, ["nsight"])
    wanted = [step for step in part.steps if step.name.startswith("nsight-bs4") and "typical" not in step.name]
    environ = {**context.child_environ(), "CUDA_VISIBLE_DEVICES": "0"}
    context.work.mkdir()
    (done,) = carried_out(
        [Part("nsight", "", 1, tuple(wanted))],
        Setting(root, context.work, environ, 100, time.monotonic(), QUICK),
        learned=Learned(),
        told=Told(),
        ended=lambda _part: None,
    )
    assert done.status == "delivered", done.reason
    assert (context.work / "measurements" / "nsight_bs4.csv").read_text().splitlines()[
        1
    ] == '"","","nsight_bs4.ncu-rep","cycle","%"'
    facts = json.loads((context.work / "measurements" / "nsight_bs4.csv.meta.json").read_text())
    assert (facts["batch_size"], facts["made_from"]) == (4, "nsight_bs4.ncu-rep")


def test_where_counters_are_forbidden_the_first_capture_says_so_for_all(tmp_path: Path, root: Path) -> None:
    context = gpu_context(tmp_path, root)
    context.work.mkdir()
    environ = {**context.child_environ(), "FAKE_FORBIDDEN": "1"}
    (done,) = carried_out(
        parts(context, ["nsight"]),
        Setting(root, context.work, environ, 100, time.monotonic(), QUICK),
        learned=Learned(),
        told=Told(),
        ended=lambda _part: None,
    )
    captures = [step for step in done.steps[1:] if step.name.startswith("nsight-") and not step.name.endswith("-csv")]
    assert (done.status, done.steps[0].status, len(captures)) == ("failed", "failed", 6)
    assert {step.status for step in captures} == {"skipped"}
    assert all("hardware counters cannot be read here" in (step.reason or "") for step in captures)


def test_a_whole_iteration_is_expected_to_take_what_its_launches_cost(tmp_path: Path, root: Path) -> None:
    (whole,) = (step for step in steps_of(gpu_context(tmp_path, root), "nsight") if step.name == "nsight-bs4")
    learned = Learned(startup_s={4: 10.0}, launches={4: 30.0}, counters_s=0.02)
    assert whole.expects_s(learned) == pytest.approx(1.2 * (10 + 30 * 100 * 0.02))
    assert whole.expects_s(Learned()) is None


# --- What results say ---


def delivered(seconds: float = 1.0) -> Done:
    return Done("step", "delivered", dur_ns=int(seconds * 1e9))


def test_throughput_is_read_from_the_fenced_stretch(tmp_path: Path) -> None:
    log = tmp_path / "run.jsonl"
    log.write_text('{"schema": "ds2prof-run/1"}\n{"stretch": {"wall_ns": 2000000000, "samples": 64, "audio_s": 300}}\n')
    assert lessons.throughput(log)(Learned(), delivered()) == "32.0 samples/s, 150.0 audio s/s"


def test_kernels_are_counted_wherever_the_pieces_of_a_trace_are_cut(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import gzip

    monkeypatch.setattr(lessons, "_CHUNK_BYTES", 7)
    path = tmp_path / "trace.json.gz"
    path.write_bytes(gzip.compress(b'{"cat": "kernel"}, {"cat":"kernel"}, {"cat": "cpu_op"}, {"cat": "kernel"}'))
    assert lessons.kernels_in(path) == 3


def test_a_launch_costs_what_the_capture_took_beyond_its_start(tmp_path: Path) -> None:
    table, learned = tmp_path / "a.csv", Learned(startup_s={4: 10.0})
    table.write_text('"ID","Kernel Name"\n"",""\n"0","k"\n"1","k"\n')
    note = lessons.counters(table, tmp_path / "log", batch_size=4)(learned, delivered(12.0))
    assert learned.counters_s == pytest.approx(1.0)
    assert note == "2 launches, 1000.0 ms each"


def test_the_comparison_says_how_many_times_as_long_the_ancestor_takes(tmp_path: Path) -> None:
    log = tmp_path / "ancestor.log"
    log.write_text(
        "H200, 8 threads\n\n| part | precision | batch | ancestor ms | ours ms | ratio | 95 % interval | turns |\n"
        "|---|---|---|---|---|---|---|---|\n"
        "| step | fp32 | 4 | 120.0 | 100.0 | 1.200 | 1.150 to 1.250 | 5 |\n"
        "| front end | bf16 | 32 | 9.9 | 10.0 | 0.990 | 0.980 to 1.010 | 5 |\n"
    )
    stopped = Done("step", "failed", "stopped")
    said = "the ancestor takes 0.99 to 1.20 times as long; ours is faster beyond its interval in 1 of 2"
    assert lessons.comparison(log)(Learned(), stopped) == said
    log.write_text("nothing yet\n")
    assert lessons.comparison(log)(Learned(), stopped) is None


def test_a_row_of_the_comparison_is_one_that_is_read(tmp_path: Path) -> None:
    pytest.importorskip("torch")
    from benchmarks.ancestor_training import Row

    log = tmp_path / "ancestor.log"
    row = Row("front end", "fp32", 4, ours_ms=[10.0, 10.0, 10.0], ancestor_ms=[15.0, 15.0, 15.0])
    log.write_text(f"{row.markdown()}\n")
    assert "1.50 to 1.50 times as long" in (lessons.comparison(log)(Learned(), delivered()) or "")
    assert row.facts()["ancestor_ms"] == [15.0, 15.0, 15.0]


def test_benchmarks_are_told_in_a_few_words(tmp_path: Path) -> None:
    path = tmp_path / "found.json"
    found: dict[str, Any] = {"batch_size": 64, "audio_s_per_s": 512.34, "clock": "device events", "search": {}}
    path.write_text(json.dumps(found))
    assert lessons.deepmark(path)(Learned(), delivered()) == "batch 64: 512.3 audio s/s by the device events"
    path.write_text(json.dumps({**found, "search": {"largest": {"batch_size": 900}}}))
    assert (lessons.deepmark(path)(Learned(), delivered()) or "").startswith("batch 64, largest 900: ")
    path.write_text(json.dumps({"rows": [{"batch_size": 1, "p50_ms": 3.21}, {"batch_size": 4, "p50_ms": None}]}))
    assert lessons.latency(path)(Learned(), delivered()) == "batch 1: median 3.2 ms"
    rows = [{"size_bytes": 1 << 20, "bus_bytes_per_s": 2e9}, {"size_bytes": 1 << 28, "bus_bytes_per_s": 4.2e11}]
    path.write_text(json.dumps({"rows": rows}))
    assert lessons.bandwidth(path)(Learned(), delivered()) == "420.0 GB/s on the bus at 268,435,456 bytes"


def test_a_benchmark_that_failed_says_nothing(tmp_path: Path) -> None:
    failed = Done("step", "failed", "stopped")
    for lesson in (lessons.deepmark, lessons.latency, lessons.bandwidth, lessons.kernels):
        assert lesson(tmp_path / "missing")(Learned(), failed) is None


def test_the_last_line_of_the_tests_is_their_result(tmp_path: Path) -> None:
    log = tmp_path / "tests.log"
    log.write_text("...\nSKIPPED [1] a.py:1: no tool\n3 passed, 1 skipped in 2.50s\n")
    assert lessons.tests(log)(Learned(), delivered()) == "3 passed, 1 skipped in 2.50s"


# --- The command line ---


def main(capsys: pytest.CaptureFixture[str], *arguments: str) -> tuple[int, str, str]:
    code = cli.main(arguments)
    said = capsys.readouterr()
    return code, said.out, said.err


@pytest.mark.parametrize(
    "arguments",
    [
        [],
        ["out", "--bogus"],
        ["out", "--minutes", "0"],
        ["out", "--minutes", "nan"],
        ["out", "--max-files", "4"],
        ["out", "--max-mib", "1"],
        ["out", "--max-mib", "nan"],
        ["out", "--max-mib", "inf"],
        ["out", "--parts", "torch nothing"],
        ["out", "--parts", ""],
        ["out", "--batch-sizes", ""],
        ["out", "--batch-sizes", "4 x"],
        ["out", "--preset", "huge"],
        ["out", "more"],
    ],
)
def test_what_cannot_be_is_refused_in_one_line(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    code, out, err = main(capsys, *arguments)
    assert (code, out, err.count("\n")) == (2, "", 1)
    assert err.startswith("gpu_campaign.sh: ")


def test_without_a_gpu_one_line_says_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(cli, "find_machine", lambda: NO_GPU)
    code, out, err = main(capsys, str(tmp_path / "out"))
    assert (code, out, err.count("\n")) == (1, "", 1)
    assert "no NVIDIA GPU is visible here; --device cpu rehearses" in err
    assert not (tmp_path / "out").exists()


def test_a_folder_that_holds_something_is_left_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(cli, "find_machine", lambda: NEW)
    (tmp_path / "mine").touch()
    code, _, err = main(capsys, str(tmp_path))
    assert code == 1
    assert "is not empty" in err


def test_a_dry_run_prints_commands_and_makes_nothing(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    code, out, err = main(capsys, str(tmp_path / "out"), "--dry-run", "--parts", "doctor,torch", "--batch-sizes", "4")
    assert (code, err) == (0, "")
    assert "-m ds2prof doctor" in out
    assert f"-o {tmp_path}/out/measurements/torch_bs4.json.gz" in out
    assert not (tmp_path / "out").exists()


@pytest.mark.slow
def test_a_python_whose_pytorch_sees_no_gpu_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    torch = pytest.importorskip("torch")
    if torch.cuda.is_available():
        pytest.skip("PyTorch sees a GPU here, and the test needs one that it does not see")
    monkeypatch.setattr(cli, "find_machine", lambda: NEW)
    code, _, err = main(capsys, str(tmp_path / "out"), "--batch-sizes", "4")
    assert code == 1
    assert f"{sys.executable}: PyTorch {torch.__version__} sees no GPU; name another Python by --python" in err


# --- A whole campaign, of stand-ins ---

DRIVER = """
import sys
sys.path[:0] = [{root!r}, {root!r} + "/scripts"]
from gpu_campaign import cli
from gpu_campaign.plan import Part, Step
from tests.launch_support import NEW
cli.find_machine = lambda: NEW
cli._probed = lambda context, told: {{"packages": {{}}, "frames": {{}}, "devices": [{{}}]}}
script = "echo '{{\\"schema\\": \\"ds2prof-run/1\\"}}' >$0; echo said"
def shell(context, name, text, *files):
    return Step(name, ("bash", "-c", text, *[str(context.work / file) for file in files]), files)
def parts(context, chosen):
    return [
        Part("first", "", 1, (shell(context, "writes", script, "measurements/run_bs4.jsonl"),)),
        Part("absent", "", 1, skipped="no such tool here"),
        Part("last", "", 20, (shell(context, "last", {last!r}),)),
    ]
cli.parts = parts
sys.exit(cli.main(sys.argv[1:]))
"""


@pytest.fixture
def driven(tmp_path: Path, root: Path) -> Callable[..., subprocess.Popen[str]]:
    """Starts a campaign of three parts: one that writes, one that cannot be run, and one whose script is given."""

    def start(last: str, *arguments: str) -> subprocess.Popen[str]:
        driver = tmp_path / "driver.py"
        driver.write_text(DRIVER.format(root=str(root), last=last))
        return subprocess.Popen(
            [sys.executable, str(driver), str(tmp_path / "out"), *arguments],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env={**os.environ, "TMPDIR": str(tmp_path)},
        )

    return start


def campaign_of(folder: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((folder / "campaign.json").read_text())
    return found


def test_a_campaign_reports_each_part_and_ends_with_a_table(
    driven: Callable[..., subprocess.Popen[str]], tmp_path: Path
) -> None:
    out, err = (process := driven("true")).communicate(timeout=60)
    assert process.returncode == 0, err
    assert [line.split(": ")[1] for line in err.splitlines()] == ["first", "absent", "last"]
    assert [line.split()[:2] for line in out.splitlines()] == [
        ["part", "result"],
        ["first", "delivered"],
        ["absent", "skipped"],
        ["last", "delivered"],
    ]
    assert out.splitlines()[2].endswith("no such tool here")
    facts = campaign_of(tmp_path / "out")
    assert facts["schema"] == record.SCHEMA
    assert (facts["finished"], facts["exit_code"], facts["signal"]) == (True, 0, None)
    assert facts["machine"]["gpus"][0]["name"] == "NVIDIA H200"
    assert [part["status"] for part in facts["parts"]] == ["delivered", "skipped", "delivered"]
    step = facts["parts"][0]["steps"][0]
    assert (step["exit_code"], step["files"], step["logs"]) == (
        0,
        ["measurements/run_bs4.jsonl"],
        ["records/writes.log"],
    )
    assert "said" not in out
    assert "first" in (tmp_path / "out" / "summary.txt").read_text()


def test_a_campaign_with_a_failure_exits_1_and_has_the_rest(
    driven: Callable[..., subprocess.Popen[str]], tmp_path: Path
) -> None:
    out, _ = (process := driven("echo broken; exit 4")).communicate(timeout=60)
    assert process.returncode == 1
    assert "exit code 4: broken" in out
    assert (tmp_path / "out" / "measurements" / "run_bs4.jsonl").exists()


def test_a_campaign_keeps_to_its_time(driven: Callable[..., subprocess.Popen[str]], tmp_path: Path) -> None:
    out, _ = (process := driven("sleep 600", "--minutes", "0.1")).communicate(timeout=60)
    assert process.returncode == 1
    facts = campaign_of(tmp_path / "out")
    assert facts["parts"][2]["status"] == "failed"
    assert "all the time it had" in facts["parts"][2]["reason"]
    assert facts["parts"][2]["steps"][0]["limit_s"] < 6
    assert "last" in out


@pytest.mark.parametrize("arguments", [(), ("--max-files", "8", "--max-mib", "64")], ids=["plain", "packed"])
@pytest.mark.parametrize("signum", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_leaves_what_was_finished_and_no_orphans(
    driven: Callable[..., subprocess.Popen[str]], tmp_path: Path, arguments: tuple[str, ...], signum: signal.Signals
) -> None:
    marker = tmp_path / "begun"
    process = driven(f"setsid sleep 6123 & touch {marker}; wait", *arguments)
    deadline_s = time.monotonic() + 60
    while not marker.exists() and time.monotonic() < deadline_s:
        time.sleep(0.02)
    process.send_signal(signum)
    out, err = process.communicate(timeout=60)
    assert process.returncode == 128 + signum, err
    facts = campaign_of(tmp_path / "out")
    assert (facts["finished"], facts["signal"], facts["exit_code"]) == (True, signum.name, 128 + signum)
    assert [part["status"] for part in facts["parts"]] == ["delivered", "skipped", "failed"]
    assert f"{signum.name} ended the campaign" in out
    assert "sleep\x006123" not in "".join(_command_lines())
    if arguments:
        with tarfile.open(tmp_path / "out" / "measurements-1.tar.gz") as archive:
            assert archive.getnames() == ["measurements/run_bs4.jsonl"]
        assert not list(tmp_path.glob("ds2prof-campaign-*")), "the working folder is gone"
    else:
        assert (tmp_path / "out" / "measurements" / "run_bs4.jsonl").exists()


def _command_lines() -> list[str]:
    found = []
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            found.append(path.read_text(errors="replace"))
        except OSError:
            continue
    return found


def test_a_campaign_that_is_killed_has_left_what_was_finished(
    driven: Callable[..., subprocess.Popen[str]], tmp_path: Path
) -> None:
    marker = tmp_path / "begun"
    process = driven(f"touch {marker}; exec sleep 5", "--max-files", "8")
    deadline_s = time.monotonic() + 60
    while not marker.exists() and time.monotonic() < deadline_s:
        time.sleep(0.02)
    process.kill()
    process.communicate(timeout=60)
    facts = campaign_of(tmp_path / "out")
    assert (facts["finished"], facts["exit_code"]) == (False, None)
    assert [part["status"] for part in facts["parts"]] == ["delivered", "skipped"]
    names = sorted(path.name for path in (tmp_path / "out").iterdir())
    assert names == sorted([*UNPACKED, "measurements-1.tar.gz", "records-1.tar.gz"])


# --- Every part, on a machine whose GPU, profiler and training are stand-ins ---

TRAINS_AT_ONCE = """#!/usr/bin/env bash
case ${{1:-}} in
    *train_profiling.py) shift; exec "{python}" "{training}" "$@" ;;
esac
exec "{python}" "$@"
"""
TRAINING = """
import gzip, json, sys
value = lambda name: sys.argv[sys.argv.index(name) + 1]
sums = {"wall_ns": 10**9, "samples": 4, "audio_s": 8.0, "padded_s": 9.0}
lines = [
    {"schema": "ds2prof-run/1", "batch_size": 4, "precision": "fp32"},
    {"iteration": 0, **sums, "loss": 1.0, "skipped": False},
    {"stretch": {"first": 0, "stop": 1, **sums}},
]
if "--output" in sys.argv and value("--profiler") == "none":
    open(value("--output"), "w").write("".join(json.dumps(line) + "\\n" for line in lines))
elif "--output" in sys.argv:
    open(value("--output"), "wb").write(gzip.compress(open("TRACE", "rb").read()))
"""
MACHINE = """
import sys
from dataclasses import replace
sys.path[:0] = [{root!r}, {root!r} + "/scripts"]
from gpu_campaign import cli
context = cli._context
cli._context = lambda request: replace(context(request), python={python!r})
cli._probed = lambda context, told: {{"packages": {{}}, "frames": {frames!r}, "devices": []}}
sys.exit(cli.main(sys.argv[1:]))
"""


@pytest.mark.slow
def test_on_a_machine_of_stand_ins_counters_traces_and_throughput_are_delivered_and_read(
    tmp_path: Path, root: Path, golden: Path
) -> None:
    environ = dict(gpu_context(tmp_path, root).environ)
    trace = golden / "torch_kineto" / "cuda_2025" / "input.json"
    (tmp_path / "training.py").write_text(TRAINING.replace("TRACE", str(trace)))
    python = executable(
        tmp_path / "python", TRAINS_AT_ONCE.format(python=sys.executable, training=tmp_path / "training.py")
    )
    driver = tmp_path / "machine.py"
    driver.write_text(MACHINE.format(root=str(root), python=str(python), frames=FRAMES))
    out = tmp_path / "out"
    chosen = ("--parts", "throughput torch nsight read", "--batch-sizes", "4 32", "--max-files", "8")
    done = subprocess.run(
        [sys.executable, str(driver), str(out), *chosen],
        env={**environ, "TMPDIR": str(tmp_path)},
        capture_output=True,
        text=True,
        check=False,
    )
    facts = campaign_of(out)
    steps = {step["name"]: step for part in facts["parts"] for step in part["steps"]}
    assert {name: step["reason"] for name, step in steps.items() if step["status"] != "delivered"} == {
        "read-memory_bs4-memory": "there is no memory_bs4.csv",
        "read-memory_bs32-memory": "there is no memory_bs32.csv",
        "read-smi_bs32-metric": "there is no smi_bs32.csv",
    }
    assert done.returncode == 0, done.stderr
    assert steps["throughput-bs32-tf32"]["note"] == "4.0 samples/s, 8.0 audio s/s"
    assert steps["torch-bs4"]["note"] == "3 kernels"
    assert steps["nsight-first"]["note"].startswith("2 launches, ")
    packed = {archive["file"]: archive["files"] for archive in facts["packed"]["archives"]}
    assert sorted(packed) == ["measurements-1.tar.gz", "records-1.tar.gz", "reports-1.tar.gz"]
    assert "measurements/nsight_bs32.csv" in packed["measurements-1.tar.gz"]
    assert "reports/nsight_bs4_full-recurrent.ncu-rep" in packed["reports-1.tar.gz"]


# --- The script ---


def script(root: Path, *arguments: str, **environ: str) -> subprocess.CompletedProcess[str]:
    """The script where no Python is active unless ``environ`` says so."""
    plain = {"PATH": "/usr/bin:/bin", "HOME": "/nonexistent"}
    return subprocess.run(
        ["bash", str(root / "scripts" / "gpu_campaign.sh"), *arguments],
        env={**plain, **environ},
        capture_output=True,
        text=True,
        check=False,
    )


FAKE_PYTHON = """#!/usr/bin/env bash
case ${2:-} in
    *find_spec*) echo "${FAKE_LACKS:-}" ;;
    *) shift 3; echo "$0 runs: $*" ;;
esac
"""


def test_the_script_takes_the_python_it_is_told(tmp_path: Path, root: Path) -> None:
    python = executable(tmp_path / "my python", FAKE_PYTHON)
    done = script(root, "out", "--python", str(python), "--minutes", "3")
    assert done.stdout == f"{python} runs: out --minutes 3\n"
    assert script(root, "out", DS2PROF_PYTHON=str(python)).stdout == f"{python} runs: out\n"


def test_the_script_prefers_an_active_python_with_cuda(tmp_path: Path, root: Path) -> None:
    (tmp_path / "bin").mkdir()
    python = executable(tmp_path / "bin" / "python", FAKE_PYTHON)
    assert script(root, "out", VIRTUAL_ENV=str(tmp_path)).stdout == f"{python} runs: out\n"
    executable(tmp_path / "python3", FAKE_PYTHON.replace("${FAKE_LACKS:-}", ""))
    done = script(
        root, "out", VIRTUAL_ENV=str(tmp_path), FAKE_LACKS="a PyTorch with CUDA", PATH=f"{tmp_path}:/usr/bin:/bin"
    )
    assert done.stdout == f"{tmp_path}/python3 runs: out\n"


def test_a_named_python_that_lacks_something_is_refused(tmp_path: Path, root: Path) -> None:
    python = executable(tmp_path / "python", FAKE_PYTHON)
    done = script(root, "out", "--python", str(python), FAKE_LACKS="torch, click")
    assert (done.returncode, done.stderr) == (1, f"gpu_campaign.sh: --python {python}: lacks torch, click\n")


def test_the_campaign_itself_needs_nothing_that_only_readers_or_training_need(root: Path) -> None:
    heavy = {"torch", "numpy", "pandas", "msgspec", "matplotlib"}
    code = f"import sys; sys.path[:0] = ['scripts', '.']; import gpu_campaign.cli; print({heavy!r} & set(sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], cwd=root, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "set()"


def test_the_script_without_anything_says_what_it_needs(root: Path) -> None:
    done = script(root)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.startswith("gpu_campaign.sh: OUTPUT_FOLDER is needed")


# --- For real, on the CPU ---

HIDING = """
import sys

class Hiding:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in {"msgspec", "nvtx", "soundfile", "soxr", "sentencepiece", "rapidfuzz"}:
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)

sys.meta_path.insert(0, Hiding())
"""


@pytest.mark.slow
@pytest.mark.long
def test_a_rehearsal_delivers_without_the_packages_that_only_read(tmp_path: Path, root: Path) -> None:
    pytest.importorskip("torch")
    (tmp_path / "hidden").mkdir()
    (tmp_path / "hidden" / "sitecustomize.py").write_text(HIDING)
    out = tmp_path / "out"
    arguments = (str(out), "--device", "cpu", "--batch-sizes", "2", "--minutes", "5", "--max-files", "8")
    environ = {"PYTHONPATH": str(tmp_path / "hidden"), "OMP_NUM_THREADS": "1", "TMPDIR": str(tmp_path)}
    chosen = ("--parts", "doctor throughput torch")
    done = script(root, *arguments, "--python", sys.executable, *chosen, **environ)
    assert done.returncode == 0, done.stdout + done.stderr
    facts = campaign_of(out)
    assert [part["status"] for part in facts["parts"]] == ["delivered"] * 3
    read = subprocess.run(
        [sys.executable, "-m", "ds2prof", "parse", str(out / "measurements-1.tar.gz"), "--format", "json"],
        cwd=root,
        capture_output=True,
        text=True,
        check=False,
    )
    assert read.returncode == 0, read.stderr
    names = [each["source"]["file"].rpartition("/")[2] for each in json.loads(read.stdout)]
    assert names == [
        "run_bs2_bf16.jsonl",
        "run_bs2_fp32.jsonl",
        "torch_bs2.json.gz",
        "torch_bs2_detail.json.gz",
    ]
