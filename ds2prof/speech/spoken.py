"""A corpus of real speech that is spoken on the machine, by eSpeak NG: small enough to learn in minutes.

    TARGET/spoken.json                      what it was made from
    TARGET/{train,val}_manifest.csv         its manifests
    TARGET/{train,val}/wav/00001.wav        16 kHz, 16 bits, one channel
    TARGET/{train,val}/txt/00001.txt        what is said, in capitals as LibriSpeech has it

The sentences are those of :mod:`ds2prof.speech.sentences`, all of them different: no transcript of the held-out
utterances (``val``) occurs in training. Each utterance has a voice, a speaking rate and a pitch of its own. All of that
follows from the seed alone, so the same version of eSpeak NG makes the same files, byte for byte.

Silence at the ends is cut to 20 ms. A corpus that was cut short is gone on with: a file that is there is whole.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Final

import numpy as np

from ds2prof.errors import CaptureError, Ds2profError, ExistsError
from ds2prof.measurements import remove_stale, written_whole
from ds2prof.speech.audio import Samples, duration_s, read_samples, write_wav
from ds2prof.speech.manifests import Utterance, by_duration, write_manifest
from ds2prof.speech.spoken_plan import Line, SpokenConfig, lines_of

SCHEMA: Final = "ds2prof-spoken/1"
PROGRAM: Final = "espeak-ng"
SAMPLE_RATE_HZ: Final = 16_000
_SILENT: Final = 0.003
_MARGIN_SAMPLES: Final = SAMPLE_RATE_HZ // 50
_LONGEST_WAIT_S: Final = 60.0
_DESCRIPTION: Final = "spoken.json"

Progress = Callable[[int, int], None]
"""Is told how many utterances are spoken and how many there are."""


@dataclass(frozen=True)
class Spoken:
    """A corpus that is there.

    Attributes:
        folder: Where.
        manifests: Part -> its manifest.
        counts: Part -> its utterances.
        durations_s: Part -> how long they are together.
        words: How many different words are trained on.
        kept: Utterances that had been spoken before.
    """

    folder: Path
    manifests: dict[str, Path]
    counts: dict[str, int]
    durations_s: dict[str, float]
    words: int
    kept: int


def speak(folder: Path, config: SpokenConfig, *, jobs: int | None = None, progress: Progress | None = None) -> Spoken:
    """The corpus below ``folder``, spoken as far as it was not there yet.

    Args:
        folder: Made if it is missing.
        config: What is spoken.
        jobs: So many utterances at a time, each by a process of its own; None is one for each processor core.
        progress: Is told after each.

    Raises:
        Ds2profError: eSpeak NG or a package is missing, or a voice is not known to it.
        ExistsError: the folder holds something else, or a corpus of another configuration.
        UsageError: there are not so many different sentences.
    """
    lines = lines_of(config)
    program = _program()
    _claim(folder, {"schema": SCHEMA, **asdict(config), "voices": list(config.voices), "program": _version(program)})
    for part in ("train", "val"):
        for kind in ("wav", "txt"):
            (folder / part / kind).mkdir(parents=True, exist_ok=True)
            remove_stale(folder / part / kind)
    kept = 0
    with TemporaryDirectory(prefix="ds2prof-speak-") as scratch, ThreadPoolExecutor(jobs or _cores()) as pool:
        try:
            spoken = pool.map(lambda line: _say(line, folder, program=program, scratch=Path(scratch)), lines)
            for number, was_there in enumerate(spoken, start=1):
                kept += was_there
                if progress is not None:
                    progress(number, len(lines))
        except BaseException:
            pool.shutdown(cancel_futures=True)
            raise
    return _listed(folder, lines, kept=kept)


def _program() -> str:
    """Where eSpeak NG is.

    Raises:
        Ds2profError: it is not installed.
    """
    found = shutil.which(PROGRAM)
    if found is None:
        raise Ds2profError(f"{PROGRAM}: is not installed; install the package {PROGRAM} (apt-get install {PROGRAM})")
    return found


def _version(program: str) -> str:
    """What eSpeak NG calls itself, its folders left out; another version may speak differently."""
    told = _run([program, "--version"]).stdout.decode("utf-8", "replace")
    return told.split("Data at:")[0].strip()


def _cores() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _claim(folder: Path, description: dict[str, Any]) -> None:
    """Makes the folder this corpus' own, or sees that it is.

    Raises:
        ExistsError: it holds something else.
    """
    path = folder / _DESCRIPTION
    if path.is_file():
        if _described(path) != description:
            raise ExistsError(f"{folder}: holds a corpus spoken from other settings (see {path}); name another folder")
        return
    if folder.is_dir() and any(folder.iterdir()):
        raise ExistsError(f"{folder}: is not empty and holds no {_DESCRIPTION}; name a new folder")
    with written_whole(path) as partial:
        partial.write_text(json.dumps(description, indent=2) + "\n", encoding="utf-8")


def _described(path: Path) -> Any:
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except (ValueError, RecursionError):
        return None


def _say(line: Line, folder: Path, *, program: str, scratch: Path) -> bool:
    """Speaks one utterance; whether it had been spoken before."""
    audio, transcript = line.audio(folder), line.transcript(folder)
    if audio.exists() and transcript.exists():
        return True
    raw = scratch / f"{line.part}-{line.number}.wav"
    voice = ["-v", line.voice, "-s", str(line.speed_wpm), "-p", str(line.pitch)]
    told = _run([program, *voice, "-w", str(raw), line.text])
    if told.returncode or not raw.exists():
        reason = " ".join(told.stderr.decode("utf-8", "replace").split()) or f"exit code {told.returncode}"
        raise Ds2profError(f"{PROGRAM}: cannot speak as {line.voice}: {reason}; '{PROGRAM} --voices=en' lists voices")
    samples = _trimmed(read_samples(raw, SAMPLE_RATE_HZ))
    raw.unlink()
    with written_whole(transcript) as partial:
        partial.write_text(line.text.upper() + "\n", encoding="utf-8")
    with written_whole(audio) as partial:
        write_wav(partial, samples, SAMPLE_RATE_HZ)
    return False


def _run(command: list[str]) -> subprocess.CompletedProcess[bytes]:
    try:
        return subprocess.run(
            command, stdin=subprocess.DEVNULL, capture_output=True, timeout=_LONGEST_WAIT_S, check=False
        )
    except subprocess.TimeoutExpired:
        raise CaptureError(f"{PROGRAM}: gave no answer within {_LONGEST_WAIT_S:.0f} s") from None


def _trimmed(samples: Samples) -> Samples:
    """The samples from 20 ms before the first that is heard to 20 ms behind the last."""
    heard = np.flatnonzero(np.abs(samples) > _SILENT)
    if not len(heard):
        raise CaptureError(f"{PROGRAM}: made no sound; try it: {PROGRAM} -w test.wav hello")
    return samples[max(int(heard[0]) - _MARGIN_SAMPLES, 0) : int(heard[-1]) + 1 + _MARGIN_SAMPLES]


def _listed(folder: Path, lines: Sequence[Line], *, kept: int) -> Spoken:
    """The corpus with its manifests written, shortest utterances first."""
    manifests, counts, durations = {}, {}, {}
    for part in ("train", "val"):
        utterances = [
            Utterance(line.audio(folder), line.transcript(folder), dur_s=duration_s(line.audio(folder)))
            for line in lines
            if line.part == part
        ]
        manifests[part], counts[part] = folder / f"{part}_manifest.csv", len(utterances)
        durations[part] = sum(utterance.dur_s or 0.0 for utterance in utterances)
        write_manifest(manifests[part], by_duration(utterances))
    words = {word for line in lines if line.part == "train" for word in line.text.split()}
    return Spoken(folder, manifests, counts, durations, words=len(words), kept=kept)
