"""Latency: what is counted as a batch's time, and which percentiles may be told."""

from __future__ import annotations

import csv
import io
import json

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="the package torch is not installed")

from click.testing import CliRunner

from ds2prof.cli import cli
from ds2prof.errors import UsageError
from ds2prof.train.batches import Features, collate
from ds2prof.train.device import Device
from ds2prof.train.latency import Latency, LatencyPlan, Timed, batches_needed, measure, spread, sweep
from ds2prof.train.tasks import CtcTask

MS = 1_000_000


class Clock:
    """A clock that only the network moves."""

    def __init__(self):
        self.now_ns = 5

    def __call__(self):
        return self.now_ns


class Slow(torch.nn.Module):
    """Takes as many milliseconds as its batch has frames."""

    def __init__(self, clock):
        super().__init__()
        self.clock = clock
        self.modes = []

    def forward(self, spect_BFT, frames_B, frame_counts):
        self.modes.append((self.training, torch.is_grad_enabled()))
        self.clock.now_ns += MS * spect_BFT.shape[-1]
        return torch.zeros(spect_BFT.shape[-1], len(frame_counts), 3), list(frame_counts)


class Fenced(Device):
    """A host that counts how often it was waited for."""

    def __init__(self):
        super().__init__(torch.device("cpu"))
        self.fences = 0

    def synchronize(self):
        self.fences += 1


def batch_of(numbers):
    return collate(
        [Features(number, np.zeros((2, number), np.float32), np.zeros(0, np.int64)) for number in numbers],
        pin_memory=False,
    )


def timed_at(durations_ms):
    return Latency(1, tuple(Timed(round(each * MS), 1, 10, 10) for each in durations_ms))


def test_a_batch_is_timed_between_two_fences_and_warm_up_is_left_out():
    clock, device = Clock(), Fenced()
    network = Slow(clock)
    timed = measure(
        CtcTask(),
        network,
        map(batch_of, [[9], [3], [4, 2]]),
        device=device,
        precision="fp32",
        warmup=1,
        clock_ns=clock,
    )
    assert [each.dur_ns for each in timed] == [3 * MS, 4 * MS]
    assert [(each.samples, each.audio_ms, each.padded_ms) for each in timed] == [(1, 30, 30), (2, 60, 80)]
    assert device.fences == 6
    assert network.modes == [(False, False)] * 3
    assert network.training


def test_time_runs_out_behind_the_first_batch_at_the_earliest():
    clock = Clock()
    batches = map(batch_of, [[400]] * 10)
    options = {"device": Fenced(), "precision": "fp32", "clock_ns": clock}
    assert len(measure(CtcTask(), Slow(clock), batches, most_s=1.0, **options)) == 3
    assert len(measure(CtcTask(), Slow(clock), batches, most_s=0.0, **options)) == 1


def test_percentiles_are_numpys_linear_ones():
    durations_ms = np.random.default_rng(1).exponential(size=250)
    found = timed_at(durations_ms)
    for percent in (50, 90, 99):
        assert found.percentile_ms(percent) == pytest.approx(np.percentile(durations_ms, percent), abs=1e-5)


@pytest.mark.parametrize(("percent", "needed"), [(50, 2), (90, 10), (99, 100), (99.9, 1000)])
def test_a_percentile_takes_so_many_batches_that_one_lies_beyond(percent, needed):
    assert batches_needed(percent) == needed
    assert timed_at([1.0] * (needed - 1)).percentile_ms(percent) is None
    assert timed_at([1.0] * needed).percentile_ms(percent) == 1.0


def test_rates_are_those_of_all_batches_together():
    found = Latency(2, (Timed(30 * MS, 2, 900, 1000), Timed(70 * MS, 2, 1100, 1200))).facts()
    assert found["samples_per_s"] == pytest.approx(40)
    assert found["audio_s_per_s"] == pytest.approx(20)
    assert found["real_time_factor"] == pytest.approx(0.05)
    assert (found["mean_ms"], found["min_ms"], found["max_ms"]) == (50, 30, 70)
    assert (found["batches"], found["p90_ms"], found["padded_s"]) == (2, None, 2.2)


def test_the_same_seed_draws_the_same_utterances_and_none_twice_in_a_batch():
    drawn = spread(range(50), 20, 3, seed=4)
    assert drawn == spread(range(50), 20, 3, seed=4)
    assert drawn != spread(range(50), 20, 3, seed=5)
    assert all(len(set(each)) == 20 for each in drawn)


def test_one_utterance_can_be_held():
    assert spread([7], 3, 2, seed=1) == [[7, 7, 7], [7, 7, 7]]


def test_a_sweep_goes_through_the_batch_sizes():
    clock = Clock()
    plan = LatencyPlan(batch_sizes=(1, 3), batches=2, warmup=1)
    found = list(sweep(CtcTask(), Slow(clock), [5], batch_of, device=Fenced(), plan=plan))
    assert [(each.batch_size, len(each.timed), each.timed[0].samples) for each in found] == [(1, 2, 1), (3, 2, 3)]


def run(*arguments):
    return CliRunner().invoke(cli, ["bench", "latency", *map(str, arguments)])


QUICK = ("--preset", "tiny", "--device", "cpu", "--seconds", 0.3, "--batches", 3, "--warmup", 1, "--batch-sizes", "1 2")


def test_the_command_prints_a_table_that_says_what_is_missing():
    done = run(*QUICK)
    assert done.exit_code == 0, done.output
    assert done.stdout.splitlines()[2].split()[:3] == ["batch", "batches", "p50"]
    assert "p99: takes 100 batches; batch size 1, 2 has fewer" in done.stdout


def test_the_command_writes_json_and_csv_with_the_same_fields(tmp_path):
    document = json.loads(run(*QUICK, "--format", "json", "--extent", "network").stdout)
    rows = list(csv.DictReader(io.StringIO(run(*QUICK, "--format", "csv").stdout)))
    assert document["schema"] == "ds2prof-latency/1"
    assert list(document["rows"][0]) == list(rows[0])
    assert [row["batch_size"] for row in document["rows"]] == [1, 2]
    assert document["rows"][1]["audio_s"] == pytest.approx(3 * 2 * 0.3)
    assert (document["speech"], document["rows"][0]["p99_ms"]) == ("synthetic, 0.3 s each", None)


def test_the_command_holds_an_utterance_and_writes_a_file_once(tmp_path):
    path = tmp_path / "latency.json"
    options = ("--preset", "tiny", "--device", "cpu", "--batches", 1, "--warmup", 0, "--batch-sizes", 2)
    done = run(*options, "--hold", 0, "--format", "json", "-o", path)
    assert done.exit_code == 0, done.output
    document = json.loads(path.read_text())
    assert document["speech"] == "synthetic, utterance 0 held"
    assert document["rows"][0]["padded_s"] == document["rows"][0]["audio_s"]
    assert "exists already" in str(run(*options, "-o", path).exception)


def test_the_command_takes_real_speech(tmp_path):
    from ds2prof.speech.audio import write_wav

    for number in range(3):
        write_wav(tmp_path / f"{number}.wav", np.zeros(4000 * (number + 1), np.float32), 16_000)
        (tmp_path / f"{number}.txt").write_text("A\n")
    manifest = tmp_path / "m.csv"
    manifest.write_text("".join(f"{number}.wav,{number}.txt\n" for number in range(3)))
    options = ("--preset", "tiny", "--device", "cpu", "--batches", 2, "--warmup", 0, "--manifest", manifest)
    document = json.loads(run(*options, "--batch-sizes", "3 4", "--format", "json").stdout)
    assert document["rows"][0]["audio_s"] == pytest.approx(2 * (0.26 + 0.51 + 0.76))
    held = json.loads(run(*options, "--batch-sizes", 1, "--hold", 1, "--format", "json").stdout)
    assert held["rows"][0]["audio_s"] == pytest.approx(2 * 0.51)


def test_the_command_times_a_transducers_encoder(monkeypatch):
    from dataclasses import replace

    from ds2prof.train import presets

    rnnt = presets.PRESETS["rnnt"]
    small = replace(rnnt.model, encoder_hidden=8, prediction_hidden=8, joint_hidden=8)
    monkeypatch.setitem(presets.PRESETS, "rnnt", replace(rnnt, model=small))
    for extent in ("network", "text"):
        done = run(
            "--preset",
            "rnnt",
            "--device",
            "cpu",
            "--seconds",
            1,
            "--batches",
            1,
            "--warmup",
            0,
            "--batch-sizes",
            2,
            "--extent",
            extent,
        )
        assert done.exit_code == 0, done.output


@pytest.mark.parametrize(
    "arguments",
    [
        ("--batch-sizes", "0"),
        ("--batch-sizes", "a"),
        ("--preset", "no-such"),
        ("--preset", "tiny", "--checkpoint", "x.pt"),
        ("--manifest", "m.csv", "--seconds", "3"),
        ("--preset", "tiny", "--hold", "128000"),
        ("--batch-sizes", "99999999999"),
        ("--seconds", "nan"),
        ("--most-s", "inf"),
        ("--labels", "labels.json"),
    ],
)
def test_what_cannot_be_measured_is_refused(arguments):
    error = run("--device", "cpu", *arguments).exception
    assert isinstance(error, UsageError)
    assert arguments[-2] in str(error)
