"""Orders: everything once, the same on all ranks, from any place on."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ds2prof.errors import UsageError
from ds2prof.speech.orders import ORDERS, Order

TRAINING = [kind for kind in ORDERS if kind != "evaluation"]


@st.composite
def orders(draw, kinds=TRAINING):
    world_size = draw(st.integers(1, 4))
    batch_size = draw(st.integers(1, 5))
    durations = draw(st.lists(st.floats(0.1, 30), min_size=batch_size * world_size, max_size=60))
    return {
        "kind": draw(st.sampled_from(kinds)),
        "durations": tuple(durations),
        "batch_size": batch_size,
        "seed": draw(st.integers(0, 3)),
        "world_size": world_size,
        "buckets": draw(st.integers(1, 7)),
    }


def on_each_rank(asked, epoch):
    return [Order(**asked, rank=rank).batches(epoch) for rank in range(asked["world_size"])]


@given(orders(), st.integers(0, 3))
@settings(max_examples=80, deadline=None)
def test_training_visits_nothing_twice_and_drops_less_than_a_global_batch(asked, epoch):
    order = Order(**asked)
    visited = [number for batches in on_each_rank(asked, epoch) for batch in batches for number in batch.tolist()]
    assert len(visited) == len(set(visited)) == len(asked["durations"]) - order.dropped
    assert set(visited) <= set(range(len(asked["durations"])))
    assert 0 <= order.dropped < asked["batch_size"] * asked["world_size"]


@given(orders(), st.integers(0, 3))
@settings(max_examples=60, deadline=None)
def test_every_rank_has_the_same_number_of_full_batches(asked, epoch):
    for rank, batches in enumerate(on_each_rank(asked, epoch)):
        assert len(batches) == len(Order(**asked, rank=rank)) == len(Order(**asked))
        assert {len(batch) for batch in batches} == {asked["batch_size"]}


@given(orders(), st.integers(0, 3))
@settings(max_examples=60, deadline=None)
def test_the_ranks_together_see_what_one_process_with_the_greater_batch_sees(asked, epoch):
    alone = Order(**{**asked, "world_size": 1, "batch_size": asked["batch_size"] * asked["world_size"]})
    for step, batch in enumerate(alone.batches(epoch)):
        together = [ranks[step] for ranks in on_each_rank(asked, epoch)]
        assert sorted(np.concatenate(together).tolist()) == sorted(batch.tolist())


@given(orders(kinds=list(ORDERS)), st.integers(0, 3), st.data())
@settings(max_examples=60, deadline=None)
def test_an_epoch_entered_in_the_middle_goes_on_as_it_would_have(asked, epoch, data):
    order = Order(**asked)
    start = data.draw(st.integers(0, len(order)))
    other = Order(**asked)
    other.batches(epoch + 1)
    resumed = other.batches(epoch, start)
    assert [batch.tolist() for batch in resumed] == [batch.tolist() for batch in order.batches(epoch)[start:]]


@given(orders(kinds=["evaluation"]))
@settings(max_examples=60, deadline=None)
def test_evaluation_visits_everything_once_longest_first(asked):
    whole = [number for batches in on_each_rank(asked, 0) for batch in batches for number in batch.tolist()]
    assert sorted(whole) == list(range(len(asked["durations"])))
    lengths = [[asked["durations"][number] for number in batch] for batch in Order(**asked).batches(0)]
    assert lengths == [sorted(batch, reverse=True) for batch in lengths]


def made(kind, count=64, **asked):
    durations = tuple(np.random.default_rng(5).permutation(count) / 4 + 1.0)
    return Order(kind=kind, durations=durations, **{"batch_size": 4, **asked})


def lengths(order, epoch):
    return [[order.durations[number] for number in batch] for batch in order.batches(epoch)]


@pytest.mark.parametrize("epoch", [0, 1, 5])
def test_ascending_is_shortest_first_in_every_epoch(epoch):
    flat = [each for batch in lengths(made("ascending"), epoch) for each in batch]
    assert flat == sorted(flat)


def test_sortagrad_is_ascending_in_epoch_0_and_bins_from_then_on():
    order, bins = made("sortagrad"), made("bins")
    assert lengths(order, 0) == lengths(made("ascending"), 0)
    assert lengths(order, 1) == lengths(bins, 1)
    assert lengths(order, 1) != lengths(made("ascending"), 1)


def test_bins_hold_neighbours_by_length_and_come_in_a_new_order_each_epoch():
    order = made("bins")
    assert all(max(batch) - min(batch) == 0.75 for batch in lengths(order, 3))
    assert lengths(order, 3) != lengths(order, 4)
    assert sorted(lengths(order, 3)) == sorted(lengths(order, 4))


def test_a_bucket_is_shuffled_inside_and_its_batches_stay_within_it():
    order = made("buckets", buckets=4)
    spans = [max(batch) - min(batch) for batch in lengths(order, 0)]
    assert max(spans) < 64 / 4 / 4
    assert max(spans) > 0.75
    assert sorted(map(sorted, lengths(order, 0))) != sorted(map(sorted, lengths(order, 1)))


def test_one_bucket_mixes_lengths_as_shuffled_does():
    assert max(max(batch) - min(batch) for batch in lengths(made("buckets", buckets=1), 0)) > 4
    assert max(max(batch) - min(batch) for batch in lengths(made("shuffled"), 0)) > 4


def test_what_is_dropped_changes_with_the_epoch():
    order = made("bins", count=67)
    left_out = [set(range(67)) - {int(n) for batch in order.batches(epoch) for n in batch} for epoch in range(8)]
    assert {len(each) for each in left_out} == {3} == {order.dropped}
    assert len({frozenset(each) for each in left_out}) > 1


def test_another_seed_gives_another_order():
    assert lengths(made("bins", seed=1), 0) != lengths(made("bins", seed=2), 0)


def test_a_corpus_smaller_than_a_global_batch_is_refused():
    with pytest.raises(UsageError, match="--batch-size 4 on 3 processes: the corpus has 8 utterances; take fewer"):
        made("bins", count=8, world_size=3)
    assert len(made("evaluation", count=2, world_size=3, rank=2)) == 0


def test_an_empty_corpus_is_refused():
    with pytest.raises(UsageError, match="no utterances"):
        made("evaluation", count=0)
