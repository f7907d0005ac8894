"""Runs by epochs: what they count, when they stop, and that being stopped changes nothing."""

from __future__ import annotations

import signal
from dataclasses import replace
from pathlib import Path

import pytest

torch = pytest.importorskip("torch", reason="the package torch is a tool that these tests need")

from ds2prof.errors import Ds2profError, UsageError
from ds2prof.train.checkpoints import CheckpointFolder
from ds2prof.train.graphs import Replayed, StaticNetwork, compiled, graphed, require_alike, unpacked
from ds2prof.train.observers import INTERRUPTED, MISSED, SUCCESS
from ds2prof.train.optimizers import WeightAverage
from ds2prof.train.plan import Plan
from ds2prof.train.presets import PRESETS, OptimizerConfig
from ds2prof.train.standing import standing
from ds2prof.train.steps import train_step
from ds2prof.train.stopping import StopRequest
from ds2prof.train.tally import Tally
from ds2prof.train.timers import PhaseTimers
from ds2prof.train.trainer import RunKeeper
from tests.train_support import NANO, StatedBatches, host
from tests.trainer_support import ListedBatches, Notes, StopAfter, facts, heard, nano, same, training, without_times

FIXED = {
    "tool_version": "1",
    "torch_version": "2",
    "preset": "nano",
    "preset_config": "{}",
    "symbols": {},
    "run": {},
}


def state_behind(run):
    """All that a run leaves, PyTorch's random numbers included, which are read when it ends."""
    torch.manual_seed(3)
    run.run(facts())
    return without_times(standing(run.work, run.state, run.tally))


def keeper(path: Path) -> RunKeeper:
    return RunKeeper(CheckpointFolder(path, keep=0), FIXED)


def test_the_loss_of_an_epoch_is_the_mean_over_utterances_and_not_over_batches():
    batches, notes = ListedBatches(3, 1), Notes()
    run = training(nano(batches), Plan(epochs=1, log_every=1), observer=notes)
    run.run(facts())
    first, second = (step.loss for step in notes.said["step_done"])
    (epoch,) = notes.said["epoch_done"]
    assert epoch.utterances == 4
    assert epoch.loss == pytest.approx((3 * first + second) / 4, rel=1e-6)
    assert abs(first - second) > 0.1


def test_observers_are_told_in_order():
    notes = Notes()
    training(nano(ListedBatches(2, 2)), observer=notes, evaluate=lambda: heard("A")).run(facts())
    epoch = ["epoch_started", "step_done", "step_done", "evaluation_started", "evaluated", "epoch_done"]
    assert notes.events == ["run_started", *epoch, *epoch, "run_stopped"]


@pytest.mark.parametrize("stop_after", [1, 2, 4, 5])
def test_a_run_that_was_stopped_anywhere_and_resumed_ends_bit_for_bit_like_one_that_was_not(tmp_path, stop_after):
    def made(**options):
        work = nano(ListedBatches(2, 1, 2))
        work = replace(work, average=WeightAverage(work.model, 0.9))
        return training(work, evaluate=lambda: heard("A"), **options)

    expected = state_behind(made())
    stopped = made(stop=StopAfter(stop_after), keeper=keeper(tmp_path))
    torch.manual_seed(3)
    assert stopped.run(facts()).status == INTERRUPTED
    resumed = made()
    torch.manual_seed(4)  # another process has drawn other numbers
    resumed.restore(CheckpointFolder(tmp_path).newest(print))
    assert resumed.run(facts()).status == SUCCESS
    assert same(without_times(standing(resumed.work, resumed.state, resumed.tally)), expected)


@pytest.mark.parametrize("kind", ["sgd", "adamw", "lamb"])
def test_each_optimizer_is_resumed_bit_for_bit(tmp_path, kind):
    preset = replace(NANO, optimizer=OptimizerConfig(kind, learning_rate=0.01))

    def made(**options):
        work = nano(ListedBatches(2, 2))
        from ds2prof.train.optimizers import make_optimizer

        return training(replace(work, preset=preset, optimizer=make_optimizer(work.model, preset.optimizer)), **options)

    whole, stopped, resumed = made(), made(stop=StopAfter(1), keeper=keeper(tmp_path)), made()
    whole.run(facts())
    stopped.run(facts())
    resumed.restore(CheckpointFolder(tmp_path).newest(print))
    resumed.run(facts())
    for each in ("model", "optimizer", "history"):
        assert same(*(without_times(standing(run.work, run.state, run.tally))[each] for run in (resumed, whole)))


def test_evaluating_more_often_does_not_change_what_is_learned():
    def evaluate():
        torch.rand(3)
        return heard("A")

    rarely = training(nano(ListedBatches(2, 2, 2)))
    often = training(nano(ListedBatches(2, 2, 2)), Plan(epochs=2, log_every=1, eval_every=1), evaluate=evaluate)
    left = [state_behind(run) for run in (rarely, often)]
    assert same(left[0]["model"], left[1]["model"])
    assert same(left[0]["ranks"], left[1]["ranks"])
    assert sum("evaluation" in row for row in often.state.history) == 6


def test_evaluating_by_steps_evaluates_the_end_of_the_run_too():
    notes = Notes()
    plan = Plan(epochs=2, eval_every=3)
    training(nano(ListedBatches(2, 2)), plan, observer=notes, evaluate=lambda: heard("A")).run(facts())
    assert [each.iteration for each in notes.said["evaluated"]] == [3, 4]


def test_a_step_that_the_scaler_left_out_leaves_the_average_as_it_was():
    for scale, moved in ((1.0, True), (2.0**126, False)):
        work = nano(ListedBatches(2))
        average = WeightAverage(work.model, 0.5)
        work = replace(work, average=average, scaler=torch.amp.GradScaler("cpu", init_scale=scale))
        before = {name: value.clone() for name, value in average.state_dict().items()}
        assert train_step(work, work.batches.epoch(0), Tally(host(), accumulate=1)) == moved
        assert same(average.state_dict(), before) != moved
        assert work.scaler.get_scale() == (1.0 if moved else 2.0**125)


def test_a_run_ends_where_the_target_is_reached():
    found = iter([heard("A"), heard("A", "B", "C"), heard("A", "B", "C", "D")])
    run = training(nano(ListedBatches(2)), Plan(epochs=9, target_wer=0.25), evaluate=lambda: next(found))
    outcome = run.run(facts())
    assert (outcome.status, outcome.epoch, outcome.best_wer) == (SUCCESS, 2, 0.25)


def test_a_run_that_never_reaches_its_target_says_so():
    run = training(nano(ListedBatches(2)), Plan(epochs=2, target_wer=0.2), evaluate=lambda: heard("A"))
    outcome = run.run(facts())
    assert (outcome.status, outcome.best_wer) == (MISSED, 0.75)


def test_a_run_ends_after_its_iterations_in_the_middle_of_an_epoch():
    run = training(nano(ListedBatches(2, 2, 2)), Plan(max_iterations=4))
    assert run.run(facts()).iteration == 4
    assert (run.state.epoch, run.state.batch) == (1, 1)


def test_batches_too_few_for_a_step_are_left_out_of_an_epoch():
    run = training(nano(ListedBatches(2, 2, 2), accumulate=2), Plan(epochs=1))
    assert run.run(facts()).iteration == 1
    with pytest.raises(UsageError, match="an epoch has 3 batches"):
        training(nano(ListedBatches(2, 2, 2), accumulate=4))


def spoil(batches: ListedBatches, number: int) -> None:
    batches.batches[number].spect_BFT[0, 0, 0] = float("nan")


def test_a_step_with_a_bad_loss_leaves_no_trace_in_the_network_and_is_told_of():
    batches, notes = ListedBatches(2, 1), Notes()
    spoil(batches, 1)
    run = training(nano(batches, skip_bad_loss=True), Plan(epochs=1, log_every=1), observer=notes, name_of="u{}".format)
    good = training(nano(ListedBatches(2)), Plan(epochs=1))
    run.run(facts())
    good.run(facts())
    assert same(run.work.model.state_dict(), good.work.model.state_dict())
    (bad,) = notes.said["bad_loss"]
    assert (bad.iteration, bad.numbers, bad.names, bad.rank, bad.in_a_row) == (1, (2,), ("u2",), 0, 1)
    assert str(bad.loss) == "nan"
    (epoch,) = notes.said["epoch_done"]
    assert (epoch.steps, epoch.skipped, epoch.utterances) == (2, 1, 2)
    assert [row["bad_loss"]["numbers"] for row in run.state.history if "bad_loss" in row] == [[2]]


def test_a_run_gives_up_after_too_many_bad_losses_in_a_row():
    batches, notes = ListedBatches(1, 1, 1, 1), Notes()
    for number in (0, 2, 3):
        spoil(batches, number)
    run = training(nano(batches, skip_bad_loss=True), Plan(epochs=1, bad_steps=2), observer=notes)
    with pytest.raises(Ds2profError, match="iteration 3: the loss was not finite, or negative, 2 times in a row"):
        run.run(facts())
    assert notes.events[-1] == "run_stopped"
    assert notes.said["run_stopped"] == ["failed"]


def test_accumulated_gradients_are_those_of_the_larger_batch():
    def step(each: int, accumulate: int):
        work = nano(StatedBatches(4, each, ranks=nano_ranks()), accumulate=accumulate)
        for module in work.model.modules():
            if isinstance(module, (torch.nn.BatchNorm1d, torch.nn.BatchNorm2d)):
                module.eval()
        plain = torch.optim.SGD(work.model.parameters(), lr=1.0)  # so a step is the gradient itself
        before = [parameter.detach().clone() for parameter in work.model.parameters()]
        training(replace(work, optimizer=plain), Plan(epochs=1), rate_of=lambda epoch, step: 1.0).run(facts())
        return [was - now.detach() for was, now in zip(before, work.model.parameters(), strict=True)]

    for small, large in zip(step(1, 4), step(4, 1), strict=True):
        assert torch.allclose(small, large, atol=1e-5)


def nano_ranks():
    from ds2prof.train.distributed import Ranks

    return Ranks()


def test_the_rate_of_each_step_is_the_schedules():
    notes = Notes()
    training(nano(ListedBatches(2, 2)), observer=notes, rate_of=lambda epoch, step: 1 / (10 + 2 * epoch + step)).run(
        facts()
    )
    assert [step.learning_rate for step in notes.said["step_done"]] == [1 / 10, 1 / 11, 1 / 12, 1 / 13]


def test_phase_timers_count_the_steps_and_evaluations_of_each_epoch():
    notes, device = Notes(), host()
    work = nano(ListedBatches(2, 2), timers=PhaseTimers(device))
    training(work, Plan(epochs=1), observer=notes, evaluate=lambda: heard("A")).run(facts())
    (times,) = notes.said["timed"]
    assert {each.phase: each.count for each in times} == {
        **dict.fromkeys(("data", "h2d", "forward", "loss", "backward", "clip", "optimizer"), 2),
        "evaluation": 1,
    }


def test_a_signal_is_remembered_and_the_next_one_is_not():
    with StopRequest() as stop:
        signal.raise_signal(signal.SIGTERM)
        assert stop.requested
        assert stop.exit_code == 143
        assert signal.getsignal(signal.SIGTERM) == signal.SIG_DFL
    with StopRequest() as stop:
        signal.raise_signal(signal.SIGINT)
        assert stop.exit_code == 130
        with pytest.raises(KeyboardInterrupt):
            signal.raise_signal(signal.SIGINT)
    assert signal.getsignal(signal.SIGINT) == signal.default_int_handler


def test_a_network_for_batches_of_one_length_gives_what_the_network_gives():
    work = nano(ListedBatches(2))
    plain = nano(ListedBatches(2))
    (batch,) = plain.batches.epoch(0)
    static = StaticNetwork(work.model, batch)
    replayed = Replayed(static, batch, static.counts)
    logits_TBV, counts = replayed(batch.spect_BFT, batch.frames_B, batch.frame_counts)
    expected_TBV, expected_counts = plain.outputs(batch)
    assert torch.allclose(logits_TBV, expected_TBV, atol=1e-5)
    assert list(counts) == list(expected_counts)
    with pytest.raises(Ds2profError, match="unlike the others"):
        replayed(batch.spect_BFT[:1], batch.frames_B[:1], batch.frame_counts[:1])


def test_recurrence_over_plain_tensors_changes_nothing_where_nothing_is_padded():
    packed = nano(ListedBatches(2))
    from ds2prof.train.workload import assemble

    plain = assemble(unpacked(NANO), host(), batches=ListedBatches(2), precision="fp32", seed=1)
    (batch,) = packed.batches.epoch(0)
    assert torch.allclose(packed.outputs(batch)[0], plain.outputs(batch)[0], atol=1e-5)


def test_cuda_graphs_are_refused_where_they_cannot_work():
    with pytest.raises(UsageError, match="cpu has none"):
        graphed(nano(ListedBatches(2)))
    with pytest.raises(UsageError, match="rnnt is a transducer"):
        unpacked(PRESETS["rnnt"])
    (batch,) = ListedBatches(2).epoch(0)
    with pytest.raises(UsageError, match="of one length"):
        require_alike(replace(batch, frame_counts=(40, 30)))


def test_compiling_without_a_compiler_is_refused(monkeypatch):
    monkeypatch.setattr("shutil.which", lambda name: None)
    with pytest.raises(Ds2profError, match=r"needs a C\+\+ compiler"):
        compiled(nano(ListedBatches(2)))


@pytest.mark.slow
def test_a_network_taken_apart_for_compiling_learns_what_the_network_learns():
    pytest.importorskip("torch._dynamo", reason="torch.compile is a tool that this Python does not have")
    plain = training(nano(ListedBatches(2)), Plan(epochs=1))
    taken = training(compiled(nano(ListedBatches(2)), backend="eager"), Plan(epochs=1))
    plain.run(facts())
    taken.run(facts())
    assert same(plain.work.model.state_dict(), taken.work.model.state_dict())
