"""The notebooks run from top to bottom, on data that they make themselves, and are kept without their outputs."""

from __future__ import annotations

import json

import nbformat
import pytest
from nbclient import NotebookClient

from tests.conftest import ROOT

NOTEBOOKS = sorted((ROOT / "notebooks").glob("*.ipynb"))
STORIES = ("first_look", "batch_sweep", "timeline_and_counters")


def executed(path, monkeypatch, tmp_path):
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    monkeypatch.setenv("DS2PROF_MEASUREMENTS", str(tmp_path))
    notebook = nbformat.read(path, as_version=4)
    place = {"metadata": {"path": path.parent}}
    NotebookClient(notebook, timeout=120, kernel_name="python3", resources=place).execute()
    return notebook


def outputs(notebook):
    return [output for cell in notebook.cells for output in cell.get("outputs", [])]


def test_the_three_stories_are_there():
    assert set(STORIES) <= {path.stem for path in NOTEBOOKS}


@pytest.mark.slow
@pytest.mark.parametrize(
    "path",
    [pytest.param(path, id=path.stem, marks=[] if path.stem in STORIES else pytest.mark.long) for path in NOTEBOOKS],
)
def test_the_notebook_runs_from_top_to_bottom_and_plots(path, monkeypatch, tmp_path):
    found = outputs(executed(path, monkeypatch, tmp_path))
    assert any("image/png" in output.get("data", {}) for output in found)
    assert not [output for output in found if output.output_type == "stream" and output.name == "stderr"]


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_outputs_are_not_committed(path):
    cells = json.loads(path.read_text())["cells"]
    assert not any(cell.get("outputs") or cell.get("execution_count") for cell in cells)
