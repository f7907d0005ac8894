"""What a memory capture writes: who held how many bytes, at the moments of each iteration and where it stood highest.

Grammar::

    file   := heading row*
    heading:= "iteration,moment,phase,device,layer,category,size_bytes,operator"
    row    := n "," moment "," phase? "," device "," layer? "," category "," bytes "," operator?

A *moment* is ``before_forward``, ``after_forward``, ``before_backward``, ``after_backward``, ``before_step`` or
``after_step`` of the optimizer; of several of one name in an iteration, the one with the most bytes, except that
``before_backward`` is the one with the most activations. ``peak`` is the iteration's highest point, and the last of its
rows. For each moment and device the rows are parts, one for a layer and category, and behind them one of category
``allocated``, which is their sum. In the peak's ``allocated`` row, phase, layer and operator say where the program was.
The *layer* is the path of the module, ``model`` for what belongs to none.

Categories that are parts, each storage in one of them and once, however many tensors show it:

==================== ==============================================================================================
weights              parameters; of the module that has them
buffers              buffers of modules
gradients            ``.grad`` of parameters
optimizer_state      what optimizers keep for a parameter (momentum, moments); of the parameter's layer
activations          saved for the backward pass, and none of the above; of the layer that saved it first
input                the batch, and tensors that were there before: what no operator made since the iteration began
activation_gradients made in the backward pass and no parameter's gradient: gradients on their way
temporaries          any other result of an operator that lives
workspace            bytes of the device's own count that no tensor holds: what libraries took for themselves. At a
                     peak, what the operator that ran took and gave back is of its layer; the rest is of ``model``
rounding             what the allocator handed out beyond what it was asked for
unattributed         negative: tensors in memory that is not the allocator's
==================== ==============================================================================================

Counts beside the parts: ``reserved``, what the allocator has of the driver; ``device_used``, what the driver says is
in use on the whole device, by all processes, contexts included. Without a count of the device's own, as on the host,
``workspace``, ``rounding`` and these two are absent, and ``allocated`` is the sum of all storages.

The moments ``layer_forward`` and ``layer_backward`` have no parts: ``allocated`` is the highest that memory stood
while that layer was at work, ``workspace`` the most that one operator of it took and gave back, with its name.
"""

from __future__ import annotations

import csv
import re
from collections import defaultdict
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any, Final

from ds2prof.parsers.sources import Source
from ds2prof.tables import Loaded, Meta, Profile, Table, checked, int_column, text_column

if TYPE_CHECKING:
    from ds2prof.parsers.samples_lines import Faults

FORMAT: Final = "ds2prof-memory"
HEADING: Final = b"iteration,moment,phase,device,layer,category,size_bytes,operator"
MOMENTS: Final = (
    *("before_forward", "after_forward", "before_backward", "after_backward", "before_step", "after_step", "peak"),
    *("layer_forward", "layer_backward"),
)
_WITHOUT_PARTS: Final = ("layer_forward", "layer_backward")
_PARTS: Final = (
    *("weights", "buffers", "gradients", "optimizer_state", "activations", "input", "activation_gradients"),
    *("temporaries", "workspace", "rounding", "unattributed"),
)
_WHOLE: Final = "allocated"
_BESIDE: Final = ("reserved", "device_used")
_NEGATIVE: Final = "unattributed"
_NUMBER: Final = re.compile(r"-?[0-9]{1,18}")
_DEVICE: Final = re.compile(r"([a-z]+)(?::([0-9]{1,9}))?")

Row = tuple[int, str, str | None, str, int | None, str | None, str, int, str | None]
"""iteration, moment, phase, device's type, its number, layer, category, bytes, operator."""


def sniff(head: bytes) -> bool:
    """Whether the first line is the heading of a memory capture."""
    return head.split(b"\n", 1)[0].rstrip(b"\r") == HEADING


def parse(source: Source) -> Profile:
    """The bytes at each moment, by layer and category (table ``memory``)."""
    return Profile(lambda _: _loaded(source))


def _loaded(source: Source) -> Loaded:
    from ds2prof.parsers.samples_lines import Faults

    faults = Faults(source.name)
    rows = list(_rows(source, faults))
    warnings = [*faults.warnings(), *_doubts(source.name, rows)]
    devices = dict.fromkeys(row[3] if row[4] is None else f"{row[3]}:{row[4]}" for row in rows)
    meta = Meta(
        file=source.name,
        tool="ds2prof memory",
        format=FORMAT,
        domain="gpu" if any(row[3] != "cpu" for row in rows) else "cpu",
        times=None,
        facts={"devices": list(devices), "iterations": sorted({row[0] for row in rows})},
    )
    return Loaded(meta, {"memory": _table(rows), "kernels": Table("kernels")}, tuple(warnings))


def _table(rows: list[Row]) -> Table:
    if not rows:
        return Table("memory")
    iteration, moment, phase, kind, number, layer, category, size_bytes, operator = zip(*rows, strict=True)
    return checked(
        "memory",
        {
            "iteration": int_column(iteration),
            "moment": text_column(moment),
            "phase": text_column(phase),
            "device_type": text_column(kind),
            "device": int_column(number),
            "layer": text_column(layer),
            "category": text_column(category),
            "size_bytes": int_column(size_bytes),
            "operator": text_column(operator),
        },
    )


def _rows(source: Source, faults: Faults) -> Iterator[Row]:
    from ds2prof.parsers.samples_lines import blocks

    for first, lines in blocks(source, faults):
        for number, line in enumerate(lines, start=first):
            if number == 1 or not line:
                continue
            row = _row(line.decode("utf-8", "replace"))
            if row is None:
                faults.add("no row of a memory capture; left out", line=number)
            else:
                yield row


def _row(line: str) -> Row | None:
    """The row in a line; None where it is none."""
    try:
        cells = next(csv.reader([line], strict=True), [])
    except csv.Error:
        return None
    if len(cells) != HEADING.count(b",") + 1:
        return None
    iteration, moment, phase, device, layer, category, size_bytes, operator = cells
    place = _DEVICE.fullmatch(device)
    numbers = _NUMBER.fullmatch(iteration) and _NUMBER.fullmatch(size_bytes)
    if moment not in MOMENTS or place is None or not numbers or not category:
        return None
    if int(iteration) < 0 or (int(size_bytes) < 0) != (category == _NEGATIVE and int(size_bytes) != 0):
        return None
    number = None if place[2] is None else int(place[2])
    return (
        *(int(iteration), moment, phase or None, place[1], number),
        *(layer or None, category, int(size_bytes), operator or None),
    )


def _doubts(name: str, rows: list[Row]) -> Iterator[str]:
    """What does not add up: moments whose parts are not what was allocated, a last iteration without its peak."""
    parts: dict[Any, int] = defaultdict(int)
    wholes: dict[Any, list[int]] = defaultdict(list)
    for iteration, moment, _, kind, number, _, category, size_bytes, _ in rows:
        if moment in _WITHOUT_PARTS:
            continue
        key = (iteration, moment, kind, number)
        if category == _WHOLE:
            wholes[key].append(size_bytes)
        elif category not in _BESIDE:
            parts[key] += size_bytes
    wrong = [key for key in {**parts, **wholes} if wholes.get(key) != [parts.get(key, 0)]]
    if wrong:
        iteration, moment = wrong[0][:2]
        more = f" ({len(wrong):,} such)" if len(wrong) > 1 else ""
        yield f"{name}: iteration {iteration}, {moment}: the parts are not what was allocated{more}; was it cut off?"
    unknown = sorted({row[6] for row in rows} - {*_PARTS, _WHOLE, *_BESIDE})
    if unknown:
        names = ", ".join(unknown[:5]) + (", ..." if unknown[5:] else "")
        yield f"{name}: unknown category {names}: allocated counts it, no column does; written by a newer version?"
    if rows and rows[-1][1] != "peak":
        yield f"{name}: ends within iteration {rows[-1][0]}; what follows is what was kept"
    if not rows:
        yield f"{name}: no iteration in it; was the window reached?"
