"""``ds2prof bench latency``: how long a batch of utterances takes to become text."""

from __future__ import annotations

import csv
import io
import json
import sys
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from ds2prof.cli.pages import Page
from ds2prof.cli.trained_options import (
    DEVICE_OPTIONS,
    finite,
    open_network,
    preset_named,
    ready_device,
    refuse_checkpoint_options,
    with_options,
)
from ds2prof.errors import UsageError

if TYPE_CHECKING:
    from ds2prof.train.batches import Batch
    from ds2prof.train.device import Device
    from ds2prof.train.latency import LatencyPlan
    from ds2prof.train.presets import Preset
    from ds2prof.train.tasks import Task

SCHEMA = "ds2prof-latency/1"
_FILE = click.Path(path_type=Path)
_LARGEST_BATCH = 65_536


@click.command("latency", cls=Page)
@click.option("--preset", help="A network with untrained weights.  [default: tbd with a GPU, tiny without]")
@click.option("--checkpoint", type=_FILE, help="A trained network instead.")
@click.option("--labels", type=_FILE, help="Its labels.json, where the alphabet is not in the checkpoint.")
@click.option("--pieces", type=_FILE, help="Its model of pieces, for a transducer.")
@click.option("--batch-sizes", default="1 2 4 8 16", show_default=True, help="Utterances of a batch.")
@click.option("--batches", type=click.IntRange(min=1), default=100, show_default=True, help="Measured at each size.")
@click.option("--warmup", type=click.IntRange(min=0), default=5, show_default=True, help="Batches before them.")
@click.option(
    "--most-s",
    type=click.FloatRange(min=0),
    callback=finite,
    help="Seconds that a batch size may take; fewer batches then.",
)
@click.option("--manifest", type=_FILE, help="Real speech.  [default: the preset's synthetic speech]")
@click.option(
    "--seconds", type=click.FloatRange(min=0.1), callback=finite, help="The length of all synthetic utterances."
)
@click.option("--hold", type=click.IntRange(min=0), help="This utterance in every place of every batch.")
@click.option(
    "--extent",
    type=click.Choice(["text", "network"]),
    default="text",
    show_default=True,
    help="To the symbols back on the host, or the network alone.",
)
@with_options(DEVICE_OPTIONS)
@click.option("--seed", type=click.IntRange(min=0), default=1, show_default=True)
@click.option("--format", "form", type=click.Choice(["table", "json", "csv"]), default="table", show_default=True)
@click.option("-o", "--output", type=_FILE, help="A file to write instead of standard output.")
@click.option("--force", is_flag=True, help="Replace that file if it exists.")
def command(
    device: str, precision: str, batch_sizes: str, form: str, output: Path | None, *, force: bool, **options: Any
) -> None:
    """Time batches of utterances from being handed over to being text, at each of some batch sizes.

    \b
    ds2prof bench latency --preset tbd --batch-sizes "1 4 16"
    ds2prof bench latency --checkpoint best.pt --manifest test.csv --format csv -o latency.csv
    ds2prof bench latency --preset mlperf --seconds 9.17 --batch-sizes 1 --batches 200
    ds2prof bench latency --checkpoint best.pt --manifest test.csv --hold 12

    A percentile is linear between the two nearest times; the 99th takes 100 batches and is absent with fewer. Features
    are made before. "real time" is the time it takes over the time it lasts: below 1 is faster than speech.
    """
    from ds2prof.train.settings import make_ready

    sizes = _sizes(batch_sizes)
    _refuse_contradictions(options)
    make_ready(output, force=force)
    place = ready_device(device, precision)
    from ds2prof.train.latency import LatencyPlan

    plan = LatencyPlan(
        batch_sizes=sizes,
        batches=options["batches"],
        warmup=options["warmup"],
        extent=options["extent"],
        precision=precision,
        most_s=options["most_s"],
        seed=options["seed"],
    )
    document = _measured(place, plan, options)
    _write(_text(document, form), output)


def _sizes(text: str) -> tuple[int, ...]:
    parts = text.replace(",", " ").split()
    if not parts or not all(part.isascii() and part.isdigit() and int(part) for part in parts):
        raise UsageError(f'--batch-sizes {text!r}: give whole numbers of 1 or more, like "1 4 16"')
    sizes = tuple(int(part) for part in parts)
    if max(sizes) > _LARGEST_BATCH:
        raise UsageError(f"--batch-sizes {text!r}: take {_LARGEST_BATCH:,} at most")
    return sizes


def _refuse_contradictions(options: dict[str, Any]) -> None:
    refuse_checkpoint_options(options)
    if options["preset"] is not None and options["checkpoint"] is not None:
        raise UsageError("--preset, --checkpoint: a checkpoint says itself what was trained; leave out --preset")
    if options["manifest"] is not None and options["seconds"] is not None:
        raise UsageError("--seconds: is the length of synthetic utterances; leave out either it or --manifest")


def _network(device: Device, options: dict[str, Any]) -> tuple[Preset, Any, Task]:
    """What is measured."""
    from ds2prof.train.tasks import task_for
    from ds2prof.train.workload import build_model

    if options["checkpoint"] is not None:
        named = {name: options[name] for name in ("checkpoint", "labels", "pieces")}
        trained = open_network(device, weights="auto", **named)
        return trained.preset, trained.network, trained.task
    name = options["preset"] or ("tbd" if device.is_gpu else "tiny")
    preset = preset_named(name)
    return preset, build_model(preset, device, seed=options["seed"]).to(device.torch_device), task_for(preset)


def _measured(device: Device, plan: LatencyPlan, options: dict[str, Any]) -> dict[str, Any]:
    """The document of what was measured."""
    from ds2prof.cli.data_common import counted
    from ds2prof.train.latency import PERCENTILES, batches_needed, sweep

    preset, network, task = _network(device, options)
    numbers, batch_of, told = _utterances(preset, device, options)
    rows = []
    with counted("batches") as progress:
        for found in sweep(
            task,
            network,
            numbers,
            batch_of,
            device=device,
            plan=plan,
            progress=lambda _, done: progress(done, plan.warmup + plan.batches),
        ):
            rows.append(found.facts())
            if plan.most_s is not None and len(found.timed) < plan.batches:
                click.echo(
                    f"batch size {found.batch_size}: {len(found.timed)} of {plan.batches} batches in {plan.most_s:g} s",
                    err=True,
                )
    return {
        "schema": SCHEMA,
        "preset": preset.name,
        "checkpoint": None if options["checkpoint"] is None else str(options["checkpoint"]),
        "device": str(device),
        "device_name": device.name,
        "precision": plan.precision,
        "extent": plan.extent,
        "speech": told,
        "warmup": plan.warmup,
        "seed": plan.seed,
        "batches_needed": {f"p{percent}_ms": batches_needed(percent) for percent in PERCENTILES},
        "rows": rows,
    }


def _utterances(
    preset: Preset, device: Device, options: dict[str, Any]
) -> tuple[Sequence[int], Callable[[list[int]], Batch], str]:
    """Which utterances there are, what makes a batch of some of them, and a word on them."""
    held = options["hold"]
    if options["manifest"] is None:
        count, batch_of, told = _synthetic(preset, device, options)
    else:
        count, batch_of, told = _spoken(preset, device, options)
    if held is None:
        return range(count), batch_of, told
    if held >= count:
        raise UsageError(f"--hold {held}: there are {count:,} utterances, counted from 0")
    return [held], batch_of, f"{told}, utterance {held} held"


def _synthetic(
    preset: Preset, device: Device, options: dict[str, Any]
) -> tuple[int, Callable[[list[int]], Batch], str]:
    from ds2prof.train.speech import synthetic_batches
    from ds2prof.units import MS_PER_S

    told = "synthetic"
    if options["seconds"] is not None:
        frames = max(round(options["seconds"] * MS_PER_S / preset.speech.frame_ms), 1)
        preset = replace(preset, speech=replace(preset.speech, frames=frames, labels=1))
        told = f"synthetic, {frames * preset.speech.frame_ms / MS_PER_S:g} s each"
    speech = synthetic_batches(preset, 1, seed=options["seed"], pin_memory=device.pins_memory)
    return len(speech.corpus), speech.batch, told


def _spoken(preset: Preset, device: Device, options: dict[str, Any]) -> tuple[int, Callable[[list[int]], Batch], str]:
    import numpy as np

    from ds2prof.speech.audio import read_samples
    from ds2prof.speech.features import features
    from ds2prof.speech.manifests import read_manifest
    from ds2prof.train.batches import Features, collate

    utterances = read_manifest(options["manifest"])
    kept: dict[int, Any] = {}

    def of(number: int) -> Features:
        if number not in kept:
            samples = read_samples(utterances[number].audio, preset.features.sample_rate_hz)
            kept[number] = features(samples, preset.features)
        return Features(number, kept[number], np.zeros(0, np.int64))

    def batch_of(numbers: list[int]) -> Batch:
        return collate(
            [of(number) for number in numbers], pin_memory=device.pins_memory, frame_ms=preset.features.frame_ms
        )

    return len(utterances), batch_of, str(options["manifest"])


def _text(document: dict[str, Any], form: str) -> str:
    if form == "json":
        return json.dumps(document, indent=1) + "\n"
    if form == "csv":
        text = io.StringIO()
        writer = csv.DictWriter(text, list(document["rows"][0]), lineterminator="\n")
        writer.writeheader()
        writer.writerows(document["rows"])
        return text.getvalue()
    from ds2prof.report.speech_text import latency_text

    return latency_text(document) + "\n"


def _write(text: str, output: Path | None) -> None:
    from ds2prof.measurements import written_whole

    if output is None:
        sys.stdout.write(text)
        return
    with written_whole(output) as partial:
        partial.write_text(text, encoding="utf-8")
    click.echo(f"wrote {output}", err=True)
