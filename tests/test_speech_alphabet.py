"""Letters, pieces of words, and what becomes of characters that are neither."""

from __future__ import annotations

import json
import pickle
from collections import Counter

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ds2prof.errors import MissingDataError, ReadError, UsageError
from ds2prof.speech.alphabet import GRAPHEMES, Alphabet, read_labels
from ds2prof.speech.pieces import Pieces, read_pieces, trained, write_pieces

TEXTS = ["the quick brown fox jumps over the lazy dog", "it's the dog that jumps", "a fox is no dog's friend"] * 4


def test_the_alphabet_is_the_ancestors_29_symbols_in_their_order():
    assert GRAPHEMES.symbols == tuple("_'ABCDEFGHIJKLMNOPQRSTUVWXYZ ")
    assert (GRAPHEMES.size, GRAPHEMES.blank) == (29, 0)


def test_text_becomes_labels_in_upper_case_with_single_spaces():
    assert GRAPHEMES.encode(" it's\n A  Z ").tolist() == [10, 21, 1, 20, 28, 2, 28, 27]


@given(st.text(alphabet="'ABCXYZ ", max_size=40))
@settings(deadline=None)
def test_decoding_gives_back_what_was_encoded(text):
    assert GRAPHEMES.decode(GRAPHEMES.encode(text)) == " ".join(text.split()) == GRAPHEMES.normalized(text)


@given(st.text(max_size=40))
@settings(deadline=None)
def test_labels_are_those_of_the_normalized_text_and_never_the_blank(text):
    labels = GRAPHEMES.encode(text)
    assert labels.dtype == np.int64
    assert 0 not in labels
    assert GRAPHEMES.decode(labels) == GRAPHEMES.normalized(text)


def test_characters_without_a_symbol_are_counted():
    assert GRAPHEMES.unknown("No. 9 # café_x, 9") == Counter({"9": 2, ".": 1, "#": 1, "É": 1, "_": 1, ",": 1})


def test_what_is_left_out_leaves_no_double_space():
    assert GRAPHEMES.normalized("one # two") == "ONE TWO"


def test_an_alphabet_with_small_letters_tells_case_apart():
    assert Alphabet(("_", "a", "A", " ")).encode("aA a").tolist() == [1, 2, 3, 1]


def test_labels_are_read_from_json(tmp_path):
    path = tmp_path / "labels.json"
    path.write_text(json.dumps(list(GRAPHEMES.symbols)))
    assert read_labels(path) == GRAPHEMES


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("{", "is not JSON"),
        ("{}", "labels are a list"),
        ('["_"]', "labels are a list"),
        ('["_", "AB"]', "label 1 is 'AB'"),
        ('["_", 7]', "label 1 is '7'"),
        ('["_", "A", "A"]', "twice"),
        ("[" * 100_000, "is not JSON"),
    ],
)
def test_labels_that_are_none_are_refused_in_one_line(tmp_path, text, reason):
    path = tmp_path / "labels.json"
    path.write_text(text)
    with pytest.raises(ReadError, match=reason) as caught:
        read_labels(path)
    assert "\n" not in str(caught.value)


@pytest.fixture(scope="module")
def pieces():
    pytest.importorskip("sentencepiece")
    return trained(TEXTS, count=60)


def test_a_small_corpus_gives_fewer_pieces_and_the_blank_stays_where_it_was_asked_for():
    pytest.importorskip("sentencepiece")
    pieces = trained(TEXTS)
    assert pieces.held < 1023
    assert (pieces.size, pieces.blank) == (1024, 1023)


def test_equal_transcripts_give_equal_models(pieces):
    assert trained(TEXTS, count=60).model == pieces.model


def test_pieces_give_back_the_text_in_lower_case(pieces):
    labels = pieces.encode("The  QUICK dog's fox")
    assert pieces.decode(labels) == pieces.normalized("The  QUICK dog's fox") == "the quick dog's fox"
    assert labels.min() > 0
    assert labels.max() < pieces.held
    assert len(labels) < len("the quick dog's fox")


def test_pieces_leave_out_and_count_characters_that_they_lack(pieces):
    assert pieces.unknown("the 9 dögs") == Counter({"9": 1, "ö": 1})
    assert pieces.decode(pieces.encode("the 9 dögs")) == pieces.normalized("the 9 dögs") == "the dgs"


def test_blanks_and_unused_numbers_count_for_nothing(pieces):
    labels = pieces.encode("the dog").tolist()
    assert pieces.decode([pieces.blank, *labels, 0, pieces.blank, 5_000]) == "the dog"


def test_a_model_is_the_same_after_writing_and_after_pickling(pieces, tmp_path):
    write_pieces(tmp_path / "pieces.model", pieces)
    for other in (read_pieces(tmp_path / "pieces.model", count=1023), pickle.loads(pickle.dumps(pieces))):
        assert other.encode("the lazy dog").tolist() == pieces.encode("the lazy dog").tolist()
    assert read_pieces(tmp_path / "pieces.model", count=1023).blank == 1023


def test_a_model_with_more_pieces_than_the_network_has_is_refused(pieces):
    with pytest.raises(UsageError, match=f"has {pieces.held} pieces and the network has 12"):
        Pieces(pieces.model, count=12)


def test_too_few_pieces_for_the_characters_are_refused_with_the_number():
    pytest.importorskip("sentencepiece")
    with pytest.raises(UsageError, match=r"10 pieces: too few .* they hold \d+ characters"):
        trained(TEXTS, count=10)


@pytest.mark.parametrize("model", [b"", b"rubbish", b"\x00" * 100])
def test_bytes_that_are_no_model_are_refused(tmp_path, model):
    pytest.importorskip("sentencepiece")
    (tmp_path / "pieces.model").write_bytes(model)
    with pytest.raises(ReadError, match=r"pieces\.model: is no sentencepiece model"):
        read_pieces(tmp_path / "pieces.model")


def test_transcripts_without_words_train_nothing():
    with pytest.raises(MissingDataError, match="no words"):
        trained(["", "  "])
