"""A comparison in one paragraph of plain words."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from ds2prof import units
from ds2prof.analysis.compare.breakdown import HOST_REST, REST
from ds2prof.analysis.compare.changes import Table
from ds2prof.analysis.compare.decisions import Noise
from ds2prof.analysis.compare.fields import FIELDS
from ds2prof.analysis.compare.figures import Number
from ds2prof.analysis.compare.gates import Outcome
from ds2prof.analysis.findings import WORDS

_LEAD: Final = (
    *("step_ns", "device_step_ns", "samples_per_s", "peak_bytes", "kernel_dur_ns", "gpu_compute_utilization"),
)
_NAMED: Final = 3
_LEAST_SHARE: Final = 0.1
_NAME_WIDTH: Final = 60


def verdict(
    numbers: Sequence[Number], tables: Sequence[Table], outcomes: Sequence[Outcome], *, counts: tuple[int, int]
) -> str:
    """The paragraph: what became of the step, how sure that is, what it is made of, and what became of the gates."""
    leading = [number for name in _LEAD for number in numbers if number.field == name]
    lead = next(iter([*leading, *numbers]), None)
    if lead is None:
        return " ".join(["The two sides have no number in common.", *_gates(outcomes)])
    sentences = [_changed(lead), _sure(lead, counts)]
    if FIELDS[lead.field].quantity == "time":
        of_work = [table for table in tables if table.answer.by != "ledger"]
        ledger = [table for table in tables if table.answer.by == "ledger"]
        sentences += [_made_of(table) for table in (*of_work, *ledger)]
    share = next((number for number in numbers if number.field == "gpu_compute_utilization"), None)
    if share is not None and share is not lead:
        sentences.append(
            f"{_changed(share)}{'' if share.beyond_noise is not False else ', which is within the noise'}."
        )
    return " ".join(sentence.replace("..", ".") for sentence in (*sentences, *_gates(outcomes)) if sentence)


def _changed(number: Number) -> str:
    field = FIELDS[number.field]
    words = field.words[:1].upper() + field.words[1:]
    values = f"{shown(number.field, number.base)} to {shown(number.field, number.new)}"
    if number.new == number.base:
        return f"{words} is the same on both sides, {shown(number.field, number.new)}"
    verb = "rose" if number.new > number.base else "fell"
    if field.quantity == "ratio":
        return f"{words} {verb} by {100 * abs(number.new - number.base):.2f} pt, from {values}"
    by = "" if number.change is None else f" by {units.format_ratio(abs(number.change))}"
    return f"{words} {verb}{by}, from {values}"


def _sure(number: Number, counts: tuple[int, int]) -> str:
    bounds = between(number)
    if number.noise == "none":
        return "(how sure that is cannot be known: one run a side, with too few iterations to tell their noise)."
    told = {
        "runs": f"with 95 % the change lies {bounds}, by the spread of {counts[0]} and {counts[1]} runs",
        "runs of one side": (
            f"with 95 % the change lies {bounds}, if the side of one run spreads like the {max(counts)} of the other"
        ),
        "iterations": f"with 95 % the change lies {bounds}, by the noise of its iterations alone",
    }[number.noise]
    judged = "beyond the noise" if number.beyond_noise else "within the noise"
    more = "" if number.noise != "iterations" else " One run a side does not tell how runs vary: give several of each."
    return f"({told}): that is {judged}.{more}"


def between(number: Number) -> str:
    """The bounds of a change, in words."""
    if number.low is None or number.high is None:
        return "between unknown bounds"
    if FIELDS[number.field].quantity == "ratio":
        return f"between {100 * number.low:+.2f} and {100 * number.high:+.2f} pt"
    return f"between {100 * number.low:+.2f} and {100 * number.high:+.2f} %"


def _made_of(table: Table) -> str:
    """The largest rows whose changes are no noise, or at least make up a tenth of the whole."""
    rows = [
        row
        for row in table.answer.rows()
        if row[table.answer.by] not in (REST, HOST_REST)
        and row["change_ns"]
        and row["beyond_noise"] is not False
        and abs(row["share"] or 0) >= _LEAST_SHARE
    ]
    if not rows:
        return ""
    by = table.answer.by
    parts = [_part(row, by) for row in rows[:_NAMED]]
    unit = {"step": "a step", "window": "in the window", "capture": "in the capture"}[table.unit]
    what = {"ledger": "By the ledger", "name": "By kernel", "kernel": "By kernel"}.get(by, f"By {by}")
    if rows[0]["beyond_noise"] is None:
        what += ", noise unknown"
    return f"{what}, {unit}: {'; '.join(parts)}."


def _part(row: dict[str, object], by: str) -> str:
    label = row[by]
    name = f"outside any {by}" if label is None else str(label)
    name = WORDS.get(name, name) if by == "ledger" else name
    name = name if len(name) <= _NAME_WIDTH else f"{name[: _NAME_WIDTH * 2 // 3]}…{name[-_NAME_WIDTH // 3 :]}"
    change = row["change_ns"]
    assert isinstance(change, float)
    renamed = row.get("pairing")
    more = {"renamed": ", renamed", "new only": ", new", "base only": ", gone"}.get(str(renamed), "")
    return f"{name} {units.format_ns_signed(change)}{more}"


def _gates(outcomes: Sequence[Outcome]) -> list[str]:
    """What became of the gates."""
    if not outcomes:
        return []
    counts = {status: [one for one in outcomes if one.status == status] for status in ("broken", "unknown", "held")}
    parts = []
    for status, words in (("broken", "broken"), ("unknown", "cannot be known"), ("held", "not broken")):
        if counts[status]:
            parts.append(f"{', '.join(one.gate.text for one in counts[status])}: {words}")
    return [f"Gates: {'; '.join(parts)}."]


def shown(field: str, value: float | None) -> str:
    """A number in the unit that suits its field; a dash where unknown."""
    if value is None:
        return "-"
    quantity = FIELDS[field].quantity
    if quantity == "time":
        return units.format_ns_short(value)
    if quantity == "ratio":
        return units.format_ratio(value)
    if quantity == "bytes":
        return units.format_bytes(value)
    if "flop" in field:
        return f"{units.format_flop(value)}FLOP/s"
    return f"{value:,.0f}" if quantity == "count" else f"{value:,.4g}/s"


NOISE_WORDS: Final[dict[Noise, str]] = {
    "runs": "the spread between runs",
    "runs of one side": "the spread between the runs of one side",
    "iterations": "the noise of one run's iterations",
    "none": "not known",
}
