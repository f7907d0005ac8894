"""DeepMark's DeepSpeech2 benchmark: forward and backward through a corpus of known lengths. Needs no PyTorch itself.

The protocol: utterances in ascending length, no two lengths in one minibatch, each length's remainder a minibatch of
its own; the network with its loss forward, then backward; no optimizer step, and gradients that are never set to zero.
Each minibatch is timed between fences by the device's own events where it has such. Two minibatches come before and
are not counted. The batch size is the one that is fastest, and is looked for unless it is given.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any, Final, Protocol

from ds2prof.errors import Ds2profError, UsageError
from ds2prof.speech.synthetic import UTTERANCES, Group, deepmark_groups
from ds2prof.train import deepmark_result as results
from ds2prof.train.deepmark_plan import Minibatch, minibatches, warm_up
from ds2prof.train.deepmark_process import DoesNotFit, Setting, Timed, TookTooLong, measure
from ds2prof.train.deepmark_search import DOES_NOT_FIT, FITS, TOO_LONG, Found, Probe, fastest, largest
from ds2prof.train.presets import PRESETS, Preset
from ds2prof.units import NS_PER_S

HOST: Final = "cpu"
_PROBE_FRAMES: Final = {True: 100, False: 500}
"""Is it the host? -> how long the utterances are that batch sizes are tried on: the median length, or the shortest."""
_PROBE_REPEATS: Final = 5
_PROBE_S: Final = 3.0
"""A batch size is timed this often, or for this long."""
_SEARCH_S: Final = {True: 60.0, False: 900.0}
"""Is it the host? -> how long a batch size is looked for."""
_LONGEST_PROBE: Final = 2.0
"""A probe is ended when the search has taken so many times what it may."""


@dataclass(frozen=True, kw_only=True)
class Asked:
    """What is to be measured.

    Attributes:
        setting: Workload, device, precision, seed and the limit on memory.
        fraction: How much of the distribution, 1 for all of it.
        batch_size: Utterances of a card; ``fastest`` or ``largest`` to have it found.
        find_largest: Whether the largest that fits is looked for besides.
        cards: How many devices work together.
        search_s: How long a batch size is looked for; None for the usual.
    """

    setting: Setting
    fraction: float = 1.0
    batch_size: int | str = "fastest"
    find_largest: bool = False
    cards: int = 1
    search_s: float | None = None

    @property
    def on_host(self) -> bool:
        """Whether the host computes."""
        return self.setting.device == HOST

    @property
    def preset(self) -> Preset:
        """The workload."""
        return PRESETS[self.setting.preset]


@dataclass(frozen=True)
class Measured:
    """A measurement.

    Attributes:
        document: All of it, as :mod:`ds2prof.train.deepmark_result` lays it out.
        rows: The times of each minibatch.
    """

    document: dict[str, Any]
    rows: list[results.Row] = field(repr=False)

    def benchmark_log(self) -> dict[str, Any]:
        """The result in the fields of Cambricon's harness, dated now."""
        return results.benchmark_log(self.document, self.rows, date=datetime.now().strftime("%Y-%m-%d %H:%M:%S"))


class Told(Protocol):
    """Is told how far a measurement is."""

    def probing(self, kind: str, batch_size: int) -> None:
        """A batch size is tried."""

    def probed(self, kind: str, probe: Probe) -> None:
        """It has been."""

    def passing(self, done: int, minibatches: int) -> None:
        """So many minibatches of the pass are done."""


def run(asked: Asked, told: Told) -> Measured:
    """Finds the batch size where none is given, and measures the pass.

    Raises:
        UsageError: there is no such fraction, or it cannot be measured here as asked.
        Ds2profError: not even one utterance fits, or the given batch size does not.
    """
    groups = deepmark_groups(asked.fraction, config=asked.preset.speech)
    search = _search(asked, groups, told)
    batch_size = _decided(asked, search)
    batches = minibatches(groups, batch_size, cards=asked.cards)
    timed = _timed(asked, batches, told)
    one_card = _one_card(asked, groups, batch_size, told) if asked.cards > 1 else None
    document = results.document(
        run=_run_facts(asked, timed, batch_size=batch_size),
        measured=results.columns(batches, timed.rows, groups, asked.preset.speech.frame_ms),
        whole=deepmark_groups(config=asked.preset.speech),
        one_card=one_card,
        search={kind: found.told() for kind, found in search.items()},
    )
    return Measured(document, timed.rows)


def _search(asked: Asked, groups: tuple[Group, ...], told: Told) -> dict[str, Found]:
    """What is looked for, found."""
    found = {}
    if asked.batch_size == "fastest":
        useful = max(-(-group.utterances // asked.cards) for group in groups)
        found["fastest"] = fastest(_attempt("fastest", asked, told), largest_useful=useful, time_is_up=_clock(asked))
    if asked.find_largest or asked.batch_size == "largest":
        limit = max(group.utterances for group in deepmark_groups())
        found["largest"] = largest(_attempt("largest", asked, told), limit=limit, time_is_up=_clock(asked))
    return found


def _clock(asked: Asked) -> Callable[[], bool]:
    """Whether the time for a search that begins now is up."""
    ends_s = time.monotonic() + _search_s(asked)
    return lambda: time.monotonic() > ends_s


def _search_s(asked: Asked) -> float:
    return _SEARCH_S[asked.on_host] if asked.search_s is None else asked.search_s


def _attempt(kind: str, asked: Asked, told: Told) -> Callable[[int], Probe]:
    """What tries a batch size on one card: how fast it is on a middling length, or whether it fits on the longest."""
    whole = deepmark_groups(config=asked.preset.speech)
    at = len(whole) - 1 if kind == "largest" else _PROBE_FRAMES[asked.on_host] // 100 - 1
    # The gradients are there before the batch that has to fit: from the second minibatch of a pass on they always are.
    shortest = Minibatch(whole[0].frames, ((whole[0].first, 1),))
    ends_s = time.monotonic() + _LONGEST_PROBE * _search_s(asked)

    def attempt(batch_size: int) -> Probe:
        told.probing(kind, batch_size)
        batch = Minibatch(whole[at].frames, ((whole[at].first, batch_size),))
        left_s = max(ends_s - time.monotonic(), 1.0)
        if kind == "largest":
            probe = _probe(asked, batch, warmup=shortest, repeats=1, timeout_s=left_s)
        else:
            probe = _probe(asked, batch, warmup=batch, repeats=_PROBE_REPEATS, timeout_s=left_s)
        told.probed(kind, probe)
        return probe

    return attempt


def _probe(asked: Asked, batch: Minibatch, *, warmup: Minibatch, repeats: int, timeout_s: float) -> Probe:
    """What comes of a batch on one card, in a process of its own."""
    try:
        timed = measure(asked.setting, [batch] * repeats, warmup=[warmup], max_s=_PROBE_S, timeout_s=timeout_s)
    except DoesNotFit:
        return Probe(batch_size=batch.samples, outcome=DOES_NOT_FIT)
    except TookTooLong:
        return Probe(batch_size=batch.samples, outcome=TOO_LONG)
    total_ns = sum(forward_ns + backward_ns for forward_ns, backward_ns, _ in timed.rows)
    rate = batch.samples * len(timed.rows) * NS_PER_S / total_ns if repeats > 1 else None
    return Probe(batch_size=batch.samples, outcome=FITS, samples_per_s=rate, peak_bytes=timed.peak_bytes)


def _decided(asked: Asked, search: dict[str, Found]) -> int:
    """The batch size that is measured.

    Raises:
        Ds2profError: none was found.
    """
    if isinstance(asked.batch_size, int):
        return asked.batch_size
    found = search[asked.batch_size]
    if found.batch_size is None:
        raise Ds2profError(f"{asked.setting.device}: {found.ended}; {_advice(asked)}")
    return found.batch_size


def _advice(asked: Asked) -> str:
    if asked.setting.memory_limit_bytes is None:
        return "take a smaller --preset"
    return "raise --memory-limit or take a smaller --preset"


def _timed(asked: Asked, batches: list[Minibatch], told: Told) -> Timed:
    """The pass.

    Raises:
        Ds2profError: it does not fit.
    """
    told.passing(0, len(batches))
    try:
        return measure(
            asked.setting,
            batches,
            warmup=warm_up(batches),
            said=lambda done: told.passing(done, len(batches)),
        )
    except DoesNotFit as error:
        samples = max(batch.samples for batch in batches)
        more = "" if asked.setting.memory_limit_bytes is None else " or a larger --memory-limit"
        raise Ds2profError(
            f"{asked.setting.device}: {error} at minibatches of {samples}; take a smaller --batch-size{more}"
        ) from None


def _one_card(asked: Asked, groups: tuple[Group, ...], batch_size: int, told: Told) -> dict[str, Any]:
    """The columns of the same utterances on one card, with the batch size that each card has among several."""
    batches = minibatches(groups, batch_size)
    timed = _timed(asked, batches, told)
    columns = results.columns(batches, timed.rows, groups, asked.preset.speech.frame_ms)
    return {key: value for key, value in columns.items() if key != "lengths"}


def _run_facts(asked: Asked, timed: Timed, *, batch_size: int) -> dict[str, Any]:
    """The fields of the result that were known, or told by the cards."""
    facts = timed.facts
    return {
        "preset": asked.setting.preset,
        "parameters": facts["parameters"],
        "precision": asked.setting.precision,
        "seed": asked.setting.seed,
        "device": facts["device"]["device"],
        "device_name": facts["device"]["name"],
        "device_facts": facts["device"],
        "versions": facts["versions"],
        "clock": "device events" if facts["events"] else "host clock",
        "cards": asked.cards,
        "batch_size": batch_size,
        "fraction": asked.fraction,
        "utterances_in_all": UTTERANCES,
        "length_divisor": asked.preset.speech.length_divisor,
        "warmup_batches": 2,
        "memory_limit_bytes": asked.setting.memory_limit_bytes,
        "peak_bytes": timed.peak_bytes,
        "reserved_bytes": timed.reserved_bytes,
    }


def default_memory_limit() -> int | None:
    """Half of what the host has free now, for one process; None where the system does not say."""
    free = [*_free_by_kernel(), *_free_by_group()]
    return min(free) // 2 if free else None


def _free_by_kernel() -> list[int]:
    try:
        lines = Path("/proc/meminfo").read_text(encoding="ascii").splitlines()
    except OSError:
        return []
    return [int(line.split()[1]) * 1024 for line in lines if line.startswith("MemAvailable:")]


def _free_by_group() -> list[int]:
    """What a container may still take, where it has a limit."""
    try:
        limit = Path("/sys/fs/cgroup/memory.max").read_text(encoding="ascii").strip()
        used = Path("/sys/fs/cgroup/memory.current").read_text(encoding="ascii").strip()
    except OSError:
        return []
    return [max(int(limit) - int(used), 0)] if limit.isdigit() and used.isdigit() else []


def size_bytes(text: str) -> int:
    """A size as people type it: ``8GiB``, ``500MB``, ``2000000000``.

    Raises:
        UsageError: it is none.
    """
    number, unit = text.strip(), ""
    for suffix in sorted(_UNITS, key=len, reverse=True):
        if suffix and number.lower().endswith(suffix):
            number, unit = number[: -len(suffix)].strip(), suffix
            break
    try:
        value = float(number) * _UNITS[unit]
    except ValueError:
        value = -1.0
    if not 1 <= value < float("inf"):
        raise UsageError(f"{text!r}: not a size; take a number of bytes, or one with kB, MB, GB, KiB, MiB or GiB")
    return int(value)


_UNITS: Final = {
    "": 1,
    "b": 1,
    "kb": 10**3,
    "mb": 10**6,
    "gb": 10**9,
    "tb": 10**12,
    "kib": 1 << 10,
    "mib": 1 << 20,
    "gib": 1 << 30,
    "tib": 1 << 40,
}
