"""A DeepMark result for reading, and in the form that DeepMark's own benchmark for Torch prints. Needs no PyTorch."""

from __future__ import annotations

import textwrap
from collections.abc import Mapping, Sequence
from typing import Any, Final

from ds2prof.train.deepmark_result import PUBLISHED, PUBLISHED_NOTE, Published
from ds2prof.units import NS_PER_MS, format_bytes

_HEADER: Final = (
    "",
    "forward ms",
    "backward ms",
    "total ms",
    "samples",
    "samples/s",
    "audio s/s",
    "epoch s",
    "scaling",
)


def text_lines(document: Mapping[str, Any]) -> list[str]:
    """The columns beside the published rows, what they mean, and how the batch size was found."""
    rows = [_HEADER, *_measured_rows(document), *(_published_row(row) for row in PUBLISHED)]
    table = _aligned(rows)
    notes = [*_notes(document), *_memory_lines(document)]
    return [
        _title(document),
        "",
        *table,
        "",
        *(line for note in notes for line in textwrap.wrap(note, len(table[0]), subsequent_indent="  ")),
        *(line for kind, found in document["search"].items() for line in _search_lines(kind, found)),
    ]


def _title(document: Mapping[str, Any]) -> str:
    cards = "" if document["cards"] == 1 else f"{document['cards']} x "
    name = document["device_name"] or document["device"]
    return (
        f"DeepMark's protocol: {document['preset']} ({document['parameters']:,} parameters), {document['precision']}, "
        f"batch {document['batch_size']}{'' if document['cards'] == 1 else ' a card'}, {cards}{name}"
    )


def _measured_rows(document: Mapping[str, Any]) -> list[tuple[str, ...]]:
    cards = document["cards"]
    seconds = document["epoch_s"]
    epoch = (f"{seconds:.0f}" if seconds >= 1e4 else f"{seconds:.5g}") + (
        "" if document["epoch"] == "measured" else "~"
    )
    rows = [_row(f"measured, {cards} card{'s' if cards > 1 else ''}", document, epoch, document["scaling"])]
    if document["one_card"] is not None:
        rows.append(_row("measured, 1 card", document["one_card"], "", 1.0))
    return rows


def _row(name: str, columns: Mapping[str, Any], epoch: str, scaling: float | None) -> tuple[str, ...]:
    return (
        name,
        *(f"{columns[key] / NS_PER_MS:.1f}" for key in ("forward_ns", "backward_ns", "total_ns")),
        str(columns["samples"]),
        f"{columns['samples_per_s']:.4g}",
        f"{columns['audio_s_per_s']:.4g}",
        epoch,
        "-" if scaling is None else f"{scaling:.2f}",
    )


def _published_row(row: Published) -> tuple[str, ...]:
    return (
        row.name,
        *(f"{value}*" for value in (row.forward_ms, row.backward_ms, row.total_ms)),
        str(row.samples),
        str(row.samples_per_s),
        str(row.audio_s_per_s),
        str(row.epoch_s),
        f"{PUBLISHED[0].epoch_s / row.epoch_s:.2f}",
    )


def _aligned(rows: Sequence[Sequence[str]]) -> list[str]:
    widths = [max(len(row[at]) for row in rows) for at in range(len(rows[0]))]
    return [
        "  ".join(
            [row[0].ljust(widths[0]), *(cell.rjust(width) for cell, width in zip(row[1:], widths[1:], strict=True))]
        )
        for row in rows
    ]


def _notes(document: Mapping[str, Any]) -> list[str]:
    """What the columns rest on."""
    lines = [
        f"  timed by {document['clock']} between fences, data and copies left out; no optimizer step;"
        f" {document['warmup_batches']} minibatches before are not counted",
        f"  {document['batches']} minibatches, {document['audio_s']:.0f} s of speech; with data and copies they took"
        f" {document['wall_s']:.1f} s",
    ]
    if document["epoch"] != "measured":
        lines.append(
            f"~ extrapolated: {document['samples']} of {document['utterances_in_all']} utterances were computed, each"
            " length's time is scaled to all of its own"
        )
    if document["length_divisor"] > 1:
        lines.append(
            f"  this preset's utterances are 1/{document['length_divisor']} as long as those of the published rows"
        )
    if document["cards"] > 1:
        lines.append(
            "  scaling is by samples/s, to one card with as many utterances; gradients are averaged in backward"
        )
    return [*lines, f"* {PUBLISHED_NOTE}"]


def _memory_lines(document: Mapping[str, Any]) -> list[str]:
    if document["peak_bytes"] is None:
        return []
    limit = document["memory_limit_bytes"]
    return [
        f"  memory: at most {format_bytes(document['peak_bytes'])}"
        + ("" if document["reserved_bytes"] is None else f", {format_bytes(document['reserved_bytes'])} reserved")
        + ("" if limit is None else f"; limit {format_bytes(limit)}")
    ]


def _search_lines(kind: str, found: Mapping[str, Any]) -> list[str]:
    """A batch size that was looked for, and what was tried."""
    size = "none" if found["batch_size"] is None else str(found["batch_size"])
    if kind == "largest" and found["batch_size"] is not None and found["timed_out"]:
        size = f"at least {size}"
    return ["", f"batch size that {_KINDS[kind]}: {size} ({found['ended']})", *map(probe_line, found["probes"])]


_KINDS: Final = {"fastest": "is fastest", "largest": "is the largest that fits, on the longest utterances"}


def probe_line(probe: Mapping[str, Any]) -> str:
    """What came of trying a batch size."""
    rate = probe["samples_per_s"]
    parts = [
        probe["outcome"],
        "" if rate is None else f"{rate:.4g} samples/s",
        "" if probe["peak_bytes"] is None else format_bytes(probe["peak_bytes"]),
    ]
    return f"  {probe['batch_size']:>6}  " + ", ".join(part for part in parts if part)


def torch_lines(document: Mapping[str, Any]) -> list[str]:
    """The result as DeepMark's benchmark for Torch prints it, but right; ``ds2prof parse`` reads it."""
    name = document["device_name"] or document["device"]
    values = {
        "forward (ms)": document["forward_ns"] / NS_PER_MS,
        "backward (ms)": document["backward_ns"] / NS_PER_MS,
        "TOTAL (ms)": document["total_ns"] / NS_PER_MS,
        "Samples processed": document["samples"],
        "Samples per second": document["samples_per_s"],
        "Seconds of audio processed per second": document["audio_s_per_s"],
        "EPOCH TIME (s)": document["epoch_s"],
    }
    return [
        f"Running on device: {name}",
        f"ModelType: {document['preset']}\tKernels: torch",
        *(f"{'torch':<30} {':' + what + ':':>40} {value:10.2f}" for what, value in values.items()),
    ]
