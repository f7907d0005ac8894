"""Real speech as batches: equal bit for bit with and without workers, from any place on, on any number of ranks."""

from __future__ import annotations

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from ds2prof.errors import ReadError, UsageError
from ds2prof.speech.alphabet import GRAPHEMES
from ds2prof.speech.audio import write_wav
from ds2prof.speech.augment import noises_in
from ds2prof.speech.augment_config import AUGMENTS
from ds2prof.speech.feature_config import LOG_SPECTROGRAM, STACKED_LOG_MEL
from ds2prof.speech.features import features
from ds2prof.speech.manifests import Utterance
from ds2prof.train.loading import SpeechBatches, SpeechSource, _Loaded
from tests.speech_support import corpus, tone


@pytest.fixture(scope="module")
def utterances(tmp_path_factory):
    return corpus(tmp_path_factory.mktemp("speech"), 13)


@pytest.fixture(scope="module")
def noises(tmp_path_factory):
    folder = tmp_path_factory.mktemp("noise")
    write_wav(folder / "hum.wav", tone(0.5, 100.0), 16_000)
    return noises_in(folder)


def source(utterances, *, augment=None, config=LOG_SPECTROGRAM, seed=3, noises=None):
    return SpeechSource(
        utterances=utterances, features=config, symbols=GRAPHEMES, augment=augment, noises=noises, seed=seed
    )


def made(utterances, *, order="bins", batch_size=3, augment=None, noises=None, config=LOG_SPECTROGRAM, **asked):
    speech = source(utterances, augment=augment, noises=noises, config=config)
    return SpeechBatches.of(speech, order=order, batch_size=batch_size, **asked)


def same(first, second):
    return (
        torch.equal(first.spect_BFT, second.spect_BFT)
        and torch.equal(first.labels, second.labels)
        and (first.numbers, first.frame_counts, first.texts) == (second.numbers, second.frame_counts, second.texts)
    )


def test_a_batch_holds_the_features_and_labels_of_its_utterances(utterances):
    batches = made(utterances)
    assert len(batches) == 4
    for batch in batches.epoch(1):
        start = 0
        for row, number in enumerate(batch.numbers):
            samples = source(utterances).samples(number)
            expected_FT = features(samples, LOG_SPECTROGRAM)
            assert batch.frame_counts[row] == expected_FT.shape[1]
            np.testing.assert_array_equal(batch.spect_BFT[row, :, : expected_FT.shape[1]].numpy(), expected_FT)
            assert not batch.spect_BFT[row, :, expected_FT.shape[1] :].any()
            labels = batch.labels[start : start + batch.label_counts[row]].tolist()
            start += batch.label_counts[row]
            spoken = utterances[number].spoken()
            assert GRAPHEMES.decode(labels) == batch.texts[row] == spoken
        assert list(batch.frame_counts) == sorted(batch.frame_counts, reverse=True)
        assert batch.frames_B.tolist() == list(batch.frame_counts)


@pytest.mark.slow
@pytest.mark.parametrize("augment", [None, AUGMENTS["tempo-gain-masks"]])
def test_workers_change_nothing(utterances, noises, augment):
    alone = made(utterances, augment=augment, noises=noises)
    helped = made(utterances, augment=augment, noises=noises, workers=2)
    for epoch in (0, 1):
        pairs = list(zip(alone.epoch(epoch), helped.epoch(epoch), strict=True))
        assert len(pairs) == 4
        assert all(same(first, second) for first, second in pairs)


@pytest.mark.slow
def test_with_workers_an_epoch_that_is_left_and_another_that_is_entered_are_right(utterances):
    alone, helped = made(utterances), made(utterances, workers=1)
    next(helped.epoch(0))
    assert all(same(*pair) for pair in zip(alone.epoch(5, 2), helped.epoch(5, 2), strict=True))


@pytest.mark.parametrize("start", [0, 2, 4])
def test_an_epoch_can_be_entered_at_any_batch_whatever_was_seen_before(utterances, noises, start):
    asked = {"augment": AUGMENTS["tempo-gain-masks"], "noises": noises}
    whole = list(made(utterances, **asked).epoch(2))
    resumed = list(made(utterances, **asked).epoch(2, start))
    assert len(resumed) == 4 - start
    assert all(same(*pair) for pair in zip(whole[start:], resumed, strict=True))


def test_augmentation_follows_the_epoch_and_the_seed(utterances):
    def first(epoch, seed):
        speech = source(utterances[:3], augment=AUGMENTS["tempo-gain"], seed=seed)
        return next(SpeechBatches.of(speech, order="ascending", batch_size=3).epoch(epoch))

    assert same(first(0, 1), first(0, 1))
    assert not same(first(0, 1), first(1, 1))
    assert not same(first(0, 1), first(0, 2))


@pytest.mark.parametrize("workers", [0, pytest.param(1, marks=pytest.mark.slow)])
def test_reading_draws_none_of_the_random_numbers_that_dropout_draws(utterances, workers):
    batches = made(utterances, workers=workers)
    before = torch.get_rng_state()
    for epoch in (0, 1):
        next(batches.epoch(epoch))
    assert torch.equal(torch.get_rng_state(), before)
    batches.close()


def test_what_an_utterance_becomes_does_not_depend_on_its_batch(utterances):
    def contents(batch_size):
        batches = made(utterances, augment=AUGMENTS["tempo-gain"], batch_size=batch_size, order="shuffled")
        found = {}
        for batch in batches.epoch(0):
            for row, number in enumerate(batch.numbers):
                found[number] = batch.spect_BFT[row, :, : batch.frame_counts[row]]
        return found

    threes, ones = contents(3), contents(1)
    assert all(torch.equal(threes[number], ones[number]) for number in threes)


def test_the_ranks_together_are_one_process_with_the_greater_batch(utterances):
    alone = made(utterances, batch_size=4).epoch(1)
    ranks = [made(utterances, batch_size=2, rank=rank, world_size=2).epoch(1) for rank in range(2)]
    for whole, first, second in zip(alone, *ranks, strict=True):
        assert sorted(first.numbers + second.numbers) == sorted(whole.numbers)


def test_evaluation_sees_every_utterance_once(utterances):
    numbers = [
        number
        for rank in range(2)
        for batch in made(utterances, order="evaluation", rank=rank, world_size=2).epoch(0)
        for number in batch.numbers
    ]
    assert sorted(numbers) == list(range(len(utterances)))


@pytest.mark.parametrize("augment", [None, AUGMENTS["tempo-gain-masks"]])
def test_a_cache_changes_nothing_and_files_are_read_once(utterances, augment, monkeypatch):
    plain, cached = made(utterances, augment=augment), made(utterances, augment=augment, cache_bytes=1 << 30)
    whole = [list(plain.epoch(epoch)) for epoch in (0, 1)]
    read = []
    monkeypatch.setattr(
        "ds2prof.train.loading.read_samples",
        lambda path, rate_hz, _read=SpeechSource.samples.__globals__["read_samples"]: (
            read.append(path) or _read(path, rate_hz)
        ),
    )
    for epoch in (0, 1):
        assert all(same(*pair) for pair in zip(whole[epoch], cached.epoch(epoch), strict=True))
    assert len(read) == len(set(read)) >= 12


def test_a_cache_keeps_no_more_than_it_may(utterances):
    limit = 100_000
    batches = made(utterances, order="evaluation", cache_bytes=limit)
    list(batches.epoch(0))
    kept = batches._loader.dataset._cache
    assert 0 < sum(values.nbytes for values in kept.values()) <= limit
    assert len(kept) < len(utterances)


def test_a_cache_and_workers_do_not_go_together(utterances):
    with pytest.raises(UsageError, match="leave out either the cache or the workers"):
        made(utterances, workers=1, cache_bytes=1)


@pytest.mark.parametrize("workers", [0, pytest.param(1, marks=pytest.mark.slow)])
def test_a_sound_that_cannot_be_read_stops_the_epoch_in_one_line(tmp_path, workers):
    utterances = corpus(tmp_path, 4)
    utterances[2].audio.write_bytes(b"rubbish")
    batches = made(utterances, batch_size=2, order="ascending", workers=workers)
    with pytest.raises(ReadError, match=r"u02\.wav: cannot be read as sound") as caught:
        list(batches.epoch(0))
    assert "\n" not in str(caught.value)
    batches.close()


def test_stacked_features_come_with_their_own_frame_length(utterances):
    batch = next(made(utterances, config=STACKED_LOG_MEL).epoch(0))
    assert batch.frame_ms == 30
    assert batch.spect_BFT.shape[1] == 256


def test_without_transcripts_there_are_no_labels_and_no_texts(utterances):
    bare = [Utterance(each.audio, dur_s=each.dur_s) for each in utterances]
    batch = next(made(bare, order="evaluation").epoch(0))
    assert batch.texts is None
    assert batch.label_counts == (0, 0, 0)
    assert batch.labels.dtype == torch.int64


def test_evaluation_has_no_dither_and_training_has(utterances):
    first, again = (next(made(utterances, config=STACKED_LOG_MEL).epoch(epoch, 0)) for epoch in (0, 0))
    assert same(first, again)
    speech = source(utterances, config=STACKED_LOG_MEL)
    trained = source(utterances, config=STACKED_LOG_MEL, augment=AUGMENTS["none"])
    samples = speech.samples(0)
    assert np.array_equal(speech.content(samples, 0, 0), speech.content(samples, 1, 0))
    assert not np.array_equal(trained.content(samples, 0, 0), trained.content(samples, 1, 0))


def test_all_of_a_batch_is_pinned_where_that_is_asked_for(utterances, monkeypatch):
    batch = next(made(utterances).epoch(0))
    pinned = []
    monkeypatch.setattr(torch.Tensor, "pin_memory", lambda tensor: pinned.append(tensor) or tensor.clone())
    loaded = _Loaded(batch).pin_memory()
    assert [id(each) for each in pinned] == [id(batch.spect_BFT), id(batch.frames_B), id(batch.labels)]
    assert same(loaded.batch, batch)
    assert loaded.batch.spect_BFT is not batch.spect_BFT


def test_a_corpus_smaller_than_a_batch_is_refused(utterances):
    with pytest.raises(UsageError, match="the corpus has 13 utterances"):
        made(utterances, batch_size=14)
