"""Evaluations, transcripts and latencies as text. What is said is untrusted: it comes out of files of others."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final

from ds2prof.report.text import cleaned
from ds2prof.units import MS_PER_S, format_ratio

_RATES: Final = {
    "wer": "word error rate",
    "mean_utterance_wer": "mean of the utterances' own",
    "cer": "character error rate",
    "cer_without_spaces": "the same without spaces",
}
_LONGEST_SUBTITLE: Final = 60
_LONGEST_SUBTITLE_S: Final = 6.0
_PAUSE_S: Final = 1.0


def evaluation_text(found: Mapping[str, Any]) -> str:
    """An evaluation for reading, of its document."""
    kind = found["decoder"]["kind"]
    lines = [
        cleaned(f"{found['manifest']}: {found['utterances']:,} utterances, {_length(found['audio_s'])}"),
        cleaned(
            f"  {found['preset']}, epoch {found['epoch']}, {found['iteration']:,} steps, {found['weights']} weights"
        ),
        f"  {kind} decoding, {found['precision']}, {found['device']}",
        "",
        *(f"  {name:<19} {format_ratio(found[name]):>10}   {text}" for name, text in _RATES.items()),
        f"  {'loss':<19} {_number(found['loss']):>10}   mean over the utterances",
        "",
        f"  {found['words']:,} words: {found['word_substitutions']:,} substituted, "
        f"{found['word_insertions']:,} inserted, {found['word_deletions']:,} deleted; "
        f"{found['exact_utterances']:,} utterances without an error",
    ]
    if found["empty_references"]:
        lines.append(f"  {found['empty_references']:,} utterances say nothing: no rate of their own")
    return "\n".join(lines)


def _length(dur_s: float) -> str:
    return f"{dur_s / 3600:.2f} h" if dur_s >= 360 else f"{dur_s:.1f} s"


def _number(value: float | None) -> str:
    return "-" if value is None else f"{value:.4f}"


def search_text(found: Mapping[str, Any]) -> str:
    """Weights of a language model and the error rates they give, for reading, best first."""
    rows = [["alpha", "beta", "wer", "cer"]]
    for row in found["rows"]:
        rows.append([f"{row['alpha']:g}", f"{row['beta']:g}", format_ratio(row["wer"]), format_ratio(row["cer"])])
    widths = [max(len(row[place]) for row in rows) for place in range(4)]
    heading = cleaned(f"{found['manifest']}: {found['utterances']:,} utterances, {_length(found['audio_s'])}")
    return "\n".join(
        [heading, "", *("  ".join(text.rjust(width) for text, width in zip(row, widths, strict=True)) for row in rows)]
    )


def transcript_text(row: Mapping[str, Any], *, offsets: bool, named: bool) -> str:
    """A transcript for reading: one line, or with ``offsets`` one for each word."""
    name = f"{row['file']}: " if named else ""
    if not offsets:
        return cleaned(f"{name}{row['text']}")
    lines = [cleaned(name.rstrip())] if named else []
    lines += [f"{word['start_s']:9.3f} {word['end_s']:9.3f}  {cleaned(word['word'])}" for word in row["words"]]
    return "\n".join(lines)


def ctm_text(row: Mapping[str, Any]) -> str:
    """A transcript in NIST's CTM form: recording, channel, start and duration in seconds, word."""
    recording = cleaned(Path(row["file"]).stem).replace(" ", "_")
    return "\n".join(
        f"{recording} 1 {word['start_s']:.3f} {word['end_s'] - word['start_s']:.3f} {cleaned(word['word'])}"
        for word in row["words"]
    )


def srt_text(row: Mapping[str, Any]) -> str:
    """A transcript as SubRip subtitles: at most 60 characters and 6 s each, a new one behind a second's pause."""
    groups: list[list[Mapping[str, Any]]] = []
    for word in row["words"]:
        if groups and not _full(groups[-1], word):
            groups[-1].append(word)
        else:
            groups.append([word])
    return "\n".join(
        f"{number}\n{_srt_time(group[0]['start_s'])} --> {_srt_time(group[-1]['end_s'])}\n"
        f"{cleaned(' '.join(word['word'] for word in group))}\n"
        for number, group in enumerate(groups, 1)
    ).rstrip("\n")


def _full(group: Sequence[Mapping[str, Any]], word: Mapping[str, Any]) -> bool:
    length = sum(len(each["word"]) + 1 for each in group) + len(word["word"])
    return bool(
        length > _LONGEST_SUBTITLE
        or word["end_s"] - group[0]["start_s"] > _LONGEST_SUBTITLE_S
        or word["start_s"] - group[-1]["end_s"] > _PAUSE_S
    )


def _srt_time(time_s: float) -> str:
    time_ms = max(round(time_s * MS_PER_S), 0)
    minutes, rest_ms = divmod(time_ms, 60 * MS_PER_S)
    hours, minutes = divmod(minutes, 60)
    seconds, rest_ms = divmod(rest_ms, MS_PER_S)
    return f"{hours:02}:{minutes:02}:{seconds:02},{rest_ms:03}"


_LATENCY_COLUMNS: Final = {
    "batch_size": ("batch", "d"),
    "batches": ("batches", "d"),
    "p50_ms": ("p50 ms", ".2f"),
    "p90_ms": ("p90 ms", ".2f"),
    "p99_ms": ("p99 ms", ".2f"),
    "mean_ms": ("mean ms", ".2f"),
    "samples_per_s": ("samples/s", ".2f"),
    "audio_s_per_s": ("audio s/s", ".2f"),
    "real_time_factor": ("real time", ".4f"),
}


def latency_text(found: Mapping[str, Any]) -> str:
    """Latencies for reading, of their document: a line for each batch size."""
    device = found["device_name"] or found["device"]
    rows = [[title for title, _ in _LATENCY_COLUMNS.values()]]
    for row in found["rows"]:
        rows.append(
            ["-" if row[name] is None else f"{row[name]:{form}}" for name, (_, form) in _LATENCY_COLUMNS.items()]
        )
    widths = [max(len(row[place]) for row in rows) for place in range(len(_LATENCY_COLUMNS))]
    lines = [
        cleaned(f"{found['preset']}, {found['precision']}, {device}: batch to {found['extent']}; {found['speech']}"),
        "",
        *("  ".join(text.rjust(width) for text, width in zip(row, widths, strict=True)) for row in rows),
    ]
    for name, needed in found["batches_needed"].items():
        short = [str(row["batch_size"]) for row in found["rows"] if row[name] is None]
        if short:
            title = _LATENCY_COLUMNS[name][0].split()[0]
            lines.append(f"{title}: takes {needed} batches; batch size {', '.join(short)} has fewer")
    return "\n".join(lines)
