"""Lower bounds of what kernels used, by models of their operators: what is certain, what not, what is refused."""

from __future__ import annotations

import pytest

from ds2prof.analysis import estimates
from ds2prof.analysis.roofline.kernels import kernel_work
from ds2prof.errors import MissingDataError
from ds2prof.parsers import read_all
from ds2prof.peaks import peak_named
from tests.test_roofline import BF, FP32, GEMM_FLOP, H100, ONE, SIDE, SQUARE, counted, modelled

PEAK = peak_named(H100)
TENSOR = "nvjet_tst_64x64_64x16_2x1_2cta_v_bz_TNT"
LARGE = [[16_384, 16_384], [16_384, 16_384]]


def rows(kernels, ops, **more):
    return {row["name"]: row for row in estimates.answer(modelled(kernels, ops, **more), "bound").rows()}


def test_a_product_on_tensor_cores_is_held_against_the_highest_published_clock():
    row = rows([(TENSOR, 100, 10_000, 5)], ONE[1])[TENSOR]
    least = GEMM_FLOP / (132 * 4096 * 1.98e9 * 10e-6)
    assert row["min_tensor_utilization"] == row["min_flop_utilization"] == pytest.approx(least)
    assert PEAK.flop_per_s("tensor_bf16") < 132 * 4096 * 1.98e9


def test_a_product_whose_name_does_not_show_tensor_cores_bounds_flop_alone():
    row = rows([("gemvx::kernel<int, int, __nv_bfloat16>", 100, 10_000, 5)], ONE[1])
    (only,) = row.values()
    assert only["min_tensor_utilization"] is None
    assert only["min_flop_utilization"] > 0


def test_traffic_is_compulsory_bytes_less_the_last_cache_and_the_estimate_all_of_them():
    row = rows([(TENSOR, 100, 4_000_000, 5)], [("aten::mm", LARGE, BF, 0, 10)])[TENSOR]
    moved = 3 * 16_384**2 * 2
    assert row["min_dram_bytes"] == moved - 50 * 2**20
    assert row["min_dram_utilization"] == pytest.approx((moved - 50 * 2**20) / (3_352e9 * 4e-3))
    assert row["est_dram_utilization"] == pytest.approx(moved / (3_352e9 * 4e-3))


def test_what_fits_into_the_cache_has_no_certain_traffic():
    row = rows([(TENSOR, 100, 10_000, 5)], ONE[1])[TENSOR]
    assert (row["min_dram_bytes"], row["min_dram_utilization"]) == (0, 0.0)
    assert row["est_dram_utilization"] == pytest.approx(3 * SIDE**2 * 2 / (3_352e9 * 10e-6))


def test_a_launch_that_is_not_known_adds_time_and_no_work():
    known = rows([(TENSOR, 100, 10_000, 5)], ONE[1])[TENSOR]
    diluted = rows([(TENSOR, 100, 10_000, 5), (TENSOR, 10_100, 30_000, 20)], ONE[1])[TENSOR]
    assert diluted["min_tensor_utilization"] == pytest.approx(known["min_tensor_utilization"] / 4)
    assert diluted["flop_coverage"] == 0.25


def test_kernels_of_different_names_that_share_an_operator_have_no_bounds_of_their_own():
    kernels = [(TENSOR, 100, 10_000, 3), ("ampere_bf16_s16816gemm_bf16_128x64_nn", 10_100, 10_000, 4)]
    with pytest.raises(MissingDataError, match="no bound is known"):
        rows(kernels, ONE[1], device="NVIDIA H20")
    found = rows(kernels, ONE[1])
    assert [row["min_flop_utilization"] for row in found.values()] == [None, None]
    assert [row["min_dram_utilization"] for row in found.values()] == [None, None]


def test_launches_of_one_name_that_share_an_operator_have_the_bound_of_it_all():
    one = rows([(TENSOR, 100, 20_000, 3)], ONE[1])[TENSOR]
    two = rows([(TENSOR, 100, 10_000, 3), (TENSOR, 10_100, 10_000, 4)], ONE[1])[TENSOR]
    assert two["min_tensor_utilization"] == pytest.approx(one["min_tensor_utilization"])


def test_a_convolution_by_a_transform_has_no_bound_of_its_operations():
    (row,) = rows([("volta_scudnn_winograd_128x128_ldg1_ldg4_relu_tile148t_nt_v1", 0, 10_000, 2)], ONE[1]).values()
    assert row["min_flop_utilization"] is None
    assert row["min_dram_utilization"] is not None


def test_a_bound_above_the_peak_is_left_out_and_counted():
    answer = estimates.answer(modelled([(TENSOR, 0, 1, 2), (TENSOR, 10, 10_000, 22)], [*ONE[1], *LATER]), "bound")
    (row,) = answer.rows()
    assert row["flop_coverage"] == pytest.approx(10_000 / 10_001)
    assert any(note.startswith("1 launches have a bound above the peak") for note in answer.notes)


LATER = [("aten::mm", SQUARE, BF, 20, 30)]


def test_a_file_with_counters_is_sent_to_them():
    with pytest.raises(MissingDataError, match="has counters, which say more"):
        estimates.answer(counted(FP32), "bound")


def test_no_shapes_is_one_line_that_says_what_to_do():
    with pytest.raises(MissingDataError, match="record shapes"):
        estimates.answer(modelled([("gemm", 0, 10, 5)], []), "bound")


def test_a_cache_of_unknown_size_leaves_no_traffic_certain_and_says_so():
    made = modelled([(TENSOR, 100, 4_000_000, 5)], [("aten::mm", LARGE, BF, 0, 10)], device="NVIDIA GH200 480GB")
    answer = estimates.answer(made, "bound")
    assert answer.columns["min_dram_utilization"] == [0.0]
    assert any("no known cache, so no traffic is certain" in note for note in answer.notes)


def test_no_bound_of_a_real_trace_is_above_what_its_models_say(corpus):
    path = corpus / "kineto" / "AMD-AGI__TraceLens__h100_timesformer.json.gz"
    (found,) = read_all(path, tables=estimates.TABLES_OF["bound"])
    table = estimates.answer(found, "bound")
    work = kernel_work(found)
    least = sum(value for value in table.columns["min_dram_bytes"] if value is not None)
    assert 0 < least < work.size_bytes[work.size_bytes > 0].sum()
    pairs = zip(table.columns["min_dram_utilization"], table.columns["est_dram_utilization"], strict=True)
    assert all(low <= guess for low, guess in pairs if low is not None)
    assert all(value <= 1 for value in table.columns["min_flop_utilization"] if value is not None)
