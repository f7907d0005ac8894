"""The Nsight Compute CSV reader on real files: every dialect is read, and the pages of one report agree."""

import csv
import re
from collections import defaultdict
from decimal import Decimal, InvalidOperation
from fractions import Fraction
from pathlib import Path

import pytest

from ds2prof.errors import UnknownFormatError
from ds2prof.parsers import read
from tests.conftest import corpus_folder
from tests.ncu_support import DURATION, counters, kernels, nearest, values

ALL = ("kernels", "counters", "devices", "processes")
PAGES = sorted(path.name for path in (corpus_folder() / "expected" / "ncu-csv").glob("*.csv")) or ["none"]
REPORTS = sorted({re.sub(r"\.(details|raw)\..*", "", name) for name in PAGES})
SUMMARIES = [name for name in PAGES if name.endswith(".perkernel.csv")] or ["none"]
LOGS = sorted(path.name for path in (corpus_folder() / "ncu-log").glob("NetX*")) or ["none"]
POWERS = {"": 0, "K": 3, "M": 6, "G": 9, "T": 12, "n": -9, "u": -6, "m": -3}
TIMES = ("nsecond", "usecond", "msecond", "second")


def scale(unit: str) -> Fraction:
    """What a printed value is multiplied by to be in base units, told from the unit's letters alone."""
    if unit == "%":
        return Fraction(1, 100)
    above, _, below = unit.partition("/")
    power = POWERS[above.removesuffix("byte")] if above.endswith("byte") else 0
    if above in TIMES:
        power = 9 + POWERS[above.removesuffix("second")]
    if below in TIMES:
        power -= POWERS[below.removesuffix("second")]
    return Fraction(10) ** power


def exact(text: str, unit: str) -> Fraction | None:
    """The exact value of a cell in base units; None where it holds no number."""
    try:
        number = Decimal(text)
    except InvalidOperation:
        return None
    return Fraction(number) * scale(unit) if number.is_finite() else None


def half_step(text: str, unit: str) -> Fraction:
    """How far a printed value can be from what was measured; whole numbers are printed without decimals."""
    exponent = Decimal(text).as_tuple().exponent
    assert isinstance(exponent, int)
    return Fraction(10) ** exponent * scale(unit) / 2 if exponent < 0 else Fraction(0)


def is_within(value: float, other: float, allowed: Fraction) -> bool:
    """Whether two values differ by no more than this, and what making doubles of them adds."""
    return abs(Fraction(value) - Fraction(other)) <= allowed + Fraction(abs(other)) / 10**15


def table(path: Path) -> list[list[str]]:
    with path.open(newline="") as stream:
        return list(csv.reader(stream))


def raw_cells(path: Path) -> dict[tuple[int, str], tuple[str, str]]:
    """(order, metric) -> (text, unit) of a raw page."""
    header, units, *rows = table(path)
    first = header.index("Stream") + 1
    return {
        (int(row[0]), name): (text, unit)
        for row in rows
        for name, unit, text in zip(header[first:], units[first:], row[first:], strict=True)
    }


def page(corpus: Path, report: str, kind: str) -> Path:
    return corpus / "expected" / "ncu-csv" / f"{report}.{kind}.csv"


def by_launch(profile) -> dict[tuple[int, str], float | None]:
    """(order, metric) -> value."""
    orders = profile.table("kernels")["order"].tolist()
    return {(orders[launch], metric): value for launch, metric, _, value in counters(profile)}


@pytest.mark.parametrize("name", PAGES)
def test_every_page_is_read(corpus, name):
    path = corpus / "expected" / "ncu-csv" / name
    profile = read(path, tables=ALL)
    header = table(path)[0]
    pids = {row[header.index("Process ID")] for row in table(path)[1:]} - {""}
    assert len(profile.table("kernels")) > 0
    assert len(profile.table("counters")) > 0
    assert profile.table("processes")["process"].tolist() == [int(pid) for pid in pids]


@pytest.mark.parametrize("report", REPORTS)
@pytest.mark.parametrize("kind", ["raw", "raw.base"])
def test_every_number_of_a_raw_page_is_the_nearest_double(corpus, report, kind):
    path = page(corpus, report, kind)
    found = by_launch(read(path, tables=ALL))
    expected = {
        key: number
        for key, (text, unit) in raw_cells(path).items()
        if not key[1].startswith("device__") and (number := exact(text, unit)) is not None
    }
    assert {key: value for key, value in found.items() if value is not None} == {
        key: nearest(number) for key, number in expected.items()
    }


@pytest.mark.parametrize("report", REPORTS)
def test_scaled_and_base_units_agree_within_what_is_printed(corpus, report):
    scaled, base = page(corpus, report, "raw"), page(corpus, report, "raw.base")
    texts = {path: raw_cells(path) for path in (scaled, base)}
    first, second = (by_launch(read(path, tables=ALL)) for path in (scaled, base))
    shared = [key for key in first if first[key] is not None and second.get(key) is not None]
    assert len(shared) > 100
    for key in shared:
        allowed = sum(half_step(*texts[path][key]) for path in (scaled, base))
        scaled_to_nothing = second[key] < 0 and first[key] == 0  # what the tool makes of -3 sectors
        assert scaled_to_nothing or is_within(first[key], second[key], allowed), key


def details_cells(path: Path) -> dict[tuple[int, float], list[tuple[str, str]]]:
    """(order, value in base units) -> (text, unit) of the rows with that value, of a details page."""
    header, *rows = table(path)
    unit, value = header.index("Metric Unit"), header.index("Metric Value")
    found = defaultdict(list)
    for row in rows:
        number = exact(row[value], row[unit])
        if number is not None:
            found[int(row[0]), nearest(number)].append((row[value], row[unit]))
    return found


@pytest.mark.parametrize("report", REPORTS)
def test_details_and_raw_pages_agree_within_what_is_printed(corpus, report):
    """This checks the labels too: each stands for a metric that the raw page has by name."""
    long, wide = page(corpus, report, "details"), page(corpus, report, "raw.base")
    texts, cells = details_cells(long), raw_cells(wide)
    first, second = by_launch(read(long, tables=ALL)), by_launch(read(wide, tables=ALL))
    named = {key: value for key, value in first.items() if "__" in key[1]}
    assert len(named) >= 25
    assert {key for key in named if key not in cells} == set()
    for key, value in named.items():
        assert (value is None) == (second.get(key) is None)
        if value is not None:
            allowed = max(half_step(*text) for text in texts[key[0], value]) + half_step(*cells[key])
            assert is_within(value, second[key], allowed), key


@pytest.mark.parametrize("name", SUMMARIES)
def test_summaries_are_the_means_of_the_launches(corpus, name):
    summary = read(corpus / "expected" / "ncu-csv" / name, tables=ALL)
    base = read(page(corpus, re.sub(r"\.(details|raw)\..*", "", name), "raw.base"), tables=ALL)
    calls = sum(summary.table("kernels")["calls"].tolist())
    assert calls == len(base.table("kernels"))
    total, exactly = (sum(profile.table("kernels")["dur_ns"].tolist()) for profile in (summary, base))
    assert abs(total - exactly) <= 1000 * calls
    names = base.table("kernels")["name"].tolist()
    alone = {name for name in names if names.count(name) == 1}
    wholes = {(names[launch], metric): value for launch, metric, _, value in counters(base)}
    found = {
        (name, metric): value
        for launch, metric, _, value in counters(summary)
        if (name := summary.table("kernels")["name"].tolist()[launch]) in alone
    }
    compared = [
        key for key in found if wholes.get(key) is not None and not key[1].startswith(("gpu__time", "launch__"))
    ]
    if alone:
        assert len(compared) > 20
    for key in compared:
        assert found[key] == pytest.approx(wholes[key], rel=1e-2, abs=6e-3)


def test_the_154_launches_of_a_real_run_took_10418906688_ns(corpus):
    profile = read(page(corpus, "bwd29__self-join-MiSTIC__profile.ncu-rep", "raw.base"), tables=ALL)
    durations = profile.table("kernels")["dur_ns"].tolist()
    assert len(durations) == 154
    assert sum(durations) == 10_418_906_688
    assert profile.warnings == ()
    assert profile.table("devices")["chip"].tolist() == ["GA100"]


def test_a_page_that_lost_precision_says_so(corpus):
    profile = read(page(corpus, "bwd29__self-join-MiSTIC__profile.ncu-rep", "raw"), tables=ALL)
    assert "154 of 154 durations are rounded" in profile.warnings[0]
    assert "in second (steps of up to 1,000 ns); --print-units base" in profile.warnings[0]


def test_a_details_page_in_scaled_units_says_which_durations_are_rounded(corpus):
    profile = read(page(corpus, "bwd29__self-join-MiSTIC__profile.ncu-rep", "details"), tables=ALL)
    assert "151 of 154 durations are rounded" in profile.warnings[0]
    exactly = read(page(corpus, "bwd29__self-join-MiSTIC__profile.ncu-rep", "raw.base"), tables=ALL)
    first, second = (dict(kernels(found, "order", "dur_ns")) for found in (profile, exactly))
    assert (
        [first[order] for order in (9, 68, 125)]
        == [96_000, 92_000, 88_000]
        == [second[order] for order in (9, 68, 125)]
    )


def test_a_launch_that_could_not_be_profiled_has_nulls(corpus):
    for kind in ("details", "raw", "raw.base"):
        profile = read(page(corpus, "AveryClapp__ESMM-Research__profile.8fce663.ncu-rep", kind), tables=ALL)
        assert [dur_ns is None for (dur_ns,) in kernels(profile, "dur_ns")] == [False, False, False, True]


def test_real_values_with_thousands_separators_are_exact(corpus):
    profile = read(corpus / "ncu-csv" / "AveryClapp__ESMM-Research__metrics.csv", tables=ALL)
    rows = table(corpus / "ncu-csv" / "AveryClapp__ESMM-Research__metrics.csv")[1:]
    assert [value for _, _, _, value in counters(profile)] == [float(row[-1].replace(",", "")) for row in rows]
    assert values(profile, DURATION)[:3] == [10_776_576.0, 1_396_992.0, 1_006_400.0]
    assert kernels(profile, "block_x", "block_y", "grid_x", "device")[0] == (32, 32, 32, 0)
    assert profile.table("devices")["compute_capability"].tolist() == ["8.6"]
    assert profile.warnings == ()


@pytest.mark.parametrize("name", LOGS)
def test_text_logs_are_refused_in_one_line_by_name(corpus, name):
    with pytest.raises(UnknownFormatError, match="a text log of Nsight Compute with neither CSV nor pages") as caught:
        read(corpus / "ncu-log" / name)
    assert "\n" not in str(caught.value)


def test_no_other_file_of_the_corpus_is_taken_for_this_format(corpus):
    from ds2prof.parsers import ncu_csv

    others = [path for path in corpus.rglob("*") if path.is_file() and "ncu-csv" not in path.parts]
    taken = [path.parent.name for path in others if ncu_csv.sniff(path.read_bytes()[: 64 << 10])]
    assert set(taken) <= {"ncu-log"}
