"""Where a campaign is run and what it is about: the machine, the workload, and the iterations worth looking at."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final, Literal

from ds2prof.capture.launchers import find_importer, find_tool, launcher
from gpu_campaign.plan import MEASUREMENTS

EARLIEST: Final = 3
"""No iteration before this one is captured: the first ones set things up."""
LATEST: Final = 20
"""None from here on is: those before it take time too."""
DEFAULT_ITERATION: Final = {"cuda": 10, "cpu": EARLIEST}
"""The iteration that is captured where nothing is known of the batches."""

_FIRST_BF16_TF32_CAPABILITY: Final = (8, 0)
_OURS: Final = (
    "DS2PROF_PROFILE_START",
    "DS2PROF_PROFILE_STOP",
    "DS2PROF_MEASUREMENTS",
    "DS2PROF_DRY_RUN",
    "DS2PROF_CAPTURE",
)
"""Variables that would change what the commands do."""


@dataclass(frozen=True)
class Context:
    """What the commands of a campaign are made of."""

    python: str
    root: Path
    work: Path
    device: Literal["cuda", "cpu"]
    preset: str
    batch_sizes: tuple[int, ...]
    counters_permitted: bool | None = None
    """Whether the driver lets this process read hardware counters; None where that cannot be told."""
    probe: Mapping[str, Any] | None = None
    """What :mod:`gpu_campaign.probe` printed; None before it was run."""
    environ: Mapping[str, str] = field(default_factory=lambda: dict(os.environ))

    @property
    def on_gpu(self) -> bool:
        """Whether this is no rehearsal."""
        return self.device == "cuda"

    @property
    def small(self) -> int:
        """The smallest batch size: the fewest bytes and the shortest captures."""
        return min(self.batch_sizes)

    @property
    def large(self) -> int:
        """The largest batch size."""
        return max(self.batch_sizes)

    @property
    def both(self) -> tuple[int, ...]:
        """The smallest and the largest, once if they are the same."""
        return tuple(dict.fromkeys((self.small, self.large)))

    def frames(self, batch_size: int) -> tuple[int, ...]:
        """The frames of the longest utterance of each of the first iterations; none where unknown."""
        return tuple((self.probe or {}).get("frames", {}).get(str(batch_size), ()))

    def shortest(self, batch_size: int) -> int:
        """The first iteration whose batch is as short as any of the first ones: it has the fewest launches."""
        frames = self.frames(batch_size)[EARLIEST:LATEST]
        if not frames or not self.on_gpu:
            return DEFAULT_ITERATION[self.device]
        return EARLIEST + frames.index(min(frames))

    def typical(self, batch_size: int) -> int:
        """The first iteration whose batch is of the median length."""
        frames = self.frames(batch_size)[EARLIEST:LATEST]
        if not frames or not self.on_gpu:
            return DEFAULT_ITERATION[self.device]
        return EARLIEST + frames.index(sorted(frames)[len(frames) // 2])

    def summed_frames(self, batch_size: int, start: int, stop: int) -> int | None:
        """The frames of the longest utterances of the iterations ``start`` to ``stop - 1``; None where unknown."""
        frames = self.frames(batch_size)
        return sum(frames[start:stop]) if stop <= len(frames) else None

    @property
    def devices(self) -> list[dict[str, Any]] | None:
        """What PyTorch says of the GPUs; None before it was asked."""
        return (self.probe or {}).get("devices")

    def lacks_precision(self, precision: str) -> str | None:
        """Why the GPU does not compute in ``precision``; None where it does, or is not known yet."""
        for device in (self.devices or [])[:1]:
            capability = tuple(int(number) for number in device["compute_capability"].split("."))
            if precision in ("bf16", "tf32") and capability < _FIRST_BF16_TF32_CAPABILITY:
                return f"{device['name']} is older than Ampere and has no {precision}"
        return None

    def has_module(self, name: str) -> bool:
        """Whether the Python that measures has a module; taken for granted before it was asked."""
        packages = (self.probe or {}).get("packages", {})
        return name not in packages or packages[name] is not None

    def measurement(self, name: str) -> str:
        """The name of a measurement in the working folder."""
        return f"{MEASUREMENTS}/{name}"

    def tool(self, name: str) -> str | None:
        """The executable of a profiler; None where it is not here."""
        return find_tool(launcher(name), self.environ)

    def nsys_missing(self) -> str | None:
        """Why nsys cannot make a report here; None where it can."""
        tool, importer = self.tool("nsys"), launcher("nsys").importer
        if tool is None:
            return "nsys is not on this machine"
        if importer is not None and find_importer(importer, tool, self.environ) is None:
            return f"the nsys here ({tool}) lacks its importer, so it cannot make a report"
        return None

    def child_environ(self) -> dict[str, str]:
        """The environment of the commands."""
        kept = {name: value for name, value in self.environ.items() if name not in _OURS}
        return {**kept, "PYTHONUNBUFFERED": "1", "PYTHONDONTWRITEBYTECODE": "1"}
