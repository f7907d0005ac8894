"""Laws of the Nsight Compute CSV reader: what was written comes back in any dialect, and damage only takes away."""

from dataclasses import replace
from fractions import Fraction

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from ds2prof.errors import Ds2profError
from ds2prof.parsers import ncu_block, ncu_lines, ncu_long
from tests.ncu_support import (
    COLUMNS,
    CYCLES,
    DURATION,
    FMA,
    Launch,
    Metric,
    counters,
    details,
    kernels,
    lines,
    metric_launch,
    nearest,
    plain,
    quoted,
    raw,
    read,
    read_or_refused,
    rows,
    rule,
)

COUNTERS = (
    (CYCLES, "cycle", "cycle", 0, 0),
    (DURATION, "nsecond", "ns", 0, 0),
    (FMA, "%", "ratio", 2, -2),
    ("dram__bytes.sum", "byte", "byte", 0, 0),
    ("dram__bytes.sum.per_second", "Gbyte/s", "byte/s", 2, 9),
    ("smsp__inst_executed.avg", "inst", "inst", 6, 0),
)
"""(metric, unit as printed, base unit, decimals, power of ten)"""

NOISE = (
    "",
    "==PROF== Connected to process 4711 (/usr/bin/python3)",
    "Epoch: [1][3/128]  Loss 71.1234 (80.0)",
    'He said "hello, world", twice',
    "==WARNING== Backing up device memory",
    "1,2,3",
)
LOCALES = {"C": ("", "."), "US": (",", "."), "German": (".", ","), "French": (" ", ","), "Swiss": ("'", ".")}

names = st.text(
    st.characters(codec="utf-8", exclude_categories=("Cs", "Cc"), include_characters="\n"), min_size=1, max_size=40
)
short = st.text("abc<>(), \"'\n:*", min_size=1, max_size=12).filter(str.strip)
amounts = st.lists(st.integers(0, 10**12), min_size=len(COUNTERS), max_size=len(COUNTERS))


@st.composite
def runs(draw):
    """Launches as (name, process, amounts of the counters, which counters it has), of one or two processes."""
    count = draw(st.integers(1, 7))
    which = draw(
        st.lists(st.booleans(), min_size=len(COUNTERS), max_size=len(COUNTERS)).map(lambda found: [True, *found[1:]])
    )
    known = draw(st.lists(short | names, min_size=1, max_size=3))
    found = []
    for _ in range(count):
        has = which if draw(st.integers(0, 5)) else draw(st.permutations(which))
        found.append((draw(st.sampled_from(known)), draw(st.sampled_from([41, 42])), draw(amounts), has))
    return found


def printed(amount, places, locale):
    group, point = LOCALES[locale]
    whole, fraction = divmod(amount, 10**places)
    return f"{whole:,}".replace(",", group) + (f"{point}{fraction:0{places}d}" if places else "")


def launches_of(run, locale):
    """The launches as printed, IDs counted in each process; the first value of the file tells its locale."""
    orders = dict.fromkeys((41, 42), 0)
    found = []
    for name, process, numbers, has in run:
        metrics = [
            Metric(metric, unit, printed(number, places, locale))
            for (metric, unit, _, places, _), number, given_ in zip(COUNTERS, numbers, has, strict=True)
            if given_
        ]
        if not found:
            metrics.insert(0, Metric("sm__throughput.avg.pct_of_peak_sustained_elapsed", "%", printed(5062, 2, locale)))
        found.append(Launch(orders[process], tuple(metrics), name=name, process=process))
        orders[process] += 1
    return found


def expected(run):
    """(launch, metric, unit, value) of the run, as exact numbers say."""
    found = [(0, "sm__throughput.avg.pct_of_peak_sustained_elapsed", "ratio", 0.5062)]
    for launch, (_, _, numbers, has) in enumerate(run):
        for (metric, _, unit, places, power), number, given_ in zip(COUNTERS, numbers, has, strict=True):
            if given_:
                found.append((launch, metric, unit, nearest(Fraction(number, 10**places) * Fraction(10) ** power)))
    return found


@settings(max_examples=50, deadline=None)
@given(
    runs(),
    st.sampled_from(sorted(COLUMNS)),
    st.sampled_from(sorted(LOCALES)),
    st.sampled_from(["\n", "\r\n"]),
    st.sampled_from(["utf-8", "utf-8-sig", "utf-16"]),
    st.booleans(),
    st.lists(st.tuples(st.integers(0, 60), st.sampled_from(NOISE)), max_size=6),
)
def test_what_was_written_comes_back_in_any_dialect(run, columns, locale, end, encoding, with_rules, noise):
    launches = launches_of(run, locale)
    header = COLUMNS[columns]
    text = [quoted(header)]
    for launch in launches:
        text += rows(launch, header)
        if with_rules and "Rule Name" in header:
            text.append(rule(launch, header))
    for place, line in noise:
        text.insert(min(place, len(text)), line)
    profile = read(lines(text).replace("\n", end).encode(encoding))
    assert counters(profile) == expected(run)
    names_found = [name.replace(end, "\n") for (name,) in kernels(profile, "name")]
    assert names_found == [launch.name for launch in launches]
    assert kernels(profile, "process", "order") == [(launch.process, launch.order) for launch in launches]


@settings(max_examples=30, deadline=None)
@given(runs(), st.sampled_from(sorted(LOCALES)))
def test_raw_pages_give_what_details_pages_give(run, locale):
    launches = launches_of(run, locale)
    long, wide = read(details(launches)), read(raw(launches))
    assert sorted(counters(wide)) == sorted(counters(long))
    columns = ("name", "process", "order", "dur_ns", "grid_x", "block_x", "device", "stream")
    assert kernels(wide, *columns) == kernels(long, *columns)


@settings(max_examples=30, deadline=None)
@given(st.data())
def test_the_order_of_a_launchs_rows_does_not_matter(data):
    launches = launches_of(data.draw(runs()), "US")
    shuffled = [replace(launch, metrics=tuple(data.draw(st.permutations(launch.metrics)))) for launch in launches]
    assert sorted(counters(read(details(shuffled)))) == sorted(counters(read(details(launches))))


@settings(max_examples=30, deadline=None)
@given(st.data())
def test_rows_may_stand_in_any_order(data):
    launches = launches_of(data.draw(runs()), "US")
    header, *body = details(launches).replace("\n", "\0").split("\0")
    body = [row for launch in launches for row in rows(launch, COLUMNS["2023"])]
    assert header
    profile = read(lines([quoted(COLUMNS["2023"]), *data.draw(st.permutations(body))]))
    keys = kernels(profile, "process", "order", "name")
    assert sorted(keys) == sorted((launch.process, launch.order, launch.name) for launch in launches)
    whole = read(details(launches))
    wholes = kernels(whole, "process", "order", "name")
    found = {(*keys[launch], metric, value) for launch, metric, _, value in counters(profile)}
    assert found == {(*wholes[launch], metric, value) for launch, metric, _, value in counters(whole)}


ODD_VALUES = ("n/a", "nan", "1.5", "1,234", "12,345.67", "-3", "", "text", "0")


@st.composite
def worn_files(draw):
    """A file of many like launches that something happened to."""
    count = draw(st.integers(4, 40))
    launches = [
        metric_launch(
            order, process=draw(st.sampled_from([1, 1, 1, 2])), name=draw(st.sampled_from(["a()", "b<c, d>(int)"]))
        )
        for order in range(count)
    ]
    text = details(launches, draw(st.sampled_from(["2019", "2022", "2023"]))).splitlines()
    for _ in range(draw(st.integers(0, 6))):
        place = draw(st.integers(1, len(text) - 1))
        match draw(st.integers(0, 6)):
            case 0:
                text.insert(place, draw(st.sampled_from(NOISE)))
            case 1 if len(text) > 2:
                del text[place]
            case 2:
                text.insert(place, text[place])
            case 3:
                text[place] = text[place].replace("7104", draw(st.sampled_from(ODD_VALUES)))
            case 4:
                text[place] = text[place].replace('"10.00"', f'"{draw(st.sampled_from(ODD_VALUES))}"')
            case 5:
                text[place] = draw(st.sampled_from(["loss 3.2", "==PROF== x"])) + text[place]
            case _:
                text[place], text[-1] = text[-1], text[place]
    return lines(text).encode()


def plain_or_refused(content):
    profile = read_or_refused(content)
    return None if profile is None else plain(profile)


@settings(max_examples=50, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(worn_files())
def test_reading_launches_at_a_stroke_gives_what_reading_row_by_row_gives(monkeypatch, content):
    at_a_stroke = plain_or_refused(content)
    with monkeypatch.context() as patch:
        patch.setattr(ncu_block.Blocks, "block", lambda *_, **__: None)
        row_by_row = plain_or_refused(content)
    assert at_a_stroke == row_by_row


@pytest.mark.parametrize("columns", ["2019", "2022 NVTX", "2025"])
def test_like_launches_are_not_read_row_by_row(monkeypatch, columns):
    rows_read = []
    read_any = ncu_long.LongPage._read_any
    monkeypatch.setattr(
        ncu_long.LongPage, "_read_any", lambda page, line, number: rows_read.append(1) or read_any(page, line, number)
    )
    profile = read(details([metric_launch(order, cycles=f"{1000 + order:,}") for order in range(2000)], columns))
    assert len(profile.table("kernels")) == 2000
    assert len(rows_read) < 20


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(worn_files(), st.integers(1, 3000))
def test_the_size_of_the_pieces_does_not_matter(monkeypatch, content, size):
    whole = plain_or_refused(content)
    with monkeypatch.context() as patch:
        patch.setattr(ncu_lines, "CHUNK_BYTES", size)
        assert plain_or_refused(content) == whole


def facts(profile):
    keys = kernels(profile, "process", "order", "name")
    return {(*keys[launch], metric, unit, value) for launch, metric, unit, value in counters(profile)}


def page(form):
    launches = [metric_launch(order, cycles=f"{10_776_576 * (order + 1):,}", fma=f"{order}3.62") for order in range(4)]
    if form == "raw":
        return raw(launches)
    if form == "european":
        return details([replace(launch, metrics=tuple(map(european, launch.metrics))) for launch in launches])
    if form == "rules":
        header = COLUMNS["2024"]
        return lines(
            [quoted(header), *(row for launch in launches for row in (*rows(launch, header), rule(launch, header)))]
        )
    return details(launches, form)


def european(metric):
    return replace(metric, value=metric.value.translate(str.maketrans(",.", ".,")))


@pytest.mark.parametrize("form", ["2019", "2023", "rules", "raw", "european"])
def test_a_file_cut_anywhere_gives_an_error_or_less_with_a_warning(form):
    text = page(form)
    content = text.encode()
    whole = facts(read(content))
    needed = 2 * text.splitlines()[0].split(",").index('"Metric Value"') + 2 if form != "raw" else len(text)
    for cut in range(0, len(content), 7 if form == "raw" else 13):
        profile = read_or_refused(content[:cut])
        if profile is not None:
            assert facts(profile) <= whole
            last_line = content[:cut].rpartition(b"\n")[2]
            assert (
                profile.warnings or not last_line or last_line.count(b'"') >= needed or content[cut:].startswith(b"\n")
            )


def test_a_value_cut_short_never_counts():
    text = details([metric_launch(0, cycles="10,776,576")])
    content = text[: text.index("10,776,576") + 6]
    with pytest.raises(Ds2profError):
        read(content)
    assert counters(read(text[: text.index('10,776,576"') + 11]))[0][3] == 10776576.0


def test_a_last_launch_that_was_cut_between_rows_is_remarked():
    text = details([metric_launch(0), metric_launch(1)]).splitlines()
    profile = read(lines(text[:-1]))
    assert profile.warnings == (
        "nsight.csv: the last launch has fewer metrics than any other; was the capture interrupted?",
    )


def test_a_last_row_that_was_cut_is_remarked():
    profile = read(details([metric_launch(0), metric_launch(1)])[:-30])
    assert profile.warnings == ("nsight.csv: ends within a row, which is left out; was the capture interrupted?",)


@settings(max_examples=30, deadline=None)
@given(st.data())
def test_flipped_bytes_give_an_error_or_a_profile(data):
    content = bytearray(page(data.draw(st.sampled_from(["2019", "2023", "rules", "raw", "european"]))).encode())
    for _ in range(data.draw(st.integers(1, 5))):
        content[data.draw(st.integers(0, len(content) - 1))] = data.draw(st.integers(0, 255))
    read_or_refused(bytes(content))


@settings(max_examples=30, deadline=None)
@given(st.binary(max_size=300))
def test_any_bytes_behind_a_header_give_an_error_or_a_profile(content):
    read_or_refused(details([]).encode() + content)
