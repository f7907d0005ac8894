"""Random traces in every formatting: the same rows come out, and they are those that went in."""

from __future__ import annotations

import json
import random
import re
from decimal import Decimal

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from ds2prof.errors import ReadError
from tests.kineto_support import load, plain

BASE_NS = 1_740_000_000_000_000_000
NUMERAL = re.compile(r'"@([^@"]*)@"')
FORMS = (
    {"indent": None},
    {"indent": None, "separators": (",", ":")},
    *({"indent": indent} for indent in (0, 1, 2, 4)),
    {"indent": 2, "separators": (" ,", " : ")},
)

numerals = st.one_of(
    st.integers(0, 10**12).map(str),
    st.decimals(0, 10**12, places=3).map(lambda number: format(number, "f")),
    st.decimals(0, 10**12, places=1).map(lambda number: format(number, "f")),
)
names = st.sampled_from(
    [
        "void k<4, {lambda()#1}>(int, char*)",
        "aten::mm",
        'quote " brace }',
        "back\\slash",
        "ProfilerStep#3",
        "\u4e16 }, {",
    ]
)
ids = st.integers(1, 2**40)
extras = st.dictionaries(
    st.sampled_from(["Comms Id", "occupancy", "Input Dims", "dtype"]),
    st.sampled_from([2**64 + 1, {"a": [{"b": 1}, {"cat": "kernel"}]}, [[1, 2], []], None, "x", 1.5]),
)


@st.composite
def events(draw):
    category = draw(st.sampled_from(["kernel", "gpu_memcpy", "cuda_runtime", "cpu_op", "python_function", "ac2g"]))
    arguments = {"correlation": draw(ids), "External id": draw(ids), **draw(extras)}
    if category in ("kernel", "gpu_memcpy"):
        arguments.update(device=draw(st.integers(0, 3)), stream=draw(st.integers(0, 30)))
    return {
        "ph": "X",
        "cat": category,
        "name": draw(names),
        "pid": draw(st.integers(0, 10**6)),
        "tid": draw(st.integers(0, 10**6)),
        "ts": draw(numerals),
        "dur": draw(numerals),
        "args": arguments,
    }


def written(found, form, chance, *, as_list=False):
    """The events as JSON text: keys shuffled, header keys on either side, numerals as they are."""
    listed = []
    for event in found:
        keys = list(event)
        chance.shuffle(keys)
        listed.append({key: f"@{event[key]}@" if key in ("ts", "dur") else event[key] for key in keys})
    if as_list:
        document = listed
    else:
        members = [("schemaVersion", 1), ("traceEvents", listed), ("baseTimeNanoseconds", BASE_NS), ("x", {"a": [{}]})]
        chance.shuffle(members)
        document = dict(members)
    return NUMERAL.sub(r"\1", json.dumps(document, ensure_ascii=chance.random() < 0.5, **form))


def rows_that_went_in(found, category, base_ns):
    """(name, start, duration, correlation) of a category's events by decimal arithmetic."""
    return [
        (
            event["name"],
            int(Decimal(event["ts"]) * 1000) + base_ns,
            int(Decimal(event["dur"]) * 1000),
            event["args"]["correlation"],
        )
        for event in found
        if event["cat"] == category and Decimal(event["dur"]) <= 7 * 86_400 * 10**6
    ]


def rows_that_came_out(loaded, table):
    found = loaded.tables[table]
    columns = [found[name].tolist() for name in ("name", "start_ns", "dur_ns", "correlation")]
    return list(zip(*columns, strict=True))


def content_with_work(found):
    """The events, with one that is certainly work, so that the trace is not refused."""
    anchor = {
        "ph": "X",
        "cat": "kernel",
        "name": "k",
        "pid": 0,
        "tid": 7,
        "ts": "1",
        "dur": "1",
        "args": {"correlation": 1},
    }
    return [anchor, *found]


@settings(max_examples=30, suppress_health_check=[HealthCheck.too_slow])
@given(st.lists(events(), max_size=12), st.integers(1, 2000), st.randoms(use_true_random=False))
def test_rows_come_out_as_they_went_in_whatever_the_formatting(found, chunk_bytes, chance):
    found = content_with_work(found)
    readings = []
    for form in FORMS:
        loaded = load(written(found, form, random.Random(chance.random())), chunk_bytes=chunk_bytes)
        readings.append(plain(loaded))
        for table, category in (("kernels", "kernel"), ("copies", "gpu_memcpy"), ("api", "cuda_runtime")):
            assert rows_that_came_out(loaded, table) == rows_that_went_in(found, category, BASE_NS)
    assert all(reading == readings[0] for reading in readings)


@settings(max_examples=30, suppress_health_check=[HealthCheck.too_slow])
@given(st.lists(events(), max_size=12), st.sampled_from(FORMS), st.integers(1, 2000), st.randoms(use_true_random=False))
def test_a_bare_list_gives_the_same_rows_on_its_own_clock(found, form, chunk_bytes, chance):
    found = content_with_work(found)
    loaded = load(written(found, form, chance, as_list=True), chunk_bytes=chunk_bytes)
    assert rows_that_came_out(loaded, "kernels") == rows_that_went_in(found, "kernel", 0)
    assert loaded.meta.clock is None


@settings(max_examples=30, suppress_health_check=[HealthCheck.too_slow])
@given(
    st.lists(events(), max_size=8),
    st.sampled_from(FORMS),
    st.integers(1, 500),
    st.randoms(use_true_random=False),
    st.data(),
)
def test_a_cut_anywhere_gives_the_first_rows_or_one_line(found, form, chunk_bytes, chance, data):
    content = written(content_with_work(found), form, chance).encode()
    whole = load(content)
    cut = data.draw(st.integers(0, len(content) - 1))
    try:
        part = load(content[:cut], chunk_bytes=chunk_bytes)
    except ReadError as error:
        if "\n" in str(error):
            raise
        return
    for table in ("kernels", "copies", "api", "ops"):
        kept = part.tables[table]
        assert kept["name"].tolist() == whole.tables[table]["name"].tolist()[: len(kept)]
    assert part.warnings or plain(part) == plain(whole)
