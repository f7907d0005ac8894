"""The answers by ``roofline`` and by ``gain``: kernels beneath their roofs, and what there is to gain."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

import numpy as np

from ds2prof.analysis.answers import Answer
from ds2prof.analysis.belonging import belonging, labels
from ds2prof.analysis.groups import device_shares_ns, known_sums, sorted_columns, summed
from ds2prof.analysis.intervals import FloatArray
from ds2prof.analysis.roofline import kernels, roof
from ds2prof.analysis.roofline.kernels import KernelWork
from ds2prof.analysis.roofline.operators import OperatorWork, operator_work
from ds2prof.analysis.roofline.roof import COMPUTE, MEMORY, KernelRoofs
from ds2prof.errors import MissingDataError
from ds2prof.kernel_names import kernel_class, short_name
from ds2prof.tables import BoolArray, IntArray, Profile, Table
from ds2prof.units import NS_PER_S

TABLES: Final = kernels.TABLES
ROOFLINE: Final = "roofline"
GAIN: Final = "gain"
KEYS: Final = (ROOFLINE, GAIN)
_RANGES: Final = ("layer", "phase")
_NAMES: Final = ("name", "class")
GROUPS: Final = (*_NAMES, *_RANGES)
"""What kernels can be put together by."""
_GAIN_GROUPS: Final = ("name", "class", "layer")


def answer(profile: Profile, by: str, per: str | None = None) -> Answer:
    """The answer by one of :data:`KEYS`; with ``per``, one of :data:`GROUPS`, its rows are those groups alone."""
    if per is not None:
        _require_group(profile, per)
    if by == GAIN:
        return gains(profile, _GAIN_GROUPS if per is None else (per,))
    return roofline(profile, per or "name")


def roofline(profile: Profile, key: str = "name") -> Answer:
    """Kernels beneath their roofs, by ``name``, ``class``, ``layer`` or ``phase``, the largest gain first.

    ``flop`` and ``size_bytes`` are counted or modelled (the notes say which), ``intensity`` is their ratio,
    ``flop_per_s`` is by the kernels' own time. ``attainable_ns`` is the sum of max(FLOP / peak, bytes / bandwidth) over
    the kernels, ``roof`` its ratio to the time of those kernels, ``bound`` what most of it is made of. ``gain_ns`` is
    what the step would gain if each of these kernels ran at its roof: the sum of exclusive time less attainable time,
    nothing for a kernel that is faster. ``coverage`` is the share of the time of those kernels whose roof is known.

    A run without a GPU gives the operators that have a model, without a roof.

    Raises:
        MissingDataError: the file has neither shapes nor counters to tell work from.
    """
    profile.require(*TABLES)
    if profile.meta.domain == "cpu":
        return _operators(profile)
    _require_work(profile)
    codes, keys = _groups(profile, key)
    return Answer(ROOFLINE, _columns(profile, codes, keys), _notes(profile))


def gains(profile: Profile, groups: Sequence[str] = _GAIN_GROUPS) -> Answer:
    """What there is to gain by each name, class and layer of kernels (or ``groups``), the largest gain first of all.

    ``group`` says what a row is; rows of different groups overlap, since a kernel has a name, a class and a layer.
    ``gain_ns`` and ``coverage`` are those of :func:`roofline`; ``step_gain_ns`` is the gain of the kernels that
    belong to an iteration, over the number of iterations; ``gain_share`` is the gain's of the devices' busy time.

    Raises:
        MissingDataError: the file has neither shapes nor counters to tell work from.
    """
    profile.require(*TABLES)
    _require_work(profile)
    if np.isnan(roof.kernel_roofs(profile).attainable_ns).all():
        why = "; ".join(note for note in _notes(profile) if "no roof" in note or "roof unknown" in note)
        raise MissingDataError(
            f"{profile.meta.file}: no roof is known, so no gain ({why}); ask --by roofline for the work"
        )
    rows: dict[str, list[Any]] = {}
    for group in groups:
        codes, keys = _groups(profile, group)
        columns = _columns(profile, codes, keys)
        key = next(iter(keys))
        known = [place for place, value in enumerate(columns["gain_ns"]) if value is not None]
        rows.setdefault("group", []).extend(group for _ in known)
        rows.setdefault("name", []).extend(columns[key][place] for place in known)
        for name in ("calls", "excl_ns", "attainable_ns", "roof", "bound", "gain_ns", "step_gain_ns", "coverage"):
            rows.setdefault(name, []).extend(columns[name][place] for place in known)
    shares = device_shares_ns(profile.table("kernels"))
    busy_ns = None if shares is None else shares[1]
    rows["gain_share"] = [gain / busy_ns if busy_ns else None for gain in rows["gain_ns"]]
    named = [(group, name) for group, name in zip(rows["group"], rows["name"], strict=True)]
    outside = _RANGES if len(groups) > 1 else ()  # among others, what lies in no layer is no row; alone, the rest
    kept = [place for place, (group, name) in enumerate(named) if not (group in outside and name is None)]
    chosen = {name: [values[place] for place in kept] for name, values in rows.items()}
    return Answer(GAIN, sorted_columns(chosen, by=("gain_ns", "calls")), _notes(profile))


def _require_work(profile: Profile) -> None:
    if profile.meta.domain == "cpu":
        raise MissingDataError(f"{profile.meta.file}: no GPU work in this file, so nothing to gain; ask --by roofline")
    if not len(profile.table("kernels")):
        raise MissingDataError(
            f"{profile.meta.file}: no kernels in this file; was the window open while work was launched?"
        )
    if np.isnan(kernels.kernel_work(profile).flop).all() and np.isnan(kernels.kernel_work(profile).size_bytes).all():
        raise MissingDataError(
            f"{profile.meta.file}: neither shapes nor counters that tell the kernels' work; {kernels.HOW}"
        )


def _groups(profile: Profile, key: str) -> tuple[IntArray, Mapping[str, Sequence[Any]]]:
    """(the place of each kernel's key, the keys as columns)."""
    if key in _NAMES:
        return _named(profile.table("kernels"), key)
    found = belonging(profile, key)
    return found.kernels, {key: [*labels(found.keys, key), None]}


def _require_group(profile: Profile, per: str) -> None:
    if profile.meta.domain == "cpu":
        raise MissingDataError(f"{profile.meta.file}: no GPU work in this file, but operators alone; drop --per {per}")
    profile.require(*TABLES)
    if per in _RANGES and not belonging(profile, per).keys:
        raise MissingDataError(f"{profile.meta.file}: no {per} was recorded in this file; drop --per {per}")


def _named(table: Table, key: str) -> tuple[IntArray, Mapping[str, Sequence[Any]]]:
    """The same by short name or class."""
    names = table["name"]
    texts = list(names.categories or ())
    label_of = [short_name(text) if key == "name" else kernel_class(text) for text in texts]
    place_of: dict[str, int] = {}
    places = np.array([place_of.setdefault(label, len(place_of)) for label in label_of], dtype=np.int64)
    columns: dict[str, Sequence[Any]] = {"name": list(place_of)}
    if key == "name":
        classes = {label: kernel_class(text) for text, label in zip(texts, label_of, strict=True)}
        columns["class"] = [classes[label] for label in place_of]
    return places[names.values], columns


def _columns(profile: Profile, codes: IntArray, keys: Mapping[str, Sequence[Any]]) -> dict[str, Sequence[Any]]:
    table, roofs = profile.table("kernels"), roof.kernel_roofs(profile)
    count = len(next(iter(keys.values())))
    calls = table.ints("calls", null=1) if "calls" in table else np.ones(len(table), dtype=np.int64)
    columns: dict[str, Sequence[Any]] = {**keys, "calls": summed(codes, calls, count).tolist()}
    columns["dur_ns"] = known_sums(codes, table["dur_ns"], count)
    durations = np.where(table["dur_ns"].present, table.ints("dur_ns").astype(np.float64), np.nan)
    shares = device_shares_ns(table)
    exclusive = durations if shares is None else shares[0]
    columns["excl_ns"] = _rounded(_added(codes, exclusive, count))
    columns.update(_work_columns(roofs.work, codes, count, durations=durations, calls=calls))
    columns.update(_roof_columns(roofs, codes, count, exclusive=exclusive))
    columns["step_gain_ns"] = _step_gains(profile, roofs, codes, count, exclusive=exclusive)
    order = sorted_columns(columns, by=("gain_ns", "excl_ns", "calls"))
    kept = [place for place, calls_there in enumerate(order["calls"]) if calls_there]
    return {name: [values[place] for place in kept] for name, values in order.items()}


def _work_columns(
    work: KernelWork, codes: IntArray, count: int, *, durations: FloatArray, calls: IntArray
) -> dict[str, Sequence[Any]]:
    """FLOP, bytes, intensity and rate of each group, over the kernels that have them."""
    flop, size_bytes = work.flop * calls, work.size_bytes * calls
    sums, known = _sums(codes, flop, count)
    sizes, sized = _sums(codes, size_bytes, count)
    both = ~np.isnan(flop) & ~np.isnan(size_bytes)
    flop_of_both, _ = _sums(codes, np.where(both, flop, np.nan), count)
    bytes_of_both, _ = _sums(codes, np.where(both, size_bytes, np.nan), count)
    times, _ = _sums(codes, np.where(np.isnan(flop), np.nan, durations), count)
    return {
        "flop": _where(known, np.rint(sums)),
        "size_bytes": _where(sized, np.rint(sizes)),
        "intensity": _ratios(flop_of_both, bytes_of_both),
        "flop_per_s": _ratios(sums * NS_PER_S, times),
    }


def _roof_columns(
    roofs: KernelRoofs, codes: IntArray, count: int, *, exclusive: FloatArray
) -> dict[str, Sequence[Any]]:
    known = ~np.isnan(roofs.attainable_ns)
    attainable, has = _sums(codes, roofs.attainable_ns, count)
    own = _added(codes, np.where(known, exclusive, 0.0), count)
    whole = _added(codes, exclusive, count)
    gain = np.where(known, np.maximum(exclusive - roofs.attainable_ns, 0.0), np.nan)
    gains_ns, _ = _sums(codes, gain, count)
    compute = _added(codes, np.where(roofs.is_compute_bound, roofs.attainable_ns, 0.0), count)
    bound = [
        None if not there or not time else COMPUTE if part * 2 > time else MEMORY
        for there, time, part in zip(has.tolist(), attainable.tolist(), compute.tolist(), strict=True)
    ]
    return {
        "attainable_ns": _where(has, np.rint(attainable)),
        "roof": [value if there else None for value, there in zip(_ratios(attainable, own), has.tolist(), strict=True)],
        "bound": bound,
        "gain_ns": _where(has, np.rint(gains_ns)),
        "coverage": _ratios(own, whole),
    }


def _step_gains(
    profile: Profile, roofs: KernelRoofs, codes: IntArray, count: int, *, exclusive: FloatArray
) -> list[int | None]:
    """What a step gains on average; None where the file tells no iterations."""
    found = belonging(profile, "iteration")
    if not found.keys:
        return [None] * count
    within = found.kernels < len(found.keys)
    gain = np.where(within, np.maximum(exclusive - roofs.attainable_ns, 0.0), np.nan)
    sums, known = _sums(codes, gain, count)
    return _where(known, np.rint(sums / len(found.keys)))


def _sums(codes: IntArray, values: FloatArray, count: int) -> tuple[FloatArray, BoolArray]:
    """(sum of the known values of each group, whether it has any)."""
    known = ~np.isnan(values)
    return _added(codes[known], values[known], count), np.bincount(codes[known], minlength=count) > 0


def _added(codes: IntArray, values: FloatArray, count: int) -> FloatArray:
    """Sum of the values of each group, unknown ones left out."""
    return np.bincount(codes, weights=np.nan_to_num(values), minlength=count).astype(np.float64)


def _where(known: BoolArray, values: FloatArray) -> list[int | None]:
    return [int(value) if there else None for value, there in zip(values.tolist(), known.tolist(), strict=True)]


def _rounded(values: FloatArray) -> list[int]:
    return [int(value) for value in np.rint(values).tolist()]


def _ratios(parts: FloatArray, wholes: FloatArray) -> list[float | None]:
    return [part / whole if whole > 0 else None for part, whole in zip(parts.tolist(), wholes.tolist(), strict=True)]


def _notes(profile: Profile) -> tuple[str, ...]:
    work, table = kernels.kernel_work(profile), profile.table("kernels")
    roofs = roof.kernel_roofs(profile)
    if work.counted is not None:
        notes = [f"FLOP and bytes: executed, by counters ({', '.join(work.counted.flop) or 'no FLOP'}; DRAM)"]
        if work.counted.lacking:
            notes.append(f"not in this file, and not in the FLOP: {', '.join(work.counted.lacking)}")
        hidden = int(work.counted.hides_products.sum())
        if hidden:
            notes.append(
                f"launches that used tensor cores, whose FLOP were not collected: {hidden:,}; FLOP and roof unknown"
            )
    else:
        assert work.works is not None
        notes = [
            "FLOP and bytes: modelled from the shapes of the operators; bytes are compulsory, each value moved once"
        ]
        notes += _model_notes(table, work, work.works)
    faster = roofs.attainable_ns > table.ints("dur_ns")
    if faster.any():
        notes.append(f"{int(faster.sum()):,} kernels are faster than their roof: what they read was in a cache")
    return (*roofs.notes, *notes)


def _model_notes(table: Table, work: KernelWork, works: OperatorWork) -> list[str]:
    notes = []
    unknown = np.isnan(work.flop)
    if unknown.any():
        notes.append(f"{int(unknown.sum()):,} of {len(table):,} kernels have no operator with a model, and no roof")
    if work.is_helper.any():
        notes.append(
            f"{int(work.is_helper.sum()):,} kernels prepare or finish the product of others: no work of their own, "
            "so all of their time is gain"
        )
    notes += [f"assumed, calls: {count:,}: {what}" for what, count in works.assumed.items()]
    return notes


def _operators(profile: Profile) -> Answer:
    """The operators that have a model, by name: FLOP, bytes, and rate by their own time."""
    ops, works = profile.table("ops"), operator_work(profile)
    known = works.flop >= 0
    if not known.any():
        raise MissingDataError(f"{profile.meta.file}: no operator with recorded shapes in this file; {kernels.HOW}")
    rows = works.rows[known]
    names = ops["name"].take(rows)
    used, codes = np.unique(names.values, return_inverse=True)
    count = len(used)
    categories = names.categories or ()
    families = [works.works[place] for place in works.work[known].tolist()]
    family_of = dict(zip(codes.tolist(), (work.family for work in families if work is not None), strict=True))
    flop = works.flop[known].astype(np.float64)
    durations = ops.ints("dur_ns")[rows]
    columns: dict[str, Sequence[Any]] = {
        "name": [categories[code] for code in used.tolist()],
        "class": [family_of[code] for code in range(count)],
        "calls": np.bincount(codes, minlength=count).tolist(),
        "dur_ns": summed(codes, durations, count).tolist(),
        "flop": summed(codes, works.flop[known], count).tolist(),
    }
    sizes, sized = _sums(codes, works.size_bytes[known], count)
    both = np.where(np.isnan(works.size_bytes[known]), np.nan, flop)
    columns["size_bytes"] = _where(sized, np.rint(sizes))
    columns["intensity"] = _ratios(_sums(codes, both, count)[0], sizes)
    columns["flop_per_s"] = _ratios(
        _sums(codes, flop * NS_PER_S, count)[0], summed(codes, durations, count).astype(np.float64)
    )
    notes = ["FLOP and bytes: modelled from the shapes of the operators; bytes are compulsory, each value moved once"]
    notes.append("a run without a GPU: no peak, so no roof")
    notes += [f"assumed, calls: {calls:,}: {what}" for what, calls in works.assumed.items()]
    lacking = int((~known).sum())
    if lacking:
        notes.append(f"{lacking:,} calls of operators with a model lack the shapes or arguments that it needs")
    return Answer(ROOFLINE, sorted_columns(columns, by=("flop", "dur_ns")), tuple(notes))
