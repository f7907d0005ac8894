from __future__ import annotations

import csv
import json
import os
from pathlib import Path
from typing import Any

import pytest

from ds2prof.capture import metric_passes
from ds2prof.capture.metric_passes import (
    ENV_CUPTI,
    STANDARD,
    Count,
    Cupti,
    ask,
    digest,
    library_folder,
    passes_of,
    version_text,
)
from ds2prof.capture.metric_plans import plan_for
from ds2prof.counters import parse_metric
from ds2prof.devices import chip_numbered
from ds2prof.errors import CaptureError
from ds2prof.metrics.quantities import WANTS
from ds2prof.metrics.table import CHIPS
from tests.metric_support import read_facts

TABLE_VERSION = "13.5"
VARYING = ("throughput",)
"""The want whose schedule is known to differ between versions of CUPTI (8 or 9 passes on GB20x)."""


@pytest.fixture(scope="module")
def folder() -> Path:
    found = library_folder(os.environ)
    if found is None:
        pytest.skip("no CUPTI here: the package nvidia-cuda-cupti brings this tool")
    answered = ask(found, [])
    assert answered is not None
    if answered.version.startswith(("12.", "of API")):
        pytest.skip(
            f"CUPTI {answered.version} lacks chips and metrics that the table has; the tool is needed from 13 on"
        )
    return found


@pytest.fixture(scope="module")
def plans() -> dict[tuple[str, str], list[str]]:
    return {(chip, want): list(plan_for([chip], [want]).names) for chip in CHIPS for want in WANTS}


@pytest.fixture(scope="module")
def cupti(folder: Path, plans: dict[tuple[str, str], list[str]]) -> Cupti:
    answered = ask(folder, [{"chip": chip, "names": names} for (chip, _), names in plans.items()])
    assert answered is not None
    return answered


@pytest.fixture
def without(tmp_path: Path) -> dict[str, str]:
    """An environment in which there is no CUPTI."""
    return {ENV_CUPTI: str(tmp_path)}


# CUPTI's own answers


def test_cupti_counts_every_plan_of_every_chip_that_it_knows(
    cupti: Cupti, plans: dict[tuple[str, str], list[str]]
) -> None:
    refused = {
        key: answer
        for key, answer in zip(plans, cupti.answers, strict=True)
        if key[0] in cupti.chips and "passes" not in answer
    }
    assert refused == {}
    assert len(cupti.chips & set(CHIPS)) >= 25


def test_the_checked_in_counts_are_those_of_cupti(
    cupti: Cupti, plans: dict[tuple[str, str], list[str]], without: dict[str, str]
) -> None:
    unequal = {}
    for (chip, want), answer in zip(plans, cupti.answers, strict=True):
        said = passes_of(plans[chip, want], [chip], environ=without)[chip].passes
        if chip in cupti.chips and said != answer["passes"]:
            unequal[chip, want] = (said, answer["passes"])
    if cupti.version != TABLE_VERSION:
        unequal = {key: counts for key, counts in unequal.items() if key[1] not in VARYING}
    assert unequal == {}


@pytest.mark.parametrize("chip", ["GH100", "GA100", "GB202"])
def test_an_installed_cupti_is_asked_first(chip: str, folder: Path, cupti: Cupti) -> None:
    names = plan_for([chip]).names
    direct = ask(folder, [{"chip": chip, "names": list(names)}])
    assert direct is not None
    assert passes_of(names, [chip]) == {chip: Count(direct.answers[0]["passes"], f"CUPTI {cupti.version}")}


def test_a_chip_that_cupti_does_not_know_has_an_error_for_an_answer(folder: Path) -> None:
    answered = ask(folder, [{"chip": "GK110", "names": ["gpu__time_duration.sum"]}, {"chip": "GK110"}])
    assert answered is not None
    assert all("INVALID_CHIP_NAME" in answer["error"] or "INVALID" in answer["error"] for answer in answered.answers)


def test_a_metric_that_does_not_exist_has_an_error_for_an_answer(folder: Path) -> None:
    answered = ask(
        folder,
        [{"chip": "GH100", "names": ["sm__nonsense.sum"]}, {"chip": "GH100", "names": ["gpu__time_duration.sum"]}],
    )
    assert answered is not None
    assert "error" in answered.answers[0]
    assert answered.answers[1] == {"passes": 1}


def test_the_lists_of_cupti_are_held_by_the_facts(corpus: Path, folder: Path) -> None:
    facts = read_facts(corpus)
    chips = sorted(CHIPS)
    answered = ask(folder, [{"chip": chip} for chip in chips])
    assert answered is not None
    listed = {chip: set(each["bases"]) for chip, each in zip(chips, answered.answers, strict=True) if "bases" in each}
    # The facts on GV100 rest on a list that is older than some CUPTI which know it and list more.
    surplus = {(chip, base) for chip, bases in listed.items() for base in bases & set(facts) if chip not in facts[base]}
    assert {(chip, base) for chip, base in surplus if chip != "GV100"} == set()
    if answered.version == TABLE_VERSION:
        assert {(c, base) for c in listed for base in facts if c in facts[base] and base not in listed[c]} == set()


def test_what_ncu_took_for_real_is_at_least_what_cupti_counts(corpus: Path, folder: Path) -> None:
    took, asked = [], []
    for path in sorted((corpus / "expected" / "ncu-csv").glob("*.raw.base.csv")):
        with path.open(newline="") as lines:
            rows = list(csv.DictReader(lines))[1:]  # the first holds units
        chip = chip_numbered(rows[0].get("device__attribute_chip", "")) if rows else None
        if chip is not None and rows[0].get("profiler__replayer_passes"):
            known = ask(folder, [{"chip": chip}])
            assert known is not None
            bases = set(known.answers[0]["bases"])
            names = [name for name, value in rows[0].items() if value and parse_metric(name).base in bases]
            took.append(int(rows[0]["profiler__replayer_passes"]))
            asked.append({"chip": chip, "names": names})
    answered = ask(folder, asked)
    assert answered is not None
    counted = [answer["passes"] for answer in answered.answers]
    assert len(took) == 5
    assert all(real >= said > real / 2 for real, said in zip(took, counted, strict=True))


# Without CUPTI


@pytest.mark.parametrize("chip", CHIPS)
def test_every_standard_plan_has_a_count_without_cupti(chip: str, without: dict[str, str]) -> None:
    for want in STANDARD:
        for chips in ([chip], []):
            try:
                names = plan_for(chips, want).names
            except CaptureError:
                continue
            count = passes_of(names, [chip], environ=without)[chip]
            assert count.passes >= 1
            assert count.source.startswith("a table made with CUPTI 1")


def test_a_set_that_is_no_standard_plan_has_no_number(without: dict[str, str]) -> None:
    names = [*plan_for(["GH100"]).names, "sm__warps_active.avg"]
    assert passes_of(names, ["GH100"], environ=without) == {}


def test_a_plan_that_changed_has_no_number(without: dict[str, str]) -> None:
    assert passes_of(plan_for(["GH100"]).names[:-1], ["GH100"], environ=without) == {}


def test_the_order_of_the_metrics_does_not_matter(without: dict[str, str]) -> None:
    names = plan_for(["GA100"]).names
    assert passes_of(names[::-1], ["GA100"], environ=without) == passes_of(names, ["GA100"], environ=without)
    assert digest(names) == digest([*names, names[0]])


def test_the_table_is_of_the_plans_of_today(root: Path) -> None:
    entries: list[dict[str, Any]] = json.loads((root / "ds2prof" / "capture" / "metric_passes.json").read_text())[
        "plans"
    ]
    today = {digest(plan_for(chips, want).names) for want in STANDARD for chips in ([], *([chip] for chip in CHIPS))}
    assert {entry["names"] for entry in entries} == today


# Libraries that do not work


@pytest.mark.parametrize("content", ["not a library", ""])
def test_a_library_that_cannot_be_loaded_leaves_the_table(tmp_path: Path, content: str) -> None:
    for name in ("libcupti.so.13", "libnvperf_host.so"):
        (tmp_path / name).write_text(content)
    assert library_folder({ENV_CUPTI: str(tmp_path)}) == tmp_path
    assert ask(tmp_path, []) is None
    count = passes_of(plan_for(["GH100"]).names, ["GH100"], environ={ENV_CUPTI: str(tmp_path)})["GH100"]
    assert count.source.startswith("a table")


@pytest.mark.parametrize(
    "program", ["import os; os.abort()", "print('{')", "print('[]'); print('[]')", "import sys; sys.exit(3)"]
)
def test_a_child_that_crashes_or_babbles_leaves_the_table(
    program: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    child = tmp_path / "child.py"
    child.write_text(program)
    monkeypatch.setattr(metric_passes, "_PROGRAM", child)
    monkeypatch.setattr(metric_passes, "library_folder", lambda _: tmp_path)
    assert passes_of(plan_for(["GH100"]).names, ["GH100"])["GH100"].source.startswith("a table")


def test_a_child_that_hangs_leaves_the_table(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    child = tmp_path / "child.py"
    child.write_text("import time; time.sleep(600)")
    monkeypatch.setattr(metric_passes, "_PROGRAM", child)
    monkeypatch.setattr(metric_passes, "_SECONDS", 1)
    monkeypatch.setattr(metric_passes, "library_folder", lambda _: tmp_path)
    assert passes_of(plan_for(["GH100"]).names, ["GH100"])["GH100"].source.startswith("a table")


@pytest.mark.parametrize(
    ("files", "is_one"),
    [
        (("libcupti.so.13", "libnvperf_host.so"), True),
        (("libcupti.so.12", "libnvperf_host.so"), True),
        (("libcupti.so.11.8", "libcupti.so.2022.3.0", "libnvperf_host.so"), False),
        (("libcupti.so.13",), False),
        ((), False),
    ],
)
def test_a_folder_counts_with_both_libraries_from_cuda_12_on(
    tmp_path: Path, files: tuple[str, ...], is_one: bool
) -> None:
    for name in files:
        (tmp_path / name).touch()
    assert library_folder({ENV_CUPTI: str(tmp_path)}) == (tmp_path if is_one else None)


def test_a_cuda_toolkit_is_looked_into(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = tmp_path / "extras" / "CUPTI" / "lib64"
    folder.mkdir(parents=True)
    for name in ("libcupti.so.13", "libnvperf_host.so"):
        (folder / name).touch()
    monkeypatch.setattr(metric_passes, "_nvidia_folders", list)
    assert library_folder({"CUDA_HOME": str(tmp_path)}) == folder


@pytest.mark.parametrize(
    ("number", "text"), [(130500, "13.5"), (130000, "13.0"), (28, "12.9"), (26, "of API version 26")]
)
def test_a_version_is_written_as_cuda_counts(number: int, text: str) -> None:
    assert version_text(number) == text
