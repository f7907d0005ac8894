"""What the tests of whole runs share: runs of milliseconds, and comparing what two of them left."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import torch

from ds2prof.speech.error_rates import utterance_errors
from ds2prof.train.batches import Batch, Features, collate
from ds2prof.train.evaluation import Evaluation
from ds2prof.train.observers import Observer, RunFacts
from ds2prof.train.plan import Plan
from ds2prof.train.stopping import StopRequest
from ds2prof.train.training import Training
from ds2prof.train.workload import Workload, assemble
from tests.train_support import NANO, host


class ListedBatches:
    """Batches of so many utterances each, of equal lengths, in an order that the epoch decides.

    Reading them draws a random number of PyTorch's as an epoch begins, as its DataLoader does.
    """

    def __init__(self, *sizes: int, labels: int = 4) -> None:
        stream = np.random.default_rng(5)
        self.batches = []
        number = 0
        for size in sizes:
            utterances = []
            for _ in range(size):
                spoken = stream.integers(1, 29, size=labels)
                utterances.append(Features(number, stream.standard_normal((161, 40), dtype=np.float32), spoken))
                number += 1
            self.batches.append(collate(utterances, pin_memory=False))

    def __len__(self) -> int:
        return len(self.batches)

    def epoch(self, number: int, start: int = 0) -> Iterator[Batch]:
        torch.rand(1)
        turned = self.batches[number % len(self) :] + self.batches[: number % len(self)]
        yield from turned[start:]


def nano(batches: Any, **options: Any) -> Workload:
    return assemble(NANO, host(), **{"batches": batches, "precision": "fp32", "seed": 1, **options})


def facts() -> RunFacts:
    return RunFacts(
        preset=NANO,
        precision="fp32",
        device="cpu",
        device_name=None,
        world_size=1,
        batch_size=2,
        accumulate=1,
        seed=1,
        parameters=1,
        train_utterances=None,
        eval_utterances=None,
        epochs=2,
        max_iterations=None,
        target_wer=None,
        resumed=None,
        epoch=0,
        iteration=0,
    )


def heard(*words: str) -> Evaluation:
    """An evaluation of four words of which these were heard."""
    errors = utterance_errors("A B C D", " ".join(words))
    return Evaluation(counts=errors, loss=1.0, audio_s=1.0, heard=())


class StopAfter(StopRequest):
    """Asks to stop when it has been asked so often."""

    def __init__(self, asked: int) -> None:
        super().__init__()
        self._left = asked

    @property
    def requested(self) -> bool:
        self._left -= 1
        return self._left < 0


class Notes(Observer):
    """Notes the events by name, and what they said."""

    def __init__(self) -> None:
        self.events: list[str] = []
        self.said: dict[str, list[Any]] = {}

    def __getattribute__(self, name: str) -> Any:
        if name in Observer.__dict__ and not name.startswith("_"):

            def note(*values: Any, **named: Any) -> None:
                self.events.append(name)
                self.said.setdefault(name, []).append(values[0] if values else named)

            return note
        return super().__getattribute__(name)


def training(work: Workload, plan: Plan | None = None, **options: Any) -> Training:
    defaults: dict[str, Any] = {
        "rate_of": lambda epoch, step: 0.01 / (1 + epoch + step),
        "observer": Observer(),
        "stop": StopRequest(),
    }
    return Training(work, plan or Plan(epochs=2, log_every=1), **{**defaults, **options})


def without_times(values: Any) -> Any:
    """The same without what differs between two runs of the same training."""
    if isinstance(values, dict):
        return {name: without_times(value) for name, value in values.items() if name not in ("timing", "wall_s")}
    if isinstance(values, (list, tuple)):
        return [without_times(value) for value in values]
    return values


def same(left: Any, right: Any) -> bool:
    """Whether two states are equal bit for bit."""
    if isinstance(left, torch.Tensor):
        return isinstance(right, torch.Tensor) and left.dtype == right.dtype and torch.equal(left, right)
    if isinstance(left, dict):
        return left.keys() == right.keys() and all(same(left[name], right[name]) for name in left)
    if isinstance(left, (list, tuple)):
        return len(left) == len(right) and all(map(same, left, right))
    return bool(left == right)
