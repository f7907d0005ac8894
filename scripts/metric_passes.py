#!/usr/bin/env python3
"""Writes ds2prof/capture/metric_passes.json: how many passes CUPTI counts for the standard metric plans, chip by chip.

    python scripts/metric_passes.py FOLDER...

Each FOLDER holds a libcupti and its libnvperf_host; a chip is asked of the first that knows it. The checked-in table
was made with the libraries of nvidia-cuda-cupti 13.5.25 and, for GV100, which CUDA 13 no longer knows, of
nvidia-cuda-cupti-cu12 12.9.79:

    pip download --no-deps nvidia-cuda-cupti==13.5.25 nvidia-cuda-cupti-cu12==12.9.79    # then unzip both
    python scripts/metric_passes.py nvidia/cu13/lib nvidia/cuda_cupti/lib
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from ds2prof.capture.metric_passes import STANDARD, ask, digest  # noqa: E402
from ds2prof.capture.metric_plans import plan_for  # noqa: E402
from ds2prof.errors import CaptureError  # noqa: E402  (the checkout comes first)
from ds2prof.metrics.table import CHIPS  # noqa: E402

OUTPUT = ROOT / "ds2prof" / "capture" / "metric_passes.json"


def questions() -> dict[tuple[tuple[str, ...], str], list[str]]:
    """(want, chip) -> the names of its plan; those of an unknown chip are asked of every chip."""
    asked = {}
    for want in STANDARD:
        common = plan_for((), want).names
        for chip in CHIPS:
            asked[(*want, "unknown chip"), chip] = list(common)
            try:
                asked[want, chip] = list(plan_for([chip], want).names)
            except CaptureError:
                continue
    return asked


def counted(folders: list[Path]) -> dict[tuple[tuple[str, ...], str], tuple[str, int]]:
    """(want, chip) -> the version of the CUPTI that knows the chip, and its passes."""
    found: dict[tuple[tuple[str, ...], str], tuple[str, int]] = {}
    for folder in folders:
        asked = {key: names for key, names in questions().items() if key not in found}
        answered = ask(folder, [{"chip": chip, "names": names} for (_, chip), names in asked.items()])
        if answered is None:
            sys.exit(f"{folder}: no CUPTI with a host API")
        for key, answer in zip(asked, answered.answers, strict=True):
            if "passes" in answer:
                found[key] = (answered.version, answer["passes"])
            elif key[1] in answered.chips:
                sys.exit(f"{' '.join(key[0])} on {key[1]}: {answer['error']}")
        print(f"{folder}: CUPTI {answered.version}, {len(answered.chips)} chips", file=sys.stderr)
    return found


def table(found: dict[tuple[tuple[str, ...], str], tuple[str, int]]) -> list[dict[str, Any]]:
    """One entry for each want, set of names and CUPTI."""
    entries: dict[tuple[tuple[str, ...], str, str], dict[str, int]] = {}
    for key, names in questions().items():
        if key in found:
            version, passes = found[key]
            entries.setdefault((key[0], digest(names), version), {})[key[1]] = passes
    return [
        {"want": list(want), "names": names, "cupti": version, "passes": passes}
        for (want, names, version), passes in entries.items()
    ]


def main() -> None:
    """Write the table."""
    if len(sys.argv) < 2:
        sys.exit(__doc__)
    entries = table(counted([Path(argument) for argument in sys.argv[1:]]))
    lines = ",\n    ".join(json.dumps(entry) for entry in entries)
    OUTPUT.write_text(f'{{\n  "schema": "ds2prof-metric-passes/1",\n  "plans": [\n    {lines}\n  ]\n}}\n')
    print(f"{OUTPUT}: {len(entries)} sets of metrics", file=sys.stderr)


if __name__ == "__main__":
    main()
