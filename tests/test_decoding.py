"""Reading CTC's output: against sums over every path, and offsets against what the convolutions really look at."""

from __future__ import annotations

import itertools
import math
from collections import defaultdict

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="the package torch is not installed")

from ds2prof.errors import ReadError, UsageError
from ds2prof.speech.feature_config import LOG_SPECTROGRAM, STACKED_LOG_MEL
from ds2prof.train.decoding import FrameClock, Word, frame_clock, greedy, log_probabilities, read_off, words
from ds2prof.train.presets import PRESETS, Convolution, ModelConfig

LETTERS = ("_", "A", "B", " ")

LETTER_LM = """\\data\\
ngram 1=6
ngram 2=4

\\1-grams:
-1.5\t<unk>
0\t<s>\t-0.3
-0.7\t</s>
-0.9\ta\t-0.2
-0.6\tb\t-0.1
-1.1\t|\t-0.4

\\2-grams:
-0.1\t<s> b
-0.2\tb b
-0.3\ta |
-0.35\tb </s>

\\end\\
"""

WORD_LM = """\\data\\
ngram 1=7
ngram 2=3

\\1-grams:
-2.0\t<unk>
0\t<s>\t-0.3
-0.7\t</s>
-0.8\tAB\t-0.2
-0.5\tBA\t-0.1
-1.2\tA\t-0.1
-1.3\tQ9

\\2-grams:
-0.1\t<s> BA
-0.2\tBA AB
-0.3\tAB </s>

\\end\\
"""


def log_softmax(logits):
    return (logits - np.log(np.exp(logits).sum(axis=-1, keepdims=True))).astype(np.float32)


def some_log_probs(frames, *, seed, scale=1.5):
    return log_softmax(np.random.default_rng(seed).normal(scale=scale, size=(frames, len(LETTERS))))


def collapsed(path):
    return tuple(symbol for symbol, _ in itertools.groupby(path) if symbol)


def text_of(symbols):
    return "".join(LETTERS[symbol] for symbol in symbols)


def sums_over_all_paths(table):
    """Text -> the logarithm of its probability, by listing every path."""
    found = defaultdict(lambda: -math.inf)
    for path in itertools.product(range(table.shape[1]), repeat=len(table)):
        score = sum(float(table[frame, symbol]) for frame, symbol in enumerate(path))
        found[collapsed(path)] = np.logaddexp(found[collapsed(path)], score)
    return found


def greedy_one_by_one(logits, counts):
    return [collapsed(logits[:count, row].argmax(dim=-1).tolist()) for row, count in enumerate(counts)]


def test_greedy_decoding_equals_collapsing_each_path_by_itself():
    torch.manual_seed(5)
    logits_TBV = torch.randn(40, 7, 4)
    counts = [40, 33, 20, 20, 7, 1, 0]
    found = greedy(logits_TBV, counts)
    assert [each.symbols for each in found] == greedy_one_by_one(logits_TBV, counts)


def test_greedy_decoding_says_where_each_run_begins_and_ends():
    path = [0, 1, 1, 0, 1, 2, 2, 2, 0, 3]
    logits_TBV = torch.nn.functional.one_hot(torch.tensor([path, path]), 4).permute(1, 0, 2).float()
    whole, cut = greedy(logits_TBV, [10, 7])
    assert whole == read_off(path)
    assert (whole.symbols, whole.first_frames, whole.last_frames) == ((1, 1, 2, 3), (1, 4, 5, 9), (2, 4, 7, 9))
    assert (cut.symbols, cut.first_frames, cut.last_frames) == ((1, 1, 2), (1, 4, 5), (2, 4, 6))


def test_padding_is_not_read():
    logits_TBV = torch.zeros(5, 2, 4)
    logits_TBV[:, :, 1] = 1
    logits_TBV[2:, 1, 1] = math.nan
    assert [each.last_frames for each in greedy(logits_TBV, [5, 2])] == [(4,), (1,)]


def test_log_probabilities_are_cut_to_each_utterance():
    logits_TBV = torch.randn(6, 2, 4)
    first, second = log_probabilities(logits_TBV, [6, 4])
    assert (first.shape, second.shape) == ((6, 4), (4, 4))
    assert np.exp(second).sum(axis=1) == pytest.approx(np.ones(4), abs=1e-6)


# ---- offsets


def frames_looked_at(config, frame, frames):
    """The features' frames that an output frame depends on, by asking the gradient; padding is invisible."""
    layers = [torch.nn.Conv1d(1, 1, c.kernel[1], stride=c.stride[1], padding=c.padding[1]) for c in config.convolutions]
    for layer in layers:
        torch.nn.init.ones_(layer.weight)
    sound = torch.zeros(1, 1, frames, requires_grad=True)
    torch.nn.Sequential(*layers)(sound)[0, 0, frame].backward()
    return sound.grad[0, 0].nonzero().flatten().tolist()


@pytest.mark.parametrize("name", [name for name, preset in PRESETS.items() if isinstance(preset.model, ModelConfig)])
def test_a_frames_time_is_the_centre_of_what_it_looks_at(name):
    config = PRESETS[name].model
    clock = frame_clock(config, LOG_SPECTROGRAM)
    for frame in (20, 21, 30):
        seen = frames_looked_at(config, frame, 200)
        assert clock.at_s(frame) == pytest.approx((seen[0] + seen[-1]) / 2 * 0.01)


def test_padding_on_both_sides_lets_the_clock_begin_at_zero():
    assert frame_clock(PRESETS["tbd"].model, LOG_SPECTROGRAM) == FrameClock(first_ms=0, step_ms=20)


def test_without_padding_the_first_frame_is_late():
    unpadded = tuple(Convolution(32, (41, 11), stride, (0, 0)) for stride in ((2, 2), (2, 1)))
    clock = frame_clock(ModelConfig(unpadded, 8, 1), LOG_SPECTROGRAM)
    assert clock == FrameClock(first_ms=10 * (5 + 2 * 5), step_ms=20)


def test_stacked_frames_are_where_the_middle_of_the_stack_is():
    # Three frames of 10 ms become one, and two of those: frame 0 is made of the frames at 0, 10, 20, 30, 40 and 50 ms.
    assert frame_clock(PRESETS["rnnt"].model, STACKED_LOG_MEL) == FrameClock(first_ms=25, step_ms=60)


def test_words_have_the_offsets_of_their_first_and_last_letter():
    decoded = read_off([0, 3, 1, 1, 0, 2, 2, 3, 3, 0, 1, 0])
    found = words(decoded, text_of, FrameClock(5, 20), start_s=1)
    assert found == [Word("AB", 1.045, 1.125), Word("A", 1.205, 1.205)]


def test_pieces_of_words_join_where_no_space_is_between():
    decoded = read_off([1, 0, 2, 0, 1])

    def decode(symbols):
        return "".join({1: " TH", 2: "E"}[symbol] for symbol in symbols).strip()

    assert words(decoded, decode, FrameClock(0, 10)) == [Word("THE", 0, 0.02), Word("TH", 0.04, 0.04)]


def test_nothing_said_is_no_word():
    assert words(read_off([0, 3, 0]), text_of, FrameClock(0, 20)) == []


# ---- beam search


@pytest.fixture
def beam():
    """``beam(letters, ...)`` -> a search wide enough to lose nothing unless told otherwise."""
    pytest.importorskip("flashlight.lib.text.decoder", reason="the package flashlight-text is not installed")
    from ds2prof.train.beam_search import BeamConfig, BeamSearch

    def make(*, language_model=None, **options):
        return BeamSearch(LETTERS, BeamConfig(**{"width": 3000} | options), language_model=language_model)

    return make


@pytest.fixture
def model(tmp_path):
    """``model(text)`` -> the language model in an ARPA file."""
    pytest.importorskip("kenlm", reason="the package kenlm is not installed")
    from ds2prof.train.language_model import read_language_model

    def make(text, **options):
        path = tmp_path / "lm.arpa"
        path.write_text(text)
        return read_language_model(path, LETTERS, **options)

    return make


@pytest.mark.parametrize("seed", range(4))
def test_beam_search_finds_the_text_whose_paths_sum_to_most(beam, seed):
    log_probs_TV = some_log_probs(5, seed=seed)
    expected = sums_over_all_paths(log_probs_TV)
    best = max(expected, key=expected.__getitem__)
    found = beam().search(log_probs_TV)
    assert found.symbols == best
    assert found.score == pytest.approx(expected[best], abs=1e-4)


def test_beam_search_finds_what_the_likeliest_path_misses(beam):
    """Blank is likeliest in both frames (0.36), and yet A has 0.64 of all paths: the textbook's case."""
    log_probs_TV = np.log(np.array([[0.6, 0.4, 1e-9, 1e-9]] * 2, dtype=np.float32))
    assert greedy(torch.tensor(log_probs_TV)[:, None], [2])[0].symbols == ()
    found = beam().search(log_probs_TV)
    assert found.symbols == (1,)
    assert math.exp(found.score) == pytest.approx(0.64, abs=1e-6)


def test_beam_search_keeps_a_space_at_the_beginning(beam):
    log_probs_TV = log_softmax(10.0 * np.eye(4)[[3, 1, 0, 1]])
    found = beam().search(log_probs_TV)
    assert (found.symbols, found.first_frames) == ((3, 1, 1), (0, 1, 3))


def test_beam_search_takes_a_batch_and_leaves_padding_alone(beam):
    torch.manual_seed(2)
    logits_TBV = 8 * torch.randn(6, 3, 4)
    both = beam(width=50)(logits_TBV, [6, 4, 0])
    alone = [beam(width=50).search(each) for each in log_probabilities(logits_TBV, [6, 4, 0])]
    assert both == alone
    assert both[2].symbols == ()


def letter_lm_log10(text):
    """The logarithm of a text's probability under ``LETTER_LM``, worked out from its lines with back-off."""
    single = {"</s>": -0.7, "a": -0.9, "b": -0.6, "|": -1.1}
    back_off = {"<s>": -0.3, "a": -0.2, "b": -0.1, "|": -0.4}
    pair = {("<s>", "b"): -0.1, ("b", "b"): -0.2, ("a", "|"): -0.3, ("b", "</s>"): -0.35}
    names = ["<s>", *({"A": "a", "B": "b", " ": "|"}[letter] for letter in text), "</s>"]
    return sum(pair.get(two, back_off[two[0]] + single[two[1]]) for two in itertools.pairwise(names))


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize(("alpha", "beta"), [(0.8, 1.0), (2.0, 0.0), (0.0, 0.7)])
def test_a_model_of_letters_weighs_alpha_and_each_letter_beta(beam, model, seed, alpha, beta):
    log_probs_TV = some_log_probs(4, seed=seed)
    expected = {
        text: score + alpha * math.log(10) * letter_lm_log10(text_of(text)) + beta * len(text)
        for text, score in sums_over_all_paths(log_probs_TV).items()
    }
    best = max(expected, key=expected.__getitem__)
    found = beam(language_model=model(LETTER_LM), alpha=alpha, beta=beta).search(log_probs_TV)
    assert found.symbols == best
    assert found.score == pytest.approx(expected[best], abs=1e-3)


def word_lm_log10(said):
    single = {"</s>": -0.7, "AB": -0.8, "BA": -0.5, "A": -1.2}
    back_off = {"<s>": -0.3, "AB": -0.2, "BA": -0.1, "A": -0.1}
    pair = {("<s>", "BA"): -0.1, ("BA", "AB"): -0.2, ("AB", "</s>"): -0.3}
    return sum(pair.get(two, back_off[two[0]] + single[two[1]]) for two in itertools.pairwise(["<s>", *said, "</s>"]))


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize(("alpha", "beta"), [(0.8, 1.0), (0.0, 0.0), (1.5, -2.0)])
def test_a_model_of_words_finds_words_of_its_lexicon_and_weighs_them(beam, model, seed, alpha, beta):
    log_probs_TV = some_log_probs(6, seed=seed)
    expected = defaultdict(lambda: -math.inf)
    for text, score in sums_over_all_paths(log_probs_TV).items():
        said = tuple(text_of(text).split())
        if set(said) <= {"AB", "BA", "A"}:
            whole = score + alpha * math.log(10) * word_lm_log10(said) + beta * len(said)
            expected[said] = np.logaddexp(expected[said], whole)
    best = max(expected, key=expected.__getitem__)
    found = beam(language_model=model(WORD_LM), alpha=alpha, beta=beta).search(log_probs_TV)
    assert tuple(text_of(found.symbols).split()) == best
    assert found.score == pytest.approx(expected[best], abs=1e-3)


def test_a_language_model_changes_what_is_found(beam, model):
    log_probs_TV = np.log(np.array([[0.01, 0.5, 0.48, 0.01]], dtype=np.float32))
    assert text_of(beam().search(log_probs_TV).symbols) == "A"
    assert text_of(beam(language_model=model(LETTER_LM)).search(log_probs_TV).symbols) == "B"


def test_words_that_the_alphabet_cannot_spell_are_left_out(model):
    assert set(model(WORD_LM).words) == {"AB", "BA", "A"}


def test_a_lexicon_decides_which_words_there_are(model, tmp_path):
    lexicon = tmp_path / "words.txt"
    lexicon.write_text("ab\nbb and more\n")
    assert model(WORD_LM, lexicon=lexicon).words == {"ab": (1, 2), "bb": (2, 2)}


def test_a_packed_model_is_the_same_model(model, beam, tmp_path):
    import gzip

    from ds2prof.train.language_model import read_language_model

    packed = tmp_path / "lm.arpa.gz"
    packed.write_bytes(gzip.compress(WORD_LM.encode()))
    plain = model(WORD_LM)
    found = read_language_model(packed, LETTERS)
    assert found.words == plain.words
    log_probs_TV = some_log_probs(12, seed=3)
    assert beam(language_model=found, width=20).search(log_probs_TV) == beam(language_model=plain, width=20).search(
        log_probs_TV
    )


@pytest.mark.parametrize("content", [b"", b"\x1f\x8bxx", b"hello\n", b"\\1-grams:\n-1.0\n", b"\xff\xfe\x00"])
def test_what_is_no_language_model_is_one_line(content, tmp_path):
    from ds2prof.train.language_model import read_language_model

    path = tmp_path / "lm.arpa"
    path.write_bytes(content)
    with pytest.raises(ReadError, match=r"lm\.arpa: "):
        read_language_model(path, LETTERS)


def test_a_model_that_breaks_off_is_one_line(beam, model):
    with pytest.raises(ReadError, match="KenLM cannot read this model"):
        beam(language_model=model(LETTER_LM[:150]))


def test_a_binary_model_of_letters_is_asked_for_the_names_it_knows(model, monkeypatch):
    # KenLM's binaries are made by a program of its own; its reader takes both, so an ARPA file stands in here.
    plain = model(LETTER_LM)
    monkeypatch.setattr("ds2prof.train.language_model._is_binary", lambda path: True)
    assert model(LETTER_LM) == plain
    assert plain.tokens == ("<unk>", "a", "b", "|")


def test_a_binary_model_of_words_needs_a_lexicon(model, monkeypatch, tmp_path):
    monkeypatch.setattr("ds2prof.train.language_model._is_binary", lambda path: True)
    with pytest.raises(UsageError, match="give --lexicon"):
        model(WORD_LM)
    lexicon = tmp_path / "words.txt"
    lexicon.write_text("AB\nBA\n")
    assert set(model(WORD_LM, lexicon=lexicon).words) == {"AB", "BA"}


def test_other_weights_are_the_same_as_a_search_that_was_made_with_them(beam, model):
    log_probs_TV = some_log_probs(8, seed=9)
    for text in (LETTER_LM, WORD_LM):
        made = beam(language_model=model(text), width=30, alpha=1.3, beta=-0.4)
        again = beam(language_model=model(text), width=30).reweighted(alpha=1.3, beta=-0.4)
        assert again.search(log_probs_TV) == made.search(log_probs_TV)


def test_a_missing_package_is_one_line(monkeypatch):
    import sys

    from ds2prof.errors import Ds2profError
    from ds2prof.train.language_model import require

    monkeypatch.setitem(sys.modules, "flashlight.lib.text.decoder", None)
    with pytest.raises(Ds2profError, match=r"flashlight-text, kenlm: .*ds2prof\[decode\]"):
        require("flashlight.lib.text.decoder")


def test_what_kenlm_says_is_told_without_its_source(beam, model):
    single = WORD_LM.replace("ngram 2=3\n", "").partition("\\2-grams")[0] + "\\end\\\n"
    with pytest.raises(ReadError, match=r"lm\.arpa: KenLM cannot read this model: This ngram implementation assumes"):
        beam(language_model=model(single))


def test_loading_a_model_is_silent(beam, model, capfd):
    beam(language_model=model(LETTER_LM))
    assert capfd.readouterr().err == ""


def test_the_cut_off_leaves_the_likeliest_symbols(beam):
    log_probs_TV = np.log(np.array([[0.4, 0.35, 0.2, 0.05]] * 2, dtype=np.float32))
    for probability, symbols in ((0.3, 1), (0.5, 2), (0.9, 3), (1.0, 4)):
        expected = sums_over_all_paths(log_probs_TV[:, :symbols])
        found = beam(cutoff_probability=probability).search(log_probs_TV)
        assert found.score == pytest.approx(max(expected.values()), abs=1e-5)


@pytest.mark.parametrize("options", [{"width": 0}, {"top_symbols": 0}, {"cutoff_probability": 0.0}])
def test_a_search_that_cannot_be_is_refused(options):
    from ds2prof.train.beam_search import BeamConfig

    with pytest.raises(UsageError):
        BeamConfig(**options)
