from __future__ import annotations

from itertools import islice
from typing import Any

import pytest

torch = pytest.importorskip("torch", reason="no torch, the tool that trains")

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from ds2prof.errors import UsageError
from ds2prof.speech.synthetic_config import SyntheticConfig
from ds2prof.train.batches import Batch, endless
from ds2prof.train.distributed import Ranks
from ds2prof.train.presets import PRESETS
from ds2prof.train.speech import SyntheticSpeech, synthetic_batches


def speech(batch_size: int = 4, *, divisor: int = 20, seed: int = 1, **options: Any) -> SyntheticSpeech:
    config = options.pop("config", SyntheticConfig(divisor))
    return SyntheticSpeech(config, batch_size, input_bins=7, vocabulary=29, seed=seed, **options)


def same(one: Batch, other: Batch) -> bool:
    return (
        torch.equal(one.spect_BFT, other.spect_BFT)
        and torch.equal(one.labels, other.labels)
        and one.frame_counts == other.frame_counts
    )


def test_a_divisor_scales_frames_and_labels() -> None:
    corpus = speech(divisor=5)
    assert (corpus.corpus.frames.min(), corpus.corpus.frames.max()) == (20, 300)
    assert (corpus.corpus.labels.min(), corpus.corpus.labels.max()) == (1, 41)


def test_the_same_seed_gives_the_same_batches_whatever_the_global_random_state() -> None:
    first = list(islice(endless(speech()), 3))
    torch.rand(5)
    np.random.default_rng().random(5)
    assert all(same(one, other) for one, other in zip(first, islice(endless(speech()), 3), strict=True))


def test_another_seed_gives_other_batches() -> None:
    assert not same(speech(seed=1).bin(3), speech(seed=2).bin(3))


def test_drawing_batches_leaves_the_global_random_state_alone() -> None:
    before = torch.get_rng_state()
    speech().bin(0)
    assert torch.equal(before, torch.get_rng_state())


def test_an_utterance_is_the_same_in_every_batch_size() -> None:
    large, small = (speech(size).utterance(77) for size in (8, 3))
    assert np.array_equal(large.features_FT, small.features_FT)
    assert np.array_equal(large.labels, small.labels)


def test_labels_are_never_the_blank_and_reach_the_last_symbol() -> None:
    labels = torch.cat([batch.labels for batch in speech(64, divisor=1).epoch(0, 1995)])
    assert (labels.min().item(), labels.max().item()) == (1, 28)


def test_spectrograms_are_standard_normal() -> None:
    batch = speech(32, divisor=1).bin(100)
    values = batch.spect_BFT[batch.spect_BFT != 0]
    assert abs(values.mean().item()) < 0.05
    assert values.std().item() == pytest.approx(1, abs=0.05)


@settings(max_examples=15, deadline=None)
@given(batch_size=st.integers(1, 200), number=st.integers(0, 10**6))
def test_a_bin_is_consecutive_utterances_longest_first_and_zero_behind_their_end(batch_size: int, number: int) -> None:
    corpus = speech(batch_size)
    number %= corpus.bins
    batch = corpus.bin(number)
    expected = corpus.corpus.frames[number * batch_size : (number + 1) * batch_size][::-1].tolist()
    assert list(batch.frame_counts) == expected == batch.frames_B.tolist()
    assert expected == sorted(expected, reverse=True)
    for row, frames in enumerate(expected):
        assert not batch.spect_BFT[row, :, frames:].any()
        assert batch.spect_BFT[row, :, :frames].all()
    assert len(batch.labels) == sum(batch.label_counts)


def test_speech_and_padding_are_counted_apart() -> None:
    corpus = speech(7)
    straddling = next(
        batch for batch in map(corpus.bin, range(corpus.bins)) if batch.frame_counts[0] != batch.frame_counts[-1]
    )
    assert straddling.padded_frames == 7 * straddling.frame_counts[0]
    assert straddling.audio_frames == sum(straddling.frame_counts) < straddling.padded_frames


def test_an_epoch_visits_every_bin_once_and_the_next_in_another_order(monkeypatch: pytest.MonkeyPatch) -> None:
    corpus = speech(1000)
    monkeypatch.setattr(corpus, "bin", lambda number: number)
    visited = list(islice(endless(corpus), 2 * corpus.bins))
    first, second = visited[: corpus.bins], visited[corpus.bins :]
    assert sorted(first) == sorted(second) == list(range(128))
    assert first != second


def test_a_batch_larger_than_the_corpus_is_refused() -> None:
    with pytest.raises(UsageError, match="128000 utterances"):
        speech(128_001)


def test_an_epoch_can_be_entered_at_any_batch(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(SyntheticSpeech, "batch", lambda self, numbers: tuple(numbers))
    corpus = speech(10_000)
    whole = list(corpus.epoch(3))
    assert list(speech(10_000).epoch(3, 9)) == whole[9:]
    assert len(corpus) == len(whole) == len(set(whole)) == 12


def test_ranks_together_take_the_batch_of_one_process() -> None:
    alone = speech(8).bin(5)
    ranks = [speech(4, rank=rank, world_size=2).bin(5) for rank in range(2)]
    assert sorted(ranks[0].numbers + ranks[1].numbers) == sorted(alone.numbers)
    assert not set(ranks[0].numbers) & set(ranks[1].numbers)


def test_one_utterance_held_is_all_that_a_batch_has() -> None:
    batch = speech(3, config=SyntheticConfig(held=90_000)).bin(7)
    assert batch.numbers == (90_000,) * 3
    assert torch.equal(batch.spect_BFT[0], batch.spect_BFT[2])
    assert batch.padded_frames == batch.audio_frames


def test_ascending_speech_starts_with_the_shortest() -> None:
    first = next(iter(speech(4, config=SyntheticConfig(order="ascending")).epoch(2)))
    assert first.numbers == (3, 2, 1, 0)


def test_the_transducers_speech_has_its_features_its_frames_and_no_blank() -> None:
    preset = PRESETS["rnnt"]
    batch = synthetic_batches(preset, 16, seed=1, ranks=Ranks(rank=1, world_size=2)).bin(3999)
    assert batch.spect_BFT.shape == (16, 256, 500)
    assert batch.audio_ms == 16 * 15_000
    assert set(batch.label_counts) == {69}
    assert batch.labels.max() < preset.model.blank
