"""One damaged JSON object, read tolerantly.

Traces hold what JSON forbids: control characters and stray backslashes in names, bytes that are no UTF-8, NaN and
infinity in several spellings. For single elements only: the tolerance costs tens of times what strict decoding costs.
"""

from __future__ import annotations

import json
import re
from decimal import Decimal, InvalidOperation
from typing import Any, Final

_MAX_EXPONENT: Final = 40
_TEXT_OR_WORD: Final = re.compile(
    r'"(?P<text>[^"\\]*(?:\\.[^"\\]*)*)"|-?\b(?:nan|inf|infinity)\b(?:\(\w*\))?', re.DOTALL | re.IGNORECASE
)
_STRAY_BACKSLASH: Final = re.compile(r'\\(?:(["\\/bfnrt]|u[0-9a-fA-F]{4})|(.?))', re.DOTALL)


class Numeral(str):
    """A JSON number as it is written: a time must not pass through a double."""

    __slots__ = ()


def tolerant_object(element: bytes) -> dict[str, Any] | None:
    """The object in ``element``, its numbers as :class:`Numeral`; None where nothing can be made of it."""
    text = element.decode("utf-8", "replace")
    for attempt in (text, _TEXT_OR_WORD.sub(_repaired, text)):
        try:
            found = json.loads(attempt, strict=False, parse_float=Numeral, parse_int=Numeral)
        except RecursionError:
            return None
        except ValueError:
            continue
        return found if isinstance(found, dict) else None
    return None


def _repaired(match: re.Match[str]) -> str:
    text = match["text"]
    if text is None:
        return "null"
    return '"' + _STRAY_BACKSLASH.sub(lambda found: found[0] if found[1] else "\\\\" + found[2], text) + '"'


def as_text(value: object) -> str:
    """A text that can be written again: a half of a surrogate pair becomes a question mark."""
    return str(value).encode("utf-8", "replace").decode("utf-8") if isinstance(value, str) else ""


def as_int(value: object) -> int | None:
    """The integer that a numeral is (``7``, ``7.0``), else None."""
    if not isinstance(value, Numeral):
        return None
    try:
        number = Decimal(value)
        whole = number.adjusted() <= _MAX_EXPONENT and number == number.to_integral_value()
    except InvalidOperation:
        return None
    return int(number) if whole else None


def as_float(value: object) -> float | None:
    """The number that a numeral is, else None."""
    return float(value) if isinstance(value, Numeral) else None


def as_triple(value: object) -> tuple[int, int, int] | None:
    """The three integers in a list, else None."""
    numbers = [as_int(item) for item in value] if isinstance(value, list) and len(value) == 3 else [None]
    return None if None in numbers else tuple(numbers)  # type: ignore[return-value]


def as_plain(value: object) -> Any:
    """The value with its numerals as numbers, all the way down."""
    if isinstance(value, Numeral):
        whole = as_int(value)
        return as_float(value) if whole is None else whole
    if isinstance(value, list):
        return [as_plain(item) for item in value]
    if isinstance(value, dict):
        return {as_text(key): as_plain(item) for key, item in value.items()}
    return as_text(value) if isinstance(value, str) else value


def as_json(value: object) -> bytes:
    """The value as JSON again, its numbers as they were written."""
    return _json(value).encode("utf-8", "replace")


def _json(value: object) -> str:
    if isinstance(value, Numeral):
        return str(value)
    if isinstance(value, list):
        return "[" + ",".join(_json(item) for item in value) + "]"
    if isinstance(value, dict):
        return "{" + ",".join(f"{_json(key)}:{_json(item)}" for key, item in value.items()) + "}"
    if isinstance(value, float):  # NaN or an infinity: every other number is a numeral
        return "null"
    return json.dumps(as_text(value) if isinstance(value, str) else value, ensure_ascii=False)
