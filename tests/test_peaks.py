"""The table of device peaks agrees with itself, with what makers publish, and with nothing that it does not know."""

from __future__ import annotations

import pytest

from ds2prof.devices import chip_named
from ds2prof.peak_table import PEAKS
from ds2prof.peaks import KINDS, peak_named, peak_of, product_of

ROWS = [pytest.param(peak, id=peak.name) for _, peak in PEAKS]
TOLERANCE = 0.011
"""Makers round: the V100 PCIe's 112 TFLOP/s are 113 at its boost clock."""


def half_a_digit(published: float) -> float:
    """Half of the last digit that a rate is published with, in units of 1e12."""
    text = f"{published / 1e12:.6g}"
    digits = len(text.partition(".")[2])
    return 0.5 * 10.0**-digits * 1e12


@pytest.mark.parametrize("peak", ROWS)
def test_a_published_rate_is_sms_times_operations_times_clock(peak):
    for kind, published in peak.published_flop_per_s.items():
        computed = peak.flop_per_s(kind)
        assert abs(computed - published) <= max(TOLERANCE * published, half_a_digit(published)), kind


@pytest.mark.parametrize("peak", ROWS)
def test_a_row_is_plausible_and_has_a_source(peak):
    assert peak.source
    assert peak.published_flop_per_s
    assert "fp32" in peak.published_flop_per_s
    assert set(peak.flop_per_sm_cycle) <= set(KINDS)
    assert set(peak.published_flop_per_s) <= set(peak.flop_per_sm_cycle)
    assert set(peak.sparse_kinds) <= set(peak.flop_per_sm_cycle)
    assert 100e6 < peak.tensor_hz <= peak.boost_hz < 3.5e9
    assert peak.base_hz is None or peak.base_hz < peak.boost_hz
    assert 1e11 < peak.bandwidth_bytes_per_s < 1e13


@pytest.mark.parametrize("peak", ROWS)
def test_operations_of_a_cycle_are_powers_of_two(peak):
    assert all(value & (value - 1) == 0 for value in peak.flop_per_sm_cycle.values())


def test_no_name_stands_for_two_products():
    names = [name for names, _ in PEAKS for name in names]
    assert len(names) == len(set(names))
    assert all(product_of(name) == name for name in names)


@pytest.mark.parametrize(
    ("name", "sms"),
    [
        ("Tesla P100-SXM2-16GB", 56),
        ("Tesla V100-SXM2-32GB", 80),
        ("Tesla T4", 40),
        ("NVIDIA GeForce RTX 2080 Ti", 68),
        ("NVIDIA A100-SXM4-80GB", 108),
        ("NVIDIA A100 80GB PCIe", 108),
        ("NVIDIA A10", 72),
        ("NVIDIA GeForce RTX 3090", 82),
        ("NVIDIA L40S", 142),
        ("NVIDIA GeForce RTX 4090", 128),
        ("NVIDIA H100 80GB HBM3", 132),
        ("NVIDIA H100 PCIe", 114),
        ("NVIDIA H200", 132),
        ("NVIDIA GH200 480GB", 132),
        ("NVIDIA B200", 148),
        ("NVIDIA GeForce RTX 5090", 170),
        ("AMD Instinct MI300X", 304),
    ],
)
def test_a_device_is_found_by_the_name_that_profilers_write(name, sms):
    assert peak_named(name).sms == sms


@pytest.mark.parametrize(
    "name", [None, "", "NVIDIA H20", "NVIDIA A100-PG509-200", "NVIDIA A10G", "Tesla K80", "NVIDIA GeForce RTX 3090 Ti"]
)
def test_an_unknown_device_has_no_peak(name):
    assert peak_named(name) is None
    assert peak_of(name, sms=100, bandwidth_bytes_per_s=10**12) is None


def test_h100_has_one_clock_for_its_cores_and_another_for_tensor_cores():
    peak = peak_named("NVIDIA H100 80GB HBM3")
    assert peak.flop_per_s("fp32") == pytest.approx(66.9e12, rel=1e-3)
    assert peak.flop_per_s("tensor_bf16") == pytest.approx(989.4e12, rel=1e-3)
    assert peak.clock_hz("fp32") == peak.clock_hz("tensor_fp64") == 1_980_000_000
    assert peak.clock_hz("tensor_bf16") == 1_830_000_000


def test_a_rate_follows_the_clock():
    peak = peak_named("NVIDIA A100-SXM4-40GB")
    assert peak.flop_per_s("fp32", clock_hz=705e6) == peak.flop_per_s("fp32") / 2


def test_sparsity_doubles_only_when_asked_and_only_what_it_doubles():
    peak = peak_named("NVIDIA A100-SXM4-40GB")
    assert peak.flop_per_s("tensor_bf16", sparse=True) == 2 * peak.flop_per_s("tensor_bf16")
    assert peak.flop_per_s("fp32", sparse=True) is None
    assert peak_named("Tesla V100-SXM2-16GB").flop_per_s("tensor_fp16", sparse=True) is None


def test_a_slice_has_the_rates_of_its_sms():
    whole, part = peak_of("NVIDIA A100-SXM4-40GB"), peak_of("NVIDIA A100-SXM4-40GB MIG 1g.5gb", sms=14)
    assert part.flop_per_s("fp32") == pytest.approx(whole.flop_per_s("fp32") * 14 / 108)
    assert part.bandwidth_bytes_per_s < whole.bandwidth_bytes_per_s


def test_what_the_driver_states_goes_before_the_table():
    assert peak_of("NVIDIA H200", bandwidth_bytes_per_s=4_917_000_000_000).bandwidth_bytes_per_s == 4_917_000_000_000


def test_geforce_halves_products_with_sums_in_fp32():
    assert peak_named("NVIDIA GeForce RTX 4090").flop_per_s("tensor_fp16") == pytest.approx(165.2e12, rel=1e-3)
    assert peak_named("NVIDIA GeForce RTX 4090").flop_per_s("tensor_fp16_sum16") == pytest.approx(330.3e12, rel=1e-3)


@pytest.mark.parametrize("peak", ROWS)
def test_a_product_of_the_table_is_known_to_the_table_of_chips_unless_it_is_older_or_another_makers(peak):
    assert chip_named(peak.name) is not None or peak.name.startswith(("p100", "mi", "titan rtx"))
