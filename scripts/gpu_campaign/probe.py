"""What PyTorch sees on this machine, as JSON on standard output; run by the campaign in a process of its own.

``python probe.py ROOT DEVICE PRESET BATCH_SIZE...``, ROOT being the checkout. Besides devices and versions it tells,
for each batch size, the frames of the longest utterance of each of the first iterations: the shortest batch has the
fewest launches, and the iterations that are captured are chosen by that.
"""

from __future__ import annotations

import json
import sys
from importlib import metadata
from importlib.util import find_spec
from typing import Any, Final

ITERATIONS: Final = 24
PACKAGES: Final = {
    "torch": "torch",
    "numpy": "numpy",
    "pandas": "pandas",
    "msgspec": "msgspec",
    "click": "click",
    "yaml": "PyYAML",
    "nvtx": "nvtx",
    "ncu_report": "ncu-report",
    "pytest": "pytest",
    "matplotlib": "matplotlib",
}
"""Module -> the package that brings it."""


def main(arguments: list[str]) -> None:
    """Prints what is here."""
    root, device, preset, *sizes = arguments
    sys.path[0] = root
    print(json.dumps({**_torch(device), "packages": _versions(), "frames": _frames(preset, [int(s) for s in sizes])}))


def _torch(device: str) -> dict[str, Any]:
    import torch

    if device == "cpu" or not torch.cuda.is_available():
        return {"cuda": torch.version.cuda, "cudnn": None, "devices": []}
    found = [torch.cuda.get_device_properties(index) for index in range(torch.cuda.device_count())]
    devices = [
        {
            "name": each.name,
            "compute_capability": f"{each.major}.{each.minor}",
            "sm_count": each.multi_processor_count,
            "memory_bytes": each.total_memory,
        }
        for each in found
    ]
    return {"cuda": torch.version.cuda, "cudnn": str(torch.backends.cudnn.version()), "devices": devices}


def _versions() -> dict[str, str | None]:
    """Module -> the version of its package; None where this Python has no such module."""
    return {module: _version(package) if _is_here(module) else None for module, package in PACKAGES.items()}


def _is_here(module: str) -> bool:
    try:
        return find_spec(module) is not None
    except (ImportError, ValueError):
        return False


def _version(package: str) -> str:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return "unknown"


def _frames(preset: str, sizes: list[int]) -> dict[str, list[int]]:
    """Batch size -> frames of the longest utterance of each of the first iterations, as training meets them."""
    from ds2prof.train.batches import endless
    from ds2prof.train.presets import PRESETS
    from ds2prof.train.speech import synthetic_batches

    chosen = PRESETS[preset]
    found = {}
    for size in sizes:
        batches = endless(synthetic_batches(chosen, size, seed=1))
        found[str(size)] = [next(batches).frame_counts[0] for _ in range(ITERATIONS)]
    return found


if __name__ == "__main__":
    main(sys.argv[1:])
