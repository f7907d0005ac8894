"""Readings of samplers and the log of a training run: what was read, its answers, and the text of each format."""

from __future__ import annotations

import json
from collections.abc import Callable
from fractions import Fraction
from typing import Any, Final

READINGS: Final = (
    (0, (0, 16, 210, 3), (0, 17, 210, 3)),
    (1, (87, 231, 1695, 9120), (90, 229, 1710, 9124)),
    (2, (100, 240, 1680, 9122), (98, 238, 1695, 9126)),
    (3, (61, 187, 1650, 9122), (0, 64, 1410, 9126)),
)
"""(second, for each of two GPUs its utilization in percent, power in W, SM clock in MHz, memory in MiB)."""
QUANTITIES: Final = {
    "utilization": Fraction(1, 100),
    "power_w": Fraction(1),
    "sm_clock_hz": Fraction(10**6),
    "memory_bytes": Fraction(1 << 20),
}
"""Quantity, in the order of the readings -> what a reading is worth in base units."""
ITERATIONS: Final = (
    (0, 16_711_360_221, 4, "8.75", "9.5"),
    (1, 1_618_931_733, 4, "4.75", "5.5"),
    (2, 710_540_565, 4, "7.25", "8.0"),
    (3, 226_493_207, 3, "3.5", "4.25"),
    (4, 960_977_642, 4, "6.5", "6.5"),
)
"""(iteration, wall_ns, samples, seconds of audio, the same with padding); the first two are warm-up."""
WARM_UP: Final = 2


def readings_answer() -> dict[str, Any]:
    """Quantity -> device -> number of readings, mean, least and greatest."""
    return {
        quantity: {str(device): _summary([row[1 + device][place] * worth for row in READINGS]) for device in (0, 1)}
        for place, (quantity, worth) in enumerate(QUANTITIES.items())
    }


def _summary(values: list[Fraction]) -> list[Any]:
    return [len(values), str(sum(values) / len(values)), str(min(values)), str(max(values))]


def log_answer() -> dict[str, Any]:
    """Iterations, their time, and the rates behind the warm-up."""
    measured = ITERATIONS[WARM_UP:]
    seconds = Fraction(sum(row[1] for row in measured), 10**9)
    rates = {name: str(sum(Fraction(row[place]) for row in measured) / seconds)
             for place, name in ((2, "samples_per_s"), (3, "audio_s_per_s"), (4, "padded_s_per_s"))}  # fmt: skip
    return {"iterations": len(ITERATIONS), "wall_ns": sum(row[1] for row in ITERATIONS), **rates}


def smi_csv() -> str:
    """``nvidia-smi --query-gpu=... --format=csv -l 1``."""
    head = "timestamp, index, name, utilization.gpu [%], power.draw [W], clocks.sm [MHz], memory.used [MiB]"
    lines = [
        f"2026/03/01 09:00:{second:02d}.00{device}, {device}, NVIDIA L4, {gpu} %, {power}.00 W, {clock} MHz, {used} MiB"
        for second, *each in READINGS
        for device, (gpu, power, clock, used) in enumerate(each)
    ]
    return "\n".join([head, *lines, ""])


def smi_dmon() -> str:
    """``nvidia-smi dmon -s pucm``."""
    lines = ["# gpu    pwr  gtemp     sm   pclk     fb", "# Idx      W      C      %    MHz     MB"]
    for _, *each in READINGS:
        for device, (gpu, power, clock, used) in enumerate(each):
            lines.append(f"    {device}   {power:4d}     40   {gpu:4d}   {clock:4d}   {used:4d}")
    return "\n".join([*lines, ""])


def dcgm_dmon() -> str:
    """``dcgmi dmon -e 1001,155,100,252``."""
    lines = [
        "#Entity   GRACT        POWER        SMCLK        FBUSD",
        "ID                     W            MHz          MB",
    ]
    for _, *each in READINGS:
        for device, (gpu, power, clock, used) in enumerate(each):
            lines.append(f"GPU {device}     {gpu / 100:.3f}        {power}.000       {clock}         {used}")
    return "\n".join([*lines, ""])


def dcgm_prometheus() -> str:
    """What dcgm-exporter serves, a scrape each second, with its times."""
    names = ("DCGM_FI_PROF_GR_ENGINE_ACTIVE", "DCGM_FI_DEV_POWER_USAGE", "DCGM_FI_DEV_SM_CLOCK", "DCGM_FI_DEV_FB_USED")
    lines = []
    for second, *each in READINGS:
        for place, name in enumerate(names):
            lines.append(f"# TYPE {name} gauge")
            for device, values in enumerate(each):
                value = values[place] / 100 if place == 0 else values[place]
                labels = f'gpu="{device}",UUID="GPU-0000000{device}",modelName="NVIDIA L4",Hostname="node-1"'
                lines.append(f"{name}{{{labels}}} {value} {1_772_355_600_000 + 1000 * second}")
    return "\n".join([*lines, ""])


def samples_csv() -> str:
    """What ``ds2prof run smi`` writes."""
    lines = ["start_ns,period_ns,device,entity,metric,unit,value,aggregation"]
    for second, *each in READINGS:
        at = f"{1_772_355_600_000_000_000 + 1_000_000_000 * second},"
        for device, (gpu, power, clock, used) in enumerate(each):
            lines.append(f"{at},{device},,utilization.gpu,ratio,{gpu / 100},mean")
            lines.append(f"{at},{device},,power.draw,watt,{power},last")
            lines.append(f"{at},{device},,clocks.sm,hertz,{clock}000000,last")
            lines.append(f"{at},{device},,memory.used,byte,{used << 20},last")
    end = f"{1_772_355_600_000_000_000 + 10_000_000_000},,,,sampler.end,count,1,fact"
    return "\n".join([*lines, end, ""])


def run_log() -> str:
    """The log that the training loop writes."""
    head = {"schema": "ds2prof-run/1", "preset": "tiny", "batch_size": 4, "precision": "fp32", "device": "cpu",
            "warmup": WARM_UP, "iterations": len(ITERATIONS), "window": None}  # fmt: skip
    rows = [
        {"iteration": number, "wall_ns": wall, "samples": samples, "audio_s": float(audio), "padded_s": float(padded),
         "loss": 100.0, "skipped": False}
        for number, wall, samples, audio, padded in ITERATIONS
    ]  # fmt: skip
    measured = ITERATIONS[WARM_UP:]
    stretch = {"first": WARM_UP, "stop": len(ITERATIONS), "wall_ns": sum(row[1] for row in measured),
               "samples": sum(row[2] for row in measured), "audio_s": float(sum(Fraction(row[3]) for row in measured)),
               "padded_s": float(sum(Fraction(row[4]) for row in measured))}  # fmt: skip
    return "".join(json.dumps(line) + "\n" for line in (head, *rows, {"stretch": stretch}))


SAMPLERS: Final[dict[str, tuple[Callable[[], str], dict[str, str]]]] = {
    "smi_csv": (
        smi_csv,
        {"utilization.gpu": "utilization", "power.draw": "power_w", "clocks.sm": "sm_clock_hz",
         "memory.used": "memory_bytes"},
    ),
    "samples_csv": (
        samples_csv,
        {"utilization.gpu": "utilization", "power.draw": "power_w", "clocks.sm": "sm_clock_hz",
         "memory.used": "memory_bytes"},
    ),
    "smi_dmon": (smi_dmon, {"sm": "utilization", "pwr": "power_w", "pclk": "sm_clock_hz", "fb": "memory_bytes"}),
    "dcgm_dmon": (
        dcgm_dmon,
        {"GRACT": "utilization", "POWER": "power_w", "SMCLK": "sm_clock_hz", "FBUSD": "memory_bytes"},
    ),
    "dcgm_prometheus": (
        dcgm_prometheus,
        {"DCGM_FI_PROF_GR_ENGINE_ACTIVE": "utilization", "DCGM_FI_DEV_POWER_USAGE": "power_w",
         "DCGM_FI_DEV_SM_CLOCK": "sm_clock_hz", "DCGM_FI_DEV_FB_USED": "memory_bytes"},
    ),
}  # fmt: skip
"""Format -> (its text, what it calls each quantity)."""
