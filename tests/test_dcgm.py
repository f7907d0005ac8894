"""Readings of DCGM: dmon, and the list of fields that holds none."""

from __future__ import annotations

import io

import pytest

from ds2prof import read
from ds2prof.errors import UnknownFormatError
from ds2prof.parsers import dcgm_dmon, parse_source
from ds2prof.parsers.dcgm_fields import FIELDS
from ds2prof.parsers.sources import HEAD_BYTES, Source


def read_text(text: str):
    content = text.encode()
    made = Source("readings", content[:HEAD_BYTES], lambda: io.BufferedReader(io.BytesIO(content)))
    return parse_source(made).require("samples", "devices")


def rows(profile, *columns):
    table = profile.table("samples")
    return list(zip(*(table[name].tolist() for name in columns), strict=True))


@pytest.fixture
def mig(golden):
    return read(golden / "dcgm_dmon" / "mig_instances" / "input.txt", tables=("samples", "devices"))


def test_shares_stay_shares_and_sizes_become_bytes(mig):
    of_gpu = [row[:3] for row in rows(mig, "metric", "unit", "value", "device") if row[3] == 0]
    assert of_gpu[3:9] == [
        ("GRACT", "ratio", 0.457),
        ("SMACT", "ratio", 0.430),
        ("DRAMA", "ratio", 0.185),
        ("PCITX", "byte/s", 1204551.0),
        ("FBUSD", "byte", 8195.0 * 2**20),
        ("POWER", "watt", 231.07),
    ]


def test_an_instance_is_an_entity_whose_gpu_is_not_guessed(mig):
    found = {(entity, device) for entity, device in rows(mig, "entity", "device")}
    assert found == {(None, 0), ("GPU-I 0", None), ("GPU-I 1", None), ("CPU 0", None)}
    assert mig.table("devices")["device"].tolist() == [0]


def test_a_field_that_is_not_in_the_list_keeps_its_number_without_a_unit(mig):
    assert [value for metric, unit, value in rows(mig, "metric", "unit", "value") if unit == "unknown"] == [
        *(1.0, 1.0, 1.0, 2.0, 2.0, 2.0, 3.0, 3.0)
    ]
    assert "the unit of XYZZY is not known" in mig.warnings[-1]


def test_headings_in_between_and_a_line_cut_off_are_no_readings(mig):
    assert mig.meta.facts["rows"] == 8
    assert ":13: a line that is no entity with 7 readings" in mig.warnings[0]


def test_short_names_are_explained_by_their_identifiers(mig):
    assert mig.meta.facts["fields"]["GRACT"] == "DCGM_FI_PROF_GR_ENGINE_ACTIVE (1001)"


def test_the_older_headings_with_blanks_are_read_alike():
    profile = read_text(
        "    # Entity  GRACT  TENSO\n          Id\n        GPU 0  0.457  0.442\n      GPU-I 0  0.534  0.516\n"
    )
    assert rows(profile, "metric", "value", "entity") == [
        ("GRACT", 0.457, None),
        ("TENSO", 0.442, None),
        ("GRACT", 0.534, "GPU-I 0"),
        ("TENSO", 0.516, "GPU-I 0"),
    ]


def test_utilization_in_percent_becomes_a_ratio():
    profile = read_text("#Entity   GPUTL        MCUTL        \nID\nGPU 3     87           41           \n")
    assert rows(profile, "metric", "unit", "value", "device") == [
        ("GPUTL", "ratio", 0.87, 3),
        ("MCUTL", "ratio", 0.41, 3),
    ]


def test_fields_are_numbered_and_named_once():
    assert (
        len({field.number for field in FIELDS.values()})
        == len({field.name for field in FIELDS.values()})
        == len(FIELDS)
    )


def test_profiling_fields_are_means():
    assert {field.aggregation for field in FIELDS.values() if field.number > 1000} == {"mean"}


@pytest.mark.parametrize("text", ["#Entity\nID\n", "# Entity relationship of this database\n", "Entity GRACT\n"])
def test_other_lines_with_that_word_are_no_readings(text):
    assert not dcgm_dmon.sniff(text.encode())


def test_a_list_of_fields_holds_no_readings(corpus):
    path = corpus / "dcgm" / "asnaylor__nersc-metrics-scripts__dcgm_metrics.csv"
    with pytest.raises(
        UnknownFormatError, match="a list of DCGM fields, as dcgm-exporter takes it; it holds no readings"
    ):
        read(path)


def test_real_readings_are_the_numbers_of_their_lines(corpus):
    path = corpus / "dcgm" / "microsoft__VirtualClient__DCGMIDmonResults.txt"
    lines = [line.split() for line in path.read_text().splitlines() if line.startswith("GPU ")]
    wanted = [
        (metric, float(cell), int(line[1]))
        for line in lines
        for metric, cell in zip(("GRACT", "TENSO", "DRAMA"), line[2:], strict=True)
    ]
    assert len(wanted) == 45
    assert rows(read(path, tables=("samples",)), "metric", "value", "device") == wanted


@pytest.fixture
def scrapes(golden):
    return read(golden / "dcgm_prometheus" / "two_scrapes" / "input.txt", tables=("samples", "devices"))


def test_a_scrapes_samples_are_readings_of_devices_and_instances(scrapes):
    assert rows(scrapes, "metric", "unit", "value", "device", "entity") == [
        ("DCGM_FI_DEV_SM_CLOCK", "hertz", 2.04e9, 0, None),
        ("DCGM_FI_PROF_GR_ENGINE_ACTIVE", "ratio", 0.912345, 0, None),
        ("DCGM_FI_PROF_GR_ENGINE_ACTIVE", "ratio", 0.5, 1, "GPU-I 2"),
        ("DCGM_FI_DEV_FAN_NOISE", "ratio", 0.5, 0, None),
        ("DCGM_FI_DEV_SM_CLOCK", "hertz", 1.95e9, 0, None),
    ]
    assert scrapes.warnings == ()


def test_times_of_a_scrape_are_unix_times_where_they_are_stated(scrapes):
    assert scrapes.meta.clock == "unix"
    assert scrapes.table("samples")["start_ns"].tolist() == [None] * 4 + [1772355600123 * 10**6]


def test_labels_describe_the_devices(scrapes):
    devices = scrapes.table("devices")
    assert devices["name"].tolist() == ["NVIDIA L4", "NVIDIA A100-SXM4-40GB"]
    assert devices["chip"].tolist() == ["AD104", "GA100"]
    assert scrapes.meta.facts["hosts"] == ["node-1"]


def test_a_comment_among_the_rows_is_no_heading():
    profile = read_text(
        "#Entity   GRACT        \nID\nGPU 0     0.170        \n# warm-up is over\n#\nGPU 0     0.998        \n"
    )
    assert rows(profile, "metric", "value") == [("GRACT", 0.17), ("GRACT", 0.998)]
    assert profile.warnings == ()
