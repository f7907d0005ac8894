"""Injection: a program that knows nothing of ds2prof is recorded, and otherwise left as it is."""

from __future__ import annotations

import ast
import gc
import json
import os
import subprocess
import sys
import threading
import time
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

torch = pytest.importorskip("torch")

from ds2prof.capture import injection
from ds2prof.inject import (
    following,
    gpu,
    nvtx_ranges,
    outputs,
    progress,
    recording,
    session,
    signals,
    status,
    steps,
    timing,
    trace,
    tracing,
    windows,
)
from ds2prof.inject.hooks import Hooks
from ds2prof.inject.windows import Window
from ds2prof.parsers import read
from tests.inject_support import (
    FORK,
    INFERENCE,
    LOADER,
    OWN_PROFILER,
    RANKS,
    ROOT,
    SITE,
    STEPS,
    injected,
    ran,
)
from tests.train_support import FakeNvtx

NO_HOOKS = Hooks(later=lambda *_: None, on_cuda=lambda *_: None)
INJECT = ROOT / "ds2prof" / "inject"


def ranges_in(path: Path) -> list[str]:
    return sorted(name for name in names_in(path, "ranges") if name.startswith("ds2prof:"))


def names_in(path: Path, table: str) -> list[str]:
    return [str(name) for name in getattr(read(path, tables=(table,)), table)["name"]]


# The window


def test_a_window_is_named_by_two_counts() -> None:
    assert windows.asked({"DS2PROF_PROFILE_START": "2", "DS2PROF_PROFILE_STOP": "5"}) == Window(2, 5)
    assert windows.asked({}) is None


@pytest.mark.parametrize(("start", "stop"), [("5", "5"), ("6", "5"), ("x", "5"), ("3", ""), ("", "3"), ("-1", "3")])
def test_a_window_that_holds_no_step_is_an_error(start: str, stop: str) -> None:
    with pytest.raises(ValueError, match="name no window"):
        windows.asked({"DS2PROF_PROFILE_START": start, "DS2PROF_PROFILE_STOP": stop})


# Steps


class Seen:
    """What a counter told, and optimizers of a class of their own whose steps it counts."""

    def __init__(self) -> None:
        self.before: list[int] = []
        self.after: list[int] = []
        self.counter = steps.StepCounter(
            made=lambda optimizer: None,
            before=lambda step, optimizer: self.before.append(step),
            after=lambda step, optimizer: self.after.append(step),
        )

        class Optimizer:
            inner: Any = None
            breaks = False

            def step(self) -> str:
                if self.inner is not None:
                    self.inner.step()
                if self.breaks:
                    raise RuntimeError("broken")
                return "stepped"

        steps._wrap_step(Optimizer, self.counter)
        self.kind: Any = Optimizer


def test_a_step_is_counted_when_it_has_returned() -> None:
    seen = Seen()
    optimizer = seen.kind()
    assert [optimizer.step(), optimizer.step()] == ["stepped", "stepped"]
    assert (seen.before, seen.after, seen.counter.count) == ([0, 1], [0, 1], 2)


def test_a_step_that_raises_is_none() -> None:
    seen = Seen()
    optimizer = seen.kind()
    optimizer.breaks = True
    with pytest.raises(RuntimeError, match="broken"):
        optimizer.step()
    optimizer.breaks = False
    optimizer.step()
    assert (seen.before, seen.after) == ([0, 0], [0])


def test_the_steps_of_a_second_optimizer_do_not_count() -> None:
    seen = Seen()
    first, second = seen.kind(), seen.kind()
    for optimizer in (first, second, second, first):
        optimizer.step()
    assert seen.after == [0, 1]


def test_a_step_within_a_step_does_not_count() -> None:
    seen = Seen()
    outer = seen.kind()
    outer.inner = seen.kind()
    outer.step()
    assert seen.after == [0]


def test_when_the_first_optimizer_is_gone_the_next_one_counts() -> None:
    seen = Seen()
    first = seen.kind()
    first.step()
    del first
    gc.collect()
    second = seen.kind()
    second.step()
    assert seen.after == [0, 1]


def test_a_class_is_wrapped_once() -> None:
    seen = Seen()
    wrapped = seen.kind.step
    steps._wrap_step(seen.kind, seen.counter)
    assert seen.kind.step is wrapped


# Which stretch is kept


class FakeRecording:
    """A recording that notes what it is asked for, and is written as its own notes."""

    made: list[FakeRecording]

    def __init__(self, *, detail: bool) -> None:
        self.events: list[str] = []
        self.first = self.complete_steps = 0
        self.on_gpu = False
        self.ends_here = True
        self.window_source = ""
        FakeRecording.made.append(self)

    def prepare(self) -> None:
        self.events.append("prepare")

    def start(self, first: int, window: Any = None) -> None:
        self.first = self.complete_steps = first
        self.events.append(f"start {first} {window}")

    def begin(self, step: int) -> None:
        if self.events[-1] != f"+{step}":  # a range that is open stays
            self.events.append(f"+{step}")

    def next(self, step: int) -> None:
        self.complete(step)
        self.begin(step)

    def complete(self, steps: int) -> None:
        self.complete_steps = steps
        self.events.append(f"-{steps - 1}")

    def stop(self) -> None:
        self.events.append("stop")

    def abandon(self) -> None:
        self.events.append("abandon")

    @property
    def steps(self) -> tuple[int, int] | None:
        return (self.first, self.complete_steps) if self.complete_steps > self.first else None

    def save(self, template: str, *, own: str | None, steps_seen: int) -> str:
        self.events.append(f"save {self.steps} {self.window_source}")
        return template


class Run:
    """A process that is traced, with fake recordings."""

    def __init__(self, monkeypatch: Any, *, on_gpu_machine: bool = False, **changes: Any) -> None:
        FakeRecording.made = []
        monkeypatch.setattr(tracing, "Recording", FakeRecording)
        monkeypatch.setattr(gpu, "may_be_used", lambda: on_gpu_machine)
        self.later: list[tuple[float, Any]] = []
        self.on_cuda: list[Any] = []
        told: dict[str, Any] = {"window": None, "whole": False, "detail": False, "status": None, **changes}
        hooks = Hooks(lambda seconds, call: self.later.append((seconds, call)), lambda call: self.on_cuda.append(call))
        self.mode = tracing.Tracing("t", hooks=hooks, **told)
        self.mode.start()

    def step(self, count: int, first: int = 0) -> Run:
        self.mode.made(None)
        for step in range(first, first + count):
            self.mode.step(step, None)
        return self

    @property
    def events(self) -> list[list[str]]:
        return [made.events for made in FakeRecording.made]


def test_a_window_that_was_asked_for_is_prepared_one_step_early_and_recorded(monkeypatch: Any) -> None:
    run = Run(monkeypatch, window=Window(2, 4)).step(6)
    run.mode.stop()
    assert run.events == [["prepare", "start 2 2-4", "+2", "-2", "+3", "-3", "stop", "save (2, 4) the steps asked for"]]


def test_a_window_from_step_0_begins_with_torch(monkeypatch: Any) -> None:
    run = Run(monkeypatch, window=Window(0, 2)).step(3)
    assert run.events == [["prepare", "start 0 0-2", "+0", "-0", "+1", "-1", "stop", "save (0, 2) the steps asked for"]]


def test_without_a_window_the_default_one_replaces_what_was_recorded_before(monkeypatch: Any) -> None:
    run = Run(monkeypatch).step(8)
    run.mode.stop()
    before, window = run.events
    assert before == ["prepare", "start 0 None", "+0", "-0", "+1", "stop"]
    assert window[-1] == "save (3, 6) the default window of steps"


@pytest.mark.parametrize("count", [2, 3])
def test_a_run_that_ends_before_the_default_window_has_a_step_keeps_what_came_before(
    monkeypatch: Any, count: int
) -> None:
    run = Run(monkeypatch).step(count)
    run.mode.stop()
    saved = [event for events in run.events for event in events if event.startswith("save")]
    assert saved == ["save (0, 1) the run so far, which ended before the default window of steps"]


def test_a_run_that_ends_within_the_window_keeps_it_with_its_real_bounds(monkeypatch: Any) -> None:
    run = Run(monkeypatch, window=Window(2, 9)).step(5)
    run.mode.stop()
    assert run.events[0][-2:] == ["stop", "save (2, 5) the steps until the program ended"]


def test_a_run_that_never_steps_is_recorded_whole(monkeypatch: Any) -> None:
    run = Run(monkeypatch)
    run.mode.stop()
    assert run.events == [["prepare", "start 0 None", "stop", "save None the whole run"]]


def test_a_run_that_never_steps_is_recorded_for_30_seconds_at_most(monkeypatch: Any, capfd: Any) -> None:
    run = Run(monkeypatch)
    ((seconds, limit),) = run.later
    limit()
    run.mode.stop()
    assert seconds == 30
    assert run.events[0][-1] == "save None the first 30 s, in which no optimizer stepped"
    assert "--window all records a run whole" in capfd.readouterr().err


def test_steps_after_the_limit_still_open_the_default_window(monkeypatch: Any) -> None:
    run = Run(monkeypatch)
    run.later[0][1]()
    run.step(6)
    assert run.events[1][-1] == "save (3, 6) the default window of steps"


def test_the_whole_run_is_recorded_where_it_was_asked_for(monkeypatch: Any) -> None:
    run = Run(monkeypatch, whole=True).step(2)
    run.mode.stop()
    assert run.later == []
    assert run.events == [
        ["prepare", "start 0 None", "+0", "-0", "+1", "-1", "+2", "stop", "save (0, 2) the whole run"]
    ]


@pytest.mark.parametrize(
    ("count", "recorded"),
    [(10, "after step 9; steps 8-9 were recorded"), (9, "after step 8; step 8 was recorded")],
)
def test_a_window_that_was_reached_in_part_is_said(monkeypatch: Any, capfd: Any, count: int, recorded: str) -> None:
    Run(monkeypatch, window=Window(8, 20)).step(count).mode.stop()
    assert capfd.readouterr().err == f"ds2prof: window 8-20: the program ended {recorded}\n"
    signalled(monkeypatch, count, window=Window(8, 20))
    assert capfd.readouterr().err == f"ds2prof: window 8-20: the program ended {recorded}\n"


def test_a_window_without_a_whole_step_is_said() -> None:
    said = windows.cut_short(Window(8, 20), None, 8)
    assert said == "window 8-20: the program ended after step 7; no step of the window is whole"
    assert "before its first step" in windows.cut_short(Window(0, 3), None, 0)


def test_a_window_that_was_not_reached_is_said(monkeypatch: Any, capfd: Any) -> None:
    run = Run(monkeypatch, window=Window(100, 200)).step(3)
    run.mode.stop()
    assert run.events == []
    assert capfd.readouterr().err == "ds2prof: window 100-200: not reached, the program took 3 optimizer steps\n"


def test_on_a_gpu_machine_nothing_begins_before_the_program_starts_cuda(monkeypatch: Any) -> None:
    run = Run(monkeypatch, on_gpu_machine=True)
    assert run.events == []
    (begin,) = run.on_cuda
    begin()
    assert run.events == [["prepare", "start 0 None"]]


def test_on_a_gpu_machine_a_program_that_stays_on_the_cpu_is_recorded_by_its_steps(monkeypatch: Any) -> None:
    run = Run(monkeypatch, on_gpu_machine=True).step(6)
    assert run.events[0][-1] == "save (3, 6) the default window of steps"


class Cuda:
    """torch.cuda as far as its start goes."""

    def __init__(self, monkeypatch: Any) -> None:
        self.initialized = False
        self.queued: list[Any] = []
        self.later: list[Any] = []
        monkeypatch.setattr(torch.cuda, "_lazy_call", self.queued.append)
        monkeypatch.setattr(torch.cuda, "_lazy_init", self.start)
        monkeypatch.setattr(torch.cuda, "is_initialized", lambda: self.initialized)

    def start(self) -> None:
        for call in self.queued:
            call()  # torch holds a lock meanwhile
        self.initialized = True


def test_recording_begins_when_cuda_has_started_and_not_while_it_does(monkeypatch: Any) -> None:
    cuda = Cuda(monkeypatch)
    seen: list[bool] = []
    gpu.when_used(lambda: seen.append(cuda.initialized), lambda seconds, call: cuda.later.append(call))
    torch.cuda._lazy_init()
    assert seen == [True]
    assert torch.cuda._lazy_init == cuda.start


def test_a_start_of_cuda_that_goes_past_us_is_taken_up_a_moment_later_and_once(monkeypatch: Any) -> None:
    cuda = Cuda(monkeypatch)
    seen: list[bool] = []
    gpu.when_used(lambda: seen.append(cuda.initialized), lambda seconds, call: cuda.later.append(call))
    cuda.start()
    assert seen == []
    cuda.later.pop()()
    torch.cuda._lazy_init()
    assert seen == [True]


def test_a_start_that_takes_long_is_waited_for(monkeypatch: Any) -> None:
    cuda = Cuda(monkeypatch)
    seen: list[bool] = []
    gpu.when_used(lambda: seen.append(cuda.initialized), lambda seconds, call: cuda.later.append(call))
    cuda.queued[0]()
    cuda.later.pop()()
    assert seen == []
    cuda.initialized = True
    cuda.later.pop()()
    assert seen == [True]


def test_a_failure_when_cuda_has_started_does_not_reach_the_program(monkeypatch: Any, capfd: Any) -> None:
    Cuda(monkeypatch)
    followed = session.Session(None, lambda hooks: SimpleNamespace(abandon=lambda: None))

    def fails() -> None:
        raise RuntimeError("no CUPTI")

    followed._on_cuda(fails)
    torch.cuda._lazy_init()
    assert capfd.readouterr().err == "ds2prof: recording failed (RuntimeError: no CUPTI); the program goes on\n"


def test_steps_in_a_thread_that_is_not_recorded_are_said_and_change_nothing(monkeypatch: Any, capfd: Any) -> None:
    run = Run(monkeypatch)
    FakeRecording.made[0].ends_here = False
    run.step(8)
    FakeRecording.made[0].ends_here = True
    run.mode.stop()
    assert run.events == [["prepare", "start 0 None", "stop", "save None the whole run"]]
    assert capfd.readouterr().err.count("steps are taken in another thread") == 1


def test_a_recording_that_no_thread_is_left_to_end_is_left_behind(monkeypatch: Any, capfd: Any) -> None:
    left: list[bool] = []
    monkeypatch.setattr(tracing, "end_past_exit_handlers", lambda: left.append(True))
    run = Run(monkeypatch, window=Window(1, 9)).step(3)
    FakeRecording.made[0].ends_here = False
    run.mode.stop()
    assert left == [True]
    assert not any(event.startswith("save") for event in run.events[0])
    assert "nothing is written" in capfd.readouterr().err


def test_a_child_by_fork_starts_anew_and_ends_what_it_inherited_when_it_steps(monkeypatch: Any) -> None:
    run = Run(monkeypatch)
    left: list[bool] = []
    switched: list[bool] = []
    monkeypatch.setattr(tracing, "end_past_exit_handlers", lambda: left.append(True))
    monkeypatch.setattr(torch._C._autograd, "_enable_record_function", switched.append)
    assert run.mode.forked()
    assert (left, switched, run.events[0][-1]) == ([True], [False], "start 0 None")
    run.step(6)
    assert switched == [False, True]
    assert run.events[0][-1] == "abandon"
    assert run.events[1][-1] == "save (3, 6) the default window of steps"


def test_an_abandoned_recording_is_ended_and_not_written(monkeypatch: Any) -> None:
    run = Run(monkeypatch)
    run.mode.abandon()
    assert run.events == [["prepare", "start 0 None", "abandon"]]


# Files


def test_the_file_of_a_rank_is_named_after_it(tmp_path: Path, monkeypatch: Any) -> None:
    monkeypatch.setattr(outputs, "_known", outputs.Place(None, None))
    assert str(outputs.place({"RANK": "3", "WORLD_SIZE": "8"})) == "rank3"
    assert str(outputs.place({"RANK": "0", "WORLD_SIZE": "1"})) == f"p{os.getpid()}"
    assert str(outputs.place({})) == f"p{os.getpid()}"


def test_a_file_of_another_process_is_not_replaced(tmp_path: Path, monkeypatch: Any) -> None:
    monkeypatch.setattr(outputs, "place", lambda: outputs.Place(0, 2))
    template = str(tmp_path / "t.{process}.json.gz")
    (tmp_path / "t.rank0.json.gz").touch()
    assert outputs.final_path(template) == str(tmp_path / f"t.rank0-p{os.getpid()}.json.gz")
    own = str(tmp_path / "t.rank0.json.gz")
    assert outputs.final_path(template, own=own) == own


def test_a_trace_that_cannot_take_its_place_leaves_no_sidecar(tmp_path: Path) -> None:
    target = tmp_path / "folder"
    target.mkdir()
    (tmp_path / "partial").touch()
    outputs.write_sidecar(str(target), {"tool": "torch.profiler"})
    with pytest.raises(OSError, match="folder"):
        outputs.put_in_place(str(tmp_path / "partial"), str(target))
    assert not (tmp_path / "folder.meta.json").exists()


def test_status_lines_hold_a_word_a_process_and_the_rest(tmp_path: Path, capfd: Any) -> None:
    path = tmp_path / "status"
    status.tell(str(path), "wrote", "/a file")
    status.say(str(path), "something")
    pid = os.getpid()
    assert path.read_text() == f"wrote {pid} /a file\nsaid {pid} something\n"
    assert capfd.readouterr().err == "ds2prof: something\n"


def test_a_status_file_that_cannot_be_written_is_no_reason_to_fail(tmp_path: Path) -> None:
    status.tell(str(tmp_path / "no folder" / "status"), "loaded")
    status.tell(None, "loaded")
    assert list(tmp_path.iterdir()) == []


def test_options_that_this_torch_does_not_know_are_left_out() -> None:
    assert trace._experimental(verbose=True, an_option_of_the_future=True) is not None


def test_the_range_of_a_step_that_did_not_end_is_no_iteration_in_the_trace(tmp_path: Path) -> None:
    made = recording.Recording(detail=False)
    made.prepare()
    made.start(4, Window(4, 9))
    made.begin(4)
    torch.ones(3) + 1
    made.next(5)
    torch.ones(3) + 1
    made.stop()
    path = made.save(str(tmp_path / "t.json.gz"), own=None, steps_seen=5)
    assert path is not None
    assert ranges_in(Path(path)) == ["ds2prof:iteration:4", "ds2prof:unfinished:5", "ds2prof:window:4-9"]
    assert sorted(entry.name for entry in tmp_path.iterdir()) == ["t.json.gz", "t.json.gz.meta.json"]
    assert json.loads((tmp_path / "t.json.gz.meta.json").read_text())["window"] == {"start": 4, "stop": 5}


def test_a_recording_without_an_operator_is_not_written(tmp_path: Path) -> None:
    made = recording.Recording(detail=False)
    made.prepare()
    made.start(0)
    made.stop()
    assert made.save(str(tmp_path / "t.json.gz"), own=None, steps_seen=0) is None
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("text", "complete"),
    [
        ('{"traceEvents": [\n{"args": {"Input Dims": [[1]]}}\n],"traceName": "/a {b}/[c].json" }', True),
        ('{"traceEvents": [\n{"ph": "X"}\n],\n  "traceName": "t", "n": 1\n}\n', True),
        ('{"traceEvents": [{"ph": "X"}]}', True),
        ('{"traceEvents": []}', True),
        (
            '{"traceEvents": [\n{"ph": "X"}\n],\n"distributedInfo": {"backend": "nccl", "rank": 0, "pg_config": '
            '[{"pg_name": "0", "ranks": [0, 1]}]},\n"traceName": "t"\n}',
            True,
        ),
        ('{"traceEvents": [\n{"ph": "X"}\n],\n"record_shapes": 1, "more": {"a": [1, {"b": null}]}\n}\n', True),
        ('{"traceEvents": [\n{"ph": "X"}\n],\n"distributedInfo": {"backend": "nccl"}', False),
        ('{"deviceProperties": [{"id": 0}], "distributedInfo": {"backend": "nccl"}', False),
        ('{"traceEvents": [\n{"ph": "X"}', False),
        ('{"traceEvents": [\n{"args": {"Input Dims": [[1]]}}', False),
        ('{"traceEvents": [\n{"ph": "X"}\n],"traceName": "t', False),
        ("", False),
    ],
)
def test_a_trace_that_a_full_disk_cut_short_is_noticed(text: str, complete: bool, tmp_path: Path) -> None:
    path = tmp_path / "raw.json"
    path.write_text(text)
    if complete:
        trace._require_complete(str(path))
        return
    with pytest.raises(OSError, match="is the disk full"):
        trace._require_complete(str(path))


def test_every_real_trace_ends_as_a_trace_does(corpus: Path, tmp_path: Path) -> None:
    import gzip

    raw = tmp_path / "raw.json"
    looked_at = 0
    for path in sorted((corpus / "kineto").glob("*.json*")):
        opened: Any = gzip.open if path.name.endswith(".gz") else open
        with opened(path, "rb") as stream:
            content = stream.read()
        if b'"traceEvents"' in content:
            tail = content[-(1 << 22) :]
            raw.write_bytes(tail)
            trace._require_complete(str(raw))
            raw.write_bytes(tail[: -len(tail) // 9])
            with pytest.raises(OSError, match="is the disk full"):
                trace._require_complete(str(raw))
            looked_at += 1
    assert looked_at > 20


def test_detail_adds_modules_shapes_and_memory_and_says_that_durations_suffer(tmp_path: Path) -> None:
    model = torch.nn.Linear(4, 4)
    made = recording.Recording(detail=True)
    made.prepare()
    made.start(0)
    model(torch.randn(2, 4))
    made.stop()
    path = Path(made.save(str(tmp_path / "t.json.gz"), own=None, steps_seen=0) or "")
    import gzip

    text = gzip.decompress(path.read_bytes()).decode()
    assert '"nn.Module: Linear_' in text
    assert '"Input Dims"' in text
    assert '"[memory]"' in text
    facts = json.loads((tmp_path / "t.json.gz.meta.json").read_text())
    assert facts["detail"] is True
    assert "take durations from a capture without --detail" in facts["durations"]


# Signals


def signalled(monkeypatch: Any, count: int, **changes: Any) -> list[str]:
    nvtx = FakeNvtx()
    monkeypatch.setitem(sys.modules, "nvtx", SimpleNamespace(start_range=nvtx.start_range, end_range=nvtx.end_range))
    monkeypatch.setattr(gpu, "may_be_used", lambda: False)
    told: dict[str, Any] = {
        "window": None,
        "whole": False,
        "count": False,
        "status": None,
        "hooks": NO_HOOKS,
        **changes,
    }
    mode = signals.Signals(**told)
    mode.start()
    for step in range(count):
        mode.step(step, None)
    mode.stop()
    assert nvtx.open == []
    return nvtx.events


def test_the_window_and_its_iterations_are_ranges_for_a_profiler_outside(monkeypatch: Any) -> None:
    assert signalled(monkeypatch, 5, window=Window(1, 3)) == [
        *("+window:1-3", "+iteration:1", "-iteration:1", "+iteration:2", "-iteration:2", "-window:1-3")
    ]


def test_a_window_that_is_open_when_the_program_ends_is_closed(monkeypatch: Any) -> None:
    events = signalled(monkeypatch, 2, window=Window(1, 9))
    assert events[-2:] == ["-iteration:2", "-window:1-9"]


def test_a_profiler_that_was_not_given_its_window_is_told_so(monkeypatch: Any, capfd: Any) -> None:
    assert signalled(monkeypatch, 2, window=Window(5, 9)) == []
    assert "window 5-9: not reached" in capfd.readouterr().err


def test_cuda_profilers_are_started_and_stopped_around_the_window(monkeypatch: Any) -> None:
    calls: list[str] = []
    monkeypatch.setattr(gpu, "is_used", lambda: True)
    monkeypatch.setattr(gpu, "synchronize", lambda: calls.append("fence"))
    monkeypatch.setattr(torch.cuda.profiler, "start", lambda: calls.append("start"))
    monkeypatch.setattr(torch.cuda.profiler, "stop", lambda: calls.append("stop"))
    signalled(monkeypatch, 4, window=Window(1, 3))
    assert calls == ["fence", "start", "fence", "stop"]


def test_nothing_waits_for_a_gpu_while_a_graph_is_captured(monkeypatch: Any) -> None:
    waited: list[int] = []
    capturing = [True]
    monkeypatch.setattr(gpu, "is_used", lambda: True)
    monkeypatch.setattr(gpu, "devices", lambda: [0])
    monkeypatch.setattr(torch.cuda, "is_current_stream_capturing", lambda: capturing[0])
    monkeypatch.setattr(torch.cuda, "synchronize", waited.append)
    gpu.synchronize()
    assert waited == []
    capturing[0] = False
    gpu.synchronize()
    assert waited == [0]


def test_without_the_package_nvtx_ranges_are_those_of_torch(monkeypatch: Any) -> None:
    events: list[str] = []
    monkeypatch.setitem(sys.modules, "nvtx", None)
    monkeypatch.setattr(torch.version, "cuda", "12.1")
    monkeypatch.setattr(torch.cuda.nvtx, "range_start", lambda name: events.append(f"+{name}") or 7)
    monkeypatch.setattr(torch.cuda.nvtx, "range_end", lambda opened: events.append(f"-{opened}"))
    found = nvtx_ranges.nvtx_ranges()
    assert found is not None
    found.end(found.start("phase:forward"))
    assert events == ["+ds2prof:phase:forward", "-7"]
    monkeypatch.setattr(torch.version, "cuda", None)
    assert nvtx_ranges.nvtx_ranges() is None


COMPILED = """
import torch
model = torch.nn.Linear(8, 8)
optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
ran = []
def backend(graph, _inputs):
    def call(*args):
        ran.append(1)
        return graph(*args)
    return call
forward = None
for step in range(8):
    if step in (0, 4):
        forward = torch.compile(lambda value: model(value).sum(), backend=backend)
    optimizer.zero_grad()
    forward(torch.randn(4, 8)).backward()
    optimizer.step()
print("ran", len(ran))
"""


@pytest.mark.slow
def test_operators_are_not_counted_where_that_would_undo_a_compilation(tmp_path: Path) -> None:
    asked = {"DS2PROF_INJECT": "signal", "DS2PROF_COUNT_OPS": "1"}
    window = {"DS2PROF_PROFILE_START": "3", "DS2PROF_PROFILE_STOP": "6"}
    done = ran(tmp_path, COMPILED, environ={**asked, **window})
    assert done.stdout == "ran 8\n"
    assert not [line for line in done.status if line[0] == "ops"]


def test_counting_ends_when_the_program_compiles(monkeypatch: Any) -> None:
    monkeypatch.setattr(following, "_called", False)
    monkeypatch.setattr(following, "_listeners", [])
    counted = progress.OperatorProgress(None, 2)
    following.on_compile(counted.stop)
    counted.rehearse()
    assert following.innermost_mode() is not None
    following._tell()
    assert following.innermost_mode() is None
    counted.rehearse()
    assert following.innermost_mode() is None


# The session


def test_an_unknown_mode_is_an_error_that_names_the_known_ones() -> None:
    environ = {"DS2PROF_INJECT": "x", "DS2PROF_INJECT_OUTPUT": "t"}
    with pytest.raises(ValueError, match="there are trace, memory and signal"):
        session.mode_for(environ, None, hooks=NO_HOOKS)


def test_steps_can_be_timed_without_a_recording() -> None:
    mode = session.mode_for({"DS2PROF_INJECT_RUN_LOG": "run.jsonl"}, None, hooks=NO_HOOKS)
    assert isinstance(mode, timing.TimedSteps)


def test_a_failure_of_ours_is_one_line_and_the_end_of_recording(capfd: Any) -> None:
    calls: list[str] = []

    class Broken:
        def step(self, step: int, optimizer: Any) -> None:
            calls.append("step")
            raise RuntimeError("no space left\nand more")

        def abandon(self) -> None:
            calls.append("abandon")

    mode: Any = Broken()
    followed = session.Session(None, lambda hooks: mode)
    followed._after(0, None)
    followed._after(1, None)
    assert calls == ["step", "abandon"]
    assert capfd.readouterr().err == "ds2prof: recording failed (RuntimeError: no space left); the program goes on\n"


def test_a_call_that_is_due_later_is_made_in_the_main_thread() -> None:
    calls: list[bool] = []
    mode: Any = SimpleNamespace()
    followed = session.Session(None, lambda hooks: mode)
    followed._later(0.05, lambda: calls.append(threading.current_thread() is threading.main_thread()))
    until_s = time.monotonic() + 20
    while not calls and time.monotonic() < until_s:
        time.sleep(0.01)
    assert calls == [True]


# What the launcher makes of it


@pytest.mark.parametrize(
    ("lines", "steps_asked", "why"),
    [
        ("", False, injection.NOT_LOADED),
        ("loaded 7\n", False, injection.NO_TORCH),
        ("loaded 7\ntorch 7 2.5\nended 7 0\n", True, injection.NEVER_STEPPED),
        ("loaded 7\ntorch 7 2.5\nended 7 0\n", False, injection.IDLE),
        ("loaded 7\ntorch 7 2.5\nopen 7 0 1\n", False, injection.KILLED),
        ("torch 7 2.5\nstep 7 2\nsaid 7 window 5-9: not reached\nended 7 3\n", True, "window 5-9: not reached"),
        ("torch 7 2.5\nfailed 7 OSError: full\nended 7 3\n", True, "OSError: full"),
        ("torch 7 2.5\nstep 7 2\nended 7 3\n", True, None),
    ],
)
def test_the_status_file_tells_why_nothing_was_recorded(
    lines: str, steps_asked: bool, why: str | None, tmp_path: Path
) -> None:
    path = tmp_path / "status"
    path.write_text(lines)
    assert injection.why_nothing(path, steps_asked=steps_asked) == why


def test_without_a_status_file_no_python_was_reached(tmp_path: Path) -> None:
    assert injection.why_nothing(tmp_path / "none", steps_asked=False) == injection.NOT_LOADED


# The code that is injected


def test_the_injected_package_is_python_3_8_and_knows_nothing_but_torch() -> None:
    allowed = {*sys.stdlib_module_names, "torch", "nvtx"}
    for path in INJECT.glob("*.py"):
        tree = ast.parse(path.read_text(), feature_version=(3, 8))
        for node in ast.walk(tree):
            if isinstance(node, ast.Import):
                assert {alias.name.split(".")[0] for alias in node.names} <= allowed, path
            elif isinstance(node, ast.ImportFrom) and node.level == 0:
                assert (node.module or "").split(".")[0] in allowed, path


def test_the_sitecustomize_keeps_to_words_of_every_python() -> None:
    tree = ast.parse((SITE / "sitecustomize.py").read_text())
    newer = (ast.JoinedStr, ast.AnnAssign, ast.NamedExpr, ast.AsyncFunctionDef, ast.Nonlocal)
    for node in ast.walk(tree):
        assert not isinstance(node, newer)
        if isinstance(node, ast.FunctionDef):
            arguments = [*node.args.args, *node.args.kwonlyargs]
            assert node.returns is None
            assert all(argument.annotation is None for argument in arguments)


@pytest.mark.parametrize("given", [{}, {"DS2PROF_INJECT_SITE": "/site"}])
def test_the_launcher_injects_only_where_it_is_told_the_folder(given: dict[str, str], tmp_path: Path) -> None:
    environ = {"PATH": os.environ["PATH"], "DS2PROF_DRY_RUN": "1", "DS2PROF_OUTPUT": "/out/t.json.gz", **given}
    told = {"DS2PROF_WINDOW": "2:5", "DS2PROF_DETAIL": "1", "PYTHONPATH": "/theirs", "DS2PROF_ENVIRONMENT": "A=b c"}
    command = ["bash", str(ROOT / "profilers" / "torch.sh"), "python", "a b.py"]
    done = subprocess.run(command, env={**environ, **told}, capture_output=True, text=True, check=True)
    if not given:
        assert done.stdout == "env A=b\\ c python a\\ b.py --output /out/t.json.gz \n"
        return
    assert done.stdout == (
        "env A=b\\ c PYTHONPATH=/site:/theirs DS2PROF_INJECT=trace "
        "DS2PROF_INJECT_OUTPUT=/out/t.\\{process\\}.json.gz DS2PROF_PROFILE_START=2 DS2PROF_PROFILE_STOP=5 "
        "DS2PROF_DETAIL=1 python a\\ b.py \n"
    )


# Whole programs


def test_a_program_without_torch_never_meets_the_package(tmp_path: Path) -> None:
    code = "import sys; print(*(any('inject' in name for name in names) for names in (sys.modules, sys.path)))"
    done = injected(tmp_path, sys.executable, "-c", code)
    assert (done.stdout, done.stderr, done.words) == ("False False\n", "", ["loaded"])


def test_looking_for_torch_without_importing_it_starts_nothing(tmp_path: Path) -> None:
    code = "import importlib.util, sys; importlib.util.find_spec('torch'); print('_ds2prof_inject' in sys.modules)"
    assert injected(tmp_path, sys.executable, "-c", code).stdout == "False\n"


def test_the_sitecustomize_that_was_hidden_is_loaded_in_its_place(tmp_path: Path) -> None:
    theirs = tmp_path / "theirs"
    theirs.mkdir()
    (theirs / "sitecustomize.py").write_text("import sys\nsys.path.append('/added')\n")
    code = "import sys, sitecustomize; print(sitecustomize.__file__, sys.path[-1])"
    done = injected(tmp_path, sys.executable, "-c", code, path=str(theirs))
    assert done.stdout == f"{theirs / 'sitecustomize.py'} /added\n"


def test_a_hidden_sitecustomize_that_fails_fails_as_it_would_have(tmp_path: Path) -> None:
    theirs = tmp_path / "theirs"
    theirs.mkdir()
    (theirs / "sitecustomize.py").write_text("raise ValueError('theirs')\n")
    done = injected(tmp_path, sys.executable, "-c", "print('on')", path=str(theirs))
    assert done.stdout == "on\n"
    assert "ValueError: theirs" in done.stderr


@pytest.mark.parametrize("option", ["-I", "-E", "-S"])
def test_a_python_that_ignores_its_environment_is_not_reached(option: str, tmp_path: Path) -> None:
    done = injected(tmp_path, sys.executable, option, "-c", "print('on')")
    assert (done.stdout, done.words) == ("on\n", [])


def test_an_environment_that_makes_no_sense_is_one_line_and_the_program_runs(tmp_path: Path) -> None:
    done = ran(tmp_path, STEPS, "1", environ={"DS2PROF_PROFILE_START": "5", "DS2PROF_PROFILE_STOP": "2"})
    assert done.exit_code == 0
    assert done.stderr == (
        "ds2prof: injection failed (ValueError: DS2PROF_PROFILE_START=5 and DS2PROF_PROFILE_STOP=2 name no window); "
        "the program goes on\n"
    )


@pytest.mark.slow
def test_the_default_window_of_a_training_script_is_recorded(tmp_path: Path) -> None:
    done = ran(tmp_path, STEPS, "8")
    assert (done.exit_code, done.stderr) == (0, "")
    assert ranges_in(done.trace) == [*(f"ds2prof:iteration:{step}" for step in (3, 4, 5)), "ds2prof:window:3-6"]
    assert done.sidecar["window"] == {"start": 3, "stop": 6}
    assert done.sidecar["steps_seen"] == 6
    assert done.words == ["loaded", "torch", "open", "step", "open", "closed", "wrote", "ended"]
    assert sorted(path.name for path in tmp_path.iterdir() if path.name.startswith(".")) == []


@pytest.mark.slow
def test_every_step_of_the_window_has_its_optimizer_range(tmp_path: Path) -> None:
    done = ran(tmp_path, STEPS, "4", environ={"DS2PROF_PROFILE_START": "1", "DS2PROF_PROFILE_STOP": "3"})
    assert names_in(done.trace, "ranges").count("Optimizer.step#SGD.step") == 2


@pytest.mark.slow
def test_inference_is_recorded_whole(tmp_path: Path) -> None:
    done = ran(tmp_path, INFERENCE)
    assert done.sidecar["window"] is None
    assert done.sidecar["window_source"] == "the whole run"
    assert names_in(done.trace, "ops").count("aten::linear") == 5


@pytest.mark.slow
@pytest.mark.parametrize(
    ("ending", "code", "said"),
    [("sys.exit(3)", 3, ""), pytest.param("raise ValueError('mine')", 1, "ValueError: mine", marks=pytest.mark.long)],
)
def test_the_end_of_a_program_is_its_own_and_what_was_recorded_is_kept(
    ending: str, code: int, said: str, tmp_path: Path
) -> None:
    done = ran(tmp_path, f"{STEPS}\n{ending}\n", "5")
    assert done.exit_code == code
    assert said in done.stderr
    assert done.sidecar["window"] == {"start": 3, "stop": 5}
    assert done.sidecar["window_source"] == "the steps until the program ended"


@pytest.mark.slow
@pytest.mark.parametrize("name", ["SIGTERM", pytest.param("SIGINT", marks=pytest.mark.long)])
def test_a_signal_ends_the_program_as_before_and_what_was_recorded_is_kept(name: str, tmp_path: Path) -> None:
    done = ran(tmp_path, f"{STEPS}\nimport os, signal\nos.kill(os.getpid(), signal.{name})\nsignal.pause()\n", "5")
    assert done.exit_code == {"SIGTERM": -15, "SIGINT": -2}[name]
    assert done.sidecar["window"] == {"start": 3, "stop": 5}


@pytest.mark.slow
@pytest.mark.parametrize("method", ["fork", pytest.param("spawn", marks=pytest.mark.long)])
def test_workers_that_load_data_record_nothing_and_end_well(method: str, tmp_path: Path) -> None:
    done = ran(tmp_path, LOADER, method)
    assert (done.exit_code, done.stderr) == (0, "")
    assert done.sidecar["window"] == {"start": 3, "stop": 6}


@pytest.mark.slow
@pytest.mark.parametrize("method", ["fork", pytest.param("spawn", marks=pytest.mark.long)])
def test_each_rank_writes_a_file_of_its_own_and_their_parent_none(method: str, tmp_path: Path) -> None:
    done = ran(tmp_path, RANKS, method, str(tmp_path / "rendezvous"))
    assert done.exit_code == 0, done.stderr
    assert [path.name for path in done.traces] == ["t.rank0.json.gz", "t.rank1.json.gz"]
    assert [json.loads(Path(f"{path}.meta.json").read_text())["world_size"] for path in done.traces] == [2, 2]


@pytest.mark.slow
def test_a_child_by_fork_ends_with_its_own_exit_code(tmp_path: Path) -> None:
    done = ran(tmp_path, FORK)
    assert (done.exit_code, done.stdout) == (0, "child 5\n")
    assert len(done.traces) == 1


@pytest.mark.slow
def test_a_program_that_uses_torch_profiler_itself_gets_it(tmp_path: Path) -> None:
    done = ran(tmp_path, OWN_PROFILER)
    assert (done.exit_code, done.stdout) == (0, "own True\n")
    assert "the program uses torch.profiler itself" in done.stderr
    assert done.sidecar["window"] == {"start": 3, "stop": 4}


@pytest.mark.slow
def test_a_folder_that_cannot_be_written_to_is_one_line_and_the_program_ends_well(tmp_path: Path) -> None:
    output = tmp_path / "program.py" / "t.{process}.json.gz"
    done = ran(tmp_path, STEPS, "8", environ={"DS2PROF_INJECT_OUTPUT": str(output)})
    assert done.exit_code == 0
    assert done.stderr.startswith("ds2prof: recording failed (")
    assert done.stderr.count("\n") == 1
