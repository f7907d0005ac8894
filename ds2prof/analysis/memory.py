"""Who held the memory: at each moment of an iteration, by layer, and how high it stood iteration by iteration.

The iteration that is shown is the one whose peak is the highest of its device; sequences of other lengths make others
lower. Categories sum to what was allocated, exactly, wherever they are given.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from ds2prof.analysis.answers import Answer, ratio
from ds2prof.errors import MissingDataError
from ds2prof.tables import Profile

TABLES: Final = ("memory",)
BY: Final = "memory"
KEYS: Final = (BY, "layer", "iteration")
CATEGORIES: Final = (
    *("weights", "buffers", "gradients", "optimizer_state", "activations", "input", "activation_gradients"),
    *("temporaries", "workspace", "rounding", "unattributed"),
)
"""What memory is made of, in the order of the columns."""
MOMENTS: Final = (
    *("before_forward", "after_forward", "before_backward", "after_backward", "before_step", "after_step", "peak"),
)
KEPT_AT: Final = "before_backward"
"""The moment at which activations are all there: the forward pass and the loss are done, nothing is given back yet."""
_WHOLE: Final = "allocated"
_HOST: Final = "cpu"
_LAYER_NOTES: Final = (
    "kept_bytes: the layer's activations before the backward pass, when all are there",
    "forward_peak_bytes, backward_peak_bytes: how high the whole device stood while the layer was at work",
)
_UNCOUNTED: Final = (
    "workspace: PyTorch keeps no count of the host's memory; what an operator takes and gives back is not in here"
)

_Parts = Mapping[tuple[str | None, str], int]


@dataclass
class _Moment:
    """One moment of one device: its parts by (layer, category), what was counted beside them, and where it was."""

    parts: dict[tuple[str | None, str], int] = field(default_factory=lambda: defaultdict(int))
    allocated: int | None = None
    beside: dict[str, int] = field(default_factory=dict)
    phase: str | None = None
    layer: str | None = None
    operator: str | None = None

    def of(self, category: str) -> int:
        """The bytes of a category."""
        return sum(size_bytes for (_, name), size_bytes in self.parts.items() if name == category)


@dataclass
class _Device:
    """One device: its moments by (iteration, moment), and the heights of its layers by (iteration, layer, kind)."""

    moments: dict[tuple[int, str], _Moment] = field(default_factory=lambda: defaultdict(_Moment))
    heights: dict[tuple[int, str | None, str], int] = field(default_factory=dict)

    def peaks(self) -> dict[int, _Moment]:
        """Iteration -> its peak."""
        return {
            iteration: moment
            for (iteration, name), moment in sorted(self.moments.items())
            if name == "peak" and moment.allocated is not None
        }

    def highest(self) -> int | None:
        """The iteration with the highest peak, the first of those."""
        peaks = self.peaks()
        return max(peaks, key=lambda iteration: peaks[iteration].allocated or 0) if peaks else None


def has_memory(profile: Profile) -> bool:
    """Whether the profile is of who held memory."""
    return profile.meta.format == "ds2prof-memory" or len(profile.table("memory")) > 0


def memory(profile: Profile, by: str | None) -> Answer:
    """The answer by one of ``KEYS``.

    Raises:
        MissingDataError: the profile holds no memory, or nothing else than it.
    """
    if not len(profile.table("memory")):
        why = "no memory by category in this file; 'ds2prof run memory' records it"
        if has_memory(profile):
            why = "nothing was recorded; was the window reached?"
        raise MissingDataError(f"{profile.meta.file}: {why}")
    if by in (None, *KEYS) and all(device.highest() is None for device in _devices(profile).values()):
        raise MissingDataError(f"{profile.meta.file}: no iteration in it has its peak; was it cut off? record it again")
    if by in (None, BY):
        return moments(profile)
    if by == "layer":
        return layers(profile)
    if by == "iteration":
        return iterations(profile)
    raise MissingDataError(f"{profile.meta.file}: holds memory alone (--by {', '.join(KEYS)}); drop --by {by}")


def all_answers(profile: Profile) -> list[Answer]:
    """The answers by all of ``KEYS``, each note where it comes first; beside a GPU, the host has a note alone."""
    said: dict[str, None] = {}
    found = []
    for answer in (_without_host(memory(profile, key)) for key in KEYS):
        found.append(Answer(answer.by, answer.columns, tuple(note for note in answer.notes if note not in said)))
        said.update(dict.fromkeys(answer.notes))
    return found


def _without_host(answer: Answer) -> Answer:
    """The answer without the rows of the host, where there are others: what it holds then is mostly the batch."""
    devices = answer.columns["device"]
    if _HOST not in devices or set(devices) == {_HOST}:
        return answer
    kept = [at for at, device in enumerate(devices) if device != _HOST]
    columns = {name: [values[at] for at in kept] for name, values in answer.columns.items()}
    notes = [note for note in answer.notes if note != _UNCOUNTED and not note.startswith(f"peak of {_HOST}:")]
    return Answer(answer.by, columns, (*notes, "the host's memory is left out here; --by memory has it"))


def moments(profile: Profile) -> Answer:
    """The moments of the iteration with the highest peak, a row each: what was allocated, made of what.

    ``<category>_bytes`` sum to ``allocated_bytes``. ``reserved_unused_bytes`` is what the allocator has of the driver
    and has not handed out. Blind spot: between two moments memory may stand higher than at both; ``peak`` tells.
    """
    rows: list[dict[str, Any]] = []
    notes: list[str] = []
    for name, device in _devices(profile).items():
        chosen = device.highest()
        if chosen is None:
            continue
        for moment_name in MOMENTS:
            moment = device.moments.get((chosen, moment_name))
            if moment is not None and moment.allocated is not None:
                rows.append({"moment": moment_name, "device": name, "iteration": chosen, **_columns(moment)})
        notes += _notes(name, device.moments[chosen, "peak"], chosen)
    return _answer(BY, rows, notes)


def layers(profile: Profile) -> Answer:
    """What each layer holds at the peak of the iteration with the highest one, the largest first.

    ``kept_bytes`` are its activations before the backward pass, when all are there. ``forward_peak_bytes`` and
    ``backward_peak_bytes`` are how high the whole device stood while the layer was at work, ``own_workspace_bytes`` the
    most that one operator of it took and gave back.
    """
    rows: list[dict[str, Any]] = []
    notes: list[str] = []
    for name, device in _devices(profile).items():
        chosen = device.highest()
        if chosen is None:
            continue
        peak, kept = device.moments[chosen, "peak"], device.moments.get((chosen, KEPT_AT), _Moment())
        rows += [
            {"layer": layer, "device": name, **_layer(layer, peak, kept), **_heights(device, chosen, layer)}
            for layer in _layers_by_size(peak, kept, device, chosen)
        ]
        notes += _notes(name, peak, chosen)
    return _answer("layer", rows, [*notes, *_LAYER_NOTES])


def iterations(profile: Profile) -> Answer:
    """The peak of each iteration, and where it was."""
    rows = [
        {
            "iteration": iteration,
            "device": name,
            "allocated_bytes": peak.allocated,
            "kept_bytes": device.moments[iteration, KEPT_AT].of("activations")
            if (iteration, KEPT_AT) in device.moments
            else None,
            "reserved_bytes": peak.beside.get("reserved"),
            "phase": peak.phase,
            "layer": peak.layer,
            "operator": peak.operator,
        }
        for name, device in _devices(profile).items()
        for iteration, peak in device.peaks().items()
    ]
    return _answer("iteration", rows, [])


def totals(profile: Profile) -> dict[str, Any]:
    """The highest peak of all devices, where it was and what it was made of; null where nothing was recorded.

    ``state_bytes`` is what does not grow with the batch: weights, buffers, gradients and the optimizer's state.
    ``activation_bytes_per_sample`` is what a sample more costs, as far as all samples cost the same.
    """
    found = [(device, name, device.highest()) for name, device in _devices(profile).items()]
    known = [(device, name, chosen) for device, name, chosen in found if chosen is not None]
    if not known:
        return dict.fromkeys(_TOTALS)
    device, name, chosen = max(known, key=lambda item: item[0].moments[item[2], "peak"].allocated or 0)
    peak, kept = device.moments[chosen, "peak"], device.moments.get((chosen, KEPT_AT))
    activations = None if kept is None else kept.of("activations")
    batch_size = (profile.meta.run or {}).get("batch_size")
    sized = isinstance(batch_size, int) and not isinstance(batch_size, bool) and batch_size > 0
    held = [moment for (iteration, _), moment in device.moments.items() if iteration == chosen]
    values: tuple[Any, ...] = (
        *(peak.allocated, name, chosen, peak.phase, peak.layer, peak.operator, peak.beside.get("reserved")),
        max(sum(moment.of(category) for category in CATEGORIES[:4]) for moment in held),
        activations,
        batch_size if sized else None,
        ratio(activations, batch_size) if sized else None,
    )
    return dict(zip(_TOTALS, values, strict=True))


_TOTALS: Final = (
    *("peak_bytes", "peak_device", "peak_iteration", "peak_phase", "peak_layer", "peak_operator", "reserved_bytes"),
    *("state_bytes", "activation_bytes", "batch_size", "activation_bytes_per_sample"),
)


def _devices(profile: Profile) -> dict[str, _Device]:
    """Device -> what is known of it, GPUs first."""
    table = profile.table("memory")
    names = ("iteration", "moment", "device_type", "device", "layer", "category", "size_bytes", "phase", "operator")
    found: dict[str, _Device] = defaultdict(_Device)
    for iteration, moment_name, kind, number, layer, category, size_bytes, phase, operator in zip(
        *(table[name].tolist() for name in names), strict=True
    ):
        device = found[kind if number is None else f"{kind}:{number}"]
        if moment_name not in MOMENTS:
            device.heights[iteration, layer, f"{moment_name}:{category}"] = size_bytes
            continue
        moment = device.moments[iteration, moment_name]
        if category == _WHOLE:
            moment.allocated, moment.phase, moment.layer, moment.operator = size_bytes, phase, layer, operator
        elif category in CATEGORIES:
            moment.parts[layer, category] += size_bytes
        else:
            moment.beside[category] = size_bytes
    return dict(sorted(found.items(), key=lambda item: (item[0] == _HOST, item[0])))


def _columns(moment: _Moment) -> dict[str, Any]:
    """The columns of a moment; None for a category that holds nothing."""
    reserved = moment.beside.get("reserved")
    return {
        "allocated_bytes": moment.allocated,
        **{f"{category}_bytes": moment.of(category) or None for category in CATEGORIES},
        "reserved_bytes": reserved,
        "reserved_unused_bytes": None if reserved is None else reserved - (moment.allocated or 0),
        "device_used_bytes": moment.beside.get("device_used"),
    }


def _layer(layer: str | None, peak: _Moment, kept: _Moment) -> dict[str, Any]:
    own = {category: peak.parts.get((layer, category), 0) for category in CATEGORIES}
    return {
        "size_bytes": sum(own.values()),
        "share": ratio(sum(own.values()), peak.allocated),
        "kept_bytes": kept.parts.get((layer, "activations")),
        **{f"{category}_bytes": size_bytes or None for category, size_bytes in own.items()},
    }


def _heights(device: _Device, iteration: int, layer: str | None) -> dict[str, int | None]:
    works = [device.heights.get((iteration, layer, f"layer_{way}:workspace")) for way in ("forward", "backward")]
    return {
        "forward_peak_bytes": device.heights.get((iteration, layer, "layer_forward:allocated")),
        "backward_peak_bytes": device.heights.get((iteration, layer, "layer_backward:allocated")),
        "own_workspace_bytes": max((size_bytes for size_bytes in works if size_bytes is not None), default=None),
    }


def _layers_by_size(peak: _Moment, kept: _Moment, device: _Device, iteration: int) -> list[str | None]:
    """The layers that are known of, those that hold most at the peak first, then those that keep most."""
    sizes: dict[str | None, list[int]] = defaultdict(lambda: [0, 0])
    for (layer, _), size_bytes in peak.parts.items():
        sizes[layer][0] -= size_bytes
    for (layer, category), size_bytes in kept.parts.items():
        sizes[layer][1] -= size_bytes if category == "activations" else 0
    for at, layer, _ in device.heights:
        if at == iteration:
            sizes.setdefault(layer, [0, 0])
    return sorted(sizes, key=lambda layer: (*sizes[layer], layer or ""))


def _notes(device: str, peak: _Moment, iteration: int) -> list[str]:
    """Where the peak was, and what is not counted."""
    place = [f"iteration {iteration}"]
    place += [word for word in (peak.phase, peak.layer, peak.operator) if word]
    notes = [f"peak of {device}: {', '.join(place)}; shown is the iteration with the highest one"]
    return notes + ([_UNCOUNTED] if "reserved" not in peak.beside else [])


def _answer(by: str, rows: Sequence[Mapping[str, Any]], notes: Sequence[str]) -> Answer:
    names = list(rows[0]) if rows else [by]
    return Answer(by, {name: [row[name] for row in rows] for name in names}, tuple(dict.fromkeys(notes)))
