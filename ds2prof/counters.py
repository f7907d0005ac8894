"""Hardware counters: what each chip calls the canonical pipes, and which metric of a file stands for a pipe.

A pipe's number is its share of its own peak rate. Nsight Compute offers it under several names, not all of them on
every chip, and over two denominators. One name is chosen per pipe and file, never mixed across launches. Which chip
has which metric stands in :mod:`ds2prof.metrics.table`.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable
from typing import Final, NamedTuple

from ds2prof.metrics.table import AVAILABILITY, CHIPS, DEPRECATED, SINCE_HOPPER

PIPES: Final = ("fma", "fp16", "fp64", "tensor", "tc", "xu", "alu", "lsu", "tma")
"""The canonical pipes. ``xu`` is the special function unit (SFU); ``tc`` and ``tma`` exist on late chips only."""

CYCLES: Final = "gpc__cycles_elapsed.max"
DURATION: Final = "gpu__time_duration.sum"
CLOCK: Final = "gpc__cycles_elapsed.avg.per_second"

PREFERENCE: Final[dict[str, tuple[str, ...]]] = {
    # Counts first: the ancestor's metric, and every instruction takes one slot. The cycles say the same: from GA102 on
    # they average the pipe's heavy and light halves (a real RTX 3070 report: fmaheavy 12.00 %, fma 6.00 %).
    "fma": ("sm__inst_executed_pipe_fma", "sm__pipe_fma_cycles_active"),
    "fp16": ("sm__inst_executed_pipe_fp16", "sm__inst_executed_pipe_fma_type_fp16"),
    # Cycles first: on 21 chips (GA10x, AD10x, GB11x, GB2xx) the pipe also runs matrix instructions, which are longer.
    # For plain double precision both agree (a real A100 report: 19.88 % either way).
    "fp64": ("sm__pipe_fp64_cycles_active", "sm__inst_executed_pipe_fp64"),
    # Cycles first: one matrix instruction keeps the pipe busy for a time that depends on its shape and chip.
    "tensor": (
        "sm__pipe_tensor_cycles_active_v2",
        "sm__pipe_tensor_cycles_active",
        "sm__inst_executed_pipe_tensor_v2",
        "sm__inst_executed_pipe_tensor",
    ),
    "tc": ("sm__pipe_tc_cycles_active", "sm__inst_executed_pipe_tc"),
    # Counts first: cycles exist on three chips only.
    "xu": ("sm__inst_executed_pipe_xu", "sm__pipe_xu_cycles_active"),
    "alu": ("sm__inst_executed_pipe_alu", "sm__pipe_alu_cycles_active"),
    "lsu": ("sm__inst_executed_pipe_lsu",),
    # Cycles first: one instruction moves a whole box of memory.
    "tma": ("sm__pipe_tma_cycles_active", "sm__inst_executed_pipe_tma"),
}
"""Pipe -> base metrics, the best first. What a chip lacks is passed over."""

SUBSET_OF: Final = {"sm__inst_executed_pipe_fma_type_fp16": "fma"}
"""Base metric -> the pipe that its instructions run in. The two are never added up."""

TBD_PIPES: Final[dict[str, tuple[str, ...]]] = {
    "fma": ("sm__inst_executed_pipe_fma",),
    "fp16": ("sm__inst_executed_pipe_fp16", "sm__inst_executed_pipe_fma_type_fp16"),
    "tensor": ("sm__inst_executed_pipe_tensor_v2", "sm__inst_executed_pipe_tensor"),
    "sfu": ("sm__inst_executed_pipe_xu",),
}
"""The lines of the TBD suite's Core-Utilization-Analyzer, in its order -> its metrics, or today's name for the same."""

_TELLING: Final = frozenset(base for bases in (*PREFERENCE.values(), *TBD_PIPES.values()) for base in bases)
"""The metrics that tell chips apart in a file; tools of other years list some of the others on other chips."""

ACTIVE_CYCLES: Final = ("sm__cycles_active.avg",)
ELAPSED_CYCLES: Final = ("sm__cycles_elapsed.avg", "sm__cycles_elapsed.max", CYCLES)
"""What turns a share of active cycles into one of elapsed cycles, the best first.

The SMs run on the GPC's clock: with ``gpc__cycles_elapsed.max`` for the elapsed cycles, the eight shares above 4 % that
two real reports (A100, RTX 3070) hold over both denominators came out within 0.15 % of Nsight Compute's own.
"""

ELAPSED_SHARE: Final = "pct_of_peak_sustained_elapsed"
"""The submetric that is collected: the share of the sustained peak over elapsed cycles."""
_SHARES: Final = (
    ELAPSED_SHARE,
    "pct_of_peak_burst_elapsed",
    "pct_of_peak_sustained_active",
    "pct_of_peak_burst_active",
)
"""Submetrics that give a share of peak, the best first; burst ones are found in old files only."""

_PREFIXES: Final = ("breakdown:", "group:", "pmsampling:", "warpsampling:")
_ROLLUPS: Final = frozenset({"avg", "max", "min", "sum"})
UNKNOWN_CHIP_PIPES: Final = ("fma", "tensor", "xu", "fp64")
"""The pipes to collect where nothing is known of the chip."""


class MetricName(NamedTuple):
    """A metric's name, taken apart. What a name does not have is None."""

    base: str
    rollup: str | None = None
    submetric: str | None = None
    prefix: str | None = None
    """``breakdown``, ``pmsampling`` and so on. Only a name without prefix is one number of one launch."""
    peak: str | None = None
    """``sustained`` or ``burst``: the peak rate that a percentage refers to."""
    denominator: str | None = None
    """``elapsed`` or ``active``: the cycles that a percentage or rate refers to."""


class Choice(NamedTuple):
    """The one metric of a file that stands for a pipe."""

    pipe: str
    metric: str
    base: str
    submetric: str
    needs_active_conversion: bool = False
    """The share is of active cycles: times active over elapsed cycles of the same launch, else the number is absent."""
    active_cycles: tuple[str, ...] = ()
    elapsed_cycles: tuple[str, ...] = ()
    """The file's metrics for that conversion, the best first; empty where none is needed."""
    subset_of: str | None = None
    """The pipe that these instructions run in: never to be added to it."""
    warning: str | None = None


def parse_metric(name: str) -> MetricName:
    """The parts of a metric name as Nsight Compute writes it: ``[prefix:]base[.rollup][.submetric]``.

    ``base`` is ``unit__what`` (``sm__inst_executed_pipe_fma``), ``rollup`` one of sum, avg, min and max over the unit's
    instances, ``submetric`` what is left: ``per_second``, ``per_cycle_active``, ``pct_of_peak_sustained_elapsed``,
    ``peak_sustained``. Ratios have no rollup (``.ratio``, ``.pct``, ``.max_rate``); ``launch__``, ``derived__`` and
    ``device__attribute_`` names have neither. Any other text is a base on its own.
    """
    prefix, rest = None, name
    for known in _PREFIXES:
        if name.startswith(known):
            prefix, rest = known[:-1], name[len(known) :]
    base, *parts = rest.split(".")
    rollup = parts.pop(0) if parts and parts[0] in _ROLLUPS else None
    submetric = ".".join(parts) or None
    words = (submetric or "").split("_")
    peak = next((kind for kind in ("sustained", "burst") if "peak" in words and kind in words), None)
    denominator = next((kind for kind in ("elapsed", "active") if words[-1] == kind), None)
    return MetricName(base, rollup, submetric, prefix, peak, denominator)


def bases(pipe: str, *, chip: str | None = None) -> tuple[str, ...]:
    """The base metrics for ``pipe``, the best first: those that ``chip`` has, or all where the chip is unknown."""
    preferred = PREFERENCE[pipe]
    if chip not in CHIPS:
        return preferred
    return tuple(base for base in preferred if chip in AVAILABILITY[base])


def pipes_of(chip: str) -> tuple[str, ...]:
    """The canonical pipes that ``chip`` has a metric for, in the canonical order."""
    return tuple(pipe for pipe in PIPES if bases(pipe, chip=chip))


def chips_with(names: Iterable[str]) -> tuple[str, ...]:
    """The chips that have every known base metric among ``names``: which chips a file without one can be from.

    All chips where the names contradict each other, as those of a file merged from several GPUs do.
    """
    known = {base for base in (parse_metric(name).base for name in names) if base in _TELLING}
    return tuple(chip for chip in CHIPS if all(chip in AVAILABILITY[base] for base in known)) or CHIPS


def choose(pipe: str, available: Iterable[str], *, chip: str | Collection[str] | None = None) -> Choice | None:
    """The metric that stands for ``pipe`` in a file whose launches have ``available`` metrics with values.

    In order: one that needs no warning on this chip; over elapsed cycles rather than active ones, of the sustained
    rather than the burst peak; then the order of :data:`PREFERENCE`. A share of active cycles is taken only where the
    file has what turns it into one of elapsed cycles. ``chip`` may be the several that a GPU can be; where it is not
    known, the names themselves narrow it down.

    Returns:
        None where the file has nothing for this pipe.
    """
    names = frozenset(available)
    chips = _known(chip) or chips_with(names)
    found = [
        (warning is not None, rank, order, base, share, warning)
        for order, base in enumerate(PREFERENCE[pipe])
        for warning in (_warning(base, chips),)
        for rank, share in enumerate(_SHARES)
        if f"{base}.avg.{share}" in names
    ]
    for _, _, _, base, share, warning in sorted(found):
        choice = _choice(pipe, base, share, names=names, warning=warning)
        if choice is not None:
            return choice
    return None


def choose_tbd(line: str, available: Iterable[str]) -> Choice | None:
    """The metric for one of the ancestor's lines (fma, fp16, tensor, sfu): executed instructions over elapsed cycles.

    Other metrics never stand in, so that the lines stay comparable with the ancestor's. None is its ``n/a``.
    """
    names = frozenset(available)
    for share in _SHARES[:2]:
        for base in TBD_PIPES[line]:
            if f"{base}.avg.{share}" in names:
                return _choice(line, base, share, names=names, warning=None)
    return None


def core_metrics(chip: str | Collection[str] | None) -> tuple[str, ...]:
    """The full names to collect for core utilization: none that ``chip`` lacks, every canonical pipe that it has.

    ``chip`` may also be the chips that a GPU can be, where its name leaves a choice: then the names that all of them
    have. For an unknown chip only names that all known chips have. Every share is over elapsed cycles, so no launch
    needs a conversion. Instruction counts for tensor are always among them, although cycles are what is read: the
    ancestor's four lines are made of those alone, and would be ``n/a`` without.
    """
    known = _known(chip)
    bases = [base for pipe in (PIPES if known else UNKNOWN_CHIP_PIPES) for base in collected(pipe, known)]
    return (CYCLES, DURATION, CLOCK, *(f"{base}.avg.{ELAPSED_SHARE}" for base in bases))


def collected(pipe: str, chips: Collection[str], *, listed: Collection[str] | None = None) -> tuple[str, ...]:
    """The base metrics to collect for ``pipe``: the one that is read, and the ancestor's where it is another.

    Those that all ``chips`` have (all known chips where none is given), as far as the tool lists them. A metric that is
    deprecated on one of the chips is passed over where there is another.
    """
    fitting = [
        base
        for base in PREFERENCE[pipe]
        if (set(chips) or set(CHIPS)) <= set(AVAILABILITY[base]) and (listed is None or base in listed)
    ]
    current = [base for base in fitting if set(chips).isdisjoint(DEPRECATED.get(base, ()))] or fitting
    return tuple(current[:1] + [base for base in current[1:] if base in TBD_PIPES.get(pipe, ())])


def _known(chip: str | Collection[str] | None) -> frozenset[str]:
    """The chips asked for, all of them in :data:`CHIPS`; empty where one is not, for then nothing is certain."""
    asked = frozenset({chip} if isinstance(chip, str) else chip or ())
    return asked if asked <= frozenset(CHIPS) else frozenset()


def _choice(pipe: str, base: str, share: str, *, names: frozenset[str], warning: str | None) -> Choice | None:
    """The choice of one name of the file; None where it is over active cycles and cannot be converted."""
    metric = f"{base}.avg.{share}"
    if share.endswith("_elapsed"):
        return Choice(pipe, metric, base, share, subset_of=SUBSET_OF.get(base), warning=warning)
    active = tuple(name for name in ACTIVE_CYCLES if name in names)
    elapsed = tuple(name for name in ELAPSED_CYCLES if name in names)
    if not active or not elapsed:
        return None
    return Choice(pipe, metric, base, share, True, active, elapsed, SUBSET_OF.get(base), warning)


def _warning(base: str, chips: Collection[str]) -> str | None:
    """What to say when ``base`` is read on one of ``chips``; None where nothing is wrong with it."""
    if base in TBD_PIPES["tensor"] and any(chip in SINCE_HOPPER for chip in chips):
        since = "on this chip" if all(chip in SINCE_HOPPER for chip in chips) else "if this chip is Hopper or later,"
        return (
            f"{base} counts instructions, and {since} one instruction is a whole warpgroup's product: the pipe "
            f"was busier than the number says; collect sm__pipe_tensor_cycles_active"
        )
    if all(chip in DEPRECATED.get(base, ()) for chip in chips):
        return f"{base} is deprecated on this chip; its successor is {base}_v2"
    return None
