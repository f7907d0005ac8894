"""The transducer loss: the negative log-probability of the labels, summed over all ways of placing them on the frames.

From the cell of frame t and label position u a path either emits the blank and goes on to frame t + 1, or emits the
next label and goes on to position u + 1; the blank of the last cell ends it (A. Graves, Sequence Transduction with
Recurrent Neural Networks, 2012). The sums from the beginning to each cell (alpha) and from each cell to the end (beta)
follow one another along the anti-diagonals t + u, all cells of one of which, and all utterances, are computed at once.
Both sums are the same recursion on a lattice and on the same lattice turned around, so one run over T + U - 1 diagonals
does both, in two operators a diagonal.

    B  utterances of the batch       N  true cells of all utterances, in the order of transducer_cells
    D  anti-diagonals: T + U - 1     R  2 B: each utterance's lattice, then each turned around
    U  label positions               V  symbols

Work is in the order of N V for the softmax and R D U for the recursion. What is kept for the backward pass besides the
logits is 28 bytes a cell; the recursion passes through 48 bytes for each of B D U and indices of half that size, and
the softmax through one block of rows. No copy of the logits in float32 and no softmax is kept, so what counts is the
logits and their gradient, each N V in the logits' own type.

All sums are in logarithms. The softmax is taken in float32 (in float64 of logits that are). The recursion adds up to
thousands, of which float32 would leave the gradients three digits; it is in float64 where devices have that, which
costs little, since a diagonal is small and what it takes is the launch of its two kernels.
"""

from __future__ import annotations

from typing import Any, Final, cast

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from ds2prof.train.transducer_cells import Cells

_BLOCK_VALUES: Final = 2**24
"""Logits that are taken to float32 at a time: 64 MiB."""

_FLOAT64_DEVICES: Final = ("cpu", "cuda")
"""Kinds of device all of which have float64; others sum in float32."""


def transducer_loss(logits_NV: Tensor, labels_BU: Tensor, cells: Cells, *, blank: int) -> Tensor:
    """``loss_B``, the negative log-probability of each utterance's labels.

    An utterance whose labels are impossible (a logit of minus infinity stands in every way) counts as zero, and so do
    its gradients.

    Args:
        logits_NV: Of the true cells, before any softmax.
        labels_BU: The labels, padded with any symbol.
        cells: The batch's cells.
        blank: The symbol that goes on to the next frame.
    """
    symbol_N = _next_symbols(labels_BU, cells, blank)
    return cast(Tensor, _TransducerLoss.apply(logits_NV, symbol_N, cells, blank))  # type: ignore[no-untyped-call]


class _TransducerLoss(torch.autograd.Function):
    """The loss with its gradient written out.

    With b and s the shares of all paths, by probability, that leave a cell by its blank and by its label, the gradient
    for the cell's logits is (b + s) softmax, less b at the blank and s at the label.
    """

    @staticmethod
    def forward(ctx: Any, logits_NV: Tensor, symbol_N: Tensor, cells: Cells, blank: int) -> Tensor:
        normalizer_N = _normalizers(logits_NV)
        blank_N = logits_NV[:, blank].to(normalizer_N.dtype) - normalizer_N
        label_N = logits_NV.gather(1, symbol_N[:, None])[:, 0].to(normalizer_N.dtype) - normalizer_N
        loss_B, blank_share_N, label_share_N = _shares(blank_N, label_N, cells)
        ctx.save_for_backward(logits_NV, normalizer_N, blank_share_N, label_share_N, symbol_N, cells.utterance_N)
        ctx.blank = blank
        return loss_B

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, slope_B: Tensor) -> tuple[Tensor, None, None, None]:
        logits_NV, normalizer_N, blank_share_N, label_share_N, symbol_N, utterance_N = ctx.saved_tensors
        slope_N = slope_B[utterance_N]
        blank_N, label_N = blank_share_N * slope_N, label_share_N * slope_N
        gradient_NV = torch.empty_like(logits_NV)
        for rows in _blocks(logits_NV):
            block_NV = (logits_NV[rows].to(normalizer_N.dtype) - normalizer_N[rows, None]).exp_()
            block_NV.mul_((blank_N + label_N)[rows, None])
            block_NV[:, ctx.blank].sub_(blank_N[rows])
            block_NV.scatter_add_(1, symbol_N[rows, None], -label_N[rows, None])
            gradient_NV[rows] = block_NV
        return gradient_NV, None, None, None


def _blocks(logits_NV: Tensor) -> list[slice]:
    """The rows, in blocks that are small in float32."""
    rows, symbols = logits_NV.shape
    size = max(_BLOCK_VALUES // symbols, 1)
    return [slice(start, min(start + size, rows)) for start in range(0, rows, size)]


def _normalizers(logits_NV: Tensor) -> Tensor:
    """The logarithm of the sum of each row's exponentials, at least in float32."""
    kind = torch.float64 if logits_NV.dtype == torch.float64 else torch.float32
    return torch.cat([torch.logsumexp(logits_NV[rows].to(kind), dim=1) for rows in _blocks(logits_NV)])


def _next_symbols(labels_BU: Tensor, cells: Cells, blank: int) -> Tensor:
    """``symbol_N``, the label that leads out of each cell; the blank stands in where no label is left."""
    ended_BU = torch.nn.functional.pad(labels_BU, (0, 1), value=blank)
    symbol_N = ended_BU[cells.utterance_N, cells.position_N]
    return symbol_N.masked_fill_(cells.position_N == cells.labels_B[cells.utterance_N], blank)


def _shares(blank_N: Tensor, label_N: Tensor, cells: Cells) -> tuple[Tensor, Tensor, Tensor]:
    """``loss_B``, and of all paths by probability the shares that leave each cell by its blank and by its label."""
    last_N = cells.position_N == cells.labels_B[cells.utterance_N]
    precise = torch.float64 if blank_N.device.type in _FLOAT64_DEVICES else blank_N.dtype
    into_DRU2 = _steps(blank_N.to(precise), label_N.to(precise).masked_fill_(last_N, -torch.inf), cells)
    sums_DRU = _run(into_DRU2)

    # Turned around, the first cell is the last: the sum there is over all ways from the beginning to the end.
    utterances, end_B = len(cells.first_B), cells.frames_B - 1 + cells.labels_B
    turned_B = torch.arange(utterances, 2 * utterances, device=end_B.device)
    total_B = sums_DRU[end_B, turned_B, cells.labels_B + 1]

    diagonal_N = cells.frame_N + cells.position_N
    alpha_N = sums_DRU[diagonal_N, cells.utterance_N, cells.position_N + 1]
    onward_N2 = into_DRU2[
        end_B[cells.utterance_N] - diagonal_N,
        turned_B[cells.utterance_N],
        cells.labels_B[cells.utterance_N] - cells.position_N,
    ]
    impossible_B = total_B == -torch.inf
    share_N2 = ((alpha_N - total_B[cells.utterance_N])[:, None] + onward_N2).exp_()
    share_N2.masked_fill_(impossible_B[cells.utterance_N][:, None], 0)
    loss_B, label_N, blank_N = (each.to(blank_N.dtype) for each in (-total_B, *share_N2.unbind(1)))
    return loss_B.masked_fill_(impossible_B, 0), blank_N, label_N


def _steps(blank_N: Tensor, label_N: Tensor, cells: Cells) -> Tensor:
    """``into_DRU2``: what leads into each cell, the label from the position before and the blank from the frame before.

    On the lattices as they are these are the symbols of the cells that one comes from. On those turned around they are
    the cell's own, since there one walks against the symbols.
    """
    device = blank_N.device
    position_U = torch.arange(cells.positions, device=device)
    frame_D1U = (torch.arange(cells.frames + cells.positions - 1, device=device)[:, None] - position_U)[:, None]
    positions_B1 = (cells.labels_B + 1)[:, None]
    inside_DBU = (frame_D1U >= 0) & (frame_D1U < cells.frames_B[:, None]) & (position_U < positions_B1)
    first_B1 = cells.first_B[:, None]
    cell_DBU = first_B1 + frame_D1U * positions_B1 + position_U
    turned_DBU = 2 * first_B1 + cells.frames_B[:, None] * positions_B1 - 1 - cell_DBU

    def taken(values_N: Tensor, cell_DBU: Tensor, valid_DBU: Tensor) -> Tensor:
        return values_N[cell_DBU.clamp(0, len(values_N) - 1)].masked_fill_(~valid_DBU, -torch.inf)

    label_DRU = torch.cat(
        [
            taken(label_N, cell_DBU - 1, inside_DBU & (position_U > 0)),
            taken(label_N, turned_DBU, inside_DBU),
        ],
        dim=1,
    )
    blank_DRU = torch.cat(
        [
            taken(blank_N, cell_DBU - positions_B1, inside_DBU & (frame_D1U > 0)),
            taken(blank_N, turned_DBU, inside_DBU),
        ],
        dim=1,
    )
    return torch.stack([label_DRU, blank_DRU], dim=-1)


def _run(into_DRU2: Tensor) -> Tensor:
    """The sums, at ``[diagonal, lattice, position + 1]``; position -1 stands there for what lies outside.

    Adds to ``into_DRU2`` the sums of the cells that the steps come from.
    """
    diagonals, lattices, positions, _ = into_DRU2.shape
    sums_DRU = into_DRU2.new_full((diagonals, lattices, positions + 1), -torch.inf)
    sums_DRU[0, : lattices // 2, 1] = 0
    sums_DRU[0, lattices // 2 :, 1] = into_DRU2[0, lattices // 2 :, 0, 1]  # the blank that ends the utterance
    for before_RU, into_RU2, sums_RU in zip(sums_DRU[:-1], into_DRU2[1:], sums_DRU[1:], strict=True):
        into_RU2 += before_RU.unfold(1, 2, 1)
        torch.logaddexp(into_RU2[..., 0], into_RU2[..., 1], out=sums_RU[:, 1:])
    return sums_DRU
