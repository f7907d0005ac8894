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
        cleaned(f"{found['manifest']}: {found['utterances']:,} utterances, {found['audio_s'] / 3600:.2f} h"),
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


def _number(value: float | None) -> str:
    return "-" if value is None else f"{value:.4f}"


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
