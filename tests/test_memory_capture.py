"""A recording of memory on the host: exact to the byte, and nothing of it stays in the program."""

from __future__ import annotations

import gc
import json
import os
import subprocess
import sys
import weakref
from pathlib import Path
from typing import Any

import pytest

torch = pytest.importorskip("torch", reason="no torch, the tool that trains")

from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from ds2prof.inject import following, memory_ledger, memory_names, memory_recording
from ds2prof.inject.memory import MemoryCapture
from ds2prof.inject.memory_ledger import Ledger, Saved
from tests.conftest import ROOT
from tests.memory_support import (
    Program,
    convolution,
    mlp,
    parts,
    record,
    recorded,
    recurrent,
    squares,
    whole,
)

F32 = 4
PROGRAMS = {"mlp": mlp, "convolution": convolution, "recurrent": recurrent}


@pytest.fixture(autouse=True, scope="module")
def _earlier_objects_are_passed_over() -> Any:
    """What other tests left in the process is not looked through again and again: that takes half a second a time."""
    gc.collect()
    gc.freeze()
    yield
    gc.unfreeze()


@pytest.fixture(autouse=True)
def _nothing_left_over() -> Any:
    """Models of earlier tests are gone; no test leaves hooks behind."""
    gc.collect()
    backward = torch.autograd.backward
    yield
    assert torch.autograd.backward is backward
    assert following.innermost_mode() is None
    assert not nn.modules.module._global_forward_pre_hooks
    assert not nn.modules.module._global_forward_hooks
    assert torch._C._autograd._top_saved_tensors_default_hooks(True) is None
    assert not following._listeners


def own(found: dict[tuple[str, str], int], layers: tuple[str, ...]) -> dict[tuple[str, str], int]:
    """The parts of some layers: tests of other files leave models and tensors in the same process."""
    return {key: size_bytes for key, size_bytes in found.items() if key[0] in layers}


def test_before_the_backward_pass_an_mlp_holds_what_can_be_counted_by_hand():
    recording = record(mlp(momentum=0.9))
    first, second = (8 * 16 + 16) * F32, (16 * 4 + 4) * F32
    assert own(parts(recording, "before_backward"), ("0", "1", "2")) == {
        ("0", "weights"): first,
        ("0", "optimizer_state"): first,  # momentum
        ("1", "activations"): 32 * 16 * F32,  # ReLU saves its result; that is the second layer's input too
        ("2", "weights"): second,
        ("2", "optimizer_state"): second,
    }
    assert parts(recording, "before_backward")["model", "activations"] == 32 * 4 * F32  # the loss saves the result


def test_after_the_backward_pass_gradients_take_the_place_of_activations():
    found = own(parts(record(mlp()), "after_backward"), ("0", "1", "2"))
    first, second = (8 * 16 + 16) * F32, (16 * 4 + 4) * F32
    assert found == {
        ("0", "weights"): first,
        ("0", "gradients"): first,
        ("2", "weights"): second,
        ("2", "gradients"): second,
    }


def test_the_peak_of_an_mlp_is_where_the_gradient_meets_the_activation():
    recording = record(mlp(momentum=0.9))
    _, _, phase, _, layer, _, _, operator = whole(recording, "peak")
    assert (phase, layer, operator) == ("backward", "1", "aten.threshold_backward.default")
    found = own(parts(recording, "peak"), ("1", "2"))
    assert found["1", "activations"] == 32 * 16 * F32
    assert found["2", "activation_gradients"] == 32 * 16 * F32  # of the second layer's input
    assert found["1", "activation_gradients"] == 32 * 16 * F32  # of the ReLU's input
    assert found["2", "gradients"] == (16 * 4 + 4) * F32  # already there; the first layer's are not


def test_adam_keeps_two_moments_for_each_parameter_and_a_count():
    recording = record(mlp(optimizer=torch.optim.Adam))
    found = parts(recording, "after_step")
    assert found["0", "optimizer_state"] == 2 * (8 * 16 + 16) * F32 + 2 * F32
    assert found["2", "optimizer_state"] == 2 * (16 * 4 + 4) * F32 + 2 * F32


def test_a_convolution_saves_its_results_once_and_normalization_its_statistics():
    recording = record(convolution())
    result = 4 * 8 * 6 * 6 * F32
    found = own(parts(recording, "before_backward"), ("0", "1", "2", "4"))
    assert found["1", "activations"] == result + 2 * 8 * F32  # its input, the mean and the inverse deviation
    assert found["2", "activations"] == result  # ReLU's result, which the linear layer saves as a view
    assert found["1", "buffers"] == 2 * 8 * F32 + 8  # running statistics, and how many batches
    assert ("4", "activations") not in found
    assert found["0", "weights"] == (8 * 3 * 9 + 8) * F32


def test_a_gru_holds_weights_and_gradients_of_both_directions():
    recording = record(recurrent())
    gates = 3 * 10
    weights = 2 * (gates * 6 + gates * 10 + 2 * gates) + 2 * (gates * 20 + gates * 10 + 2 * gates)
    assert parts(recording, "after_backward")["gru", "weights"] == weights * F32
    assert parts(recording, "after_backward")["gru", "gradients"] == weights * F32
    assert parts(recording, "before_backward")["linear", "weights"] == (20 * 3 + 3) * F32
    assert parts(recording, "before_backward")["gru", "activations"] > 7 * 4 * 20 * F32


@pytest.mark.parametrize("name", PROGRAMS)
def test_parts_sum_to_what_is_allocated_at_every_moment(name):
    recording = record(PROGRAMS[name](optimizer=torch.optim.Adam), iterations=2)
    for iteration in (1, 2):
        for moment in ("before_forward", "after_forward", "before_backward", "after_backward", "after_step", "peak"):
            total = whole(recording, moment, iteration=iteration)[6]
            assert sum(parts(recording, moment, iteration=iteration).values()) == total
            assert total <= whole(recording, "peak", iteration=iteration)[6]


@pytest.mark.parametrize("name", PROGRAMS)
def test_recording_changes_no_number_of_the_training(name):
    plain, watched = PROGRAMS[name](momentum=0.9), PROGRAMS[name](momentum=0.9)
    torch.manual_seed(7)
    expected = [plain.step() for _ in range(4)]
    torch.manual_seed(7)
    losses = [watched.step()]
    with recorded(watched, 1) as recording:
        losses += [watched.step(recording) for _ in range(2)]
    losses.append(watched.step())
    assert losses == expected  # bitwise
    for one, other in zip(plain.model.parameters(), watched.model.parameters(), strict=True):
        assert torch.equal(one, other)


def profiled_peak(program: Program, recording: Any) -> int:
    """The most that PyTorch's profiler counts above the beginning, of all memory that the host gave out."""
    activities = [torch.profiler.ProfilerActivity.CPU]
    with torch.profiler.profile(activities=activities, profile_memory=True) as profiler:
        program.step(recording)
    nodes, changes = list(profiler.profiler.kineto_results.experimental_event_tree()), []
    while nodes:
        node = nodes.pop()
        nodes += node.children
        if hasattr(node.extra_fields, "alloc_size"):
            changes.append((node.start_time_ns, node.extra_fields.alloc_size))
    height = highest = 0
    for _, size_bytes in sorted(changes):
        height += size_bytes
        highest = max(highest, height)
    return highest


@pytest.mark.parametrize("name", ["mlp", "recurrent"])
def test_the_peak_equals_what_pytorchs_profiler_counts(name):
    program = PROGRAMS[name](momentum=0.9)
    program.step()
    program.step()
    program.optimizer.zero_grad()
    gc.collect()
    with recorded(program) as recording:
        before = recording.account.ledger.totals["cpu"]
        counted = profiled_peak(program, recording)
    assert whole(recording, "peak", iteration=0)[6] - before == counted


@pytest.mark.parametrize("name", PROGRAMS)
def test_the_peak_equals_that_of_pytorchs_own_tracker(name):
    """An independent count, of the kinds of a distributed training's tensors."""
    tracker_of = pytest.importorskip("torch.distributed._tools.mem_tracker", reason="no such tool in this PyTorch")
    program = PROGRAMS[name](momentum=0.9)
    program.step()
    program.step()
    program.optimizer.zero_grad()
    with recorded(program) as recording:
        before = recording.account.ledger.totals["cpu"]
        program.step(recording)
    program.optimizer.zero_grad()
    tracker = tracker_of.MemTracker()
    tracker.track_external(program.model, program.optimizer)
    with tracker:
        program.step()
    tracked = tracker.get_tracker_snapshot("peak")[torch.device("cpu")]["Total"]
    state = 2 * sum(one.nbytes for one in program.model.parameters()) + sum(
        one.nbytes for one in program.model.buffers()
    )
    assert whole(recording, "peak", iteration=0)[6] - before == tracked - state


def test_what_a_kernel_takes_for_itself_on_the_host_is_all_that_is_missed():
    """Batch normalization's backward pass takes two numbers a channel and gives them back."""
    program = convolution()
    program.step()
    program.optimizer.zero_grad()
    gc.collect()
    with recorded(program) as recording:
        before = recording.account.ledger.totals["cpu"]
        counted = profiled_peak(program, recording)
    missed = counted - (whole(recording, "peak", iteration=0)[6] - before)
    assert 0 <= missed <= 2 * 8 * F32


def test_an_iteration_without_a_device_count_has_no_workspace():
    recording = record(mlp())
    assert {row[5] for row in recording.account.rows}.isdisjoint({"workspace", "rounding", "reserved", "device_used"})


def test_views_and_aliases_count_once_and_freed_memory_not_at_all():
    ledger = Ledger()
    tensor = torch.zeros(100)
    for one in (tensor, tensor.view(10, 10), tensor[3:], tensor.detach(), tensor.numpy() is not None and tensor.t()):
        ledger.see(one, memory_ledger.TEMPORARIES, "model")
    assert ledger.totals == {"cpu": 400}
    view = tensor[50:]
    del tensor, one
    ledger.drain()
    assert ledger.totals == {"cpu": 400}  # the view holds all of it
    del view
    ledger.drain()
    assert ledger.totals == {"cpu": 0}


def test_an_address_that_is_used_again_is_another_storage():
    ledger = Ledger()
    addresses = set()
    for count in range(1, 200):
        tensor = torch.zeros(64)
        addresses.add(tensor.untyped_storage()._cdata)
        ledger.see(tensor, memory_ledger.TEMPORARIES, f"layer {count}")
        ledger.drain()
        assert ledger.composition("cpu") == {(f"layer {count}", "temporaries"): 256}
        del tensor
    ledger.drain()
    assert ledger.totals["cpu"] == 0
    assert len(addresses) < 199  # else nothing was shown


def test_a_storage_that_grows_is_counted_anew():
    ledger = Ledger()
    tensor = torch.zeros(4)
    ledger.see(tensor, memory_ledger.TEMPORARIES, "model")
    tensor.resize_(100)
    ledger.see(tensor, memory_ledger.TEMPORARIES, "model")
    assert ledger.totals == {"cpu": 400}


def test_a_tensor_saved_twice_is_an_activation_until_both_are_given_back():
    ledger = Ledger()
    tensor = torch.zeros(4)
    ledger.see(tensor, memory_ledger.TEMPORARIES, "model")
    first, second = Saved(tensor), Saved(tensor.view(2, 2))
    ledger.save(first, "conv")
    ledger.save(second, "relu")
    assert ledger.composition("cpu") == {("conv", "activations"): 16}
    del first
    ledger.drain()
    assert ledger.composition("cpu") == {("conv", "activations"): 16}
    del second
    ledger.drain()
    assert ledger.composition("cpu") == {("model", "temporaries"): 16}


def test_a_weight_stays_a_weight_when_it_is_saved():
    ledger = Ledger()
    weight = nn.Parameter(torch.zeros(4))
    ledger.claim(weight, memory_ledger.WEIGHTS, "linear")
    saved = Saved(weight.detach())
    ledger.save(saved, "linear")
    assert ledger.composition("cpu") == {("linear", "weights"): 16}


def test_sparse_tensors_count_by_their_parts_and_meta_tensors_not_at_all():
    ledger = Ledger()
    sparse = torch.sparse_coo_tensor(torch.tensor([[0, 2]]), torch.tensor([1.0, 2.0]), (3,), check_invariants=True)
    ledger.see(sparse, memory_ledger.TEMPORARIES, "model")
    ledger.see(torch.zeros(1000, device="meta"), memory_ledger.TEMPORARIES, "model")
    assert ledger.totals == {"cpu": 2 * 8 + 2 * 4}


def test_a_weight_that_two_layers_share_counts_once():
    class Tied(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.one, self.other = nn.Linear(6, 6, bias=False), nn.Linear(6, 6, bias=False)
            self.other.weight = self.one.weight

        def forward(self, batch: Tensor) -> Tensor:
            result: Tensor = self.other(self.one(batch).relu())
            return result

    recording = record(Program(Tied(), lambda: torch.randn(2, 6), squares))
    found = parts(recording, "after_backward")
    assert found["one", "weights"] == found["one", "gradients"] == 36 * F32
    assert ("other", "weights") not in found


def test_micro_batches_of_one_step_are_one_iteration_whose_highest_moments_stay():
    program = mlp()
    program.step()
    with recorded(program, 1) as recording:
        program.optimizer.zero_grad()
        for size in (4, 32, 8):
            squares(program.model(torch.randn(size, 8))).backward()
        recording.before_step(program.optimizer)
        program.optimizer.step()
        recording.after_step(program.optimizer)
    assert recording.iterations == [1]
    assert parts(recording, "before_backward")["1", "activations"] == 32 * 16 * F32


def test_a_model_within_a_step_beside_another_goes_by_its_class():
    program, judge = mlp(), nn.Bilinear(2, 2, 1)
    with recorded(program) as recording:
        judge(torch.ones(1, 2), torch.ones(1, 2))
        program.step(recording)
    found = parts(recording, "before_step", iteration=0)
    assert found["Bilinear", "weights"] == 5 * F32
    assert found["0", "weights"] == (8 * 16 + 16) * F32


def test_recomputed_activations_are_only_there_while_they_are_needed():
    class Recomputing(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.body = nn.Sequential(nn.Linear(8, 64), nn.Tanh(), nn.Linear(64, 8))

        def forward(self, batch: Tensor) -> Tensor:
            result: Tensor = checkpoint(self.body, batch, use_reentrant=False)
            return result

    recording = record(Program(Recomputing(), lambda: torch.randn(32, 8), squares))
    assert ("body.1", "activations") not in parts(recording, "before_backward")
    peak = whole(recording, "peak")
    assert peak[2] == "backward"
    assert peak[6] > whole(recording, "before_backward")[6] + 32 * 64 * F32


def test_an_error_in_the_models_forward_pass_leaves_the_layers_in_order():
    class Failing(nn.Module):
        def forward(self, batch: Tensor) -> Tensor:
            raise MemoryError("too large")

    program, failing = mlp(), nn.Sequential(nn.Identity(), Failing())
    with recorded(program) as recording:
        with pytest.raises(MemoryError):
            failing(torch.ones(1))
        assert recording.place().layer == "model"
        program.step(recording)
    assert parts(recording, "before_backward", iteration=0)["1", "activations"] == 32 * 16 * F32


def test_an_error_in_the_recording_ends_it_and_not_the_program(monkeypatch):
    program = mlp()
    with recorded(program) as recording:
        monkeypatch.setattr(recording.account, "entering", lambda *_: 1 / 0)
        assert program.step(recording) > 0
    assert recording.failure == "ZeroDivisionError: division by zero"
    assert recording.iterations == []


def test_a_recording_that_failed_leaves_no_file(monkeypatch, tmp_path):
    program, capture = mlp(), MemoryCapture()
    capture.begin(0)
    program.step(capture)  # type: ignore[arg-type]
    monkeypatch.setattr(capture._recording.account, "moment", lambda *_: 1 / 0)
    program.step(capture)  # type: ignore[arg-type]
    capture.end()
    with pytest.raises(RuntimeError, match="division by zero"):
        capture.write(tmp_path / "memory.csv")
    assert list(tmp_path.iterdir()) == []


def test_a_recording_ends_by_itself_before_its_file_becomes_too_large(monkeypatch, tmp_path):
    monkeypatch.setattr(memory_recording, "_MAX_ROWS", 200)
    program, capture = mlp(), MemoryCapture()
    capture.begin(0)
    losses = [program.step(capture) for _ in range(12)]  # type: ignore[arg-type]
    assert following.innermost_mode() is None
    capture.end()
    said = capture.write(tmp_path / "memory.csv")
    assert said["complete"] is False
    assert 0 < said["iterations"] < len(losses)


def test_a_module_that_is_made_while_it_is_recorded_is_met():
    with recorded(None) as recording:
        mlp().step(recording)
    assert parts(recording, "after_backward", iteration=0)["0", "weights"] == (8 * 16 + 16) * F32
    assert parts(recording, "after_backward", iteration=0)["0", "gradients"] == (8 * 16 + 16) * F32


def test_a_loss_that_is_made_anew_in_each_step_keeps_its_name_and_is_let_go_of():
    program = mlp()
    losses: list[Any] = []

    def loss(result: Tensor) -> Tensor:
        made = nn.HuberLoss()
        losses.append(weakref.ref(made))
        value: Tensor = made(result, torch.zeros_like(result))
        return value

    program.loss = loss
    recording = record(program, iterations=3)
    layers = {row[4] for row in recording.account.rows}
    assert "HuberLoss" in layers
    assert not any(layer.startswith("HuberLoss#") for layer in layers)
    gc.collect()
    assert [one() for one in losses] == [None] * 4


def test_a_model_that_the_program_lets_go_of_is_not_kept_alive():
    program, second = mlp(), nn.Linear(512, 512)
    with recorded(program) as recording:
        second(torch.ones(1, 512))
        followed = weakref.ref(second)
        del second
        gc.collect()
        assert followed() is None
        program.step(recording)
    assert ("Linear", "weights") not in parts(recording, "after_step", iteration=0)


def test_a_forked_child_records_nothing():
    program = mlp()
    with recorded(program) as recording:
        pid = os.fork()
        if pid == 0:
            os._exit(1 if recording.on else 0)
        assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0
        program.step(recording)
    assert recording.iterations == [0]


def test_compiled_code_is_left_compiled(monkeypatch):
    program = mlp()
    monkeypatch.setattr(program.model, "_compiled_call_impl", program.model._call_impl, raising=False)
    with recorded(program) as recording:
        assert following.innermost_mode() is None
        program.step(recording)
    assert recording.why_not == memory_recording.COMPILED
    assert recording.failure is None
    found = parts(recording, "before_backward", iteration=0)
    assert found["model", "activations"] == 32 * (8 + 16 + 4) * F32  # what autograd keeps is known all the same
    assert found["0", "weights"] == (8 * 16 + 16) * F32
    assert whole(recording, "peak", iteration=0)[2] in ("", "backward", "optimizer")


def test_what_follows_modules_and_operators_is_gone_before_compiled_code_is_called():
    program = mlp()
    with recorded(program) as recording:
        program.step(recording)
        assert following.innermost_mode() is recording._watch
        compiled = torch.compile(lambda value: value + 1, backend="eager")
        assert following.innermost_mode() is None
        assert not nn.modules.module._global_forward_pre_hooks
        program.step(recording)
    assert callable(compiled)
    assert (recording.unfollowed_from, recording.iterations) == (1, [0, 1])


def test_a_recording_that_failed_is_out_of_the_way_of_what_is_compiled():
    program = mlp()
    with recorded(program) as recording:
        recording._fail(ValueError("broken"))
        torch.compile(lambda value: value + 1, backend="eager")
        assert following.innermost_mode() is None
        assert not nn.modules.module._global_forward_hooks


def test_iterations_before_the_program_compiles_are_kept(tmp_path):
    program, capture = mlp(), MemoryCapture()
    capture.begin(0)
    program.step(capture)  # type: ignore[arg-type]
    torch.compile(lambda value: value + 1, backend="eager")
    program.step(capture)  # type: ignore[arg-type]
    capture.end()
    said = capture.write(tmp_path / "memory.csv")
    assert (said["iterations"], said["operators_followed"], said["operators_followed_until"]) == (1, False, 1)
    assert "torch.compile is in use" in said["operators_reason"]


def test_a_compilation_that_is_switched_off_is_none(monkeypatch):
    monkeypatch.setenv("TORCHDYNAMO_DISABLE", "1")
    program = mlp()
    with recorded(program) as recording:
        torch.compile(lambda value: value + 1, backend="eager")
        program.step(recording)
    assert recording.why_not is None


def test_a_saved_tensor_that_was_never_set_up_goes_in_silence(recwarn):
    broken = Saved.__new__(Saved)
    broken.__del__()
    assert not recwarn.list


def test_with_two_models_in_turn_the_moment_with_activations_is_kept():
    generator, judge = nn.Linear(16, 64), nn.Linear(64, 1)
    optimizers = [torch.optim.SGD(one.parameters(), 0.1) for one in (generator, judge)]
    kept = 32 * (16 + 64 + 1) * F32
    with recorded(mlp()) as recording:
        optimizers[0].zero_grad()
        (-judge(generator(torch.randn(32, 16)))).square().mean().backward()
        ballast = torch.zeros(100_000)  # of two moments, the one with more bytes has nothing kept
        (optimizers[1].param_groups[0]["params"][0] * 2).sum().backward()
        recording.after_step(optimizers[0])
    found = parts(recording, "before_backward", iteration=0)
    assert sum(size for (_, category), size in found.items() if category == "activations") >= kept - 32 * 16 * F32
    assert ballast.numel() == 100_000


def test_the_loss_of_the_step_before_is_no_input_of_the_first_iteration():
    program = mlp()
    model = program.model
    previous = model(torch.randn(512, 8)).sum(dim=1)  # lives on, as a loss does
    size_bytes = previous.untyped_storage().nbytes()
    with recorded(program) as recording:
        held = recording.account.ledger._held[previous.untyped_storage()._cdata]
        assert (held.category, held.size_bytes) == ("temporaries", size_bytes)
        program.step(recording)


def test_where_operators_are_not_followed_nothing_is_claimed_of_the_host(monkeypatch, tmp_path):
    program, capture = mlp(), MemoryCapture()
    monkeypatch.setattr(program.model, "_compiled_call_impl", program.model._call_impl, raising=False)
    capture.begin(0)
    program.step(capture)  # type: ignore[arg-type]
    capture.end()
    with pytest.raises(RuntimeError, match=r"torch\.compile is in use.*only known on devices"):
        capture.write(tmp_path / "memory.csv")
    assert list(tmp_path.iterdir()) == []


def test_torch_func_works_while_it_is_recorded():
    program = mlp()
    weights = dict(program.model.named_parameters())

    def loss(weights: dict[str, Tensor], batch: Tensor) -> Tensor:
        return squares(torch.func.functional_call(program.model, weights, (batch,)))

    batch = torch.randn(4, 8)
    expected = torch.func.grad(loss)(weights, batch)
    with recorded(program) as recording:
        found = torch.func.grad(loss)(weights, batch)
        program.step(recording)
    assert recording.failure is None
    assert all(torch.equal(found[name], expected[name]) for name in expected)
    assert parts(recording, "before_backward", iteration=0)["1", "activations"] == 32 * 16 * F32


def test_a_program_with_a_dispatch_mode_of_its_own_keeps_it():
    from torch.utils.flop_counter import FlopCounterMode

    program = mlp()
    with FlopCounterMode(display=False) as counter, recorded(program) as recording:
        program.step(recording)
    assert counter.get_total_flops() > 0
    assert recording.why_not is not None


def test_nodes_of_the_graph_are_marked_by_the_innermost_layer_and_not_kept_alive():
    first, second = nn.Linear(3, 3), nn.Linear(3, 3)
    middle = first(torch.ones(1, 3))
    memory_names.mark([middle], "first")
    result = second(middle).relu()
    memory_names.mark([result], "second")
    node = result.grad_fn
    assert node is not None
    assert node.metadata["ds2prof layer"] == "second"
    assert middle.grad_fn is not None
    assert middle.grad_fn.metadata["ds2prof layer"] == "first"


def test_the_file_is_written_whole_or_not_at_all(tmp_path):
    capture = MemoryCapture()
    capture.begin(0)
    capture.end()
    with pytest.raises(RuntimeError, match="no iteration was recorded"):
        capture.write(tmp_path / "memory.csv")
    assert list(tmp_path.iterdir()) == []


def test_without_a_cuda_device_there_is_no_snapshot_and_the_reason_is_said(tmp_path):
    program, capture = mlp(), MemoryCapture()
    capture.begin(0)
    program.step(capture)  # type: ignore[arg-type]
    capture.end()
    said = capture.write(tmp_path / "memory.csv")
    assert [path.name for path in tmp_path.iterdir()] == ["memory.csv"]
    assert said["snapshot"] is None
    assert "CUDA" in said["snapshot_reason"]
    assert said["workspace_reason"]


PLAIN = """
import torch
from torch import nn
torch.manual_seed(0)
model = nn.Sequential(nn.Linear(8, 16), nn.ReLU(), nn.Linear(16, 4))
optimizer = torch.optim.Adam(model.parameters())
for _ in range(6):
    optimizer.zero_grad()
    loss = model(torch.randn(32, 8)).square().mean()
    loss.backward()
    optimizer.step()
print(loss.item().hex())
"""


def run_plain(folder: Path, *arguments: str, text: str = PLAIN, **environ: str) -> subprocess.CompletedProcess[str]:
    """A script that knows nothing of ds2prof, under the launcher."""
    script = folder / "plain.py"
    script.write_text(text, encoding="utf-8")
    return subprocess.run(
        [str(ROOT / "profilers" / "memory.sh"), sys.executable, str(script), *arguments],
        cwd=folder,
        env={
            **os.environ,
            "OMP_NUM_THREADS": "1",
            "DS2PROF_INJECT_SITE": str(ROOT / "ds2prof" / "inject" / "site"),
            "DS2PROF_OUTPUT": "memory.csv",
            **environ,
        },
        capture_output=True,
        text=True,
        check=True,
    )


@pytest.mark.slow
@pytest.mark.parametrize(
    ("window", "iterations"),
    [
        ("2:4", {2, 3}),
        pytest.param("all", set(range(6)), marks=pytest.mark.long),
        pytest.param("", {3, 4, 5}, marks=pytest.mark.long),
    ],
)
def test_a_script_that_knows_nothing_of_it_is_recorded(tmp_path, window, iterations):
    from ds2prof import read

    done = run_plain(tmp_path, DS2PROF_WINDOW=window)
    (path,) = tmp_path.glob("memory.p*.csv")
    profile = read(path, tables=("memory",))
    assert set(profile.table("memory")["iteration"].tolist()) == iterations
    assert profile.warnings == ()
    assert profile.meta.run is not None
    assert profile.meta.run["memory"]["operators_followed"] is True
    plain = subprocess.run([sys.executable, str(tmp_path / "plain.py")], capture_output=True, text=True, check=True)
    assert done.stdout == plain.stdout


COMPILED = """
import sys
import torch
from torch import nn
class Model(nn.Module):
    def __init__(self):
        super().__init__()
        self.first, self.second = nn.Linear(100, 100), nn.Linear(100, 10)
    def forward(self, value):
        return self.second(torch.relu(self.first(value)))
model = Model()
optimizer = torch.optim.SGD(model.parameters(), 0.1)
ran, graphs = [], []
def backend(graph, _inputs):
    graphs.append(len(list(graph.graph.nodes)))
    def call(*args):
        ran.append(1)
        return graph(*args)
    return call
if sys.argv[1] == "function":
    call = torch.compile(lambda value: model(value), backend=backend)
elif sys.argv[1] == "method":
    model.compile(backend=backend)
    call = model
else:
    call = torch.compile(model, backend=backend)
for _ in range(6):
    optimizer.zero_grad()
    call(torch.randn(8, 100)).sum().backward()
    optimizer.step()
print(len(ran), graphs)
"""


@pytest.mark.slow
@pytest.mark.parametrize(
    ("kind", "window"),
    [
        ("function", "0:3"),
        pytest.param("method", "3:5", marks=pytest.mark.long),
        pytest.param("module", "0:3", marks=pytest.mark.long),
    ],
)
def test_what_a_program_compiles_runs_as_it_does_unwatched(tmp_path, kind, window):
    (tmp_path / "plain.py").write_text(COMPILED, encoding="utf-8")
    command = [sys.executable, str(tmp_path / "plain.py"), kind]
    plain = subprocess.run(command, capture_output=True, text=True, check=True)
    done = run_plain(tmp_path, kind, text=COMPILED, DS2PROF_WINDOW=window)
    assert plain.stdout.startswith("6 [")
    assert done.stdout == plain.stdout
    assert "Warning" not in done.stderr
    assert "Saved" not in done.stderr
    assert done.stderr.count("torch.compile is in use") == 1
    assert "TORCHDYNAMO_DISABLE=1" in done.stderr


@pytest.mark.slow
def test_a_window_that_is_reached_in_part_says_which_steps_there_are(tmp_path):
    done = run_plain(tmp_path, DS2PROF_WINDOW="4:20")
    assert "window 4-20: the program ended after step 5; steps 4-5 were recorded" in done.stderr
    (path,) = tmp_path.glob("memory.p*.csv")
    facts = json.loads(path.with_name(path.name + ".meta.json").read_text(encoding="utf-8"))
    assert facts["window"] == {"start": 4, "stop": 6}
    assert facts["window_source"] == "the steps until the program ended"


@pytest.mark.slow
def test_ds2prof_run_memory_takes_any_script(tmp_path):
    from ds2prof import read

    (tmp_path / "plain.py").write_text(PLAIN, encoding="utf-8")
    command = [sys.executable, "-m", "ds2prof", "run", "memory", "-o", "out.csv", "--", sys.executable, "plain.py"]
    environ = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT)}
    subprocess.run(command, cwd=tmp_path, env=environ, capture_output=True, text=True, check=True)
    profile = read(tmp_path / "out.csv", tables=("memory",))
    assert profile.warnings == ()
    assert profile.meta.run is not None
    assert profile.meta.run["memory"]["workspace_reason"]
    assert sorted(path.name for path in tmp_path.iterdir()) == ["out.csv", "out.csv.meta.json", "plain.py"]


@pytest.mark.slow
def test_a_program_that_takes_no_step_is_told_of_the_window_that_holds_it(tmp_path):
    text = "import torch\nwith torch.no_grad():\n    torch.nn.Linear(8, 8)(torch.randn(4, 8))\n"
    (tmp_path / "plain.py").write_text(text, encoding="utf-8")
    command = [sys.executable, "-m", "ds2prof", "run", "memory", "-o", "out.csv", "--", sys.executable, "plain.py"]
    environ = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT)}
    done = subprocess.run(command, cwd=tmp_path, env=environ, capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert "no optimizer stepped, so a window of steps never opens; --window all records the whole run" in done.stderr


@pytest.mark.slow
def test_a_window_that_is_never_reached_is_said(tmp_path):
    done = run_plain(tmp_path, DS2PROF_WINDOW="50:60")
    assert "window 50-60: not reached, the program took 6 optimizer steps" in done.stderr
    assert list(tmp_path.glob("memory*")) == []


def test_a_dry_run_prints_a_command_that_can_be_pasted():
    done = subprocess.run(
        [str(ROOT / "profilers" / "memory.sh"), "python", "train_profiling.py", "--profiler", "memory"],
        env={**os.environ, "DS2PROF_OUTPUT": "a b.csv", "DS2PROF_DRY_RUN": "1", "DS2PROF_INJECT_SITE": ""},
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout == "python train_profiling.py --profiler memory --output a\\ b.csv \n"
