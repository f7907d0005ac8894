"""Error rates: hand-made cases, an independent edit distance, and sums that do not depend on their order."""

from __future__ import annotations

import itertools
import random
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

pytest.importorskip("rapidfuzz", reason="the package rapidfuzz is not installed")

from ds2prof.speech.error_rates import Edits, ErrorCounts, edits, rates, total, utterance_errors

PAIRS = [
    ("THE CAT SAT", "THE CAT SAT"),
    ("THE CAT SAT", "THE HAT SAT ON"),
    ("A", "B C D"),
    ("ONE TWO THREE FOUR", ""),
    ("", "OH"),
    ("", ""),
]


def distance_by_table(reference, hypothesis):
    """The least number of edits by the textbook's table of prefixes."""
    row = list(range(len(hypothesis) + 1))
    for i, said in enumerate(reference, 1):
        above, row = row, [i]
        for j, heard in enumerate(hypothesis, 1):
            row.append(min(above[j] + 1, row[j - 1] + 1, above[j - 1] + (said != heard)))
    return row[-1]


def test_a_hand_made_corpus_has_the_rates_worked_out_by_hand():
    counts = total(utterance_errors(*pair) for pair in PAIRS)
    # words: 0, 1 sub + 1 ins, 1 sub + 2 ins, 4 del, 1 ins, 0 over 3 + 3 + 1 + 4
    assert counts.words == Edits(11, substitutions=2, insertions=4, deletions=4)
    assert counts.wer == 10 / 11
    assert counts.mean_utterance_wer == pytest.approx((0 + 2 / 3 + 3 / 1 + 4 / 4) / 4)
    assert (counts.utterances, counts.exact, counts.empty_references) == (6, 2, 2)


def test_characters_count_with_and_without_the_spaces_between_words():
    counts = utterance_errors("AB  CD", "ABCD")
    assert (counts.characters, counts.cer) == (Edits(5, deletions=1), 1 / 5)
    assert (counts.letters, counts.cer_without_spaces) == (Edits(4), 0)


def test_a_word_heard_in_two_is_a_substitution_and_an_insertion():
    assert utterance_errors("NOTHING HERE", "NO THING HERE").words == Edits(2, substitutions=1, insertions=1)


def test_the_corpus_rate_and_the_mean_of_utterances_differ_as_they_should():
    counts = total([utterance_errors("A", "B"), utterance_errors("A B C D E F G H I", "A B C D E F G H I")])
    assert (counts.wer, counts.mean_utterance_wer) == (1 / 10, 1 / 2)


def test_without_a_reference_there_is_no_rate():
    for counts in (ErrorCounts(), utterance_errors("", "NOISE")):
        assert counts.wer is None
        assert counts.mean_utterance_wer is None
    assert utterance_errors("", "NOISE").words.errors == 1


def test_case_and_punctuation_count():
    assert utterance_errors("It's", "its").wer == 1


@given(st.text(alphabet="AB '", max_size=12), st.text(alphabet="AB '", max_size=12))
def test_distances_are_those_of_an_independent_table(reference, hypothesis):
    counts = utterance_errors(reference, hypothesis)
    assert counts.words.errors == distance_by_table(reference.split(), hypothesis.split())
    assert counts.characters.errors == distance_by_table(" ".join(reference.split()), " ".join(hypothesis.split()))
    assert counts.letters.errors == distance_by_table(*("".join(text.split()) for text in (reference, hypothesis)))


@given(st.lists(st.integers(0, 3), max_size=9), st.lists(st.integers(0, 3), max_size=9))
def test_insertions_and_deletions_explain_the_difference_in_length(reference, hypothesis):
    found = edits(reference, hypothesis)
    assert found.insertions - found.deletions == len(hypothesis) - len(reference)
    assert found.substitutions + found.deletions <= len(reference)


def test_sums_do_not_depend_on_their_order():
    each = [utterance_errors(*pair) for pair in PAIRS]
    whole = total(each)
    for order in itertools.permutations(each):
        merged = total(order)
        assert merged == whole
        assert list(merged.by_length) == list(whole.by_length)


def test_parts_of_a_corpus_add_up_to_the_whole_to_the_last_bit():
    random.seed(3)
    words = ["A", "BE", "SEE", "DO"]
    pairs = [[" ".join(random.choices(words, k=random.randrange(9))) for _ in range(2)] for _ in range(200)]
    each = [utterance_errors(*pair) for pair in pairs]
    parts = [total(each[rank::3]) for rank in range(3)]
    assert rates(total(reversed(parts))) == rates(total(each))


def test_a_report_names_every_rate_and_the_counts_behind_it():
    said = rates(utterance_errors("ONE TWO", "ONE"))
    assert (said["wer"], said["words"], said["word_deletions"], said["utterances"]) == (0.5, 2, 1, 1)
    assert rates(replace(ErrorCounts(), utterances=0))["wer"] is None


def test_a_missing_package_is_one_line(monkeypatch):
    import sys

    from ds2prof.errors import Ds2profError

    monkeypatch.setitem(sys.modules, "rapidfuzz.distance.Levenshtein", None)
    with pytest.raises(Ds2profError, match=r"rapidfuzz: .*ds2prof\[speech\]"):
        edits("A", "B")
