"""``python -m tests.known``: write the answers anew; look at what changed before you keep it."""

from __future__ import annotations

from tests.known.answers_on_file import FOLDER, sampling_written, written
from tests.known.cases import runs

for run in runs():
    (FOLDER / f"{run.name}.json").write_text(written(run), encoding="utf-8")
(FOLDER / "sampling.json").write_text(sampling_written(), encoding="utf-8")
