"""Allocations in a PyTorch trace: the instants ``[memory]`` that ``profile_memory=True`` adds.

::

    {"ph": "i", "cat": "cpu_instant_event", "name": "[memory]", "pid": process, "tid": thread, "ts": us, "args":
     {"Device Type": 1, "Device Id": 0, "Bytes": +-n, "Addr": n, "Total Allocated": n, "Total Reserved": n}}

Traces of before 2022 have no category, no address and no totals.
"""

from __future__ import annotations

from typing import Final

from ds2prof.parsers.kineto_columns import INT64_MAX, Step, Texts, Times
from ds2prof.parsers.kineto_events import Event, EventDecoder
from ds2prof.parsers.kineto_rows import MaybeColumns, Rows
from ds2prof.tables import Column

NAME: Final = "[memory]"
KIND: Final = "torch"
DEVICE_TYPES: Final = {0: "cpu", 1: "cuda", 6: "hip", 9: "xla", 12: "xpu", 13: "mps", 14: "meta", 15: "hpu", 19: "mtia"}
"""PyTorch's numbers of device types."""


class AllocationRows(Rows):
    """Allocations and releases, as PyTorch's allocators report them; other instants are left alone."""

    def __init__(self, decoder: EventDecoder, step: Step | None = None) -> None:
        super().__init__(decoder)
        self.times = Times(instants=True)
        self._types = Texts()

    def add(self, events: list[Event]) -> None:
        """Append the allocations among the instants that have a size and a usable time."""
        chosen = [event for event in events if event.name == NAME]
        sized = [event for event in chosen if event.args.size_bytes is not None and _fits(event.args.size_bytes)]
        self.times.left_out["no readable size"] += len(chosen) - len(sized)
        super().add(sized)

    def _add(self, events: list[Event]) -> None:
        arguments = [event.args for event in events]
        self._place(events)
        self._types.add([DEVICE_TYPES.get(found.device_type) for found in arguments])
        self._int("size_bytes", [found.size_bytes for found in arguments], least=-INT64_MAX)
        self._int("device", [found.device for found in arguments])
        self._int("address", [found.address for found in arguments], least=1)
        self._int("allocated_bytes", [found.allocated_bytes for found in arguments])
        self._int("reserved_bytes", [found.reserved_bytes for found in arguments])

    def columns(self, base_ns: int) -> dict[str, Column]:
        """The columns in the end; none where there is no row."""
        found = super().columns(base_ns)
        count = len(found["start_ns"])
        if not count:
            return {}
        del found["name"], found["dur_ns"]
        kinds = Texts()
        kinds.add([KIND] * count)
        kind = kinds.column()
        assert kind is not None
        return {"kind": kind, **found}

    def _columns(self, names: Column) -> MaybeColumns:
        return {"device_type": self._types.column()}


def _fits(value: int) -> bool:
    return -INT64_MAX <= value <= INT64_MAX
