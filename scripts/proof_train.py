#!/usr/bin/env python3
"""Proves that the workload learns: real speech, from nothing, on two cores, in minutes.

    python scripts/proof_train.py [--folder proof] [--only seeds|instrumented|killed]... [--seed N]...

Speaks the corpus of ``ds2prof data speak`` below the folder and trains the preset ``tiny`` on it with ``ds2prof
train``, each run a process of its own on two cores:

seeds         each seed reaches a word error rate under 15 % on 200 held-out utterances within 10 minutes
instrumented  the same run with ranges, layers and a profiler's window has the same losses and weights, bit for bit
killed        the same run, killed at random moments and gone on with, has the same losses and weights, bit for bit

Prints what was found and writes it to ``results.md`` and ``results.json`` in the folder. Exits with 1 if one is not so.
"""

from __future__ import annotations

import json
import os
import platform
import random
import re
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import click
from proof_runs import ROOT, ProofError, Run, killed, last_line, left_alone, log_of, same

PARTS = ("seeds", "instrumented", "killed")
CORES = 2
MOST_WER = 0.15
MOST_S = 600.0
HELD_OUT = 200
RECIPE = (
    *("--preset", "tiny", "--device", "cpu", "--precision", "fp32"),
    *("--optimizer", "adamw", "--learning-rate", "2e-3", "--anneal", "1.3"),
    *("--batch-size", "16", "--order", "sortagrad", "--cache-mib", "1024"),
)
"""What is trained. The learning rate is divided by 1.3 after each epoch, and the first epoch comes shortest first."""
INSTRUMENTS = ("--profiler", "torch", "--profile-start", "20", "--profile-stop", "30", "--layers")
CHECKPOINT_EVERY = 25
KILLS = 2


@dataclass
class Proof:
    """What is proven where, and what was found so far.

    Attributes:
        folder: Everything is written below it.
        epochs: That each run trains.
        random: Decides when a run is killed.
        lines: What was found, a row of a table each: the claim, the figures, whether it holds.
        figures: The same, for a program.
    """

    folder: Path
    epochs: int
    random: random.Random
    lines: list[tuple[str, str, bool]] = field(default_factory=list)
    figures: dict[str, Any] = field(default_factory=dict)

    def found(self, claim: str, said: str, *, holds: bool, **figures: Any) -> None:
        """Notes and prints one finding."""
        self.lines.append((claim, said, holds))
        self.figures[claim] = {**figures, "holds": holds}
        click.echo(f"{'holds' if holds else 'FAILS':6} {claim}: {said}")

    @property
    def holds(self) -> bool:
        """Whether everything does."""
        return bool(self.lines) and all(holds for _, _, holds in self.lines)


@click.command(context_settings={"help_option_names": ["-h", "--help"]})
@click.option("--folder", type=click.Path(file_okay=False, path_type=Path), default=Path("proof"), show_default=True)
@click.option("--only", type=click.Choice(PARTS), multiple=True, help="Prove this part; all where none is named.")
@click.option("--seed", "seeds", type=int, multiple=True, default=(1, 2, 3), show_default=True)
@click.option("--epochs", type=click.IntRange(min=1), default=4, show_default=True)
@click.option("--utterances", type=click.IntRange(min=1), default=3000, show_default=True, help="To train on.")
@click.option("--chance", type=int, help="Seed of the moments at which a run is killed.  [default: another each time]")
def main(
    folder: Path, only: Sequence[str], seeds: Sequence[int], epochs: int, utterances: int, chance: int | None
) -> None:
    """Prove that the preset tiny learns real speech on two cores, and that nothing disturbs it."""
    chance = random.SystemRandom().randrange(1 << 32) if chance is None else chance
    cores = keep_to(CORES)
    proof = Proof(folder.absolute(), epochs, random.Random(chance))  # noqa: S311  # nothing secret
    proof.figures["machine"] = {**machine(), "cores": cores, "chance": chance}
    parts = only or PARTS
    try:
        prove_corpus(proof, utterances)
        runs = prove_seeds(proof, seeds if "seeds" in parts else seeds[:1], counts="seeds" in parts)
        if "instrumented" in parts:
            prove_instrumented(proof, runs[seeds[0]], seeds[0])
        if "killed" in parts:
            prove_killed(proof, runs[seeds[0]], seeds[0])
    except ProofError as error:
        proof.found("runs", str(error), holds=False)
    write(proof)
    sys.exit(0 if proof.holds else 1)


def keep_to(count: int) -> list[int]:
    """The cores that this process and its children run on from now on: ``count`` of those it had."""
    os.environ["OMP_NUM_THREADS"] = str(count)
    if not hasattr(os, "sched_setaffinity"):
        return []
    cores = sorted(os.sched_getaffinity(0))[:count]
    os.sched_setaffinity(0, cores)
    return cores


def machine() -> dict[str, Any]:
    """What the figures depend on."""
    import torch

    models = [line for line in _lines(Path("/proc/cpuinfo")) if line.startswith("model name")]
    return {
        "processor": models[0].partition(":")[2].strip() if models else platform.processor(),
        "load": [round(each, 2) for each in os.getloadavg()],
        "python": platform.python_version(),
        "torch": torch.__version__,
        "system": platform.platform(),
    }


def _lines(path: Path) -> list[str]:
    return path.read_text(encoding="utf-8", errors="replace").splitlines() if path.is_file() else []


# What is proven


def prove_corpus(proof: Proof, utterances: int) -> None:
    """Speaks the corpus and compares the transcripts that lie on the disk."""
    corpus = proof.folder / "corpus"
    sizes = ("--utterances", str(utterances), "--held-out", str(HELD_OUT))
    done = ds2prof("data", "speak", "--target-dir", str(corpus), *sizes)
    if done.returncode:
        raise ProofError(last_line(done.stderr))
    texts = {part: [path.read_text() for path in (corpus / part / "txt").iterdir()] for part in ("train", "val")}
    trained, held_out = set(texts["train"]), set(texts["val"])
    words = {word for text in trained for word in text.split()}
    voices = json.loads((corpus / "spoken.json").read_text())["voices"]
    shared = len(trained & held_out)
    proof.found(
        "corpus",
        f"{len(texts['train'])} utterances to train on, {len(texts['val'])} held out, {len(words)} words, "
        f"{len(voices)} voices, {shared} transcripts in both",
        holds=not shared and len(words) >= 100 and len(voices) >= 4 and len(texts["val"]) == HELD_OUT,
        train=len(texts["train"]),
        held_out=len(texts["val"]),
        words=len(words),
        voices=voices,
        shared_transcripts=shared,
    )


def prove_seeds(proof: Proof, seeds: Sequence[int], *, counts: bool) -> dict[int, Run]:
    """A run for each seed; with ``counts`` its word error rate and time are findings."""
    runs = {}
    for seed in seeds:
        folder = proof.folder / f"seed{seed}"
        runs[seed] = run = left_alone(command_of(proof, seed, folder), folder)
        if not counts:
            continue
        wer, rates = run.wers()[-1], ", ".join(f"{each:.1%}" for each in run.wers())
        proof.found(
            f"seed {seed}",
            f"WER {wer:.2%} after {run.wall_s:.0f} s ({run.cpu_s:.0f} s of the processor); behind each epoch: {rates}",
            holds=wer < MOST_WER and run.wall_s <= MOST_S,
            wers=run.wers(),
            wall_s=run.wall_s,
            cpu_s=run.cpu_s,
            steps=len(run.curve()),
        )
    return runs


def prove_instrumented(proof: Proof, plain: Run, seed: int) -> None:
    """The same run under a profiler, beside the one without."""
    folder = proof.folder / "instrumented"
    trace = proof.folder / "instrumented.json.gz"
    trace.unlink(missing_ok=True)
    run = left_alone(command_of(proof, seed, folder, *INSTRUMENTS, "--profile-output", str(trace)), folder)
    iterations, layers = rows(trace, "iteration"), rows(trace, "layer")
    window = f"a trace of {len(iterations)} iterations and {len(layers)} layers"
    _compared(proof, "instrumented", plain, run, beside=window, holds=len(iterations) == 10 and bool(layers))


def prove_killed(proof: Proof, plain: Run, seed: int) -> None:
    """The same run, killed and gone on with, beside the one that was left alone."""
    folder, steps = proof.folder / "killed", len(plain.curve())
    run, killed_at = killed(
        command_of(proof, seed, folder, "--resume", "auto"),
        folder,
        kills=KILLS,
        chance=proof.random,
        steps=steps,
        step_s=plain.wall_s / steps,
        checkpoint_every=CHECKPOINT_EVERY,
    )
    log = log_of(run.folder).read_text(encoding="utf-8", errors="replace")
    resumed_at = [int(count) for count in re.findall(r"resumed from .*: epoch \d+, (\d+) iterations done", log)]
    said = f"killed at about steps {_and(killed_at)}, gone on with from {_and(resumed_at)}"
    gone_on = len(resumed_at) == KILLS and min(resumed_at) > 0 and resumed_at == sorted(set(resumed_at))
    _compared(proof, "killed", plain, run, beside=said, holds=gone_on, killed_at=killed_at, resumed_at=resumed_at)


def _and(numbers: Sequence[int]) -> str:
    return " and ".join(map(str, numbers)) or "none"


def _compared(proof: Proof, claim: str, plain: Run, run: Run, *, beside: str, holds: bool, **figures: Any) -> None:
    """Notes in what two runs differ."""
    unequal = [kind for kind in ("step", "evaluation", "epoch") if plain.of(kind) != run.of(kind)]
    weights = same(plain.checkpoint(), run.checkpoint())
    steps = len(run.curve())
    proof.found(
        claim,
        f"{steps} losses {'differ' if 'step' in unequal else 'equal'}, weights, optimizer and random numbers "
        f"{'equal bit for bit' if weights else 'differ'}; {beside}; {run.wall_s:.0f} s beside {plain.wall_s:.0f} s",
        holds=holds and not unequal and weights and steps > 0,
        steps=steps,
        unequal=unequal,
        weights_equal=weights,
        wall_s=run.wall_s,
        plain_wall_s=plain.wall_s,
        **figures,
    )


# Commands


def command_of(proof: Proof, seed: int, folder: Path, *options: str) -> list[str]:
    """The command line of a run."""
    corpus = proof.folder / "corpus"
    return [
        *(sys.executable, "-m", "ds2prof", "train", *RECIPE),
        *("--train-manifest", str(corpus / "train_manifest.csv"), "--val-manifest", str(corpus / "val_manifest.csv")),
        *("--epochs", str(proof.epochs), "--seed", str(seed), "--log-every", "1"),
        *("--checkpoint-dir", str(folder), "--checkpoint-every", str(CHECKPOINT_EVERY)),
        *options,
    ]


def rows(trace: Path, key: str) -> list[dict[str, Any]]:
    """The rows of a trace's table by ``key``."""
    done = ds2prof("parse", str(trace), "--by", key, "--format", "json")
    found: list[dict[str, Any]] = json.loads(done.stdout)["rows"] if done.returncode == 0 else []
    return found


def ds2prof(*arguments: str) -> subprocess.CompletedProcess[str]:
    """A finished ``ds2prof`` of this checkout."""
    command = [sys.executable, "-m", "ds2prof", *arguments]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)


# What was found


def write(proof: Proof) -> None:
    """Writes the findings as a table and as JSON."""
    proof.folder.mkdir(parents=True, exist_ok=True)
    about = proof.figures["machine"]
    table = "\n".join(f"| {claim} | {said} | {'yes' if holds else '**no**'} |" for claim, said, holds in proof.lines)
    told = f"{about['processor']}, {CORES} cores, PyTorch {about['torch']}, {proof.epochs} epochs."
    text = f"{told}\n\n| what | found | holds |\n|---|---|---|\n{table}\n"
    (proof.folder / "results.md").write_text(text, encoding="utf-8")
    document = {"recipe": list(RECIPE), "epochs": proof.epochs, "holds": proof.holds, **proof.figures}
    (proof.folder / "results.json").write_text(json.dumps(document, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
