"""Calls of a network's modules in a PyTorch trace: what ``with_stack=True`` adds to Python's own functions.

::

    {"ph": "X", "cat": "python_function", "name": "nn.Module: Linear_3", "pid": process, "tid": thread, "ts": us,
     "dur": us, "args": {"Python id": n, "Python parent id": n, "Python module id": n}}

The number counts the modules of a class as they are first called. Functions that are no modules are left alone.
"""

from __future__ import annotations

from typing import Final

from ds2prof.parsers.kineto_events import Event
from ds2prof.parsers.kineto_rows import Rows
from ds2prof.tables import Column

PREFIX: Final = "nn.Module: "


class ModuleRows(Rows):
    """The calls of modules, by class and number."""

    def add(self, events: list[Event]) -> None:
        """Append the calls of modules among the functions that have usable times."""
        super().add([event for event in events if event.name.startswith(PREFIX)])

    def _add(self, events: list[Event]) -> None:
        self._place(events)

    def columns(self, base_ns: int) -> dict[str, Column]:
        """The columns in the end, names without what all of them begin with; none where there is no row."""
        found = super().columns(base_ns)
        if not len(found["start_ns"]):
            return {}
        names = found["name"]
        bare = [name.removeprefix(PREFIX) for name in names.categories or ()]
        return {**found, "name": Column(names.values, None, bare)}
