from __future__ import annotations

import csv
import sqlite3
from pathlib import Path

import pytest

from ds2prof import counters, devices
from ds2prof.devices import chip_named, chip_numbered, chip_of, chips_of, vendor_of


@pytest.mark.parametrize(
    ("capability", "chip"),
    [("7.0", "GV100"), ("8.0", "GA100"), ("9.0", "GH100"), ("10.0", "GB100"), ("10.3", "GB110"), ("8.7", "GA10B")],
)
def test_a_capability_of_one_chip_decides(capability: str, chip: str) -> None:
    assert chip_of(capability, None) == chip


@pytest.mark.parametrize("capability", ["7.5", "8.6", "8.9", "12.0", "6.1", "99.9", "", None])
def test_a_shared_or_unknown_capability_decides_nothing(capability: str | None) -> None:
    assert chip_of(capability, None) is None


@pytest.mark.parametrize(
    ("name", "chip"),
    [
        ("GeForce RTX 2080 Ti", "TU102"),
        ("NVIDIA GeForce RTX 2080 Ti", "TU102"),
        ("NVIDIA GeForce RTX 2080", "TU104"),
        ("NVIDIA GeForce RTX 2080 SUPER", "TU104"),
        ("NVIDIA GeForce RTX 2070", "TU106"),
        ("NVIDIA GeForce RTX 2060 with Max-Q Design", "TU106"),
        ("NVIDIA GeForce GTX 1660 Ti", "TU116"),
        ("Quadro RTX 6000", "TU102"),
        ("Tesla T4", "TU104"),
        ("NVIDIA TITAN RTX", "TU102"),
        ("NVIDIA GeForce RTX 3090", "GA102"),
        ("NVIDIA GeForce RTX 3070", "GA104"),
        ("NVIDIA GeForce RTX 3080 Laptop GPU", "GA104"),
        ("NVIDIA A10", "GA102"),
        ("NVIDIA A10G", "GA102"),
        ("NVIDIA A40", "GA102"),
        ("NVIDIA RTX A6000", "GA102"),
        ("NVIDIA RTX A2000 12GB", "GA106"),
        ("NVIDIA L4", "AD104"),
        ("NVIDIA L40", "AD102"),
        ("NVIDIA L40S", "AD102"),
        ("NVIDIA GeForce RTX 4090", "AD102"),
        ("NVIDIA GeForce RTX 4090 Laptop GPU", "AD103"),
        ("NVIDIA RTX 6000 Ada Generation", "AD102"),
        ("NVIDIA GeForce RTX 5090", "GB202"),
        ("NVIDIA GeForce RTX 5060 Ti", "GB206"),
        ("NVIDIA RTX PRO 6000 Blackwell Workstation Edition", "GB202"),
        ("NVIDIA GB10", "GB20B"),
        ("Tesla V100-SXM2-32GB", "GV100"),
        ("NVIDIA A100-SXM4-80GB", "GA100"),
        ("A100-SXM4-40GB", "GA100"),
        ("NVIDIA A100 80GB PCIe", "GA100"),
        ("NVIDIA A30 MIG 2g.12gb", "GA100"),
        ("NVIDIA H100 80GB HBM3", "GH100"),
        ("NVIDIA H200", "GH100"),
        ("NVIDIA GH200 480GB", "GH100"),
        ("NVIDIA B200", "GB100"),
        ("NVIDIA B300 SXM6 AC", "GB110"),
    ],
)
def test_a_products_name_decides(name: str, chip: str) -> None:
    assert chip_named(name) == chip
    assert chip_of(None, name) == chip


@pytest.mark.parametrize(
    "name",
    [
        *(
            "NVIDIA GeForce RTX 2060",
            "NVIDIA GeForce RTX 3060",
            "NVIDIA GeForce RTX 4060 Ti",
            "NVIDIA GeForce RTX 5070",
        ),
        *("GeForce GTX TITAN X", "Quadro GP100", "NVIDIA Graphics Device", "NVIDIA A40-48Q", "AMD Instinct MI300X", ""),
    ],
)
def test_an_ambiguous_or_unknown_product_has_no_chip(name: str) -> None:
    assert chip_named(name) is None


def test_a_product_that_is_not_known_leaves_the_chips_of_its_capability() -> None:
    assert chips_of("8.9", "NVIDIA GeForce RTX 4060 Ti") == ("AD102", "AD103", "AD104", "AD106", "AD107")
    assert chip_of("8.9", "NVIDIA GeForce RTX 4060 Ti") is None


def test_a_name_and_a_capability_that_contradict_each_other_give_no_chip() -> None:
    assert chips_of("8.0", "NVIDIA GeForce RTX 3090") == ()


@pytest.mark.parametrize("name", ["AMD Instinct MI210", "AMD Radeon Graphics", "", " "])
def test_an_amd_device_of_capability_9_0_is_no_hopper(name: str) -> None:
    assert chip_of("9.0", name) is None


@pytest.mark.parametrize(
    ("name", "vendor"),
    [
        *((name, "nvidia") for name in ("NVIDIA B200", "Tesla T4", "Quadro GP100", "A100-SXM4-40GB", "sm_90")),
        *((name, "amd") for name in ("AMD Instinct MI300X VF", "Radeon RX 7900 XTX", "gfx942", "gfx90a:sramecc+")),
        *((name, None) for name in ("", "Apple M3", "Intel Arc")),
    ],
)
def test_the_vendor_is_told_by_name_or_architecture(name: str, vendor: str | None) -> None:
    assert vendor_of(name) == vendor


def test_every_chip_here_is_one_whose_metrics_are_known() -> None:
    tables = [*devices.CAPABILITY_CHIPS.values(), devices.CHIP_PRODUCTS, devices.CHIP_FAMILIES]
    named = {chip for chips in tables for chip in chips} | set(devices.CHIP_NUMBERS.values())
    assert named <= set(counters.CHIPS)


def test_no_product_stands_under_two_chips() -> None:
    for table in (devices.CHIP_PRODUCTS, devices.CHIP_FAMILIES):
        products = [product for names in table.values() for product in names]
        assert len(products) == len(set(products))


@pytest.mark.parametrize(("number", "chip"), [(354, "TU102"), ("370", "GA102"), (0, None), ("n/a", None), ("", None)])
def test_a_chip_number_is_looked_up(number: int | str, chip: str | None) -> None:
    assert chip_numbered(number) == chip


def test_real_reports_name_number_and_capability_agree(corpus: Path) -> None:
    reports = sorted((corpus / "expected" / "ncu-csv").glob("*.raw.base.csv"))
    assert reports
    for report in reports:
        with report.open(newline="") as lines:
            row = list(csv.DictReader(lines))[1]
        attribute = "device__attribute_"
        capability = f"{row[attribute + 'compute_capability_major']}.{row[attribute + 'compute_capability_minor']}"
        chip = chip_numbered(row[attribute + "chip"])
        assert chip is not None
        assert chip_of(capability, row[attribute + "display_name"]) == chip


def test_real_timelines_chip_names_agree(corpus: Path) -> None:
    seen = set()
    for report in sorted((corpus / "nsys-sqlite").glob("*.sqlite")):
        connection = sqlite3.connect(f"file:{report}?mode=ro&immutable=1", uri=True)
        for name, chip, major, minor in connection.execute(
            "SELECT name, chipName, computeMajor, computeMinor FROM TARGET_INFO_GPU"
        ):
            assert chip in chips_of(f"{major}.{minor}", name)
            assert chip_named(name) in (chip, None)
            seen.add(chip)
        connection.close()
    assert seen >= {"TU102", "GA100", "AD106", "GB206"}
