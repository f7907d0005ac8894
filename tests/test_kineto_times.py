"""Decimal microseconds to integer nanoseconds, exactly."""

from __future__ import annotations

from decimal import ROUND_HALF_EVEN, Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ds2prof.parsers.kineto_times import ns_from_us

MANY = 80
"""More than are read one by one."""


def exact(text: str) -> int:
    return int((Decimal(text) * 1000).to_integral_value(rounding=ROUND_HALF_EVEN))


def read(texts):
    values, valid = ns_from_us([text.encode() for text in texts])
    return values.tolist(), valid.tolist()


def test_epoch_microseconds_keep_every_nanosecond():
    texts = [f"1712195495519{index:03d}.{index:03d}" for index in range(MANY)]
    assert read(texts) == ([exact(text) for text in texts], [True] * MANY)


def test_a_double_would_not_have_kept_them():
    text = "1712195495519689.047"
    assert round(float(text) * 1000) != exact(text)


@pytest.mark.parametrize("count", [1, MANY])
def test_more_than_three_decimals_are_rounded_half_to_even(count):
    assert read(["0.0005", "0.0015", "1.0625", "2.00049999"] * count)[0] == [0, 2, 1062, 2000] * count


@pytest.mark.parametrize("count", [1, MANY])
def test_signs_exponents_and_quotes_are_read(count):
    texts = ["-3.25", "1e3", "2.5E-1", '"12.5"', "-0"]
    assert read(texts * count) == ([-3250, 1_000_000, 250, 12_500, 0] * count, [True] * 5 * count)


@pytest.mark.parametrize("count", [1, MANY])
@pytest.mark.parametrize("text", ["", "nan", "null", "true", '"x"', "1e400", "1e99", "9223372036854775.808"])
def test_what_is_no_time_is_marked_and_reads_zero(text, count):
    assert read([text, "1"] * count) == ([0, 1000] * count, [False, True] * count)


@pytest.mark.parametrize("text", ["[1,2]", '{"a":1,"b":2}'])
def test_a_list_in_place_of_a_number_spoils_only_itself(text):
    assert read(["7", text] * MANY) == ([7000, 0] * MANY, [True, False] * MANY)


def test_no_numerals_give_no_times():
    assert read([]) == ([], [])


numerals = st.one_of(
    st.integers(0, 10**16).map(str),
    st.integers(-(10**12), 10**12).map(str),
    st.decimals(0, 10**13, places=3).map(lambda number: format(number, "f")),
    st.decimals(0, 10**6, places=5).map(lambda number: format(number, "f")),
    st.tuples(st.integers(0, 10**15), st.integers(1, 3)).map(lambda pair: f"{pair[0]}.{'0' * pair[1]}"),
)


@given(st.lists(numerals, max_size=200))
def test_any_numeral_is_read_as_decimal_arithmetic_reads_it(texts):
    fits = [abs(exact(text)) < 1 << 63 for text in texts]
    assert read(texts) == ([exact(text) if fit else 0 for text, fit in zip(texts, fits, strict=True)], fits)


@given(st.lists(st.integers(0, 9_200_000_000_000_000_000), min_size=MANY, max_size=MANY), st.integers(0, 3))
def test_numerals_of_one_form_are_read_exactly(numbers, decimals):
    texts = [f"{number // 1000:016d}.{number % 1000:03d}"[: 17 + decimals if decimals else 16] for number in numbers]
    assert read(texts)[0] == [exact(text) for text in texts]
