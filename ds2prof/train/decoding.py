"""What CTC's output says, and when: greedy decoding on the device, the border to beam search, and offsets in seconds.

Greedy decoding takes the likeliest symbol of each frame, makes one of each run of the same, and drops the blanks. That
is one path; the likeliest text, all of its paths taken together, can be another, and beam search looks for that
(:mod:`ds2prof.train.beam_search`).

An offset is the centre of the frame that a symbol was read off. Frame ``j`` behind a convolution with kernel ``k``,
stride ``s`` and padding ``p`` looks at the frames ``j s - p`` to ``j s - p + k - 1`` before it, whose centre is
``j s + (k - 1) / 2 - p``; frame ``i`` of the features is centred on sample ``i * stride``. CTC is free to put a symbol
anywhere in or around its sound, and a network with a view of the future puts it late or early as training had it: an
offset says where the network spoke, not where a phoneme begins.

Shapes: B utterances, T frames, V symbols.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import groupby, pairwise
from typing import Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

from ds2prof.speech.feature_config import FeatureConfig
from ds2prof.train.objective import BLANK
from ds2prof.train.presets import ModelConfig
from ds2prof.train.transducer_config import TransducerConfig
from ds2prof.units import MS_PER_S


@dataclass(frozen=True)
class Decoded:
    """What was read off one utterance.

    Attributes:
        symbols: The symbols, without blanks.
        first_frames: The frame in which each appears, or () where the decoder does not know.
        last_frames: The last frame in which it is still there.
        score: The natural logarithm of what the decoder maximized; None where it has no such number.
    """

    symbols: tuple[int, ...]
    first_frames: tuple[int, ...] = ()
    last_frames: tuple[int, ...] = ()
    score: float | None = None


class Decoder(Protocol):
    """Reads symbols off CTC's output."""

    def __call__(self, logits_TBV: Tensor, counts: Sequence[int]) -> list[Decoded]:
        """What each utterance says; ``counts`` are its true frames."""


def greedy(logits_TBV: Tensor, counts: Sequence[int], *, blank: int = BLANK) -> list[Decoded]:
    """The likeliest path of each utterance, its runs made one and its blanks dropped.

    All utterances are done at once on the device of the logits, and what comes back to the host is the symbols alone.
    Of equally likely symbols the first is taken.
    """
    best_BT = logits_TBV.argmax(dim=-1).T
    frame_T = torch.arange(best_BT.shape[1], device=best_BT.device)
    count_B = best_BT.new_tensor(list(counts))
    spoken_BT = (best_BT != blank) & (frame_T < count_B[:, None])
    # A run begins where the frame before is another symbol, and ends where the next one is, or where the speech ends.
    changes_BT = best_BT[:, 1:] != best_BT[:, :-1]
    begins_BT, ends_BT = spoken_BT.clone(), spoken_BT.clone()
    begins_BT[:, 1:] &= changes_BT
    ends_BT[:, :-1] &= changes_BT | (frame_T[1:] >= count_B[:, None])
    rows, firsts = begins_BT.nonzero(as_tuple=True)
    lasts = ends_BT.nonzero(as_tuple=True)[1]
    found = [each.cpu().numpy() for each in (rows, best_BT[rows, firsts], firsts, lasts)]
    return _by_utterance(len(counts), *found)


def _by_utterance(
    utterances: int,
    rows: NDArray[np.int64],
    symbols: NDArray[np.int64],
    firsts: NDArray[np.int64],
    lasts: NDArray[np.int64],
) -> list[Decoded]:
    borders = np.searchsorted(rows, np.arange(utterances + 1))
    parts = [slice(start, stop) for start, stop in pairwise(borders)]
    return [
        Decoded(tuple(symbols[part].tolist()), tuple(firsts[part].tolist()), tuple(lasts[part].tolist()))
        for part in parts
    ]


def read_off(path: Sequence[int], *, score: float | None = None, blank: int = BLANK) -> Decoded:
    """What one path, a symbol for each frame, says."""
    symbols, firsts, lasts = [], [], []
    frame = 0
    for symbol, run in groupby(path):
        length = len(list(run))
        if symbol != blank:
            symbols.append(symbol)
            firsts.append(frame)
            lasts.append(frame + length - 1)
        frame += length
    return Decoded(tuple(symbols), tuple(firsts), tuple(lasts), score)


def log_probabilities(logits_TBV: Tensor, counts: Sequence[int]) -> list[NDArray[np.float32]]:
    """The logarithm of the softmax of each utterance (T, V) on the host, padding cut off, in float32."""
    log_probs_BTV = functional.log_softmax(logits_TBV.float(), dim=-1).transpose(0, 1).cpu().numpy()
    return [np.ascontiguousarray(each[:count]) for each, count in zip(log_probs_BTV, counts, strict=True)]


@dataclass(frozen=True)
class FrameClock:
    """When the frames are that come out of a network.

    Attributes:
        first_ms: The centre of frame 0, from the beginning of the sound; negative where padding reaches that far.
        step_ms: From one frame to the next.
    """

    first_ms: float
    step_ms: float

    def at_s(self, frame: int) -> float:
        """The centre of that frame."""
        return (self.first_ms + frame * self.step_ms) / MS_PER_S


def frame_clock(model: ModelConfig | TransducerConfig, features: FeatureConfig) -> FrameClock:
    """When the frames are that come out of a DeepSpeech2, or of a transducer's encoder.

    A frame is where the middle of what it is made of is: of the frames that a convolution's kernel covers, or of those
    that were stacked into one. How far back or ahead recurrent layers remember is left out.
    """
    first, step = (features.stack - 1) / 2, features.stack
    if isinstance(model, TransducerConfig):
        first, step = first + step * (model.time_stack - 1) / 2, step * model.time_stack
    else:
        for convolution in model.convolutions:
            first += step * ((convolution.kernel[1] - 1) / 2 - convolution.padding[1])
            step *= convolution.stride[1]
    return FrameClock(first * features.stride_ms, step * features.stride_ms)


@dataclass(frozen=True)
class Word:
    """A word with the frames it was read off.

    Attributes:
        text: The word.
        start_s: The centre of the frame in which its first symbol appears.
        end_s: The centre of the last frame in which its last symbol is still there; at least ``start_s``.
    """

    text: str
    start_s: float
    end_s: float


def words(
    decoded: Decoded, decode: Callable[[Sequence[int]], str], clock: FrameClock, *, start_s: float = 0.0
) -> list[Word]:
    """The words of an utterance with their offsets.

    Args:
        decoded: With frames.
        decode: The text of some symbols; what one more of them adds is that symbol's, and a space ends a word.
        clock: When the frames are.
        start_s: Where the utterance lies in its recording.
    """
    found: list[Word] = []
    text, begin, end, before = "", 0, 0, ""
    spoken = zip(decoded.first_frames, decoded.last_frames, strict=True)
    for number, (first, last) in enumerate(spoken, 1):
        whole = decode(decoded.symbols[:number])
        for place, piece in enumerate(whole[len(before) :].split(" ")):
            if place and text:
                found.append(_word(text, begin, end, clock=clock, start_s=start_s))
                text = ""
            if piece:
                begin, end = (begin if text else first), last
                text += piece
        before = whole
    return [*found, _word(text, begin, end, clock=clock, start_s=start_s)] if text else found


def _word(text: str, begin: int, end: int, *, clock: FrameClock, start_s: float) -> Word:
    return Word(text, round(start_s + clock.at_s(begin), 6), round(start_s + clock.at_s(end), 6))
