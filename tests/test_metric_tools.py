"""What an Nsight Compute lists: the real one where it is installed, and stand-ins for it."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest

from ds2prof.capture.metric_plans import listed_for, listed_metrics, parse_listing, plan_for
from ds2prof.counters import parse_metric
from ds2prof.metrics.quantities import WANTS
from ds2prof.metrics.table import AVAILABILITY, CHIPS
from tests.launch_support import executable
from tests.metric_support import listing_tool, read_facts


@pytest.fixture(scope="module")
def ncu() -> str:
    found = shutil.which("ncu")
    if found is None:
        pytest.skip("no tool ncu")
    return found


@pytest.fixture(scope="module")
def lists(ncu: str) -> dict[str, frozenset[str]]:
    """Chip -> what the installed ncu lists for it, of the chips that it knows."""
    found = {chip: listed_metrics(ncu, chip) for chip in CHIPS}
    return {chip: listed for chip, listed in found.items() if listed is not None}


# The installed one


def test_it_knows_exactly_the_chips_that_it_says(ncu: str, lists: dict[str, frozenset[str]]) -> None:
    done = subprocess.run([ncu, "--list-chips"], capture_output=True, text=True, check=True)
    assert {chip.strip().upper() for chip in done.stdout.split(",")} & set(CHIPS) == set(lists)


def test_its_lists_are_held_by_the_facts(corpus: Path, lists: dict[str, frozenset[str]]) -> None:
    facts = read_facts(corpus)
    assert len(lists) >= 10
    surplus = {
        (chip, base) for chip, listed in lists.items() for base in listed & set(facts) if chip not in facts[base]
    }
    assert surplus == set()


def test_each_of_its_lists_has_thousands_of_metrics(lists: dict[str, frozenset[str]]) -> None:
    assert {chip: len(listed) for chip, listed in lists.items() if len(listed) < 1_500} == {}


@pytest.mark.parametrize("want", WANTS)
def test_a_plan_cut_to_it_holds_what_it_lists(want: str, lists: dict[str, frozenset[str]]) -> None:
    for chip, listed in lists.items():
        plan = plan_for([chip], [want])
        left = plan.cut_to(listed)
        assert {parse_metric(name).base for name in left.names} <= listed
        assert {each.metric for each in left.dropped} == set(plan.names) - set(left.names)
        assert left.names[:3] == plan.names[:3]


def test_full_names_of_a_plan_are_among_those_that_it_lists_in_full(ncu: str, lists: dict[str, frozenset[str]]) -> None:
    chip = next(chip for chip in ("GA100", "TU102", *lists) if chip in lists)
    names = plan_for([chip], tuple(WANTS)).cut_to(lists[chip]).names
    bases = ",".join(sorted({parse_metric(name).base for name in names}))
    asked = [ncu, "--query-metrics-mode", "suffix", "--metrics", bases, "--chips", chip.lower()]
    done = subprocess.run(asked, capture_output=True, text=True, check=True)
    listed = {line.split()[0] for line in done.stdout.splitlines() if line.strip()}
    assert set(names) - listed == set()


def test_it_takes_the_section_file(ncu: str, root: Path) -> None:
    folder = root / "profilers" / "sections"
    done = subprocess.run(
        [ncu, "--section-folder", folder, "--list-sections"], capture_output=True, text=True, check=True
    )
    assert "PertSustainedElapsed" in done.stdout
    assert "Error" not in done.stdout + done.stderr
    asked = [ncu, "--section-folder", folder, "--section", "PertSustainedElapsed", "--list-metrics"]
    metrics = subprocess.run(asked, capture_output=True, text=True, check=True).stdout.split()
    own = {name for name in metrics if not name.startswith("-")}
    assert own == {name for name in plan_for(["TU102"], ["tbd"]).names if not _is_time(name)}


def _is_time(name: str) -> bool:
    return name.startswith("gpu__time") or name.endswith("per_second")


def test_the_section_is_that_which_the_readers_labels_are_of(root: Path) -> None:
    from ds2prof.parsers.ncu_labels import LABELS

    text = (root / "profilers" / "sections" / "PertSustainedElapsed.section").read_text()
    values = [line.split('"')[1] for line in text.splitlines() if line.strip().startswith(("Label:", "Name:"))]
    name = next(line.split('"')[1] for line in text.splitlines() if line.startswith("DisplayName:"))
    assert dict(zip(values[::2], values[1::2], strict=True)) == LABELS[name]


# Stand-ins


def test_the_first_word_of_each_line_is_a_metric(tmp_path: Path) -> None:
    tool = listing_tool(tmp_path / "ncu", ["sm__cycles_active", "dram__bytes"])
    assert listed_metrics(str(tool), "GH100") == {"sm__cycles_active", "dram__bytes"}


def test_a_chip_that_a_tool_does_not_know_has_no_list(tmp_path: Path) -> None:
    tool = listing_tool(tmp_path / "ncu", ["sm__cycles_active"])
    assert listed_metrics(str(tool), "GB100") is None


def test_of_several_chips_the_known_ones_count(tmp_path: Path) -> None:
    tool = listing_tool(tmp_path / "ncu", AVAILABILITY)
    assert listed_for(str(tool), ["GH100", "GB100"]) == set(AVAILABILITY)
    assert listed_for(str(tool), ["GB100"]) is None


def test_without_a_chip_the_tool_is_asked_for_the_gpu_that_is_here(tmp_path: Path) -> None:
    tool = executable(
        tmp_path / "ncu", '#!/bin/bash\n[[ $* == --query-metrics ]] && echo "sm__cycles_active  Counter"\n'
    )
    assert listed_for(str(tool), []) == {"sm__cycles_active"}


@pytest.mark.parametrize(
    "script", ["exit 1", "echo '==ERROR== Driver could not be loaded.'", "kill -9 $$", "printf '\\xff\\xfe'"]
)
def test_a_tool_that_fails_lists_nothing(tmp_path: Path, script: str) -> None:
    tool = executable(tmp_path / "ncu", f"#!/bin/bash\n{script}\n")
    assert listed_metrics(str(tool), "GH100") is None


def test_a_tool_that_is_not_there_lists_nothing(tmp_path: Path) -> None:
    assert listed_metrics(str(tmp_path / "nowhere"), "GH100") is None


@pytest.mark.parametrize("text", ["", "Invalid chip gb100\n", "==PROF== Note\n", "   sm__cycles_active\n"])
def test_a_text_without_metrics_is_no_list(text: str) -> None:
    assert parse_listing(text) is None
