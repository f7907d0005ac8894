from __future__ import annotations

import csv
import math
from pathlib import Path

import pytest

from ds2prof import counters
from ds2prof.counters import CLOCK, CYCLES, DURATION, MetricName, choose, choose_tbd, core_metrics, parse_metric

ELAPSED = ".avg.pct_of_peak_sustained_elapsed"
ACTIVE = ".avg.pct_of_peak_sustained_active"
BURST = ".avg.pct_of_peak_burst_elapsed"


@pytest.fixture(scope="module")
def facts(corpus: Path) -> dict[str, set[str]]:
    """Base metric -> the chips that have it, from the reference folder beside the corpus."""
    path = corpus.parent / "reference" / "metrics-by-chip.csv"
    if not path.is_file():
        pytest.skip("no metrics-by-chip.csv beside the corpus")
    with path.open(newline="") as lines:
        return {row.pop("metric"): {chip for chip, has in row.items() if has == "1"} for row in csv.DictReader(lines)}


def base_of(metric: str) -> str:
    return parse_metric(metric).base


# The table


def test_the_table_says_of_every_base_metric_exactly_the_chips_that_have_it(facts: dict[str, set[str]]) -> None:
    assert {base: set(chips) for base, chips in counters.AVAILABILITY.items()} == {
        base: facts[base] for base in counters.AVAILABILITY
    }


def test_the_table_knows_all_chips_of_the_facts_and_no_others(facts: dict[str, set[str]]) -> None:
    assert set(counters.CHIPS) == set.union(*facts.values())
    assert len(counters.CHIPS) == 32


def test_every_base_metric_that_is_preferred_anywhere_is_in_the_table() -> None:
    preferred = {base for bases in counters.PREFERENCE.values() for base in bases}
    ancestors = {base for bases in counters.TBD_PIPES.values() for base in bases}
    assert preferred | ancestors | set(counters.SUBSET_OF) | set(counters.DEPRECATED) <= set(counters.AVAILABILITY)


def test_a_deprecated_metric_has_a_successor_on_the_same_chips() -> None:
    for base, chips in counters.DEPRECATED.items():
        assert counters.AVAILABILITY[f"{base}_v2"] == chips


@pytest.mark.parametrize("chip", counters.CHIPS)
def test_every_chip_has_the_seven_old_pipes(chip: str) -> None:
    assert set(counters.pipes_of(chip)) >= {"fma", "fp16", "fp64", "tensor", "xu", "alu", "lsu"}


def test_tc_and_tma_exist_on_late_chips_only() -> None:
    assert {chip for chip in counters.CHIPS if "tc" in counters.pipes_of(chip)} == {
        *("GB100", "GB102", "GB110", "GB112", "GB10B", "GR100")
    }
    assert "tma" in counters.pipes_of("GH100")
    assert "tma" not in counters.pipes_of("AD102")


# Names


@pytest.mark.parametrize(
    ("name", "parts"),
    [
        (
            "sm__inst_executed_pipe_fma.avg.pct_of_peak_sustained_elapsed",
            MetricName(
                *("sm__inst_executed_pipe_fma", "avg", "pct_of_peak_sustained_elapsed", None, "sustained", "elapsed")
            ),
        ),
        (
            "sm__inst_executed_pipe_xu.avg.pct_of_peak_burst_active",
            MetricName("sm__inst_executed_pipe_xu", "avg", "pct_of_peak_burst_active", None, "burst", "active"),
        ),
        ("gpc__cycles_elapsed.max", MetricName("gpc__cycles_elapsed", "max")),
        ("gpc__cycles_elapsed.avg.per_second", MetricName("gpc__cycles_elapsed", "avg", "per_second")),
        ("dram__bytes.sum.per_second", MetricName("dram__bytes", "sum", "per_second")),
        (
            "smsp__inst_executed.avg.per_cycle_active",
            MetricName("smsp__inst_executed", "avg", "per_cycle_active", denominator="active"),
        ),
        ("dram__bytes.sum.peak_sustained", MetricName("dram__bytes", "sum", "peak_sustained", peak="sustained")),
        ("sm__cycles_active.avg", MetricName("sm__cycles_active", "avg")),
        ("l1tex__t_sector_hit_rate.pct", MetricName("l1tex__t_sector_hit_rate", None, "pct")),
        (
            "breakdown:sm__throughput.avg.pct_of_peak_sustained_elapsed",
            MetricName(
                *("sm__throughput", "avg", "pct_of_peak_sustained_elapsed", "breakdown", "sustained", "elapsed")
            ),
        ),
        ("pmsampling:sm__warps_active.avg", MetricName("sm__warps_active", "avg", prefix="pmsampling")),
        ("warpsampling:smsp__pcsamp", MetricName("smsp__pcsamp", prefix="warpsampling")),
        ("launch__grid_size", MetricName("launch__grid_size")),
        ("derived__memory_l1_wavefronts", MetricName("derived__memory_l1_wavefronts")),
        ("device__attribute_chip", MetricName("device__attribute_chip")),
        ("inst_executed", MetricName("inst_executed")),
        ("", MetricName("")),
    ],
)
def test_a_metric_name_comes_apart(name: str, parts: MetricName) -> None:
    assert parse_metric(name) == parts


# Choosing


def test_instructions_stand_for_fma_before_cycles() -> None:
    names = [f"sm__pipe_fma_cycles_active{ELAPSED}", f"sm__inst_executed_pipe_fma{ELAPSED}"]
    choice = choose("fma", names, chip="TU102")
    assert choice is not None
    assert choice.metric == f"sm__inst_executed_pipe_fma{ELAPSED}"
    assert choice.warning is None
    assert not choice.needs_active_conversion


def test_cycles_stand_for_tensor_before_instructions() -> None:
    names = [f"sm__inst_executed_pipe_tensor{ELAPSED}", f"sm__pipe_tensor_cycles_active{ELAPSED}"]
    choice = choose("tensor", names, chip="TU102")
    assert choice is not None
    assert choice.base == "sm__pipe_tensor_cycles_active"


def test_the_sustained_peak_is_preferred_and_burst_is_read_from_old_files() -> None:
    base = "sm__inst_executed_pipe_xu"
    both = choose("xu", [base + BURST, base + ELAPSED])
    old = choose("xu", [base + BURST])
    assert both is not None
    assert both.submetric == "pct_of_peak_sustained_elapsed"
    assert old is not None
    assert old.submetric == "pct_of_peak_burst_elapsed"


def test_elapsed_cycles_of_the_second_base_come_before_active_cycles_of_the_first() -> None:
    names = [f"sm__inst_executed_pipe_fma{ACTIVE}", f"sm__pipe_fma_cycles_active{ELAPSED}", "sm__cycles_active.avg"]
    choice = choose("fma", [*names, CYCLES])
    assert choice is not None
    assert choice.metric == f"sm__pipe_fma_cycles_active{ELAPSED}"


def test_a_share_of_active_cycles_names_what_turns_it_into_one_of_elapsed_cycles() -> None:
    names = [f"sm__inst_executed_pipe_alu{ACTIVE}", "sm__cycles_active.avg", "sm__cycles_elapsed.max", CYCLES]
    choice = choose("alu", names)
    assert choice is not None
    assert choice.needs_active_conversion
    assert choice.active_cycles == ("sm__cycles_active.avg",)
    assert choice.elapsed_cycles == ("sm__cycles_elapsed.max", CYCLES)


@pytest.mark.parametrize("missing", ["sm__cycles_active.avg", CYCLES])
def test_a_share_of_active_cycles_that_cannot_be_converted_is_absent(missing: str) -> None:
    names = {f"sm__inst_executed_pipe_alu{ACTIVE}", "sm__cycles_active.avg", CYCLES} - {missing}
    assert choose("alu", names) is None


def test_a_file_without_the_pipe_gives_nothing() -> None:
    assert choose("tma", [f"sm__inst_executed_pipe_fma{ELAPSED}", CYCLES]) is None


@pytest.mark.parametrize("name", ["sm__inst_executed_pipe_fma.sum", f"breakdown:sm__inst_executed_pipe_fma{ELAPSED}"])
def test_counts_and_breakdowns_do_not_stand_for_a_share(name: str) -> None:
    assert choose("fma", [name]) is None


def test_fp16_is_its_own_pipe_on_turing_and_part_of_fma_on_ampere() -> None:
    turing = choose("fp16", [f"sm__inst_executed_pipe_fp16{ELAPSED}"], chip="TU102")
    ampere = choose("fp16", [f"sm__inst_executed_pipe_fma_type_fp16{ELAPSED}"], chip="GA102")
    assert turing is not None
    assert turing.subset_of is None
    assert ampere is not None
    assert ampere.subset_of == "fma"


def test_ada_reads_the_successors_of_its_deprecated_tensor_metrics() -> None:
    names = [f"sm__pipe_tensor_cycles_active{ELAPSED}", f"sm__pipe_tensor_cycles_active_v2{ELAPSED}"]
    choice = choose("tensor", names, chip="AD102")
    assert choice is not None
    assert choice.base == "sm__pipe_tensor_cycles_active_v2"
    old = choose("tensor", names[:1], chip="AD102")
    assert old is not None
    assert "deprecated" in (old.warning or "")


@pytest.mark.parametrize("chip", ["GH100", "GB100", "GB202", "GR100"])
def test_counting_tensor_instructions_warns_from_hopper_on(chip: str) -> None:
    choice = choose("tensor", [f"sm__inst_executed_pipe_tensor{ELAPSED}"], chip=chip)
    assert choice is not None
    assert "instruction" in (choice.warning or "")


def test_counting_tensor_instructions_is_right_before_hopper() -> None:
    choice = choose("tensor", [f"sm__inst_executed_pipe_tensor{ELAPSED}"], chip="TU102")
    assert choice is not None
    assert choice.warning is None


def test_from_hopper_on_even_convertible_cycles_come_before_instructions() -> None:
    names = [f"sm__inst_executed_pipe_tensor{ELAPSED}", f"sm__pipe_tensor_cycles_active{ACTIVE}"]
    choice = choose("tensor", [*names, "sm__cycles_active.avg", CYCLES], chip="GH100")
    assert choice is not None
    assert choice.base == "sm__pipe_tensor_cycles_active"
    assert choice.needs_active_conversion


def test_a_file_that_names_no_chip_is_narrowed_down_by_its_metrics() -> None:
    tensor = f"sm__inst_executed_pipe_tensor{ELAPSED}"
    before_ampere = choose("tensor", [tensor, f"sm__inst_executed_pipe_fp16{ELAPSED}"])
    unknown = choose("tensor", [tensor])
    assert before_ampere is not None
    assert before_ampere.warning is None
    assert unknown is not None
    assert "if this chip is Hopper or later" in (unknown.warning or "")


def test_a_gpu_that_can_be_one_of_several_chips_is_judged_by_all_of_them() -> None:
    choice = choose("tensor", [f"sm__inst_executed_pipe_tensor{ELAPSED}"], chip=("GA102", "GA104"))
    assert choice is not None
    assert choice.warning is None


def test_metrics_that_contradict_each_other_rule_no_chip_out() -> None:
    names = [f"sm__inst_executed_pipe_fp16{ELAPSED}", f"sm__inst_executed_pipe_fma_type_fp16{ELAPSED}"]
    assert counters.chips_with(names) == counters.CHIPS


# The ancestor's lines


def test_the_ancestors_lines_are_four_and_in_its_order() -> None:
    assert tuple(counters.TBD_PIPES) == ("fma", "fp16", "tensor", "sfu")


def test_the_ancestors_tensor_line_is_counted_in_instructions_whatever_else_there_is() -> None:
    names = [f"sm__pipe_tensor_cycles_active{ELAPSED}", f"sm__inst_executed_pipe_tensor{ELAPSED}"]
    choice = choose_tbd("tensor", names)
    assert choice is not None
    assert choice.metric == names[1]
    assert choose_tbd("tensor", names[:1]) is None


def test_the_ancestors_fp16_line_is_read_from_fma_where_the_chip_has_no_other() -> None:
    choice = choose_tbd("fp16", [f"sm__inst_executed_pipe_fma_type_fp16{ELAPSED}"])
    assert choice is not None
    assert choice.base == "sm__inst_executed_pipe_fma_type_fp16"


def test_the_ancestors_lines_take_burst_but_never_active_cycles() -> None:
    burst = choose_tbd("sfu", [f"sm__inst_executed_pipe_xu{BURST}"])
    assert burst is not None
    assert burst.submetric == "pct_of_peak_burst_elapsed"
    assert choose_tbd("sfu", [f"sm__inst_executed_pipe_xu{ACTIVE}", "sm__cycles_active.avg", CYCLES]) is None


# What to collect


@pytest.mark.parametrize("chip", counters.CHIPS)
def test_a_capture_asks_for_nothing_that_the_chip_lacks(chip: str, facts: dict[str, set[str]]) -> None:
    assert all(chip in facts[base_of(metric)] for metric in core_metrics(chip))


@pytest.mark.parametrize("chip", counters.CHIPS)
def test_what_a_capture_asks_for_answers_every_pipe_and_every_line_of_the_ancestor(chip: str) -> None:
    names = core_metrics(chip)
    choices = {pipe: choose(pipe, names, chip=chip) for pipe in counters.pipes_of(chip)}
    assert all(choice is not None and choice.warning is None for choice in choices.values())
    assert all(choose_tbd(line, names) is not None for line in counters.TBD_PIPES)


@pytest.mark.parametrize("chip", [*counters.CHIPS, None, "GX999", ("GA102", "GA104")])
def test_every_capture_has_cycles_duration_and_clock_and_no_metric_twice(chip: str | None) -> None:
    names = core_metrics(chip)
    assert names[:3] == (CYCLES, DURATION, CLOCK)
    assert len(set(names)) == len(names)


def test_an_unknown_chip_is_asked_for_names_that_all_chips_have(facts: dict[str, set[str]]) -> None:
    names = core_metrics(None)
    assert all(facts[base_of(metric)] == set(counters.CHIPS) for metric in names)
    pipes = {pipe for pipe in counters.PIPES if choose(pipe, names) is not None}
    assert pipes == {"fma", "tensor", "xu", "fp64"}
    assert core_metrics("GX999") == names
    assert core_metrics(("GA102", "GX999")) == names


def test_a_gpu_that_can_be_one_of_several_chips_is_asked_for_what_all_of_them_have() -> None:
    assert core_metrics(("GA102", "GA104")) == core_metrics("GA102")
    shared = {base_of(metric) for metric in core_metrics(("TU102", "GH100"))}
    assert not shared & {"sm__inst_executed_pipe_fp16", "sm__inst_executed_pipe_fma_type_fp16"}


def test_ada_is_asked_for_successors_only() -> None:
    bases = {base_of(metric) for metric in core_metrics("AD104")}
    assert {"sm__pipe_tensor_cycles_active_v2", "sm__inst_executed_pipe_tensor_v2"} <= bases
    assert not bases & set(counters.DEPRECATED)


# Real files


def raw_rows(path: Path) -> list[dict[str, str]]:
    with path.open(newline="") as lines:
        rows = list(csv.DictReader(lines))[1:]
    return [row for row in rows if row["gpc__cycles_elapsed.max"] not in ("", "nan")]


@pytest.mark.parametrize(
    "name", ["bwd29__self-join-MiSTIC__ilpProf.ncu-rep", "thedavidchu__speedy_scan__profile.ncu-rep"]
)
def test_active_shares_convert_to_the_elapsed_shares_that_the_tool_collected(corpus: Path, name: str) -> None:
    rows = raw_rows(corpus / "expected" / "ncu-csv" / f"{name}.raw.base.csv")
    compared = 0
    for row in rows:
        awake = float(row["sm__cycles_active.avg"]) / float(row[CYCLES])
        for metric in (metric for metric in row if metric.endswith(ACTIVE)):
            elapsed = row.get(metric.removesuffix(ACTIVE) + ELAPSED)
            if elapsed and float(elapsed) > 4:
                compared += 1
                assert math.isclose(float(row[metric]) * awake, float(elapsed), rel_tol=2e-3)
    assert compared == 4


def test_a_real_report_that_collected_sections_still_gives_seven_pipes(corpus: Path) -> None:
    rows = raw_rows(corpus / "expected" / "ncu-csv" / "yzwang2000__cudaCode__profile.ncu-rep.raw.base.csv")
    chosen = {pipe: choose(pipe, rows[0], chip="TU102") for pipe in counters.PIPES}
    assert {pipe for pipe, choice in chosen.items() if choice is not None} == {
        *("fma", "fp16", "fp64", "tensor", "xu", "alu", "lsu")
    }
    assert all(choice is None or choice.warning is None for choice in chosen.values())
