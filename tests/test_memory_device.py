"""Memory of devices that count by themselves, with a stand-in for CUDA's allocator: nothing is estimated."""

from __future__ import annotations

import pickle
from typing import Any

import pytest

torch = pytest.importorskip("torch", reason="no torch, the tool that trains")

from ds2prof.inject import memory, memory_account, memory_ledger, memory_meter
from ds2prof.inject.hooks import Hooks
from ds2prof.inject.memory import MemoryCapture
from ds2prof.inject.memory_account import Account, Place
from ds2prof.inject.memory_file import History
from ds2prof.inject.memory_meter import Meter, meters
from ds2prof.inject.memory_recording import Recording
from tests.memory_support import convolution, mlp, recurrent

GPU = "cuda:0"
BLOCK = 512


class Storage:
    """Memory of a tensor on the device; its allocator takes it back when it dies."""

    def __init__(self, allocator: Allocator, size_bytes: int) -> None:
        self._allocator = allocator
        self._size_bytes = size_bytes
        self._cdata = id(self)
        self.device = torch.device(GPU)
        allocator.take(size_bytes)

    def nbytes(self) -> int:
        return self._size_bytes

    def __del__(self) -> None:
        self._allocator.give_back(self._size_bytes)


class Allocator:
    """Counts as CUDA's caching allocator does: blocks of 512 bytes, segments that it keeps, peaks since the reset."""

    def __init__(self) -> None:
        self.allocated = self.requested = self.reserved = 0
        self.reset_peak_memory_stats(None)

    def take(self, size_bytes: int) -> None:
        self.allocated += -(-size_bytes // BLOCK) * BLOCK
        self.requested += size_bytes
        self.reserved = max(self.reserved, self.allocated)
        self.highest = max(self.highest, self.allocated)
        self.highest_requested = max(self.highest_requested, self.requested)

    def give_back(self, size_bytes: int) -> None:
        self.allocated -= -(-size_bytes // BLOCK) * BLOCK
        self.requested -= size_bytes

    def memory_stats_as_nested_dict(self, device: Any) -> dict[str, Any]:
        return {
            "allocated_bytes": {"all": {"current": self.allocated, "peak": self.highest}},
            "requested_bytes": {"all": {"current": self.requested, "peak": self.highest_requested}},
            "reserved_bytes": {"all": {"current": self.reserved, "peak": self.reserved}},
        }

    def reset_peak_memory_stats(self, device: Any) -> None:
        self.highest, self.highest_requested = self.allocated, self.requested

    def mem_get_info(self, device: Any) -> tuple[int, int]:
        return 1_000_000 - self.reserved - 300_000, 1_000_000


class Work:
    """Operators on a device: each makes storages and may take workspace that it gives back before it returns."""

    def __init__(self) -> None:
        self.allocator = Allocator()
        self.account = Account()
        self.account._meters[GPU] = Meter(torch.device(GPU), self.allocator)

    def operator(self, name: str, makes: int, *, layer: str, phase: str = "forward", workspace: int = 0) -> Storage:
        self.account.entering(Place(phase, layer), [])
        if workspace:
            self.allocator.take(workspace)
        made = Storage(self.allocator, makes)
        if workspace:
            self.allocator.give_back(workspace)
        self.account.leaving(Place(phase, layer, name), [made], memory_ledger.TEMPORARIES)
        return made

    def rows(self, moment: str, *, iteration: int = 0) -> list[tuple[Any, ...]]:
        return [row for row in self.account.rows if row[:2] == (iteration, moment)]

    def sizes(self, moment: str, *, iteration: int = 0) -> dict[tuple[str, str], int]:
        return {(row[4], row[5]): row[6] for row in self.rows(moment, iteration=iteration)}


@pytest.fixture
def work(monkeypatch: pytest.MonkeyPatch) -> Work:
    monkeypatch.setattr(memory_ledger, "storages", lambda storage: [storage])
    return Work()


def test_what_an_operator_takes_for_itself_is_workspace_at_the_peak(work):
    work.account.open_iteration()
    image = work.operator("load", 1024, layer="model", phase="data")
    result = work.operator("cudnn_convolution", 2048, layer="conv", workspace=8192)
    work.account.close_iteration(0)
    assert work.sizes("peak") == {
        ("model", "temporaries"): 1024,
        ("conv", "temporaries"): 2048,
        ("conv", "workspace"): 8192,
        ("", "reserved"): 11264,
        ("conv", "allocated"): 11264,
    }
    assert work.rows("peak")[-1][7] == "cudnn_convolution"
    assert work.sizes("layer_forward") == {("conv", "allocated"): 11264, ("conv", "workspace"): 8192}
    del image, result


def test_of_the_workspace_at_a_peak_only_what_the_operator_took_is_of_its_layer(work):
    work.account.open_iteration()
    work.allocator.take(512)  # a library's, for good
    made = work.operator("cudnn_convolution", 2048, layer="conv", workspace=8192)
    work.account.close_iteration(0)
    assert work.sizes("peak")["model", "workspace"] == 512
    assert work.sizes("peak")["conv", "workspace"] == 8192
    del made


def test_workspace_that_is_given_back_before_the_result_is_made_is_part_of_the_peak(work):
    work.account.open_iteration()
    work.account.entering(Place("forward", "conv"), [])
    work.allocator.take(4096)
    work.allocator.give_back(4096)
    made = Storage(work.allocator, 1024)
    work.account.leaving(Place("forward", "conv", "op"), [made], memory_ledger.TEMPORARIES)
    work.account.close_iteration(0)
    peak = work.sizes("peak")
    assert peak["conv", "allocated"] == 4096
    assert peak["conv", "temporaries"] == 1024
    assert peak["conv", "workspace"] == 3072


def test_the_parts_of_a_moment_are_what_the_allocator_says(work):
    work.account.open_iteration()
    work.allocator.take(300)  # held by a library, in a block of 512
    made = work.operator("op", 1000, layer="linear")
    work.account.moment("after_forward", Place("loss", "model"))
    work.account.close_iteration(0)
    assert work.sizes("after_forward") == {
        ("linear", "temporaries"): 1000,
        ("model", "workspace"): 300,
        ("model", "rounding"): 512 - 300 + 1024 - 1000,
        ("", "reserved"): 1536,
        ("", "device_used"): 301_536,
        ("", "allocated"): 1536,
    }
    del made


def test_memory_that_the_allocator_does_not_know_is_told_apart(work):
    work.account.open_iteration()
    made = work.operator("from_dlpack", 4096, layer="model")
    work.allocator.give_back(4096)  # as if it had never been the allocator's
    work.allocator.take(512)
    work.account.moment("after_forward", Place("loss", "model"))
    work.account.close_iteration(0)
    sizes = work.sizes("after_forward")
    assert sizes["model", "unattributed"] == 512 - 4096
    assert sizes["model", "temporaries"] + sizes["model", "unattributed"] == sizes["", "allocated"]
    work.allocator.take(4096)
    del made


def test_a_peak_between_operators_belongs_to_the_layer_that_was_open(work):
    work.account.open_iteration()
    work.allocator.take(9216)  # no operator tells of it
    work.allocator.give_back(9216)
    work.account.entering(Place("forward", "rnn"), [])
    work.account.close_iteration(0)
    assert work.sizes("peak")["rnn", "allocated"] == 9216
    assert work.sizes("peak")["model", "workspace"] == 9216


def test_an_iteration_begins_as_high_as_memory_stands(work):
    weights = work.operator("make", 2048, layer="linear")
    work.account.open_iteration()
    work.account.close_iteration(0)
    work.account.open_iteration()
    work.account.close_iteration(1)
    for iteration in (0, 1):
        assert work.sizes("peak", iteration=iteration)["model", "allocated"] == 2048
    del weights


def test_the_parts_of_a_peak_are_those_of_then_although_memory_is_freed_at_once(work):
    work.account.open_iteration()
    first = work.operator("one", 4096, layer="one")
    second = work.operator("two", 4096, layer="two")
    del first, second
    third = work.operator("three", 512, layer="three")
    work.account.close_iteration(0)
    assert work.sizes("peak")["one", "temporaries"] == 4096
    assert work.sizes("peak")["two", "temporaries"] == 4096
    assert ("three", "temporaries") not in work.sizes("peak")
    del third


def test_an_allocator_that_does_not_count_requests_has_no_rounding():
    allocator = Allocator()
    allocator.take(300)
    stats = allocator.memory_stats_as_nested_dict(None)
    del stats["requested_bytes"]
    allocator.memory_stats_as_nested_dict = lambda device: stats  # type: ignore[method-assign]
    reading = Meter(torch.device(GPU), allocator).look()
    assert (reading.requested, reading.allocated) == (512, 512)


def test_a_device_is_met_when_the_program_first_uses_it(work, monkeypatch):
    account = Account()
    assert account.metered == []
    monkeypatch.setattr(memory_account, "meters", lambda: [Meter(torch.device(GPU), work.allocator)])
    account.open_iteration()
    made = Storage(work.allocator, 1024)
    account.leaving(Place("data", "model", "to"), [made], memory_ledger.INPUT)
    account.moment("before_forward", Place("data", "model"))
    assert account.metered == [GPU]
    account.close_iteration(0)
    assert {row[6] for row in account.rows if row[1] == "before_forward" and row[5] == "allocated"} == {1024}


def test_only_devices_that_hold_memory_of_this_process_are_asked(monkeypatch):
    used = Allocator()
    used.take(4096)
    accounts = {0: Allocator(), 1: used}
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "is_initialized", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    monkeypatch.setattr(
        torch.cuda, "memory_stats_as_nested_dict", lambda device: accounts[device.index].memory_stats_as_nested_dict(0)
    )
    assert [meter.name for meter in meters()] == ["cuda:1"]


def test_a_driver_that_does_not_answer_leaves_its_count_out():
    class Silent(Allocator):
        def mem_get_info(self, device: Any) -> tuple[int, int]:
            raise RuntimeError("CUDA error")

    assert memory_meter.Meter(torch.device(GPU), Silent()).used_bytes() is None


class Ample(Allocator):
    """A count that has nothing to do with what is held, but never falls below it."""

    def __init__(self) -> None:
        super().__init__()
        self.take(1 << 40)

    def memory_stats_as_nested_dict(self, device: Any) -> dict[str, Any]:
        self.take(100)
        return super().memory_stats_as_nested_dict(device)


@pytest.mark.parametrize("make", [mlp, convolution, recurrent])
def test_in_a_whole_training_the_parts_are_what_the_device_counts(make):
    """The host stands in for the device, with a count of its own."""
    program = make(momentum=0.9)
    program.step()
    recording = Recording()
    recording.account._meters["cpu"] = Meter(torch.device("cpu"), Ample())
    recording.begin(0)
    program.step(recording)
    recording.end()
    assert recording.failure is None
    moments = {row[1] for row in recording.account.rows} - {"layer_forward", "layer_backward"}
    assert len(moments) == 7
    for moment in moments:
        rows = [row for row in recording.account.rows if row[1] == moment]
        counted = sum(row[6] for row in rows if row[5] not in ("allocated", "reserved", "device_used"))
        assert counted == next(row[6] for row in rows if row[5] == "allocated") > 1 << 40


class Recorder:
    """A stand-in for ``torch.cuda.memory``'s history."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.calls: list[tuple[tuple[Any, ...], dict[str, Any]]] = []
        self.refuses = False
        monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
        monkeypatch.setattr(torch.cuda, "is_initialized", lambda: True)
        monkeypatch.setattr(torch.cuda.memory, "_record_memory_history", self._record)
        monkeypatch.setattr(torch.cuda.memory, "_snapshot", lambda: {"segments": [], "device_traces": [[]]})
        monkeypatch.setattr(torch._C, "_cuda_isHistoryEnabled", lambda: False, raising=False)

    def _record(self, *args: Any, **options: Any) -> None:
        self.calls.append((args, options))
        if self.refuses:
            raise TypeError("unexpected keyword argument 'stacks'")


def test_pytorchs_snapshot_lies_beside_the_file_and_its_history_ends(tmp_path, monkeypatch):
    recorder, history = Recorder(monkeypatch), History()
    history.begin()
    path = history.end(tmp_path / "memory_bs4.csv")
    assert path == tmp_path / "memory_bs4.snapshot.pickle"
    assert pickle.loads(path.read_bytes()) == {"segments": [], "device_traces": [[]]}  # our own, a moment old
    assert [args for args, _ in recorder.calls] == [("all",), (None,)]
    assert [each.name for each in tmp_path.iterdir()] == [path.name]


def test_a_history_begins_when_the_program_has_started_cuda_and_once(tmp_path, monkeypatch):
    recorder, capture = Recorder(monkeypatch), MemoryCapture()
    started = [False]
    monkeypatch.setattr(torch.cuda, "is_initialized", lambda: started[0])
    capture._history.begin()
    assert recorder.calls == []
    assert "no CUDA device in use" in str(capture._history.absent)
    started[0] = True
    capture.cuda_started()
    capture.cuda_started()
    assert ([args for args, _ in recorder.calls], capture._history.absent) == ([("all",)], None)


def test_a_start_of_cuda_that_nobody_saw_is_noticed_when_a_step_is_over(monkeypatch):
    recorder, capture = Recorder(monkeypatch), MemoryCapture()
    monkeypatch.setattr(torch.cuda, "is_initialized", lambda: False)
    capture._history.begin()
    monkeypatch.setattr(torch.cuda, "is_initialized", lambda: True)
    capture.after_step()
    assert [args for args, _ in recorder.calls] == [("all",)]


def test_a_window_that_begins_with_the_run_waits_for_cuda_with_its_history(monkeypatch):
    asked: list[Any] = []
    monkeypatch.setenv("DS2PROF_PROFILE_START", "0")
    monkeypatch.setenv("DS2PROF_PROFILE_STOP", "3")
    monkeypatch.setattr(memory.gpu, "may_be_used", lambda: True)
    recorder = memory.MemoryRecorder("m.csv", None, hooks=Hooks(later=lambda *_: None, on_cuda=asked.append))
    recorder.start()
    assert recorder._capture is not None
    recorder._capture.end()
    assert asked == [recorder._capture.cuda_started]


def test_a_history_that_the_program_records_goes_on(tmp_path, monkeypatch):
    recorder, history = Recorder(monkeypatch), History()
    monkeypatch.setattr(torch._C, "_cuda_isHistoryEnabled", lambda: True, raising=False)
    history.begin()
    assert history.end(tmp_path / "memory.csv") is not None
    assert recorder.calls == []


def test_a_version_that_knows_other_options_leaves_the_snapshot_out_and_says_so(tmp_path, monkeypatch):
    recorder, history = Recorder(monkeypatch), History()
    recorder.refuses = True
    history.begin()
    assert history.end(tmp_path / "memory.csv") is None
    assert history.absent is not None
    assert "stacks" in history.absent
    assert list(tmp_path.iterdir()) == []


def test_a_snapshot_that_cannot_be_written_leaves_nothing_and_is_said(tmp_path, monkeypatch):
    history = History()
    Recorder(monkeypatch)
    history.begin()
    assert history.end(tmp_path / "no folder" / "memory.csv") is None
    assert history.absent is not None
    assert "could not be written" in history.absent
