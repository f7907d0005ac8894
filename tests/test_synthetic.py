from __future__ import annotations

import subprocess
import sys
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ds2prof.errors import UsageError
from ds2prof.speech.synthetic import PERCENTAGES, SyntheticCorpus, deepmark_groups, letters_of_ms
from ds2prof.speech.synthetic_config import SyntheticConfig


def corpus(config: SyntheticConfig | None = None, *, seed: int = 1, vocabulary: int = 29, blank: int = 0):
    config = config or SyntheticConfig(length_divisor=20)
    return SyntheticCorpus(config, input_bins=3, vocabulary=vocabulary, seed=seed, blank=blank)


def test_the_whole_distribution_is_128000_utterances_and_760320_seconds() -> None:
    groups = deepmark_groups()
    assert sum(group.utterances for group in groups) == 128_000
    assert sum(group.utterances * group.frames for group in groups) == 760_320 * 100
    assert sum(group.utterances * group.labels for group in groups) / 128_000 == pytest.approx(76.3, abs=0.05)
    assert [group.frames for group in groups] == list(range(100, 1501, 100))
    assert [group.utterances for group in groups] == [percent * 1280 for percent in PERCENTAGES]


def test_a_thousandth_keeps_the_proportions() -> None:
    groups = deepmark_groups(0.001)
    assert [group.utterances for group in groups] == [4, 13, 14, 17, 18, 17, 11, 10, 6, 5, 4, 3, 3, 2, 1]
    assert sum(group.utterances for group in groups) == 128


@settings(max_examples=200, deadline=None)
@given(fraction=st.floats(1e-7, 1))
def test_a_fraction_rounds_each_length_by_less_than_one_utterance(fraction: float) -> None:
    groups = deepmark_groups(fraction)
    total = sum(group.utterances for group in groups)
    assert total == max(1, round(128_000 * fraction)) or abs(total - 128_000 * fraction) == pytest.approx(0.5, abs=1e-6)
    for group, percent in zip(groups, PERCENTAGES, strict=True):
        if 128_000 * fraction >= 1:
            assert abs(group.utterances - percent * 1280 * fraction) < 1


def test_a_fraction_takes_the_first_utterances_of_each_length() -> None:
    speech = corpus(SyntheticConfig())
    for group in deepmark_groups(0.01):
        assert set(speech.frames[group.first : group.first + group.utterances]) == {group.frames}
        assert group.first == 0 or speech.frames[group.first - 1] < group.frames


@pytest.mark.parametrize("fraction", [0, -1, 1.5, float("nan"), float("inf")])
def test_a_fraction_that_is_no_part_of_the_whole_is_refused(fraction: float) -> None:
    with pytest.raises(UsageError, match="--fraction"):
        deepmark_groups(fraction)


def test_constant_length_makes_all_utterances_alike() -> None:
    # NVIDIA's synthetic mode: 195,840 samples at 16 kHz with 56 labels; 408 frames of 30 ms.
    speech = corpus(SyntheticConfig(frames=195_840 // 480, labels=56, frame_ms=30))
    features_FT, symbols = speech.utterance(7)
    assert set(speech.frames) == {408}
    assert set(speech.labels) == {56}
    assert features_FT.shape == (3, 408)
    assert len(symbols) == 56
    assert len(speech) == 128_000


def test_constant_length_without_labels_has_as_many_as_deepmarks_of_that_length() -> None:
    assert set(corpus(SyntheticConfig(frames=500)).labels) == {62}
    assert letters_of_ms(1000) == 7
    assert letters_of_ms(30_000) == 418
    assert letters_of_ms(10) == 0


def test_longer_frames_make_fewer_of_the_same_speech() -> None:
    speech = corpus(SyntheticConfig(frame_ms=30, letters_per_label=3))
    assert (speech.frames.min(), speech.frames.max()) == (33, 500)
    assert (speech.labels.min(), speech.labels.max()) == (2, 69)


def test_symbols_leave_out_a_blank_that_comes_first() -> None:
    speech = corpus(SyntheticConfig())
    drawn = np.concatenate([speech.utterance(number)[1] for number in range(90_000, 90_050)])
    assert (drawn.min(), drawn.max()) == (1, 28)


def test_symbols_leave_out_a_blank_that_comes_last() -> None:
    speech = corpus(SyntheticConfig(), vocabulary=9, blank=8)
    drawn = np.concatenate([speech.utterance(number)[1] for number in range(90_000, 90_020)])
    assert (drawn.min(), drawn.max()) == (0, 7)


def test_one_utterance_held_stands_in_every_place() -> None:
    speech = corpus(SyntheticConfig(held=100_000))
    assert list(speech.bin(3, 4)) == [100_000] * 4


def test_an_utterance_to_be_held_has_to_be_there() -> None:
    with pytest.raises(UsageError, match="128000"):
        corpus(SyntheticConfig(held=128_000))


def test_ascending_order_is_the_same_in_every_epoch() -> None:
    speech = corpus(SyntheticConfig(order="ascending"))
    assert list(speech.order(0, 10)) == list(speech.order(1, 10)) == list(range(10))


def test_bins_come_in_an_order_of_each_epochs_own() -> None:
    speech = corpus()
    first, second = list(speech.order(0, 50)), list(speech.order(1, 50))
    assert first != second
    assert sorted(first) == sorted(second) == list(range(50))


def test_contents_follow_from_seed_and_number() -> None:
    one, other = corpus(), corpus()
    other.utterance(5)
    for mine, its in zip(one.utterance(77), other.utterance(77), strict=True):
        assert np.array_equal(mine, its)
    assert not np.array_equal(one.utterance(77)[0], corpus(seed=2).utterance(77)[0])


def test_utterances_longer_than_the_usual_pool_have_one_of_their_own() -> None:
    assert corpus(SyntheticConfig(frames=20_000)).utterance(3)[0].shape == (3, 20_000)


@pytest.mark.parametrize(
    "wrong", [{"frames": 0}, {"labels": 0}, {"length_divisor": 0}, {"held": -1}, {"order": "longest"}, {"frame_ms": 0}]
)
def test_forms_that_are_none_are_refused(wrong: dict[str, object]) -> None:
    with pytest.raises(UsageError, match="synthetic speech"):
        SyntheticConfig(**wrong)  # type: ignore[arg-type]


def test_lengths_are_counted_as_deepmark_states_them() -> None:
    assert Counter(corpus(SyntheticConfig()).frames.tolist())[500] == 14 * 1280


def test_synthetic_speech_needs_no_torch() -> None:
    code = "import sys, ds2prof.speech.synthetic; print('torch' in sys.modules)"
    root = Path(__file__).parents[1]
    done = subprocess.run([sys.executable, "-c", code], cwd=root, capture_output=True, text=True, check=True)
    assert done.stdout == "False\n"
