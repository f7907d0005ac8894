"""One process of a DeepMark measurement: a card's minibatches, timed. Started by :mod:`ds2prof.train.deepmark_process`.

It reads one request, a line with a JSON object, from standard input, and writes JSON objects to standard output, one a
line: ``{"done": n}`` now and then, and last ``{"result": {...}}``, ``{"exhausted": text}`` or
``{"error": text, "code": n}``. A probe for a batch size that does not fit ends here and takes nothing with it. Standard
input stays open as long as the process that asked lives: where that is killed, this one ends by itself.
"""

from __future__ import annotations

import json
import os
import resource
import sys
import threading
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Final, cast

from ds2prof.errors import Ds2profError, UsageError
from ds2prof.train.deepmark_plan import Part

_SAY_EVERY_NS: Final = 500_000_000


def main() -> None:
    """Answers the request on standard input."""
    request = json.loads(sys.stdin.buffer.readline())
    threading.Thread(target=_end_with_asker, daemon=True).start()
    if request["device"] == "cpu" and request["memory_limit_bytes"] is not None:
        _limit_host_memory(request["memory_limit_bytes"])
    answer: dict[str, Any]
    try:
        answer = {"result": _measured(request, said=lambda done: _say({"done": done}))}
    except Ds2profError as error:
        answer = {"error": str(error), "code": error.exit_code}
    except (RuntimeError, MemoryError) as error:
        from ds2prof.train.device import out_of_memory

        if not out_of_memory(error):
            raise
        answer = {"exhausted": "out of memory"}
    _say(answer)


def _end_with_asker() -> None:
    """Ends this process once nobody waits for its answer: standard input is at its end."""
    while os.read(0, 1024):
        pass
    os._exit(1)


def _limit_host_memory(limit_bytes: int) -> None:
    """Limits what this process may allocate, its libraries' files left out: PyTorch is told no before the host is full.

    A stricter limit that the process was started with holds.
    """
    _, before_bytes = resource.getrlimit(resource.RLIMIT_DATA)
    if before_bytes != resource.RLIM_INFINITY:
        limit_bytes = min(limit_bytes, before_bytes)
    resource.setrlimit(resource.RLIMIT_DATA, (limit_bytes, limit_bytes))


def _say(answer: dict[str, Any]) -> None:
    print(json.dumps(answer), flush=True)


def _measured(request: dict[str, Any], *, said: Callable[[int], None]) -> dict[str, Any]:
    """The times of the request's minibatches, and what they were taken on."""
    from ds2prof.train import facts
    from ds2prof.train.device import HostMoment, open_device
    from ds2prof.train.distributed import joined, ranks_of

    ranks = ranks_of(os.environ)
    device = open_device(request["device"], local_rank=ranks.local_rank if ranks.several else None)
    limit_bytes = request["memory_limit_bytes"]
    if limit_bytes is not None and request["device"] != "cpu" and not device.limit_memory(limit_bytes):
        raise UsageError(f"--memory-limit: {device} has no call that limits memory; leave it out")
    with joined(ranks, device):
        card = Card(request, device, ranks=ranks)
        for part in request["warmup"]:
            card.time(part, together=False)
        device.reset_peak_memory()
        rows = card.times(request["parts"], request["together"], max_s=request["max_s"], said=said)
    return {
        "rows": rows,
        "parameters": card.parameters,
        "device": device.facts(),
        "versions": facts.versions(device),
        "events": not isinstance(device.moment(), HostMoment),
        **_memory(device),
    }


def _memory(device: Any) -> dict[str, int | None]:
    """The most memory that was in use: of the device by its allocator's word, of the host by the kernel's."""
    if device.torch_device.type == "cpu":
        return {"peak_bytes": _host_peak_bytes(), "reserved_bytes": None}
    return {"peak_bytes": device.peak_memory_bytes(), "reserved_bytes": device.reserved_memory_bytes()}


def _host_peak_bytes() -> int:
    """The most of the host's memory that this process held.

    Not ``ru_maxrss`` where the kernel says it otherwise: on Linux that begins with what the process held that started
    this one.
    """
    try:
        lines = Path("/proc/self/status").read_text(encoding="ascii", errors="replace").splitlines()
    except OSError:
        lines = []
    own = [int(line.split()[1]) * 1024 for line in lines if line.startswith("VmHWM:")]
    unit = 1 if sys.platform == "darwin" else 1024
    return own[0] if own else resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit


class Card:
    """A network on a device, given one minibatch after another: forward and loss, backward, and nothing else.

    There is no optimizer, and gradients are never set to zero: they add up, as in the protocol.

    Args:
        request: Preset, precision and seed.
        device: Where.
        ranks: The processes that average their gradients.
    """

    def __init__(self, request: dict[str, Any], device: Any, *, ranks: Any) -> None:
        from ds2prof.train.distributed import shared_network
        from ds2prof.train.presets import PRESETS
        from ds2prof.train.speech import synthetic_batches
        from ds2prof.train.tasks import Network, task_for
        from ds2prof.train.workload import build_model, gradient_scaler

        preset, seed, self._precision = PRESETS[request["preset"]], request["seed"], request["precision"]
        device.prepare(self._precision)
        self._speech = synthetic_batches(preset, 1, seed=seed, pin_memory=device.pins_memory)
        self._model = build_model(preset, device, seed=seed).to(device.torch_device)
        self._network = shared_network(self._model, device, ranks=ranks)
        self._task = task_for(preset)
        self._scaler = gradient_scaler(device, self._precision)
        self._device, self._ranks = device, ranks
        self._moments = [device.moment() for _ in range(3)]
        self.parameters = cast(Network, self._model).parameter_count()

    def times(
        self, parts: Sequence[Part], together: Sequence[bool], *, max_s: float | None, said: Callable[[int], None]
    ) -> list[tuple[int, int, int]]:
        """(forward, backward, all with data and copies), nanoseconds, of each minibatch; behind ``max_s`` no more."""
        rows: list[tuple[int, int, int]] = []
        begun_ns = said_ns = time.perf_counter_ns()
        for part, jointly in zip(parts, together, strict=True):
            now_ns = time.perf_counter_ns()
            if rows and max_s is not None and now_ns - begun_ns > max_s * 1e9:
                break
            rows.append(self.time(part, together=jointly))
            if now_ns - said_ns > _SAY_EVERY_NS:
                said(len(rows))
                said_ns = now_ns
        return rows

    def time(self, part: Part, *, together: bool) -> tuple[int, int, int]:
        """(forward, backward, all with data and copies), nanoseconds, between fences.

        Args:
            part: The utterances; none gives zeros.
            together: Whether the gradients are averaged among the cards, which all of them have to do.
        """
        first, count = part
        if not count:
            return 0, 0, 0
        start, middle, end = self._moments
        begun_ns = time.perf_counter_ns()
        batch = self._speech.batch(range(first, first + count)).to(self._device.torch_device)
        self._fence(together=together)
        start.record()
        # Where not all take part, the network is called without what averages gradients around it: that would wait for
        # the ones that are not there.
        network = self._network if together else self._model
        with self._device.autocast(self._precision):
            outputs = network(*self._task.inputs(batch))
        loss = self._task.loss(outputs, batch)
        middle.record()
        scaled: Any = loss if self._scaler is None else self._scaler.scale(loss)
        scaled.backward()
        end.record()
        self._device.synchronize()
        wall_ns = time.perf_counter_ns() - begun_ns
        elapsed_ns = self._device.elapsed_ns
        return elapsed_ns(start, middle), elapsed_ns(middle, end), wall_ns

    def _fence(self, *, together: bool) -> None:
        """Waits until the copies have arrived, and for the other cards, so that no one's lateness is timed."""
        self._device.synchronize()
        if together and self._ranks.several:
            self._ranks.gathered(None)


if __name__ == "__main__":
    main()
