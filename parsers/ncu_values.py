"""What Nsight Compute prints as a value: units in its spellings, and numerals in the locale of the machine it ran on.

Units change their spelling with the tool's version (``nsecond``, ``ns``; ``cycle/nsecond``, ``Ghz``) and their scale
with the value (``Kbyte``: 1,000 bytes). They are brought to base units by a power of ten that is written behind the
numeral before it becomes a double, so that every value is the double nearest to what the file says.

A numeral is ``1,234.5``, ``1.234,5``, ``1 234,5`` or ``1'234.5``, as the locale has it; India groups ``1,23,456``. One
file has one locale. Most numerals tell which (``33.62``, ``27.595.520``); ``117.344`` alone does not. Scaled values of
raw pages and summaries are printed past the locale: six decimals behind a point, no grouping.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import lru_cache
from typing import Final

from ds2prof.errors import ReadError

_TIME_EXPONENTS: Final = {
    "second": 9,
    "msecond": 6,
    "usecond": 3,
    "nsecond": 0,
    "s": 9,
    "ms": 6,
    "us": 3,
    "\u00b5s": 3,
    "\u03bcs": 3,
    "ns": 0,
}
"""Unit of time -> power of ten to nanoseconds."""

_MULTIPLES: Final = {"K": 3, "k": 3, "M": 6, "G": 9, "T": 12, "P": 15}
_COUNTED: Final = frozenset(
    (
        *("bit", "byte", "inst", "sector", "sectors", "request", "requests", "cycle", "cycles", "warp", "warps"),
        *("thread", "threads", "block", "blocks", "register", "registers", "wavefront", "wavefronts", "tag", "tags"),
        *("access", "accesses", "transaction", "transactions", "op", "ops", "flop", "hz", "Hz"),
    )
)
"""What a multiple can stand before: "Mbyte" is byte, "Mfoo" is not known."""

_WHOLE: Final = frozenset(
    (
        *("ns", "byte", "inst", "sector", "sectors", "request", "cycle", "warp", "thread", "block"),
        *("register/thread", "byte/block"),
    )
)
_WHOLE_ROLLUPS: Final = (".sum", ".max", ".min")

_POINT: Final = re.compile(rb"[-+]?(?:\d+|[1-9]\d{0,2}(?:,\d{2,3})*,\d{3})(?:\.\d+)?(?:[eE][-+]?\d+)?")
_COMMA: Final = re.compile(rb"[-+]?(?:\d+|[1-9]\d{0,2}(?:\.\d{2,3})*\.\d{3})(?:,\d+)?(?:[eE][-+]?\d+)?")
_PAST_LOCALE: Final = re.compile(rb"-?\d+\.\d{6}")
_SPACED: Final = re.compile(rb"([-+]?[1-9]\d{0,2}(?: \d{3})+)(?:([.,])(\d+))?")
_GROUPERS: Final = (b"\xc2\xa0", b"\xe2\x80\xaf", b"\xe2\x80\x89", b"\xe2\x80\x99", b"\xa0", b"'")
"""No-break, narrow no-break and thin space, both apostrophes; they group digits as a space does."""

_NOTHING: Final = frozenset(
    (b"", b"n/a", b"na", b"nan", b"inf", b"infinity", b"no data", b"none", b"null", b"-", b"--", b"<error>")
)

NAN: Final = float("nan")
_MAX_POWER_DIGITS: Final = 6


@dataclass(frozen=True)
class Unit:
    """A base unit, and how far the printed one is from it.

    Attributes:
        name: the base unit: ``ns``, ``ratio``, ``byte``, ``cycle/s``...
        exponent: the power of ten that takes the printed number to the base unit.
        whole: the quantity comes in whole numbers of this unit, as the tool counts it.
    """

    name: str
    exponent: int = 0
    whole: bool = False

    @property
    def suffix(self) -> bytes:
        """What to write behind a numeral to bring it to the base unit."""
        return b"e%d" % self.exponent if self.exponent else b""


@lru_cache(maxsize=4096)
def unit_of(text: str) -> Unit:
    """The base unit of a unit as printed; a spelling that is not known is its own base unit."""
    if text == "%":
        return Unit("ratio", -2)
    if text in _TIME_EXPONENTS:
        return Unit("ns", _TIME_EXPONENTS[text], whole=True)
    counted, slash, per = text.partition("/")
    name, exponent = ("ns", _TIME_EXPONENTS[counted]) if counted in _TIME_EXPONENTS else _counted(counted)
    if slash and per in _TIME_EXPONENTS:
        return Unit(f"{name}/s", exponent + 9 - _TIME_EXPONENTS[per])
    if name in ("hz", "Hz"):
        return Unit("cycle/s", exponent)
    name = name + slash + per
    return Unit(name, exponent, whole=name in _WHOLE)


def _counted(text: str) -> tuple[str, int]:
    if text[1:] in _COUNTED and text[0] in _MULTIPLES:
        return text[1:], _MULTIPLES[text[0]]
    return text, 0


def is_whole(metric: str, unit: Unit) -> bool:
    """Whether values of the metric can have no decimals: sums and extremes of what is counted, printed unscaled."""
    return unit.whole and unit.exponent == 0 and metric.endswith(_WHOLE_ROLLUPS)


@dataclass(frozen=True)
class Witness:
    """A numeral that tells the locale, and where it stands; not ``certain`` if only its being a whole number tells."""

    text: str
    line: int
    certain: bool = True


class CommaDecimalsError(Exception):
    """The file writes decimals behind a comma: it must be read again with that known. Caught by the reader."""

    def __init__(self, witness: Witness) -> None:
        super().__init__(witness.text)
        self.witness = witness


class Numbers:
    """Reads a file's numerals in its locale, which it learns from them.

    It begins with a decimal point. Where the file turns out to have decimal commas, :class:`CommaDecimalsError` is
    raised, and the file is to be read again with ``comma`` given.

    Attributes:
        plain: the point is certain, so that ``float`` reads any numeral without a comma.
    """

    def __init__(self, name: str, *, comma: Witness | None = None) -> None:
        self.plain = False
        self._name = name
        self._comma = comma
        self._point: Witness | None = None
        self._doubtful: dict[tuple[bytes, bool], Witness] = {}

    def read(self, text: bytes, suffix: bytes, *, line: int, whole: bool = False) -> float | None:
        """The value in base units; NaN for every way to say that there is none; None where the text is no number.

        Args:
            text: the cell.
            suffix: of its unit, see :attr:`Unit.suffix`.
            line: where it stands, for messages.
            whole: the quantity can have no decimals.
        """
        if text.isdigit() or (self.plain and text.replace(b".", b"", 1).isdigit()):
            return float(text + suffix)
        numeral = self._numeral(text.strip(), line, whole)
        if numeral is not None:
            value = _in_base_units(numeral, suffix)
            return value if -1e308 < value < 1e308 else NAN
        total, parenthesis, _ = text.partition(b" (")
        if parenthesis and text.endswith(b")"):  # the values of all instances follow
            return self.read(total, suffix, line=line, whole=whole)
        stripped = text.strip().lstrip(b"+-").lower()
        return NAN if stripped in _NOTHING or stripped.startswith((b"(!)", b"(")) else None

    def _numeral(self, text: bytes, line: int, whole: bool) -> bytes | None:
        """The text as ``float`` reads it, None if it is no number."""
        if _PAST_LOCALE.fullmatch(text):
            return text
        for grouper in _GROUPERS:
            if grouper in text:
                text = text.replace(grouper, b" ")
        if b" " in text:
            return self._spaced(text, line)
        point, comma = _POINT.fullmatch(text), _COMMA.fullmatch(text)
        if point and comma:
            if not text.isdigit() and (b"," in text or b"." in text):
                self._doubtful.setdefault((b"," if b"," in text else b".", whole), Witness(_shown(text), line))
        elif point:
            self._saw_point(text, line)
        elif comma:
            self._saw_comma(text, line)
        else:
            return None
        if self._comma is not None:
            return text.replace(b".", b"").replace(b",", b".")
        return text.replace(b",", b"")

    def _spaced(self, text: bytes, line: int) -> bytes | None:
        match = _SPACED.fullmatch(text)
        if match is None:
            return None
        groups, separator, fraction = match.groups()
        if separator == b".":
            self._saw_point(text, line)
        elif separator == b",":
            self._saw_comma(text, line)
        return groups.replace(b" ", b"") + (b"." + fraction if fraction else b"")

    def _saw_point(self, text: bytes, line: int) -> None:
        if self._comma is not None:
            raise self._contradiction(self._comma, Witness(_shown(text), line))
        if self._point is None:
            self._point = Witness(_shown(text), line)
            self.plain = True

    def _saw_comma(self, text: bytes, line: int) -> None:
        if self._comma is not None:
            return
        witness = Witness(_shown(text), line)
        if self._point is not None:
            raise self._contradiction(witness, self._point)
        raise CommaDecimalsError(witness)

    def _contradiction(self, comma: Witness, point: Witness) -> ReadError:
        return ReadError(
            f'{self._name}:{comma.line}: "{comma.text}" is of a locale with decimal commas, "{point.text}" in line '
            f"{point.line} of one with decimal points; two files in one? Split it, or export again with LC_ALL=C"
        )

    def decimals(self, text: bytes) -> int:
        """How many digits stand behind the decimal separator; 0 where there is none."""
        point = self._comma is None or _PAST_LOCALE.fullmatch(text) is not None
        cut = text.rfind(b"." if point else b",")
        return len(text) - cut - 1 if cut >= 0 else 0

    def settle(self) -> str | None:
        """A warning where nothing in the file told its locale, but something depends on it.

        Raises:
            CommaDecimalsError: all that speaks is whole numbers with a point in them.
            ReadError: whole numbers have points here and commas there.
        """
        if self._comma is not None:
            return None if self._comma.certain else self._doubt(self._comma, "thousands")
        if self._point is not None or not self._doubtful:
            return None
        points, commas = self._doubtful.get((b".", True)), self._doubtful.get((b",", True))
        if points is not None and commas is not None:
            raise ReadError(
                f'{self._name}:{points.line}: "{points.text}" is a whole number with a point, "{commas.text}" in line '
                f"{commas.line} one with a comma; two files in one? Split it, or export again with LC_ALL=C"
            )
        if points is not None:
            raise CommaDecimalsError(Witness(points.text, points.line, certain=False))
        return self._doubt(self._doubtful.get((b".", False)), "a decimal point") or self._doubt(
            self._doubtful.get((b",", False)), "thousands"
        )

    def _doubt(self, witness: Witness | None, reading: str) -> str | None:
        if witness is None:
            return None
        return (
            f'{self._name}:{witness.line}: "{witness.text}" is read as {reading}, but nothing in this file tells its '
            "locale; export with LC_ALL=C to be sure"
        )


def _in_base_units(numeral: bytes, suffix: bytes) -> float:
    """The double nearest to the numeral times the suffix's power of ten; the numeral may have a power of its own."""
    mantissa, found, power = numeral.lower().partition(b"e")
    if not found:
        return float(numeral + suffix)
    if len(power) > _MAX_POWER_DIGITS:
        return float(numeral)  # infinite or zero, whatever the unit
    return float(b"%be%d" % (mantissa, int(power) + int(suffix[1:] or 0)))


def _shown(text: bytes) -> str:
    return text[:40].decode("utf-8", "replace")
