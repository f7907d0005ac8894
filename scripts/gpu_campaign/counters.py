"""The part that reads hardware counters: Nsight Compute replays each launch, so what it costs decides what is run."""

from __future__ import annotations

from typing import Final

from gpu_campaign import lessons
from gpu_campaign.commands import NEEDS_GPU, captured, ds2prof
from gpu_campaign.context import Context
from gpu_campaign.plan import RECORDS, REPORTS, Learned, Part, Step

QUICK_LAUNCHES: Final = 200
_FULL_LAUNCHES: Final = 6
_WIDE: Final = ("core", "roofline", "occupancy", "mix", "stalls")
_WIDE_LAUNCHES: Final = 30
_RECURRENT_LAUNCH: Final = 200
"""A launch that lies within the recurrent layers of a forward pass; the front end launches far fewer."""
_ALLOWANCE: Final = 1.2
"""What an estimate of a capture's duration is multiplied by."""


def nsight(context: Context) -> Part:
    """The counters of training, from the captures that are sure to fit to those that take longest."""
    title = "hardware counters by Nsight Compute"
    against = _against_counters(context)
    if against is not None:
        return Part("nsight", title, 35, skipped=against)
    small, large = context.both[0], context.both[-1]
    shortest = context.shortest(small)
    steps = [
        _first_launches(context, small, shortest),
        *_whole_iteration(context, small, shortest, tag=None),
        _full_set(context, small, shortest, skip=0, tag="full-frontend"),
        _full_set(context, small, shortest, skip=_RECURRENT_LAUNCH, tag="full-recurrent"),
        _wide_table(context, small, shortest),
    ]
    if large != small:
        steps += _whole_iteration(context, large, context.shortest(large), tag=None)
    if context.typical(small) != shortest:
        steps += _whole_iteration(context, small, context.typical(small), tag="typical")
    return Part("nsight", title, 35, (*steps, *_known_metrics(context)))


def _against_counters(context: Context) -> str | None:
    """Why hardware counters cannot be read here, as far as that can be told before it is tried."""
    if not context.on_gpu:
        return NEEDS_GPU
    if context.tool("nsight") is None:
        return "ncu is not on this machine"
    if context.counters_permitted is False:
        return "the driver does not let this process read hardware counters; doctor.txt says what to change"
    return None


def _forbidden(learned: Learned) -> str | None:
    return learned.no_counters


def _counted(context: Context, name: str, batch_size: int, iteration: int, *options: str) -> tuple[str, ...]:
    """The command of a counter capture of one iteration."""
    window = (iteration, iteration + 1)
    return captured(context, name, profiler="nsight", batch_size=batch_size, window=window, options=options)


def _first_launches(context: Context, batch_size: int, iteration: int) -> Step:
    """A few hundred launches: whether counters can be read at all, and what one launch costs."""
    name = context.measurement(f"nsight_bs{batch_size}_first{QUICK_LAUNCHES}.csv")
    command = _counted(context, name, batch_size, iteration, "--launch-count", str(QUICK_LAUNCHES))
    step = "nsight-first"
    log = context.work / f"{RECORDS}/{step}.log"
    return Step(step, command, (name,), 1, learn=lessons.counters(context.work / name, log, batch_size=batch_size))


def _whole_iteration(context: Context, batch_size: int, iteration: int, *, tag: str | None) -> list[Step]:
    """The core metrics of every launch of one iteration as a report, and the CSV that ncu makes of that."""
    stem = f"nsight_bs{batch_size}" + (f"_{tag}" if tag else "")
    report, table = f"{REPORTS}/{stem}.ncu-rep", context.measurement(f"{stem}.csv")
    frames = context.summed_frames(batch_size, iteration, iteration + 1)

    def expects_s(learned: Learned) -> float | None:
        per_frame = learned.launches.get(batch_size)
        if per_frame is None or learned.counters_s is None or frames is None:
            return None
        startup_s = learned.startup_s.get(batch_size, 0.0)
        return _ALLOWANCE * (startup_s + per_frame * frames * learned.counters_s)

    def no_report(_learned: Learned) -> str | None:
        return None if (context.work / report).exists() else f"there is no {stem}.ncu-rep to make it of"

    whole = Step(
        f"nsight-{stem.removeprefix('nsight_')}",
        _counted(context, report, batch_size, iteration),
        (report,),
        3,
        unless=_forbidden,
        expects_s=expects_s,
    )
    shown = (context.tool("nsight") or "ncu", "--import", str(context.work / report), "--csv", "--page", "raw")
    export = Step(
        f"{whole.name}-csv",
        ("env", "LC_ALL=C", *shown, "--print-units", "base"),
        (table,),
        0,
        stdout=table,
        sidecar_of=report,
        unless=no_report,
        expects_s=lambda _learned: 1.0,
    )
    return [whole, export]


def _full_set(context: Context, batch_size: int, iteration: int, *, skip: int, tag: str) -> Step:
    """A few launches with all that Nsight Compute knows to collect."""
    report = f"{REPORTS}/nsight_bs{batch_size}_{tag}.ncu-rep"
    command = _counted(
        context,
        report,
        batch_size,
        iteration,
        "--tool-option",
        "--set=full",
        "--launch-skip",
        str(skip),
        "--launch-count",
        str(_FULL_LAUNCHES),
    )
    return Step(f"nsight-{tag}", command, (report,), 2, unless=_forbidden)


def _wide_table(context: Context, batch_size: int, iteration: int) -> Step:
    """Launches of the recurrent layers with all that ds2prof itself knows to want, as a table."""
    name = context.measurement(f"nsight_bs{batch_size}_wide.csv")
    wants = [word for want in _WIDE for word in ("--want", want)]
    command = _counted(
        context,
        name,
        batch_size,
        iteration,
        *wants,
        "--launch-skip",
        str(_RECURRENT_LAUNCH),
        "--launch-count",
        str(_WIDE_LAUNCHES),
    )
    return Step("nsight-wide", command, (name,), 1, unless=_forbidden)


def _known_metrics(context: Context) -> list[Step]:
    """The metrics that ds2prof plans for this GPU, and those that this ncu lists for it."""
    plan, listed = f"{RECORDS}/metrics-plan.json", f"{RECORDS}/ncu-metrics.txt"
    asked = ds2prof(context, "metrics", "plan", "--format", "json")
    query = (context.tool("nsight") or "ncu", "--query-metrics")
    return [
        Step("metrics-plan", asked, (plan,), 2, stdout=plan),
        Step("ncu-metrics", query, (listed,), 4, stdout=listed, unless=_forbidden),
    ]
