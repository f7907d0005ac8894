"""Metrics that Nsight Compute samples while a launch runs: series of readings, never one figure of the launch.

Their names begin with ``pmsampling:`` or ``warpsampling:``. What stands as their own value is a sum or a mean over the
series, as the metric has it, beside times in which the launch did not run.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final, NamedTuple

import numpy as np
import numpy.typing as npt

from ds2prof.tables import Column, Texts

PREFIXES: Final = ("pmsampling:", "warpsampling:")


class Series(NamedTuple):
    """The readings of one metric within one launch.

    Attributes:
        launch: the launch.
        metric: as the tool names it, prefix included.
        unit: the base unit.
        values: in base units.
        times_ns: of each reading, on the GPU's own clock; None where the source has none.
        period_ns: between readings, where the source states it in time.
    """

    launch: int
    metric: str
    unit: str
    values: npt.NDArray[np.float64]
    times_ns: npt.NDArray[np.int64] | None = None
    period_ns: int | None = None


def is_series(metric: str) -> bool:
    """Whether the metric is a series."""
    return metric.startswith(PREFIXES)


def cut_instances(text: bytes) -> tuple[bytes, list[bytes]]:
    """The own value and those of the instances in a cell as ``2668 (1.50; 2.50)``; either can be missing."""
    own, bracket, rest = text.partition(b"(")
    if not bracket or not rest.endswith(b")"):
        return text, []
    return own.strip(), [instance.strip() for instance in rest[:-1].split(b";")]


def columns_of(series: Sequence[Series], devices: npt.NDArray[np.int64], *, null: int) -> dict[str, Column]:
    """The table of samples; nothing where there are none.

    Args:
        series: all that was found.
        devices: of each launch.
        null: stands for no device there.
    """
    found = sorted((one for one in series if len(one.values)), key=lambda one: one.launch)
    if not found:
        return {}
    lengths = np.array([len(one.values) for one in found])
    launches = np.repeat(np.array([one.launch for one in found], dtype=np.int64), lengths)
    columns = {
        "launch": Column(launches),
        "metric": _text([one.metric for one in found], lengths),
        "unit": _text([one.unit for one in found], lengths),
        "value": Column(np.concatenate([one.values for one in found])),
        "start_ns": _times(found),
        "period_ns": _whole([one.period_ns for one in found], lengths),
        "device": Column(np.where(devices[launches] == null, 0, devices[launches]), devices[launches] != null),
    }
    return {name: column for name, column in columns.items() if column.kind != "int" or column.present.any()}


def _text(texts: Sequence[str], lengths: npt.NDArray[np.int64]) -> Column:
    dictionary = Texts()
    codes = dictionary.codes(texts)
    return Column(np.repeat(codes, lengths), None, dictionary.categories)


def _whole(values: Sequence[int | None], lengths: npt.NDArray[np.int64]) -> Column:
    numbers = np.array([0 if value is None else value for value in values], dtype=np.int64)
    valid = np.array([value is not None for value in values])
    return Column(np.repeat(numbers, lengths), np.repeat(valid, lengths))


def _times(series: Sequence[Series]) -> Column:
    times = [np.zeros(len(one.values), np.int64) if one.times_ns is None else one.times_ns for one in series]
    valid = [np.full(len(one.values), one.times_ns is not None) for one in series]
    return Column(np.concatenate(times).astype(np.int64), np.concatenate(valid))
