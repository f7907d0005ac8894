"""The campaign's command line: what was asked, whether it can be had here, and the campaign itself."""

from __future__ import annotations

import argparse
import json
import os
import shlex
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final

from ds2prof.capture.outcome import last_words
from ds2prof.errors import Ds2profError, UsageError
from ds2prof.machine import Machine, find_machine
from ds2prof.train.presets import PRESETS
from ds2prof.units import BYTES_PER_MIB
from gpu_campaign import record
from gpu_campaign.context import Context
from gpu_campaign.packing import LEAST_FILES, Packer, Sizes, Wanted
from gpu_campaign.parts import PARTS, parts
from gpu_campaign.plan import Learned, Part, PartDone
from gpu_campaign.running import Told, listening
from gpu_campaign.schedule import Setting, carried_out

NAME: Final = "gpu_campaign.sh"
_DEFAULT_MINUTES: Final = 15.0
_DEFAULT_BATCH_SIZES: Final = {"cuda": (4, 8, 16, 24, 32), "cpu": (2, 4)}
_DEFAULT_PRESET: Final = {"cuda": "tbd", "cpu": "tiny"}
_LEAST_MIB: Final = 4
_LOG_PRIORITY: Final = 1
_PROBE_LIMIT_S: Final = 120


@dataclass(frozen=True)
class Request:
    """What was asked for."""

    output: Path
    minutes: float
    sizes: Sizes
    chosen: tuple[str, ...] | None
    device: str
    preset: str
    batch_sizes: tuple[int, ...]
    dry_run: bool


def main(arguments: Sequence[str]) -> int:
    """The exit code: 0 done, 1 a part failed or none can be run here, 2 usage, 130 and 143 on Ctrl-C and SIGTERM."""
    try:
        request = requested(arguments)
        context = _context(request)
        if request.dry_run:
            print("\n".join(shown(parts(context, request.chosen), context.work, total_s=60 * request.minutes)))
            return 0
        return campaign(request, context)
    except Ds2profError as error:
        print(f"{NAME}: {error}", file=sys.stderr)
        return error.exit_code


def requested(arguments: Sequence[str]) -> Request:
    """What was asked for, checked.

    Raises:
        UsageError: something of it cannot be.
    """
    given = _options().parse_args(list(arguments))
    if not 0 < given.minutes < float("inf"):
        raise UsageError(f"--minutes {given.minutes:g}: give more than 0")
    return Request(
        output=given.output,
        minutes=given.minutes,
        sizes=_sizes(given.max_files, given.max_mib),
        chosen=_chosen(given.parts),
        device=given.device,
        preset=given.preset or _DEFAULT_PRESET[given.device],
        batch_sizes=_batch_sizes(given.batch_sizes) or _DEFAULT_BATCH_SIZES[given.device],
        dry_run=given.dry_run,
    )


def _sizes(max_files: int | None, max_mib: float | None) -> Sizes:
    """What the output may hold."""
    if max_files is not None and max_files < LEAST_FILES:
        raise UsageError(
            f"--max-files {max_files}: campaign.json, summary.txt and three kinds of archives need {LEAST_FILES}"
        )
    if max_mib is not None and not _LEAST_MIB <= max_mib < float("inf"):
        raise UsageError(f"--max-mib {max_mib:g}: give {_LEAST_MIB} or more")
    return Sizes(max_files, None if max_mib is None else int(max_mib * BYTES_PER_MIB))


def _chosen(text: str | None) -> tuple[str, ...] | None:
    """The names of the parts to run; None for all."""
    if text is None:
        return None
    names = text.replace(",", " ").split()
    unknown = [name for name in names if name not in PARTS]
    if unknown or not names:
        raise UsageError(f"--parts: no part {unknown[0] if unknown else ''!r}; there are {', '.join(PARTS)}")
    return tuple(names)


def _batch_sizes(text: str | None) -> tuple[int, ...] | None:
    """The batch sizes, each once; None where none are given."""
    if text is None:
        return None
    words = text.replace(",", " ").split()
    if not words or not all(word.isascii() and word.isdigit() and int(word) for word in words):
        raise UsageError(f'--batch-sizes {text!r}: give whole numbers from 1 on in one argument, as "4 8 16"')
    return tuple(dict.fromkeys(int(word) for word in words))


class _Parser(argparse.ArgumentParser):
    """A parser whose errors are one line."""

    def error(self, message: str) -> Any:
        raise UsageError(f"{message}; --help says what there is")


def _options() -> argparse.ArgumentParser:
    """The options; their help is the script's."""
    parser = _Parser(prog=NAME, add_help=False, allow_abbrev=False)
    parser.add_argument("output", type=Path, metavar="OUTPUT_FOLDER")
    parser.add_argument("--minutes", type=float, default=_DEFAULT_MINUTES)
    parser.add_argument("--max-files", type=int)
    parser.add_argument("--max-mib", type=float)
    parser.add_argument("--parts")
    parser.add_argument("--preset", choices=list(PRESETS))
    parser.add_argument("--batch-sizes")
    parser.add_argument("--device", choices=("cuda", "cpu"), default="cuda")
    parser.add_argument("--dry-run", action="store_true")
    return parser


def _context(request: Request) -> Context:
    root = Path(__file__).resolve().parents[2]
    device: Any = request.device
    return Context(
        python=sys.executable,
        root=root,
        work=request.output.absolute(),
        device=device,
        preset=request.preset,
        batch_sizes=request.batch_sizes,
    )


def shown(planned: Sequence[Part], work: Path, *, total_s: float) -> Iterator[str]:
    """The parts with their shares of the time and their commands, ready to be pasted."""
    weights = sum(part.weight for part in planned if part.skipped is None) or 1.0
    for part in planned:
        share = part.weight / weights
        told = f"{100 * share:.0f} % of the time" if part.skipped is None else f"skipped: {part.skipped}"
        yield f"# {part.name}: {part.title}; {told}"
        for step in part.steps if part.skipped is None else ():
            command = shlex.join(step.within(share * total_s).command)
            yield command + (f" > {shlex.quote(str(work / step.stdout))}" if step.stdout else "")


def campaign(request: Request, context: Context) -> int:
    """The exit code of a campaign, after all of it was written down.

    Raises:
        Ds2profError: it cannot be run here, or there.
    """
    started_s = time.monotonic()
    machine = _require_device(request)
    _make_ready(request.output)
    with listening() as told, _working_folder(request) as work:
        placed = replace(context, work=work, counters_permitted=machine.counters_permitted)
        placed = replace(placed, probe=_probed(placed, told))
        setting = Setting(placed.root, work, placed.child_environ(), 60 * request.minutes, started_s)
        facts = record.facts_before(placed, setting, machine=machine, sizes=request.sizes)
        keeping = _Keeping(request, setting, facts)
        keeping.write([])
        done = carried_out(
            parts(placed, request.chosen), setting, learned=Learned(), told=told, ended=keeping.part_ended
        )
        code = _exit_code(done, told)
        keeping.facts = {**facts, "finished": True, "signal": _signal_name(told), "exit_code": code}
        keeping.write(done)
    for line in (*record.table(done), *record.left_out(keeping.packed)):
        print(line)
    return code


class _Keeping:
    """Writes down what there is whenever a part has ended, so that a campaign that is killed has left all it had."""

    def __init__(self, request: Request, setting: Setting, facts: dict[str, Any]) -> None:
        self.facts = facts
        self.packed: dict[str, Any] | None = None
        self._setting = setting
        self._output = request.output
        self._parts: dict[str, PartDone] = {}
        self._packer = Packer(setting.work, request.output, request.sizes) if request.sizes.limited else None

    def part_ended(self, part: PartDone) -> None:
        """Says so and writes it down."""
        print(f"{NAME}: {record.line_of(part)}", file=sys.stderr, flush=True)
        self._parts[part.part.name] = part
        self.write(list(self._parts.values()))

    def write(self, done: Sequence[PartDone]) -> None:
        """Packs the results, where they are to be packed, and writes campaign.json and summary.txt.

        A full disk ends no campaign: what can be written later may still be.
        """
        try:
            if self._packer is not None:
                self.packed = self._packer.pack(_wanted(done))
            record.write(self._output, self.facts, parts=done, setting=self._setting, packed=self.packed)
        except (OSError, Ds2profError) as error:
            print(f"{NAME}: {self._output}: cannot be written to: {error}", file=sys.stderr)


def _wanted(done: Sequence[PartDone]) -> list[Wanted]:
    """The files of all steps with their worth; a log is a record of its step, whatever came of it."""
    wanted = []
    for part in done:
        steps = {step.name: step for step in part.part.steps}
        for each in part.steps:
            wanted += [Wanted(name, steps[each.name].priority) for name in each.files]
            wanted += [Wanted(name, _LOG_PRIORITY) for name in each.logs]
    return wanted


def _require_device(request: Request) -> Machine:
    """The machine, if it has what is to be measured.

    Raises:
        Ds2profError: there is no GPU.
    """
    machine = find_machine()
    if request.device == "cuda" and not machine.gpus:
        raise Ds2profError("no NVIDIA GPU is visible here; --device cpu rehearses what can be run without one")
    return machine if request.device == "cuda" else replace(machine, gpus=())


def _make_ready(output: Path) -> None:
    """Makes the output folder.

    Raises:
        Ds2profError: it cannot be made, or holds something already.
    """
    try:
        output.mkdir(parents=True, exist_ok=True)
        if any(output.iterdir()):
            raise Ds2profError(f"{output}: is not empty; name a new folder, for nothing is ever replaced")
        probe = output / ".ds2prof"
        probe.touch()
        probe.unlink()
    except OSError as error:
        raise Ds2profError(f"{output}: cannot be written to: {error.strerror}") from None


@contextmanager
def _working_folder(request: Request) -> Iterator[Path]:
    """Where results are written: the output folder itself, or one that is gone at the end where they are packed."""
    if not request.sizes.limited:
        yield request.output.absolute()
        return
    folder = Path(tempfile.mkdtemp(prefix="ds2prof-campaign-"))
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _probed(context: Context, told: Told) -> dict[str, Any]:
    """What PyTorch sees here.

    Raises:
        Ds2profError: it does not work, or sees no GPU.
    """
    sizes = [str(size) for size in context.batch_sizes]
    script = Path(__file__).with_name("probe.py")
    command = [context.python, str(script), str(context.root), context.device, context.preset, *sizes]
    environ = {**context.child_environ(), "PYTHONUNBUFFERED": ""}
    process = subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=environ, text=True, start_new_session=True
    )
    try:
        printed, complaint = process.communicate(timeout=_PROBE_LIMIT_S)
    except subprocess.TimeoutExpired:
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.communicate()
        raise Ds2profError(f"{context.python}: PyTorch did not answer in {_PROBE_LIMIT_S} s") from None
    try:
        found: dict[str, Any] = json.loads(printed)
    except ValueError:
        raise Ds2profError(f"{context.python}: PyTorch does not work here: {last_words(complaint)}") from None
    if context.on_gpu and not found["devices"] and told.signum is None:
        version = found["packages"]["torch"]
        raise Ds2profError(f"{context.python}: PyTorch {version} sees no GPU; name another Python by --python")
    return found


def _exit_code(done: Sequence[PartDone], told: Told) -> int:
    if told.signum is not None:
        return 128 + told.signum
    return 1 if any(part.status == "failed" for part in done) else 0


def _signal_name(told: Told) -> str | None:
    return None if told.signum is None else signal.Signals(told.signum).name
