"""What a DeepMark measurement says: its columns, and the published rows that they stand beside. Needs no PyTorch.

The document is one JSON object, schema ``ds2prof-deepmark/1``; docs/DEEPMARK.md says what each field is.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from statistics import fmean, pvariance
from typing import Any, Final

from ds2prof.speech.synthetic import UTTERANCES, Group
from ds2prof.train.deepmark_plan import Minibatch
from ds2prof.units import MS_PER_S, NS_PER_S

SCHEMA: Final = "ds2prof-deepmark/1"

Row = tuple[int, int, int]
"""(forward, backward, all with data and copies) of a minibatch, nanoseconds."""


@dataclass(frozen=True, kw_only=True)
class Published:
    """A row of DeepMark's own table, as it was published.

    Attributes:
        name: What it was measured on.
        batch_size: Utterances of a card.
        cards: How many cards.
        forward_ms: Wrong, as are the two below.
        backward_ms: See above.
        total_ms: See above.
        samples: Utterances of the epoch.
        samples_per_s: Right, as is all that follows.
        audio_s_per_s: Seconds of speech per second.
        epoch_s: What the epoch took.
    """

    name: str
    batch_size: int
    cards: int
    forward_ms: int
    backward_ms: int
    total_ms: int
    samples: int
    samples_per_s: int
    audio_s_per_s: int
    epoch_s: int

    @property
    def minibatch_ms(self) -> float:
        """What a minibatch must have taken, by the epoch's time."""
        return self.epoch_s * MS_PER_S / (self.samples / (self.batch_size * self.cards))


PUBLISHED: Final = (
    Published(
        name="1x Titan X, Torch (2016)",
        batch_size=32,
        cards=1,
        forward_ms=83,
        backward_ms=72,
        total_ms=154,
        samples=128_000,
        samples_per_s=32,
        audio_s_per_s=189,
        epoch_s=4013,
    ),
    Published(
        name="4x Titan X, Torch (2016)",
        batch_size=32,
        cards=4,
        forward_ms=99,
        backward_ms=81,
        total_ms=180,
        samples=128_000,
        samples_per_s=106,
        audio_s_per_s=632,
        epoch_s=1204,
    ),
)
"""DeepMark's results for DeepSpeech2."""

PUBLISHED_NOTE: Final = (
    "published milliseconds (*) are wrong: they were averaged twice. By the epoch's time a minibatch took "
    + " and ".join(f"{row.minibatch_ms:.0f} ms on {row.cards}" for row in PUBLISHED)
    + ". Samples, rates and epoch times agree with each other."
)


def columns(
    batches: Sequence[Minibatch], rows: Sequence[Row], groups: Sequence[Group], frame_ms: int
) -> dict[str, Any]:
    """DeepMark's columns, and what stands behind them by length.

    Times of a minibatch are means over the minibatches. Rates divide what was computed by the sum of the forward and
    backward times, data and copies left out. The epoch's time is that sum where the whole distribution was computed;
    else each length's sum is scaled to all its utterances, and lengths that were not computed to their speech.
    """
    forward_ns, backward_ns = sum(row[0] for row in rows), sum(row[1] for row in rows)
    total_ns = forward_ns + backward_ns
    samples = sum(batch.samples for batch in batches)
    audio_s = sum(batch.samples * batch.frames for batch in batches) * frame_ms / MS_PER_S
    lengths = [_length(group, batches, rows) for group in groups if group.utterances]
    return {
        "batches": len(batches),
        "forward_ns": forward_ns / len(rows),
        "backward_ns": backward_ns / len(rows),
        "total_ns": total_ns / len(rows),
        "samples": samples,
        "audio_s": audio_s,
        "samples_per_s": samples * NS_PER_S / total_ns,
        "audio_s_per_s": audio_s * NS_PER_S / total_ns,
        "pass_s": total_ns / NS_PER_S,
        "wall_s": sum(row[2] for row in rows) / NS_PER_S,
        "lengths": lengths,
    }


def _length(group: Group, batches: Sequence[Minibatch], rows: Sequence[Row]) -> dict[str, Any]:
    """The minibatches of one length, as one. Lengths are told apart by their utterances: two may be equally long."""
    mine = [
        row
        for batch, row in zip(batches, rows, strict=True)
        if group.first <= batch.parts[0][0] < group.first + group.utterances
    ]
    return {
        "frames": group.frames,
        "labels": group.labels,
        "utterances": group.utterances,
        "batches": len(mine),
        "forward_ns": fmean(row[0] for row in mine),
        "backward_ns": fmean(row[1] for row in mine),
        "sum_ns": sum(row[0] + row[1] for row in mine),
    }


def epoch_s(lengths: Sequence[Mapping[str, Any]], whole: Sequence[Group]) -> float:
    """The time of all 128,000 utterances, by the times of those that were computed."""
    by_length = {(row["frames"], row["labels"]): row["sum_ns"] / row["utterances"] for row in lengths}
    frame_ns = sum(row["sum_ns"] for row in lengths) / sum(row["frames"] * row["utterances"] for row in lengths)
    total_ns = sum(
        group.utterances * by_length.get((group.frames, group.labels), frame_ns * group.frames) for group in whole
    )
    return float(total_ns) / NS_PER_S


def document(
    *,
    run: Mapping[str, Any],
    measured: Mapping[str, Any],
    whole: Sequence[Group],
    one_card: Mapping[str, Any] | None,
    search: Mapping[str, Any],
) -> dict[str, Any]:
    """The whole result.

    Args:
        run: What was measured, on what: the fields that need no computing.
        measured: :func:`columns` of it.
        whole: The whole distribution.
        one_card: :func:`columns` of the same on one card, where there are several.
        search: How the batch size was found.
    """
    complete = measured["samples"] == UTTERANCES
    scaling = None if one_card is None else measured["samples_per_s"] / one_card["samples_per_s"]
    return {
        "schema": SCHEMA,
        **run,
        **measured,
        "epoch_s": measured["pass_s"] if complete else epoch_s(measured["lengths"], whole),
        "epoch": "measured" if complete else "extrapolated",
        "scaling": 1.0 if run["cards"] == 1 else scaling,
        "one_card": one_card,
        "search": search,
        "published": [asdict(row) for row in PUBLISHED],
        "published_note": PUBLISHED_NOTE,
    }


def benchmark_log(document: Mapping[str, Any], rows: Sequence[Row], *, date: str) -> dict[str, Any]:
    """The fields of Cambricon's ``BENCHMARK_LOG``: seconds, and samples of all cards per second.

    ``batch_time`` is the host's, from asking for a minibatch to the fence behind it; ``hardware_time`` the device's for
    forward and backward. The protocol's minibatches differ in length, which is most of the variance.
    """
    wall_s = [row[2] / NS_PER_S for row in rows]
    hardware_s = [(row[0] + row[1]) / NS_PER_S for row in rows]
    return {
        "date": date,
        "net": document["preset"],
        "batch_size": document["batch_size"],
        "cards": document["cards"],
        "precision": document["precision"],
        "DPF_mode": "ddp" if document["cards"] > 1 else "single",
        "batch_time_avg": round(fmean(wall_s), 6),
        "batch_time_var": round(pvariance(wall_s), 6),
        "hardware_time_avg": round(fmean(hardware_s), 6),
        "hardware_time_var": round(pvariance(hardware_s), 6),
        "throughput": round(document["samples"] / sum(wall_s), 6),
        "device": document["device_name"] or document["device"],
        "dataset": "DeepMark synthetic",
    }
