from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ds2prof.capture.metric_plans import MetricPlan, chips_here, plan_for
from ds2prof.counters import CLOCK, CYCLES, DURATION, PIPES, core_metrics, parse_metric
from ds2prof.errors import CaptureError, UsageError
from ds2prof.machine import Gpu, Machine
from ds2prof.metrics.flop import FLOP, PEAK, flop_weights
from ds2prof.metrics.quantities import ALWAYS, BLURBS, WANTS
from ds2prof.metrics.table import AVAILABILITY, CHIPS, DEPRECATED, SINCE_GA102
from tests.launch_support import H200, NEW, NO_GPU
from tests.metric_support import read_facts

EVERY = [(chip, want) for chip in CHIPS for want in WANTS]
ALL = tuple(WANTS)
WITHOUT_DRAM = ("GA10B", "GB10B", "GB20B", "GB20C")


@pytest.fixture(scope="module")
def facts(corpus: Path) -> dict[str, set[str]]:
    return read_facts(corpus)


def bases(plan: MetricPlan) -> set[str]:
    return {parse_metric(name).base for name in plan.names}


def of_quantity(plan: MetricPlan, quantity: str) -> list[str]:
    return [line.metric for line in plan.lines if line.quantity == quantity]


def reason(plan: MetricPlan, quantity: str) -> str:
    return next(each.reason for each in plan.absent if each.quantity == quantity)


# The table


def test_the_table_is_the_facts_for_every_metric_that_it_names(facts: dict[str, set[str]]) -> None:
    assert {base: set(chips) for base, chips in AVAILABILITY.items()} == {base: facts[base] for base in AVAILABILITY}


def test_the_table_names_no_chip_twice() -> None:
    assert all(len(set(chips)) == len(chips) for chips in AVAILABILITY.values())


def test_every_metric_that_can_be_wanted_is_in_the_table() -> None:
    options = {option.base for quantities in WANTS.values() for each in quantities for option in each.options}
    weights = {weight.base for table in (FLOP, PEAK) for weights in table.values() for weight in weights}
    assert options | weights <= set(AVAILABILITY)


def test_every_metric_of_the_table_is_asked_for_on_a_chip_or_preferred_by_a_reader() -> None:
    planned = {base for chip in CHIPS for base in bases(plan_for([chip], ALL))}
    read = {base for chip in CHIPS for pipe in PIPES for base in _preferred(pipe, chip)}
    assert set(AVAILABILITY) - planned - read == set()


def _preferred(pipe: str, chip: str) -> tuple[str, ...]:
    from ds2prof.counters import bases as preferred

    return preferred(pipe, chip=chip)


def test_every_want_is_explained() -> None:
    assert set(BLURBS) == set(WANTS)


# What a plan holds


@pytest.mark.parametrize(("chip", "want"), EVERY)
def test_a_plan_names_no_metric_that_its_chip_lacks(chip: str, want: str, facts: dict[str, set[str]]) -> None:
    assert {base for base in bases(plan_for([chip], [want])) if chip not in facts[base]} == set()


@pytest.mark.parametrize(("chip", "want"), EVERY)
def test_every_wanted_quantity_is_a_metric_or_said_to_be_absent(chip: str, want: str) -> None:
    plan = plan_for([chip], [want])
    wanted = {each.name for each in (*ALWAYS, *WANTS[want])} | (set(PIPES) if want == "core" else set())
    there = {line.quantity for line in plan.lines}
    assert there | {each.quantity for each in plan.absent} == wanted
    assert all(each.reason.startswith("not on this chip: ") for each in plan.absent)
    assert there.isdisjoint(each.quantity for each in plan.absent)


@pytest.mark.parametrize("want", WANTS)
def test_a_plan_always_holds_time_cycles_and_clock(want: str) -> None:
    for chips in ((), ("GH100",), ("GA102", "GA104"), ("GB20C",)):
        assert plan_for(chips, [want]).names[:3] == (CYCLES, DURATION, CLOCK)


def test_a_plan_names_each_metric_once() -> None:
    for chip in CHIPS:
        names = plan_for([chip], ALL).names
        assert len(set(names)) == len(names)


def test_burst_submetrics_are_not_collected() -> None:
    assert not [name for chip in CHIPS for name in plan_for([chip], ALL).names if "burst" in name]


@pytest.mark.parametrize("chip", CHIPS)
def test_core_is_what_the_counters_are_read_from(chip: str) -> None:
    assert plan_for([chip]).names == core_metrics(chip)


def test_without_a_chip_the_plan_holds_what_all_chips_have() -> None:
    assert plan_for([]).names == core_metrics(None)
    for want in WANTS:
        for base in bases(plan_for([], [want])):
            assert set(AVAILABILITY[base]) == set(CHIPS)


def test_without_a_chip_the_pipes_that_are_left_out_are_said() -> None:
    plan = plan_for([])
    assert {each.quantity for each in plan.absent} == set(PIPES) - {line.quantity for line in plan.lines}


@pytest.mark.parametrize(
    "chips", [("GA102", "GA104", "GA107"), ("AD102", "AD107"), ("GB202", "GB205"), ("GH100", "GA100")]
)
def test_a_plan_for_several_chips_holds_names_that_all_of_them_have(chips: tuple[str, ...]) -> None:
    plan = plan_for(chips, ALL)
    assert plan.names
    assert all(set(chips) <= set(AVAILABILITY[base]) for base in bases(plan))


def test_wants_add_up_without_repeating() -> None:
    both = plan_for(["GH100"], ["core", "memory", "core"])
    assert both.want == ("core", "memory")
    assert set(both.names) == set(plan_for(["GH100"]).names) | set(plan_for(["GH100"], ["memory"]).names)


@pytest.mark.parametrize("chip", CHIPS)
def test_fp16_is_marked_as_a_part_of_fma_where_it_is_one(chip: str) -> None:
    (line,) = [line for line in plan_for([chip]).lines if line.quantity == "fp16"]
    assert ("a part of fma" in line.note) == (chip in SINCE_GA102)


@pytest.mark.parametrize("chip", CHIPS)
def test_tensor_is_read_by_cycles_and_never_by_a_deprecated_name(chip: str) -> None:
    first = of_quantity(plan_for([chip]), "tensor")[0]
    assert "cycles_active" in first
    for base in bases(plan_for([chip], ["core", "tbd", "roofline"])):
        assert chip not in DEPRECATED.get(base, ())


def test_ada_uses_the_successors() -> None:
    names = plan_for(["AD104"], ["core", "tbd"]).names
    assert "sm__pipe_tensor_cycles_active_v2.avg.pct_of_peak_sustained_elapsed" in names
    assert "sm__inst_executed_pipe_tensor_v2.avg.pct_of_peak_sustained_elapsed" in names


def test_the_ancestors_section_is_six_metrics() -> None:
    assert set(plan_for(["TU102"], ["tbd"]).names) == {
        CYCLES,
        DURATION,
        CLOCK,
        *(f"sm__inst_executed_pipe_{pipe}.avg.pct_of_peak_sustained_elapsed" for pipe in ("fma", "fp16", "fp64")),
        *(f"sm__inst_executed_pipe_{pipe}.avg.pct_of_peak_sustained_elapsed" for pipe in ("tensor", "xu")),
    }


# Memory and roofline


@pytest.mark.parametrize("chip", WITHOUT_DRAM)
def test_chips_without_memory_counters_say_so(chip: str) -> None:
    plan = plan_for([chip], ["memory"])
    assert {each.quantity for each in plan.absent} == {"dram_bytes", "dram_read", "dram_write", "dram_share"}
    assert "lts__t_bytes.sum" in plan.names


def test_reads_and_writes_go_by_the_names_of_the_chip() -> None:
    assert of_quantity(plan_for(["GH100"], ["memory"]), "dram_read") == ["dram__bytes_read.sum"]
    assert of_quantity(plan_for(["GB202"], ["memory"]), "dram_read") == ["dram__bytes_op_read.sum"]
    mixed = plan_for(["GB100", "GB202"], ["memory"])
    assert of_quantity(mixed, "dram_read") == []
    assert "no one name" in reason(mixed, "dram_read")


def test_a_roofline_is_flop_memory_and_their_roofs() -> None:
    names = plan_for(["GH100"], ["roofline"]).names
    parts = plan_for(["GH100"], ["flop", "memory"]).names
    assert set(parts) < set(names)
    assert {
        *("sm__sass_thread_inst_executed_op_ffma_pred_on.sum.peak_sustained", "sm__cycles_elapsed.avg.per_second"),
        *("dram__bytes.sum.peak_sustained", "dram__cycles_elapsed.avg.per_second"),
        "sm__ops_path_tensor_src_bf16_dst_fp32.sum.peak_sustained",
    } <= set(names)


# FLOP


def opcodes(kind: str, chip: str) -> dict[str, int | None]:
    return {base.split("_op_")[1].removesuffix("_pred_on"): flop for base, flop in flop_weights(kind, chip).items()}


def test_a_multiply_add_is_two_operations_and_packed_ones_count_for_each_value() -> None:
    plain = {"fadd": 1, "fmul": 1, "ffma": 2}
    assert opcodes("fp32", "GH100") == plain
    assert opcodes("fp32", "GB202") == plain
    assert opcodes("fp32", "GB100") == {**plain, "fadd2": 2, "fmul2": 2, "ffma2": 4}
    assert opcodes("fp16", "GA100") == {"hadd": 2, "hmul": 2, "hfma": 4}
    assert opcodes("fp64", "GV100") == {"dadd": 1, "dmul": 1, "dfma": 2}


def test_an_instruction_that_no_source_explains_has_no_weight() -> None:
    assert opcodes("fp8", "GB100") == {"qadd4": None, "qmul4": None, "qfma4": None}
    assert flop_weights("fp8", "GH100") == {}


def test_tensor_operations_are_counted_by_type() -> None:
    assert flop_weights("tensor_fp16", "GH100") == {"sm__ops_path_tensor_src_fp16": 1}
    assert flop_weights("tensor_fp16", "GA100") == {
        "sm__ops_path_tensor_src_fp16_dst_fp16": 1,
        "sm__ops_path_tensor_src_fp16_dst_fp32": 1,
    }
    assert flop_weights("tensor_bf16", "TU102") == {}


def test_volta_counts_tensor_instructions_of_512_operations() -> None:
    assert flop_weights("tensor_fp16", "GV100") == {"sm__inst_executed_pipe_tensor": 512}
    assert "sm__inst_executed_pipe_tensor.sum" in plan_for(["GV100"], ["flop"]).names
    assert "sm__inst_executed_pipe_tensor.sum" not in plan_for(["GA100"], ["flop"]).names


@pytest.mark.parametrize("chip", ["TU116", "TU117"])
def test_a_chip_without_tensor_cores_says_so(chip: str) -> None:
    assert "have no tensor cores" in reason(plan_for([chip], ["flop"]), "tensor_fp16_flop")


@pytest.mark.parametrize("chip", CHIPS)
def test_a_flop_plan_holds_every_counter_that_has_a_weight_on_its_chip(chip: str) -> None:
    needed = {f"{base}.sum" for kind in FLOP for base in flop_weights(kind, chip)}
    assert needed <= set(plan_for([chip], ["flop"]).names)


@pytest.mark.parametrize("chip", CHIPS)
def test_no_operation_is_counted_in_two_kinds(chip: str) -> None:
    counted = [base for kind in FLOP for base in flop_weights(kind, chip)]
    assert len(set(counted)) == len(counted)


def test_a_sum_that_not_all_chips_count_in_full_is_called_incomplete() -> None:
    said = reason(plan_for(["GB100", "GB202"], ["flop"]), "fp32_flop")
    assert said.startswith("incomplete: not all of the chips have")
    assert "ffma2" in said


# Cut to what a tool lists


def test_what_a_tool_does_not_list_falls_out_and_is_named() -> None:
    plan = plan_for(["GH100"])
    left = plan.cut_to(bases(plan) - {"sm__pipe_tma_cycles_active"})
    assert [each.metric.partition(".")[0] for each in left.dropped] == ["sm__pipe_tma_cycles_active"]
    assert left.dropped[0].instead is None
    assert reason(left, "tma") == "this ncu does not list sm__pipe_tma_cycles_active"
    assert set(left.names) == set(plan.names) - {each.metric for each in left.dropped}


def test_the_next_best_name_stands_in_for_one_that_is_not_listed() -> None:
    listed = {base for base in AVAILABILITY if not base.endswith("_v2")}
    left = plan_for(["AD102"], ["core"]).cut_to(listed)
    stands_in = {each.metric: each.instead for each in left.dropped}
    assert stands_in == {
        f"{base}_v2.avg.pct_of_peak_sustained_elapsed": f"{base}.avg.pct_of_peak_sustained_elapsed"
        for base in ("sm__pipe_tensor_cycles_active", "sm__inst_executed_pipe_tensor")
    }


def test_a_sum_of_which_a_tool_lists_a_part_is_called_incomplete() -> None:
    listed = set(AVAILABILITY) - {"smsp__sass_thread_inst_executed_op_ffma2_pred_on"}
    left = plan_for(["GB100"], ["flop"]).cut_to(listed)
    assert reason(left, "fp32_flop").startswith("incomplete: this ncu does not list smsp__sass")
    assert "smsp__sass_thread_inst_executed_op_ffma_pred_on.sum" in left.names


def test_a_tool_that_does_not_say_cuts_nothing() -> None:
    plan = plan_for(["GH100"])
    assert plan.cut_to(None) is plan


@given(
    st.sampled_from(CHIPS),
    st.lists(st.sampled_from(ALL), min_size=1, max_size=3),
    st.sets(st.sampled_from(sorted(AVAILABILITY))),
)
def test_a_cut_plan_holds_listed_names_of_the_chip_alone_and_is_not_cut_further(
    chip: str, want: list[str], listed: set[str]
) -> None:
    try:
        left = plan_for([chip], want).cut_to(listed)
    except CaptureError:
        return
    assert bases(left) <= listed
    assert all(chip in AVAILABILITY[base] for base in bases(left))
    assert left.cut_to(listed).names == left.names


# Errors


def test_a_plan_in_which_nothing_wanted_is_left_is_an_error() -> None:
    with pytest.raises(CaptureError, match=r"GH100: this ncu lists no metric for core") as error:
        plan_for(["GH100"]).cut_to({"gpc__cycles_elapsed", "gpu__time_duration"})
    assert "\n" not in str(error.value)


def test_an_unknown_want_names_those_there_are() -> None:
    with pytest.raises(UsageError, match=r"everything: nothing that can be wanted.*core, tbd, flop"):
        plan_for(["GH100"], ["everything"])


def test_an_unknown_chip_names_those_there_are() -> None:
    with pytest.raises(UsageError, match=r"GH999: no chip .*GH100"):
        plan_for(["GH999"])


# This machine


def test_the_chip_here_is_that_of_the_gpu() -> None:
    assert chips_here(NEW) == {"GH100"}


def test_a_gpu_that_is_not_known_leaves_the_chip_open() -> None:
    stranger = Gpu(ordinal=1, name="NVIDIA Something", uuid=None, compute_capability="99.0", memory_bytes=None)
    assert chips_here(Machine(gpus=(H200, stranger))) == frozenset()
    assert chips_here(NO_GPU) == frozenset()
