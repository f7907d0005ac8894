"""The folder in which the documentation's commands are run: its measurements under the names that its pages use."""

from __future__ import annotations

import os
import shutil
import wave
from pathlib import Path

from tests import docs_example
from tests.docs_blocks import ROOT

ALIASES = {
    "README.md": {"measurements/torch_bs4_20261121-035818.json.gz": "golden/torch_kineto/cpu_run/input.json.gz"},
    "LEDGER.md": {
        "trace.json.gz": "measurements/torch_bs32.json.gz",
        "report.sqlite": "measurements/nsys_bs32.sqlite",
    },
    "RANKS.md": {
        f"measurements/torch_bs4_rank{rank}.json.gz": f"ranks/torch_bs4_rank{rank}.json.gz" for rank in range(4)
    },
    "UNCERTAINTY.md": {
        "trace.json.gz": "measurements/torch_bs32.json.gz",
        "run_bs4.jsonl": "measurements/run_bs32.jsonl",
        "smi_bs4.csv": "measurements/smi_bs32.csv",
    },
    "CAMPAIGN.md": {"results/measurements-1.tar.gz": "archive.tar.gz"},
}
"""Page -> name on the page -> what it is made from: pages that call a measurement something of their own."""

UNSET = ("DS2PROF_MEASUREMENTS", "DS2PROF_PROFILE_START", "DS2PROF_PROFILE_STOP", "DS2PROF_WINDOW", "FORCE_COLOR")
"""Variables that would change what comes out."""


def template(folder: Path) -> Path:
    """All measurements of the documentation, an archive, and a corpus of a few sounds, written into a folder."""
    docs_example.write(folder)
    for split in ("train", "val"):
        for number in range(3):
            _speak(folder / "data/spoken" / split, f"{split}{number}", seconds=1 + number)
    _speak(folder / "data/an4/train", "an4", seconds=2)
    (folder / "data/an4/an4_train_manifest.csv").write_text("train/wav/an4.wav,train/txt/an4.txt,2.0\n")
    shutil.make_archive(str(folder / "archive"), "gztar", folder, "ranks")
    return folder


def _speak(folder: Path, name: str, *, seconds: int) -> None:
    for part in ("wav", "txt"):
        (folder / part).mkdir(parents=True, exist_ok=True)
    with wave.open(str(folder / "wav" / f"{name}.wav"), "wb") as sound:
        sound.setnchannels(1)
        sound.setsampwidth(2)
        sound.setframerate(16_000)
        sound.writeframes(b"\1\0\2\0" * 8_000 * seconds)
    (folder / "txt" / f"{name}.txt").write_text("A SENTENCE\n")


def sandbox(made: Path, page: Path, folder: Path) -> Path:
    """The folder of a page's commands, linked from the template that was made."""
    shutil.copytree(made, folder, copy_function=os.link)
    for measured in (folder / "measurements").iterdir():  # pages that name files without their folder
        os.link(measured, folder / measured.name)
    for name, source in ALIASES.get(page.name, {}).items():
        place = ROOT / "tests" / source if source.startswith("golden/") else folder / source
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(place, folder / name)
    return folder


def variables(folder: Path) -> dict[str, str]:
    """The variables that commands are run with; ``folder`` stands for the home."""
    return {"HOME": str(folder), "COLUMNS": "120", "GITHUB_STEP_SUMMARY": str(folder / "summary.md")}
