"""Profiles made by hand, for tests whose answers can be worked out on paper."""

from __future__ import annotations

from ds2prof.tables import Meta, Profile, float_column, int_column, text_column

META = Meta(file="made.json", tool="test", format="test")
REPLAY = Meta(file="made.csv", tool="test", format="test", times="replay")
_TEXT = {
    "compute_capability",
    "vendor",
    "device_type",
    "name",
    "kind",
    "value",
    "metric",
    "unit",
    "domain",
    "chip",
    "source_kind",
    "destination_kind",
}
_FLOAT = {"value:counters", "value:samples", "occupancy", "blocks_per_sm"}


def columns(table, names, rows):
    built = {}
    for position, name in enumerate(names):
        values = [row[position] for row in rows]
        if f"{name}:{table}" in _FLOAT or name in _FLOAT:
            built[name] = float_column(values)
        elif name in _TEXT:
            built[name] = text_column(values)
        else:
            built[name] = int_column(values)
    return built


def profile(*, meta=META, warnings=(), **tables):
    """A profile of ``table=((column names), [rows])``."""
    return Profile.of(meta, {name: columns(name, *spec) for name, spec in tables.items()}, warnings=warnings)


def counters_profile(launches, *, extra=(), metric="sm__inst_executed_pipe_fma.avg.pct_of_peak_sustained_elapsed"):
    """A replayed profile of launches (name, cycles or None, fma ratio or None)."""
    rows = []
    for launch, (_, cycles, fma) in enumerate(launches):
        if cycles is not None:
            rows.append((launch, "gpc__cycles_elapsed.max", "cycle", cycles))
        if fma is not None:
            rows.append((launch, metric, "ratio", fma))
    rows += extra
    return profile(
        meta=REPLAY,
        kernels=(("name", "device", "dur_ns"), [(name, 0, 1000) for name, _, _ in launches]),
        counters=(("launch", "metric", "unit", "value"), rows),
    )
