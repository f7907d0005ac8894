"""What is not recorded but follows for certain: the layer of a backward kernel, the phases of a program without any.

A kernel that a backward operator launched belongs to the layer in which the forward operator with the same sequence
number ran (:mod:`.autograd`). Where a program records no layers, they are its modules, if PyTorch recorded their calls.
Where it records no phases, four follow from what PyTorch records by itself: ``backward`` is what autograd's backward
operators launched, ``forward`` what the operators launched that those go back to (the loss among them), ``optimizer``
and ``data`` what ran in PyTorch's own ranges around the optimizer and the data loader. Blind spot: work that no such
operator or range surrounds on its own thread belongs to none of them, copies of the batch and what runs without
gradients above all.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, NamedTuple

import numpy as np

from ds2prof.analysis import autograd
from ds2prof.analysis.attribution import Work, launches, lookup, on_thread_at_launch, ranges_of_kind
from ds2prof.analysis.groups import combined
from ds2prof.analysis.intervals import innermost, union_ns
from ds2prof.analysis.windows import ends_ns
from ds2prof.tables import Column, IntArray, Profile, Table

PHASES: Final = ("data", "forward", "backward", "optimizer")
"""The phases that can be derived, in the order of a step."""
PHASE_NOTE: Final = (
    "phases are derived, the program recorded none: backward is what autograd's backward operators launched, forward "
    "what the operators launched that those go back to (loss included), optimizer and data what PyTorch's own ranges "
    "around them hold"
)
LAYER_NOTE: Final = (
    "{} launches of backward operators belong to the layer of their forward operator, by its sequence number (derived)"
)
MODULE_NOTE: Final = (
    "layers are derived, the program recorded none: the network's modules as PyTorch recorded their calls, the "
    "innermost that was being called at the launch; those that launched nothing are left out"
)
_RANGES: Final = {"Optimizer.step#": "optimizer", "Optimizer.zero_grad#": "optimizer", "enumerate(DataLoader)#": "data"}
_FORWARD, _BACKWARD = ":forward", ":backward"


@dataclass(frozen=True)
class PhaseSpans:
    """Stretches of host threads that belong to a phase: the place in :data:`PHASES`, thread and times of each."""

    phase: IntArray
    process: IntArray
    thread: IntArray
    start_ns: IntArray
    end_ns: IntArray

    def host_ns(self) -> list[int]:
        """Time of each phase on the host: the union of its stretches over all threads."""
        masks = [self.phase == place for place in range(len(PHASES))]
        return [union_ns(self.start_ns[mask], self.end_ns[mask]) for mask in masks]


def phase_spans(profile: Profile) -> PhaseSpans:
    """The stretches that tell derived phases."""
    return profile.derived("spans of derived phases", lambda: _phase_spans(profile))


def phases(profile: Profile, work: Work) -> IntArray:
    """For each kernel or copy, the place in :data:`PHASES` of the phase it was launched in; -1 for none."""
    spans = phase_spans(profile)
    api, launch = profile.table("api"), launches(profile, work)
    found = np.full(len(launch), -1, dtype=np.int64)
    linked = np.flatnonzero(launch >= 0)
    if not len(linked) or not len(spans.phase):
        return found
    at = launch[linked]
    keys = [
        np.concatenate((own, api.ints(name, null=-1)[at]))
        for name, own in (("process", spans.process), ("thread", spans.thread))
    ]
    lanes, _ = combined(keys)
    times = api.ints("start_ns")[at]
    owned, asked = lanes[: len(spans.phase)], lanes[len(spans.phase) :]
    for lane in np.unique(owned).tolist():
        mine, wanted = np.flatnonzero(owned == lane), np.flatnonzero(asked == lane)
        inner = innermost(spans.start_ns[mine], spans.end_ns[mine], times[wanted])
        found[linked[wanted]] = np.where(inner >= 0, spans.phase[mine][inner], -1)
    return found


def _phase_spans(profile: Profile) -> PhaseSpans:
    found = autograd.operators(profile)
    recorded = autograd.recorded_for(profile)
    forward = np.unique(recorded[recorded >= 0])
    parts = [
        _spans(found.spans, np.flatnonzero(found.is_backward), PHASES.index("backward")),
        _spans(found.spans, forward, PHASES.index("forward")),
    ]
    for table in (profile.table("ranges"), profile.table("ops")):
        names = table["name"].categories or ()
        place_of = np.array([_place_of(name) for name in names] + [-1], dtype=np.int64)
        timed = table["start_ns"].present & table["dur_ns"].present
        places = np.where(timed, place_of[table["name"].values], -1)
        rows = np.flatnonzero(places >= 0)
        parts.append(_spans(table, rows, places[rows]))
    return PhaseSpans(*(np.concatenate(column) for column in zip(*parts, strict=True)))


def _place_of(name: str) -> int:
    """The place of the phase that a range of this name is of; -1 for none."""
    return next((PHASES.index(phase) for start, phase in _RANGES.items() if name.startswith(start)), -1)


def _spans(table: Table, rows: IntArray, places: IntArray | int) -> tuple[IntArray, ...]:
    ends = ends_ns(table)[rows]
    who = (table.ints(name, null=-1)[rows] for name in ("process", "thread"))
    return (np.broadcast_to(np.asarray(places, dtype=np.int64), len(rows)), *who, table.ints("start_ns")[rows], ends)


class LayerSpans(NamedTuple):
    """The stretches of host threads that tell layers: rows of a table, and the layer's name for each row of it."""

    table: Table
    rows: IntArray
    names: Column


def layer_spans(profile: Profile) -> LayerSpans:
    """The ranges of layers; where the program recorded none, the calls of modules that the source has."""
    rows = ranges_of_kind(profile, "layer")
    if len(rows):
        return LayerSpans(profile.table("ranges"), rows, profile.table("ranges")["value"])
    modules = profile.table("modules")
    return LayerSpans(modules, np.arange(len(modules)), modules["name"])


def own_modules(profile: Profile, work: Work) -> IntArray:
    """For each kernel or copy, the row of ``modules`` that was being called on its own thread at its launch, or -1."""
    modules = profile.table("modules")
    rows = np.arange(len(modules))
    return profile.derived(f"modules of {work}", lambda: on_thread_at_launch(profile, work, modules, rows))


def layers(profile: Profile, work: Work) -> tuple[IntArray, tuple[str, ...]]:
    """(for each kernel or copy the code of the layer that its forward operator ran in or -1, the layers' names).

    Where layers are told apart by their pass, as ``rnn.0:forward``, the answer is the other pass: ``rnn.0:backward``.
    """
    table, rows, names = layer_spans(profile)
    nothing = np.full(len(profile.table(work)), -1, dtype=np.int64)
    if not len(rows):
        return nothing, ()
    forward = autograd.forward_operators(profile, work)
    used = np.unique(forward[forward >= 0])
    spans = autograd.operators(profile).spans
    keys = {name: spans.ints(name, null=-1)[used] for name in ("process", "thread")}
    inner = lookup(table.take(rows), spans.ints("start_ns")[used], keys)
    known = inner >= 0
    row_of = np.full(len(spans) + 1, -1, dtype=np.int64)
    row_of[used[known]] = rows[inner[known]]
    texts = [backward_of(text) for text in names.categories or ()]
    code = {name: place for place, name in enumerate(dict.fromkeys(texts))}
    code_of = np.array([*(code[text] for text in texts), -1], dtype=np.int64)
    return code_of[np.append(names.values, -1)[row_of[forward]]], tuple(code)


def backward_of(layer: str) -> str:
    """What a layer is called in the backward pass."""
    return layer.removesuffix(_FORWARD) + _BACKWARD if layer.endswith(_FORWARD) else layer
