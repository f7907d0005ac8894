"""Units in Nsight Compute's spellings, numerals in the locales it prints them in."""

import math
from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ds2prof.errors import ReadError
from ds2prof.parsers.ncu_values import CommaDecimalsError, Numbers, Unit, Witness, is_whole, unit_of
from tests.ncu_support import nearest


@pytest.mark.parametrize(
    ("text", "name", "exponent"),
    [
        ("%", "ratio", -2),
        ("nsecond", "ns", 0),
        ("ns", "ns", 0),
        ("usecond", "ns", 3),
        ("us", "ns", 3),
        ("msecond", "ns", 6),
        ("second", "ns", 9),
        ("s", "ns", 9),
        ("byte", "byte", 0),
        ("Kbyte", "byte", 3),
        ("Mbyte", "byte", 6),
        ("Gbyte", "byte", 9),
        ("Tbyte", "byte", 12),
        ("Kbyte/block", "byte/block", 3),
        ("Kbyte/cycle", "byte/cycle", 3),
        ("Gbyte/second", "byte/s", 9),
        ("Gbyte/s", "byte/s", 9),
        ("sector/nsecond", "sector/s", 9),
        ("sector/msecond", "sector/s", 3),
        ("cycle/second", "cycle/s", 0),
        ("cycle/nsecond", "cycle/s", 9),
        ("cycle/usecond", "cycle/s", 6),
        ("hz", "cycle/s", 0),
        ("Mhz", "cycle/s", 6),
        ("Ghz", "cycle/s", 9),
        ("register/thread", "register/thread", 0),
        ("inst/cycle", "inst/cycle", 0),
        ("Minst", "inst", 6),
        ("", "", 0),
        ("Mfrob", "Mfrob", 0),
        ("warp", "warp", 0),
    ],
)
def test_a_unit_has_a_base_and_a_power_of_ten(text, name, exponent):
    unit = unit_of(text)
    assert (unit.name, unit.exponent) == (name, exponent)


def test_sums_of_what_is_counted_are_whole_numbers():
    assert is_whole("dram__bytes.sum", unit_of("byte"))
    assert not is_whole("dram__bytes.sum", unit_of("Mbyte"))
    assert not is_whole("sm__warps_active.avg", unit_of("warp"))
    assert not is_whole("a.sum", unit_of("%"))


def value(text, *, numbers=None, unit="", whole=False, line=1):
    numbers = Numbers("f.csv") if numbers is None else numbers
    return numbers.read(text.encode(), unit_of(unit).suffix, line=line, whole=whole)


def comma_numbers():
    return Numbers("f.csv", comma=Witness("65,77", 9))


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("0", 0.0),
        ("184669493", 184669493.0),
        ("33.62", 33.62),
        ("-3", -3.0),
        ("1.7e3", 1700.0),
        ("1,234.5", 1234.5),
        ("32,746,880", 32746880.0),
        ("1,59,44,43,566", 1594443566.0),
        ("1 594 443 566", 1594443566.0),
        ("1'594'443.56", 1594443.56),
        ("1\u202f594\u00a0443", 1594443.0),
        ("1\u2019594", 1594.0),
        ("2116 (32; 32; 40)", 2116.0),
    ],
)
def test_numerals_with_a_decimal_point(text, expected):
    assert value(text) == expected


def test_a_no_break_space_of_a_windows_code_page_groups_digits():
    assert Numbers("f.csv").read(b"1\xa0594", b"", line=1) == 1594.0


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("65,77", 65.77),
        ("27.595.520", 27595520.0),
        ("117.344", 117344.0),
        ("1.591.751.436,56", 1591751436.56),
        ("1 591 436,56", 1591436.56),
        ("0,034376", 0.034376),
        ("12", 12.0),
    ],
)
def test_numerals_with_a_decimal_comma_once_that_is_known(text, expected):
    assert value(text, numbers=comma_numbers()) == expected


@pytest.mark.parametrize(
    "text", ["", "n/a", "nan", "-nan", "inf", "-inf", "(!) n/a", "(!) 12", "no data", "N/A", "(64; 32)", "1e999"]
)
def test_every_way_to_say_none_is_nan(text):
    assert math.isnan(value(text))


@pytest.mark.parametrize("text", ["cudaFuncCachePreferNone", "12a4", "1,2,3", "1.2.3", ",5", "5,", "1,0234,567", "٣"])
def test_what_is_no_number_is_none(text):
    assert value(text) is None


@pytest.mark.parametrize("text", ["65,77", "27.595.520", "0,5", "1.234,5", "1234,567", "1 591,560"])
def test_a_decimal_comma_is_found_by_what_can_be_nothing_else(text):
    with pytest.raises(CommaDecimalsError) as caught:
        value(text, line=17)
    assert caught.value.witness == Witness(text, 17)


def test_six_decimals_behind_a_point_are_printed_past_the_locale():
    assert value("12.564388", numbers=comma_numbers()) == 12.564388
    numbers = Numbers("f.csv")
    assert value("12.564388", numbers=numbers) == 12.564388
    with pytest.raises(CommaDecimalsError):
        value("18,62", numbers=numbers)


def test_decimals_are_counted_in_the_files_locale():
    assert Numbers("f.csv").decimals(b"1,234.50") == 2
    assert Numbers("f.csv").decimals(b"1,234") == 0
    assert comma_numbers().decimals(b"27.595.520") == 0
    assert comma_numbers().decimals(b"65,770") == 3
    assert comma_numbers().decimals(b"12.564388") == 6


def test_contradictory_numerals_are_an_error_that_names_both_lines():
    numbers = Numbers("f.csv")
    value("33.62", numbers=numbers, line=4)
    with pytest.raises(ReadError, match=r'f\.csv:9: "65,77" .*"33\.62" in line 4'):
        value("65,77", numbers=numbers, line=9)


def test_a_point_where_commas_were_found_is_an_error_that_names_both_lines():
    with pytest.raises(ReadError, match=r'f\.csv:9: "65,77" .*"33\.62" in line 12'):
        value("33.62", numbers=comma_numbers(), line=12)


def test_a_whole_number_with_a_point_is_thousands_where_nothing_else_speaks():
    numbers = Numbers("f.csv")
    value("117.344", numbers=numbers, whole=True, line=3)
    with pytest.raises(CommaDecimalsError) as caught:
        numbers.settle()
    again = Numbers("f.csv", comma=caught.value.witness)
    assert value("117.344", numbers=again, whole=True) == 117344.0
    assert '"117.344" is read as thousands' in again.settle()


def test_a_point_before_three_digits_is_a_decimal_point_otherwise_with_a_warning():
    numbers = Numbers("f.csv")
    assert value("117.344", numbers=numbers, line=3) == 117.344
    assert numbers.settle().startswith('f.csv:3: "117.344" is read as a decimal point')


def test_a_grouped_whole_number_needs_no_warning():
    numbers = Numbers("f.csv")
    assert value("123,456", numbers=numbers, whole=True) == 123456.0
    assert numbers.settle() is None


def test_whole_numbers_with_points_here_and_commas_there_are_an_error():
    numbers = Numbers("f.csv")
    value("117.344", numbers=numbers, whole=True, line=3)
    value("10,776", numbers=numbers, whole=True, line=5)
    with pytest.raises(ReadError, match=r'f\.csv:3: "117\.344".*"10,776" in line 5'):
        numbers.settle()


def test_a_certain_locale_settles_all_doubts():
    numbers = Numbers("f.csv")
    value("117.344", numbers=numbers, whole=True)
    value("33.62", numbers=numbers)
    assert numbers.settle() is None
    assert comma_numbers().settle() is None


@given(st.integers(0, 10**17), st.integers(0, 6), st.sampled_from(["", "%", "us", "Gbyte", "cycle/nsecond"]))
def test_a_value_is_the_double_nearest_to_what_is_printed(digits, places, unit):
    text = _fixed(digits, places) if places else str(digits)
    exact = Fraction(digits, 10**places) * Fraction(10) ** unit_of(unit).exponent
    numbers = Numbers("f.csv")
    value("0.5", numbers=numbers)
    assert value(text, numbers=numbers, unit=unit) == nearest(exact)


def _fixed(digits, places):
    whole, fraction = divmod(digits, 10**places)
    return f"{whole}.{fraction:0{places}d}"


@given(st.integers(0, 10**15), st.sampled_from([",", ".", " ", "'", "\u00a0", "\u202f"]), st.integers(0, 99))
def test_grouping_in_any_locale_leaves_the_value(number, group, hundredths):
    decimal = "." if group in ",'" else ","
    text = f"{number:,}".replace(",", group) + decimal + f"{hundredths:02d}"
    numbers = Numbers("f.csv") if decimal == "." else comma_numbers()
    assert value(text, numbers=numbers) == nearest(Fraction(100 * number + hundredths, 100))


@given(st.text(max_size=30))
def test_any_text_is_a_number_nothing_or_none(text):
    try:
        found = value(text)
    except CommaDecimalsError:
        return
    assert found is None or isinstance(found, float)


def test_a_unit_suffix_is_what_brings_a_numeral_to_base_units():
    assert Unit("ratio", -2).suffix == b"e-2"
    assert Unit("ns").suffix == b""


def test_a_numeral_with_a_power_of_its_own_is_brought_to_base_units_too():
    numbers = Numbers("x.csv")
    assert numbers.read(b"18.5e+3", b"e-2", line=1) == 185.0
    assert math.isnan(numbers.read(b"18.89e+997131", b"e-2", line=1))
    assert math.isnan(numbers.read(b"1.5e+99999999999", b"e9", line=1))
