"""Splitting regular launches out of a page: the same numbers as `float`, and nothing but what is regular."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ds2prof.parsers.ncu_split import Splitter

TAILS = (b'"cycles","', b'"share","', b'"bandwidth","')
EXPONENTS = (0, -2, 9)
WHOLES = (True, False, False)
ENDING = b'"'


def splitter():
    return Splitter(TAILS, EXPONENTS, WHOLES, ENDING)


def page(launches, *, cells=b'"4711","kernel(int)",'):
    rows = []
    for order, texts in enumerate(launches):
        rows += [b'"%d",%b%b%b"\n' % (order, cells, tail, text) for tail, text in zip(TAILS, texts, strict=True)]
    return b"".join(rows)


def split(launches, *, groups=True):
    return splitter().split(page(launches), 0, groups=groups)


whole = st.integers(0, 10**12)
plain = whole.map(lambda value: b"%d" % value)
grouped = whole.map(lambda value: f"{value:,}".encode())
decimal = st.tuples(plain | grouped, st.integers(0, 999)).map(lambda parts: b"%b.%d" % parts)
launches = st.lists(st.tuples(plain | grouped, plain | grouped | decimal, decimal), min_size=1, max_size=8)


@given(st.lists(launches, min_size=1, max_size=4))
def test_values_are_the_doubles_nearest_to_the_text(pages):
    one = splitter()  # what it expects after one page must not change what it reads in the next
    for texts in pages:
        found = one.split(page(texts), 0, groups=True)
        if found is None:  # too many digits for the exact way
            assert any(len(text) > 18 or int(text.translate(None, b",.")) >= 1 << 53 for row in texts for text in row)
            continue
        wanted = [
            float(text.replace(b",", b"") + b"e%d" % exponent)
            for row in texts
            for text, exponent in zip(row, EXPONENTS, strict=True)
        ]
        assert found.values(len(texts)).tolist() == wanted


@given(launches, st.integers(0, 7))
def test_as_many_launches_as_wanted_are_given(texts, count):
    found = split(texts)
    count = min(count, len(texts))
    if found is not None and count:
        assert len(found.values(count)) == 3 * count
        assert found.extent(count).size_bytes == len(page(texts[:count]))
        assert found.extent(count).lines == 3 * count


@pytest.mark.parametrize(
    "text",
    [
        *(b"", b".", b"1.", b".5", b"1..2", b"1.2.3", b"-1", b"+1", b"1e5", b"n/a", b"1 2", b" 1", b"1\n2", b"0x1"),
        *(b"12,34", b"1,2345", b"1234,567", b",123", b"123,", b"1,23,456", b"1.123,456", b"1,234,567,890,123,456,789"),
        b"9" * 19,
    ],
)
@pytest.mark.parametrize("place", [0, 1, 2])
def test_what_is_no_plain_numeral_is_left_to_others(text, place):
    regular = [(b"1,234", b"12.34", b"1.50")] * 3
    for number in range(3):
        odd = [list(row) for row in regular]
        odd[number][place] = text
        one = splitter()
        assert one.split(page(regular), 0, groups=True) is not None
        assert one.split(page(odd), 0, groups=True) is None
        assert split(odd) is None


def test_a_row_of_whole_numbers_has_no_decimals():
    assert split([(b"1", b"2.5", b"3.5"), (b"1.5", b"2.5", b"3.5")]) is None


def test_grouped_digits_are_left_alone_where_the_locale_is_not_known():
    assert split([(b"1,234", b"2", b"3")]) is not None
    assert split([(b"1,234", b"2", b"3")], groups=False) is None


@pytest.mark.parametrize(
    "damage", [(b'"4711"', b'"4712"'), (b'"share"', b'"Share"'), (b'"1",', b'"1""",'), (b'"2",', b"2,")]
)
def test_rows_that_are_not_alike_are_left_to_others(damage):
    body = page([(b"1", b"2.5", b"3.5")] * 4)
    at = body.index(damage[0], len(body) // 3)
    damaged = body[:at] + damage[1] + body[at + len(damage[0]) :]
    assert splitter().split(body, 0, groups=True) is not None
    assert splitter().split(damaged, 0, groups=True) is None


def test_a_launch_that_is_not_all_there_waits():
    body = page([(b"1", b"2.5", b"3.5")] * 3)
    found = splitter().split(body[: body.rindex(b'"2"')], 0, groups=True)
    assert found is not None
    assert found.orders == [0, 1]
    assert splitter().split(body[: body.index(b"\n") + 1], 0, groups=True) is None


def test_a_mismatch_behind_many_numerals_is_found_at_once():
    texts = b"123.45 678 " * 20_000
    splitter = Splitter([b"a", b"b"], [0, 0], [False, False], b'"')
    assert splitter._values(texts, 40_000, groups=True) is not None
    assert splitter._values(texts[:-1] + b"9.1 x ", 40_001, groups=True) is None
