"""Units, converted here and nowhere else: integer nanoseconds, integer bytes, ratios in 0..1, base units per second.

A quantity's name ends in its unit everywhere in ds2prof (``dur_ns``, ``size_bytes``, ``clock_hz``), so that a
conversion without a call to this module is visible as one.
"""

from __future__ import annotations

from decimal import ROUND_HALF_EVEN, Decimal, InvalidOperation

NS_PER_US = 1_000
NS_PER_MS = 1_000_000
NS_PER_S = 1_000_000_000
MS_PER_S = 1_000
HZ_PER_MHZ = 1_000_000
BYTES_PER_MIB = 1 << 20

_TIME_STEPS = (("s", NS_PER_S), ("ms", NS_PER_MS), ("us", NS_PER_US))


def ns_from_decimal(text: str, *, ns_per_unit: int) -> int:
    """Integer nanoseconds of a decimal numeral, exact: it never passes through a double.

    A double holds microseconds since the epoch to a quarter of a microsecond only.

    Raises:
        ValueError: the text is not a finite decimal numeral.
    """
    try:
        value = Decimal(text)
    except InvalidOperation:
        raise ValueError(f"not a number: {text!r}") from None
    if not value.is_finite() or value.adjusted() > 30:
        raise ValueError(f"not a time: {text!r}")
    return int((value * ns_per_unit).to_integral_value(rounding=ROUND_HALF_EVEN))


def format_ns(dur_ns: float | None) -> str:
    """A duration for reading, three to four digits with its unit: ``1.234 ms``; a dash where unknown."""
    if dur_ns is None:
        return "-"
    for unit, step in _TIME_STEPS:
        if abs(dur_ns) >= step:
            return f"{dur_ns / step:.3f} {unit}"
    return f"{dur_ns:.0f} ns"


def format_ns_short(dur_ns: float | None) -> str:
    """A duration in four digits with its unit, for columns of them: ``1.234 ms``, ``12.34 ms``, ``123.4 ms``."""
    if dur_ns is None:
        return "-"
    for unit, step in _TIME_STEPS:
        if abs(dur_ns) >= step:
            whole_digits = len(str(int(abs(dur_ns) / step)))
            return f"{dur_ns / step:.{max(4 - whole_digits, 0)}f} {unit}"
    return f"{dur_ns:.0f} ns"


def format_ns_signed(dur_ns: float | None) -> str:
    """A difference in four digits with its sign and unit: ``+1.234 ms``; a dash where unknown."""
    return f"{'+' if dur_ns is not None and dur_ns > 0 else ''}{format_ns_short(dur_ns)}"


def format_ns_between(low_ns: float | None, high_ns: float | None) -> str:
    """Two differences in one unit, three digits each: ``-0.12 to +1.23 ms``; a dash where one is unknown."""
    if low_ns is None or high_ns is None:
        return "-"
    largest = max(abs(low_ns), abs(high_ns))
    rounded = largest / 0.9995  # 999.6 ns are 1000 in three digits, so 1 us
    unit, step = next(((unit, step) for unit, step in _TIME_STEPS if rounded >= step), ("ns", 1))
    return f"{low_ns / step:+.3g} to {high_ns / step:+.3g} {unit}"


def format_ratio(ratio: float | None, *, digits: int = 2) -> str:
    """A ratio as percent text, ``12.34 %``; a dash where unknown."""
    return "-" if ratio is None else f"{100 * ratio:.{digits}f} %"


def format_flop(flop: float | None) -> str:
    """Operations, or a rate of them, in four digits and multiples of a thousand: ``12.34 T``; a dash where unknown."""
    if flop is None:
        return "-"
    for unit, step in (("P", 1e15), ("T", 1e12), ("G", 1e9), ("M", 1e6), ("k", 1e3)):
        if abs(flop) >= step:
            return f"{flop / step:.4g} {unit}"
    return f"{flop:.0f}"


def format_bytes(size_bytes: float | None) -> str:
    """A size for reading in decimal multiples, ``1.5 MB``; a dash where unknown."""
    if size_bytes is None:
        return "-"
    for unit, step in (("GB", 1e9), ("MB", 1e6), ("kB", 1e3)):
        if abs(size_bytes) >= step:
            return f"{size_bytes / step:.1f} {unit}"
    return f"{size_bytes:.0f} B"
