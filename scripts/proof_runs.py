"""Training runs for ``proof_train.py``: started, killed, gone on with, and compared bit for bit."""

from __future__ import annotations

import json
import random
import resource
import shutil
import signal
import subprocess
import time
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]


class ProofError(Exception):
    """Something that was to be proven cannot even be tried."""


@dataclass(frozen=True)
class Run:
    """A training run that has ended.

    Attributes:
        folder: Its checkpoints and its history.
        wall_s: From its start to its end, all of its processes.
        cpu_s: Of the processor.
        history: The lines of its history.
    """

    folder: Path
    wall_s: float
    cpu_s: float
    history: list[dict[str, Any]]

    def of(self, kind: str) -> list[dict[str, Any]]:
        """The history's lines of a kind, without what is told of time."""
        found = (row[kind] for row in self.history if kind in row)
        return [{name: value for name, value in row.items() if name != "timing"} for row in found]

    def curve(self) -> list[tuple[int, float]]:
        """Iteration and loss of every step."""
        return [(row["iteration"], row["loss"]) for row in self.of("step")]

    def wers(self) -> list[float]:
        """The word error rate behind each epoch."""
        return [row["wer"] for row in self.of("evaluation")]

    def checkpoint(self) -> dict[str, Any]:
        """The last one, all of it that decides how a run would go on."""
        import torch

        kept = torch.load(self.folder / "latest.pt", weights_only=True, map_location="cpu")
        names = ("model", "optimizer", "scaler", "average", "epoch", "batch", "iteration", "best_wer")
        # Of the ranks, the random numbers' states: what the checkpoint holds of an epoch's sums begins anew with each.
        return {**{name: kept[name] for name in names}, "random": [rank["random"] for rank in kept["ranks"]]}


def same(one: Any, other: Any) -> bool:
    """Whether two checkpoints' values are the same, tensors bit for bit."""
    import torch

    if type(one) is not type(other):
        return False
    if isinstance(one, torch.Tensor):
        return (one.dtype, one.shape) == (other.dtype, other.shape) and one.numpy().tobytes() == other.numpy().tobytes()
    if isinstance(one, dict):
        return one.keys() == other.keys() and all(same(one[key], other[key]) for key in one)
    if isinstance(one, list | tuple):
        return len(one) == len(other) and all(map(same, one, other))
    return bool(one == other)


def left_alone(command: list[str], folder: Path) -> Run:
    """A run from nothing to its end.

    Raises:
        ProofError: it failed.
    """
    clear(folder)
    started_s, used_s = time.monotonic(), children_s()
    _finish(command, folder)
    return Run(folder, time.monotonic() - started_s, children_s() - used_s, list(_history(folder)))


def killed(
    command: list[str],
    folder: Path,
    *,
    kills: int,
    chance: random.Random,
    steps: int,
    step_s: float,
    checkpoint_every: int,
) -> tuple[Run, list[int]]:
    """A run that is killed so often, and the steps that it was at then, as far as that is known.

    Args:
        command: Starts it, and goes on with it.
        folder: Of its checkpoints.
        kills: How often.
        chance: Decides the moments.
        steps: How many it takes.
        step_s: How long one takes, more or less.
        checkpoint_every: Steps between checkpoints.

    Raises:
        ProofError: it failed, or it was over before it could be killed.
    """
    clear(folder)
    started_s, used_s = time.monotonic(), children_s()
    at = []
    for number in range(kills):  # one in each of as many stretches, and one stretch more to end in
        first, stop = (max(steps * part // (kills + 1), checkpoint_every) for part in (number, number + 1))
        at.append(chance.randrange(first, max(stop, first + 1)))
        checkpoint = at[-1] // checkpoint_every * checkpoint_every
        _kill(command, folder, checkpoint=checkpoint, then_s=(at[-1] - checkpoint) * step_s)
    _finish(command, folder)
    return Run(folder, time.monotonic() - started_s, children_s() - used_s, list(_history(folder))), at


def _kill(command: list[str], folder: Path, *, checkpoint: int, then_s: float) -> None:
    """Starts a run and kills it so many seconds behind a checkpoint, which must be one that it wrote itself.

    Raises:
        ProofError: it ended by itself.
    """
    checkpoint = max(checkpoint, _last_step(folder) + 1)
    with log_of(folder).open("a") as log, subprocess.Popen(command, cwd=ROOT, stdout=log, stderr=log) as process:
        try:
            while _last_step(folder) < checkpoint and process.poll() is None:
                time.sleep(0.02)
            with suppress(subprocess.TimeoutExpired):
                process.wait(then_s)
            if process.poll() is not None:
                raise ProofError(
                    f"{folder.name}: ended by itself, with exit code {process.returncode}: {_said(folder)}"
                )
        finally:
            if process.poll() is None:
                process.send_signal(signal.SIGKILL)


def _finish(command: list[str], folder: Path) -> None:
    """Starts a run and waits for its end.

    Raises:
        ProofError: it failed.
    """
    with log_of(folder).open("a") as log:
        code = subprocess.run(command, cwd=ROOT, stdout=log, stderr=log, check=False).returncode
    if code:
        raise ProofError(f"{folder.name}: exit code {code}: {_said(folder)}")


def clear(folder: Path) -> None:
    """Removes what a run before has left."""
    shutil.rmtree(folder, ignore_errors=True)
    log_of(folder).unlink(missing_ok=True)


def log_of(folder: Path) -> Path:
    """The file that all of a run's output goes into."""
    return folder.with_name(f"{folder.name}.log")


def last_line(text: str) -> str:
    """The last line that holds something."""
    return text.strip().splitlines()[-1] if text.strip() else ""


def children_s() -> float:
    """Time of the processor that finished children took."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def _said(folder: Path) -> str:
    return last_line(log_of(folder).read_text(encoding="utf-8", errors="replace"))


def _last_step(folder: Path) -> int:
    """The step of the newest checkpoint; 0 without one."""
    names = (path.stem for path in folder.glob("epoch*_step*.pt"))
    return max((int(name.partition("_step")[2]) for name in names), default=0)


def _history(folder: Path) -> Iterator[dict[str, Any]]:
    for line in (folder / "history.jsonl").read_text(encoding="utf-8").splitlines():
        yield json.loads(line)
