"""How objects show themselves in a notebook and at Python's prompt: small tables, nothing of a file left unescaped."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from html import escape
from typing import Any, Final

from ds2prof import units
from ds2prof.analysis import questions
from ds2prof.analysis.answers import Answer
from ds2prof.report.text import cleaned, shortened, table

SHOWN_ROWS: Final = 20
_TEXT_COLUMNS: Final = 110
_NAME_COLUMNS: Final = 80
_RATIOS: Final = ("mfu", "hfu", "coverage", "share")
_FOR_TERMINALS: Final = re.compile(r"\(widen\s+the\s+terminal,\s+or\s+--format\s+csv\)")
_LEFT: Final = "text-align:left"
_RIGHT: Final = "text-align:right"


def answer_text(answer: Answer) -> str:
    """The first rows as a text table, and how many more there are."""
    shown = table(answer.head(SHOWN_ROWS), width=_TEXT_COLUMNS, ratios=questions.pipes(answer))
    lines = [_FOR_TERMINALS.sub("(to_pandas() has all columns)", shown)]
    if len(answer) > SHOWN_ROWS:
        lines.append(f"... {len(answer) - SHOWN_ROWS:,} more rows")
    return "\n".join(lines)


def answer_html(answer: Answer) -> str:
    """The first rows as an HTML table, how many more there are, and the notes; in the words of the HTML report."""
    from ds2prof.report.html.cells import head, text_of

    first = answer.head(SHOWN_ROWS)
    shown = [name for name in first.columns if name == answer.by or any(one is not None for one in first.columns[name])]

    def bound_of(name: str) -> tuple[str, str]:
        end = next((end for end in ("_low", "_high") if name.endswith(end)), "")
        return name.removesuffix(end), end.replace("_", " ")

    def shown_as(name: str, value: Any) -> str:
        text = text_of(bound_of(name)[0], value)
        return f"{value:.4g}" if isinstance(value, float) and text == str(value) else text

    columns = [
        (head(bound_of(name)[0]).label + bound_of(name)[1], [shown_as(name, value) for value in first.columns[name]])
        for name in shown
    ]
    foot = [f"{len(answer) - SHOWN_ROWS:,} more rows"] if len(answer) > SHOWN_ROWS else []
    return html_table(columns, below=[*foot, *answer.notes])


def html_table(columns: Sequence[tuple[str, Sequence[str]]], *, title: str = "", below: Sequence[str] = ()) -> str:
    """Columns (heading, texts) as an HTML table: numbers to the right, names to the left and cut, lines beneath it."""
    lefts = [not any(_is_number(text) for text in texts) for _, texts in columns]
    heads = "".join(
        f'<th scope="col" style="{_side(left)}">{_safe(name)}</th>'
        for (name, _), left in zip(columns, lefts, strict=True)
    )
    rows = "".join(
        "<tr>"
        + "".join(f'<td style="{_side(left)}">{_safe(text)}</td>' for text, left in zip(row, lefts, strict=True))
        + "</tr>"
        for row in zip(*(texts for _, texts in columns), strict=True)
    )
    caption = f"<caption>{_safe(title)}</caption>" if title else ""
    lines = "".join(f"<li>{_safe(line, 400)}</li>" for line in below)
    notes = f"<ul>{lines}</ul>" if lines else ""
    return f"<div><table>{caption}<thead><tr>{heads}</tr></thead><tbody>{rows}</tbody></table>{notes}</div>"


def _side(left: bool) -> str:
    return _LEFT if left else _RIGHT


def _is_number(text: str) -> bool:
    return text[:1].isdigit() or (text[:1] in ("+", "-") and text[1:2].isdigit())


def _safe(text: str, columns: int = _NAME_COLUMNS) -> str:
    """A text of a file as HTML: control characters replaced, cut in its middle, escaped."""
    return escape(shortened(cleaned(text), columns))


def pairs_html(pairs: Mapping[str, str], *, title: str = "", below: Sequence[str] = ()) -> str:
    """Names and values as an HTML table of two columns without a head."""
    rows = "".join(
        f'<tr><th scope="row" style="{_LEFT}">{_safe(name)}</th><td style="{_LEFT}">{_safe(text, 200)}</td></tr>'
        for name, text in pairs.items()
    )
    caption = f"<caption>{_safe(title)}</caption>" if title else ""
    lines = "".join(f"<li>{_safe(line, 400)}</li>" for line in below)
    return f"<div><table>{caption}<tbody>{rows}</tbody></table>{f'<ul>{lines}</ul>' if lines else ''}</div>"


def pairs_text(pairs: Mapping[str, str]) -> str:
    """Names and values, a line each."""
    width = max(map(len, pairs), default=0)
    return "\n".join(f"{name:<{width}}  {cleaned(text)}" for name, text in pairs.items())


def totals_pairs(totals: Mapping[str, Any]) -> dict[str, str]:
    """The totals that are known and are single values, as they are read."""
    return {
        name: value_text(name, value)
        for name, value in totals.items()
        if value is not None and not isinstance(value, (Mapping, list, tuple))
    }


def value_text(name: str, value: Any) -> str:
    """One value of the totals with its unit, which the end of its name tells."""
    if isinstance(value, (str, bool)):
        return str(value)
    if name.endswith("_ns"):
        return units.format_ns(value)
    if name.endswith("_bytes"):
        return units.format_bytes(value)
    if "utilization" in name or name in _RATIOS:
        return units.format_ratio(value)
    if "flop" in name:
        return units.format_flop(value)
    return f"{value:,}" if isinstance(value, int) else f"{value:.4g}"
