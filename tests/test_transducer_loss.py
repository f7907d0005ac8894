"""The transducer loss against sums over all alignments, against a plain recursion, and at the ends of the range."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import combinations_with_replacement

import pytest

torch = pytest.importorskip("torch", reason="no torch, the tool that trains")

from hypothesis import given, settings
from hypothesis import strategies as st

from ds2prof.train import transducer_loss as module
from ds2prof.train.transducer_cells import cells_of, lengths_on, padded_labels
from ds2prof.train.transducer_loss import transducer_loss

BLANK = 4
SIZES = st.lists(st.tuples(st.integers(1, 4), st.integers(0, 4)), min_size=1, max_size=4)


def loss_of(logits_NV: torch.Tensor, labels: Sequence[Sequence[int]], frames: Sequence[int], blank: int = BLANK):
    """``loss_B`` of a batch whose cells lie in the rows of ``logits_NV``."""
    counts = [len(each) for each in labels]
    labels_B = torch.tensor(counts)
    flat = torch.tensor([label for each in labels for label in each], dtype=torch.int64)
    cells = cells_of(torch.tensor(frames), labels_B, frames, counts)
    return transducer_loss(logits_NV, padded_labels(flat, labels_B, counts), cells, blank=blank)


def random_logits(frames: Sequence[int], labels: Sequence[Sequence[int]], **kind) -> torch.Tensor:
    rows = sum(t * (len(each) + 1) for t, each in zip(frames, labels, strict=True))
    return torch.randn(rows, BLANK + 1, **kind)


def parts(logits_NV: torch.Tensor, frames: Sequence[int], labels: Sequence[Sequence[int]]):
    """Each utterance's log-probabilities, frames by positions by symbols."""
    log_probs_NV, first = logits_NV.log_softmax(1), 0
    for t, each in zip(frames, labels, strict=True):
        rows = t * (len(each) + 1)
        yield log_probs_NV[first : first + rows].view(t, len(each) + 1, -1)
        first += rows


def over_all_alignments(log_probs_TUV: torch.Tensor, labels: Sequence[int], blank: int = BLANK) -> torch.Tensor:
    """The negative logarithm of the sum over every way of saying each label at some frame, in order."""
    ways = []
    for said_at in combinations_with_replacement(range(len(log_probs_TUV)), len(labels)):
        way, position = torch.zeros((), dtype=log_probs_TUV.dtype), 0
        for frame in range(len(log_probs_TUV)):
            for _ in range(said_at.count(frame)):
                way, position = way + log_probs_TUV[frame, position, labels[position]], position + 1
            way = way + log_probs_TUV[frame, position, blank]
        ways.append(way)
    return -torch.stack(ways).logsumexp(0)


def row_by_row(log_probs_TUV: torch.Tensor, labels: Sequence[int], blank: int = BLANK) -> torch.Tensor:
    """The same by the recursion over frames and positions, a cell at a time."""
    alpha: dict[tuple[int, int], torch.Tensor] = {}
    for frame in range(len(log_probs_TUV)):
        for position in range(len(labels) + 1):
            ways = []
            if frame:
                ways.append(alpha[frame - 1, position] + log_probs_TUV[frame - 1, position, blank])
            if position:
                ways.append(alpha[frame, position - 1] + log_probs_TUV[frame, position - 1, labels[position - 1]])
            alpha[frame, position] = torch.stack(ways).logsumexp(0) if ways else log_probs_TUV.new_zeros(())
    return -(alpha[len(log_probs_TUV) - 1, len(labels)] + log_probs_TUV[-1, -1, blank])


@settings(max_examples=40, deadline=None)
@given(sizes=SIZES, seed=st.integers(0, 2**16))
def test_loss_and_gradients_are_those_of_the_sum_over_all_alignments(sizes: list[tuple[int, int]], seed: int) -> None:
    torch.default_generator.manual_seed(seed)
    frames = [t for t, _ in sizes]
    labels = [torch.randint(0, BLANK, (u,)).tolist() for _, u in sizes]
    logits_NV = random_logits(frames, labels, dtype=torch.float64, requires_grad=True)
    weight_B = torch.rand(len(sizes), dtype=torch.float64)
    expected = torch.stack(
        [over_all_alignments(each, said) for each, said in zip(parts(logits_NV, frames, labels), labels, strict=True)]
    )
    [slope] = torch.autograd.grad((expected * weight_B).sum(), logits_NV)
    found = loss_of(logits_NV, labels, frames)
    [found_slope] = torch.autograd.grad((found * weight_B).sum(), logits_NV)
    assert torch.allclose(found, expected, rtol=0, atol=1e-11)
    assert torch.allclose(found_slope, slope, rtol=0, atol=1e-11)


@pytest.mark.parametrize("blank", [0, 2, 4])
def test_the_blank_can_be_any_symbol(blank: int) -> None:
    torch.default_generator.manual_seed(0)
    labels = [[symbol for symbol in (1, 3, 1) if symbol != blank]]
    logits_NV = random_logits([3], labels, dtype=torch.float64)
    [log_probs_TUV] = parts(logits_NV, [3], labels)
    expected = over_all_alignments(log_probs_TUV, labels[0], blank)
    assert loss_of(logits_NV, labels, [3], blank).item() == pytest.approx(expected.item(), abs=1e-12)


def test_the_gradient_is_that_of_small_differences() -> None:
    torch.default_generator.manual_seed(0)
    frames, labels = [3, 4, 1], [[0, 3], [], [1, 1, 2]]
    logits_NV = random_logits(frames, labels, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(lambda logits: loss_of(logits, labels, frames), (logits_NV,))


def test_longer_utterances_agree_with_a_recursion_row_by_row() -> None:
    torch.default_generator.manual_seed(0)
    frames = [40, 23, 31]
    labels = [torch.randint(0, BLANK, (count,)).tolist() for count in (12, 25, 1)]
    logits_NV = random_logits(frames, labels)
    expected = [
        row_by_row(each.double(), said).item()
        for each, said in zip(parts(logits_NV, frames, labels), labels, strict=True)
    ]
    assert loss_of(logits_NV, labels, frames).tolist() == pytest.approx(expected, rel=1e-6)


@pytest.mark.parametrize(("devices", "tolerance"), [(("cpu",), 1e-5), ((), 2e-3)])
def test_gradients_of_longer_utterances_are_right(
    monkeypatch: pytest.MonkeyPatch, devices: tuple[str, ...], tolerance: float
) -> None:
    torch.default_generator.manual_seed(0)
    monkeypatch.setattr(module, "_FLOAT64_DEVICES", devices)
    frames, labels = [200], [torch.randint(0, BLANK, (60,)).tolist()]
    logits_NV = (3 * random_logits(frames, labels)).requires_grad_()
    [single] = torch.autograd.grad(loss_of(logits_NV, labels, frames).sum(), logits_NV)
    precise_NV = logits_NV.detach().double().requires_grad_()
    [double] = torch.autograd.grad(loss_of(precise_NV, labels, frames).sum(), precise_NV)
    assert torch.allclose(single.double(), double, rtol=0, atol=tolerance)


def test_each_cells_gradient_adds_up_to_nothing() -> None:
    # Adding the same to all logits of a cell changes no probability.
    torch.default_generator.manual_seed(0)
    frames, labels = [5, 3], [[0, 1], [2]]
    logits_NV = random_logits(frames, labels, requires_grad=True)
    loss_of(logits_NV, labels, frames).sum().backward()
    assert logits_NV.grad is not None
    assert logits_NV.grad.sum(1).abs().max() < 1e-6


def test_one_frame_without_labels_is_its_blank() -> None:
    logits_NV = torch.randn(1, BLANK + 1)
    expected = -logits_NV.log_softmax(1)[0, BLANK]
    assert loss_of(logits_NV, [[]], [1]).item() == pytest.approx(expected.item(), rel=1e-6)


def test_probabilities_of_all_texts_add_up_to_one() -> None:
    # One symbol can be said, so a text is a number of it; what the next symbol is depends on the frame alone. Of more
    # than 60 in 3 frames there is nothing left to speak of.
    torch.default_generator.manual_seed(0)
    frame_TV = torch.randn(3, BLANK + 1, dtype=torch.float64)
    frame_TV[:, 1:BLANK] = -torch.inf
    frame_TV[:, BLANK] += 2
    total = 0.0
    for count in range(60):
        logits_NV = frame_TV[:, None].expand(3, count + 1, -1).reshape(-1, BLANK + 1)
        total += loss_of(logits_NV, [[0] * count], [3]).neg().exp().item()
    assert total == pytest.approx(1, abs=1e-6)


@pytest.mark.parametrize("size", [1e2, 1e4, 1e30])
def test_extreme_logits_leave_loss_and_gradients_finite(size: float) -> None:
    torch.default_generator.manual_seed(0)
    frames, labels = [6, 4], [[0, 1, 2], [3]]
    logits_NV = (size * random_logits(frames, labels)).requires_grad_()
    loss_B = loss_of(logits_NV, labels, frames)
    loss_B.sum().backward()
    assert logits_NV.grad is not None
    assert torch.isfinite(loss_B).all()
    assert torch.isfinite(logits_NV.grad).all()
    assert logits_NV.grad.abs().max() <= 1 + 1e-6


def test_an_impossible_text_counts_as_zero_and_so_do_its_gradients() -> None:
    torch.default_generator.manual_seed(0)
    frames, labels = [3, 3], [[0, 1], [2]]
    logits_NV = random_logits(frames, labels)
    logits_NV[9:, 2] = -torch.inf
    logits_NV.requires_grad_()
    loss_B = loss_of(logits_NV, labels, frames)
    loss_B.sum().backward()
    assert logits_NV.grad is not None
    assert loss_B[0] > 0
    assert loss_B[1] == 0
    assert logits_NV.grad[:9].any()
    assert not logits_NV.grad[9:].any()


def test_a_logit_that_is_no_number_shows_in_the_loss() -> None:
    frames, labels = [3, 2], [[0], [1]]
    logits_NV = random_logits(frames, labels)
    logits_NV[0, 0] = torch.nan
    assert torch.isnan(loss_of(logits_NV, labels, frames)).tolist() == [True, False]


@pytest.mark.parametrize("kind", [torch.bfloat16, torch.float16])
def test_sums_are_float32_whatever_the_logits_are(kind: torch.dtype) -> None:
    torch.default_generator.manual_seed(0)
    frames, labels = [30], [[0, 1, 2, 3] * 4]
    logits_NV = random_logits(frames, labels).to(kind).requires_grad_()
    loss_B = loss_of(logits_NV, labels, frames)
    loss_B.sum().backward()
    assert loss_B.dtype == torch.float32
    assert logits_NV.grad is not None
    assert logits_NV.grad.dtype == kind
    assert loss_B.item() == pytest.approx(loss_of(logits_NV.detach().float(), labels, frames).item(), rel=1e-6)


def test_blocks_of_rows_change_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    torch.default_generator.manual_seed(0)
    frames, labels = [5, 4], [[0, 1, 2], [3]]
    logits_NV = random_logits(frames, labels, requires_grad=True)
    results = []
    for values in (2**24, 3 * (BLANK + 1), 1):
        monkeypatch.setattr(module, "_BLOCK_VALUES", values)
        loss_B = loss_of(logits_NV, labels, frames)
        [slope] = torch.autograd.grad(loss_B.sum(), logits_NV)
        results.append((loss_B.detach(), slope))
    for loss_B, slope in results[1:]:
        assert torch.equal(loss_B, results[0][0])
        assert torch.equal(slope, results[0][1])


def test_padding_between_labels_does_not_matter() -> None:
    torch.default_generator.manual_seed(0)
    cells = cells_of(torch.tensor([2, 2]), torch.tensor([3, 1]), [2, 2], [3, 1])
    logits_NV = torch.randn(12, BLANK + 1)
    losses = [
        transducer_loss(logits_NV, torch.tensor([[0, 1, 2], [3, padding, padding]]), cells, blank=BLANK)
        for padding in range(BLANK)
    ]
    assert all(torch.equal(loss_B, losses[0]) for loss_B in losses)


def test_labels_are_laid_out_in_rows() -> None:
    flat, counts = torch.tensor([5, 6, 7, 8]), [3, 0, 1]
    labels_B = lengths_on(torch.device("cpu"), counts)
    assert padded_labels(flat, labels_B, counts).tolist() == [[5, 6, 7], [0, 0, 0], [8, 0, 0]]
    assert padded_labels(flat[:0], torch.zeros(2, dtype=torch.int64), [0, 0]).shape == (2, 0)
