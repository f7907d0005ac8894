"""A plug-in accelerator that is none: PyTorch's hook for devices of other makers, with the host behind it.

``install`` teaches this process's PyTorch a device kind ``mlu``. Its tensors say that they are there, mix with no
others, and are computed on the host. Its module notes what it is asked. There is no way back, so it is installed in a
process of its own: run as a script, this trains on it and prints what was seen.
"""

from __future__ import annotations

import json
import sys
from dataclasses import replace
from typing import Any

import torch
from torch.utils import backend_registration
from torch.utils._pytree import tree_leaves, tree_map_only

KIND = "mlu"


class StandInTensor(torch.Tensor):
    """A tensor of the device; ``host`` holds its values."""

    host: torch.Tensor

    @staticmethod
    def __new__(cls: Any, host: torch.Tensor) -> Any:
        made = torch.Tensor._make_wrapper_subclass(
            cls,
            host.size(),
            strides=host.stride(),
            storage_offset=host.storage_offset(),
            dtype=host.dtype,
            layout=host.layout,
            device=torch.device(KIND, 0),
        )
        made.host = host
        return made

    @classmethod
    def __torch_dispatch__(cls, function: Any, types: Any, arguments: Any = (), keywords: Any = None) -> Any:
        keywords = dict(keywords or {})
        given = [leaf for leaf in tree_leaves((arguments, keywords)) if isinstance(leaf, torch.Tensor)]
        stays = any(isinstance(tensor, StandInTensor) for tensor in given)
        if keywords.get("device") is not None:
            stays = torch.device(keywords["device"]).type == KIND
            keywords["device"] = torch.device("cpu")
        own = {id(tensor.host if isinstance(tensor, StandInTensor) else tensor): tensor for tensor in given}
        arguments, keywords = tree_map_only(StandInTensor, lambda tensor: tensor.host, (arguments, keywords))
        result = function(*arguments, **keywords)
        if not stays:
            return result

        def placed(host: torch.Tensor) -> torch.Tensor:
            return own[id(host)] if id(host) in own else StandInTensor(host)

        if function is torch.ops.aten._pack_padded_sequence.default:
            return placed(result[0]), result[1]  # how many utterances are left in each frame is the host's to know
        return tree_map_only(torch.Tensor, placed, result)


class StandInModule:
    """What would be ``torch.mlu``: as much of the common interface as the training loop can use."""

    def __init__(self) -> None:
        self.calls: list[str] = []

    def is_available(self) -> bool:
        return True

    def is_initialized(self) -> bool:
        return True

    def _is_in_bad_fork(self) -> bool:
        return False

    def device_count(self) -> int:
        return 1

    def current_device(self) -> int:
        return 0

    def manual_seed_all(self, seed: int) -> None:
        self.calls.append("manual_seed_all")

    def get_amp_supported_dtype(self) -> list[torch.dtype]:
        return [torch.bfloat16, torch.float16]

    def set_device(self, index: int) -> None:
        self.calls.append(f"set_device {index}")

    def get_device_name(self, index: int = 0) -> str:
        return "stand-in"

    def synchronize(self, *index: int) -> None:
        self.calls.append("synchronize")

    def memory_allocated(self, *index: int) -> int:
        return 12

    def max_memory_allocated(self, *index: int) -> int:
        return 34

    def max_memory_reserved(self, *index: int) -> int:
        return 56

    def mem_get_info(self, *index: int) -> tuple[int, int]:
        return 100, 400

    def Event(self, *, enable_timing: bool) -> Any:  # noqa: N802  # the interface's name
        return StandInEvent(self)


class StandInEvent:
    """A point in time of a device whose clock ticks once for each event."""

    def __init__(self, module: StandInModule) -> None:
        self._module = module
        self.at = -1

    def record(self) -> None:
        self._module.calls.append("record")
        self.at = self._module.calls.count("record")

    def elapsed_time(self, end: StandInEvent) -> float:
        return float(end.at - self.at)


def install() -> tuple[StandInModule, list[Any]]:
    """The module of the device that PyTorch now knows, and what has to be kept as long as it is used."""
    module = StandInModule()
    backend_registration._setup_privateuseone_for_python_backend(KIND, backend_module=module)
    own, rest = torch.library.Library("aten", "IMPL"), torch.library.Library("_", "IMPL")

    def empty(size: Any, dtype: Any = None, **ignored: Any) -> Any:
        return StandInTensor(torch.empty(size, dtype=dtype))

    def empty_strided(size: Any, stride: Any, dtype: Any = None, **ignored: Any) -> Any:
        return StandInTensor(torch.empty_strided(size, stride, dtype=dtype))

    def linear(inputs: Any, weight: Any, bias: Any = None) -> Any:
        module.calls.append("autocast linear")
        kind = torch.get_autocast_dtype(KIND)
        with torch.autocast(KIND, enabled=False):
            return torch.nn.functional.linear(inputs.to(kind), weight.to(kind), None if bias is None else bias.to(kind))

    own.impl("empty.memory_format", empty, "PrivateUse1")
    own.impl("empty_strided", empty_strided, "PrivateUse1")
    own.impl("linear", linear, "AutocastPrivateUse1")
    rest.fallback(torch.library.fallthrough_kernel, "AutocastPrivateUse1")
    return module, [own, rest]


def trained(module: StandInModule, device_text: str, precision: str) -> dict[str, Any]:
    """What was seen of training two steps on the device of that name, in that precision."""
    from ds2prof.config import Window
    from ds2prof.train.capture import capture_for
    from ds2prof.train.device import open_device
    from ds2prof.train.speech import synthetic_batches
    from ds2prof.train.workload import assemble
    from tests.train_support import NANO, nano_settings, train_nano

    module.calls.clear()
    device = open_device(device_text)
    settings = nano_settings(precision=precision, window=Window(1, 2), iterations=2)
    # Plain recurrence: of LSTMs and GRUs a plug-in has to bring its own fused cells.
    preset = replace(NANO, model=replace(NANO.model, cell="tanh"))
    batches = synthetic_batches(preset, 2, seed=1, pin_memory=device.pins_memory)
    work = assemble(preset, device, batches=batches, precision=precision, seed=1)
    capture = capture_for(settings, device, ranges=work.ranges, layers=work.layers())
    before = len(module.calls)
    losses = train_nano(settings, work, capture).losses()
    training = module.calls[before:]
    start, end = device.moment(), device.moment()
    start.record()
    end.record()
    host = open_device("cpu")
    on_host = train_nano(settings, assemble(preset, host, batches=batches, precision=precision, seed=1), capture)
    return {
        "device": device.facts(),
        "parameters": sorted({str(parameter.device) for parameter in work.model.parameters()}),
        "losses": losses,
        "host_losses": on_host.losses(),
        "set": [call for call in module.calls if call.startswith("set_device")],
        "waits": training.count("synchronize"),
        "autocast": training.count("autocast linear"),
        "elapsed_ns": device.elapsed_ns(start, end),
        "memory": [device.memory_bytes(), device.peak_memory_bytes(), device.reserved_memory_bytes()],
        "free": device.free_memory_bytes(),
        "pins": device.pins_memory,
        "random_state": device.random_state(),
        "gpu": device.is_gpu,
        "backend": device.distributed_backend,
        "activities": len(device.activities()),
    }


def main() -> None:
    """Trains on each ``DEVICE,PRECISION`` of the arguments and prints what was seen, a line for each."""
    module, _kept = install()
    for argument in sys.argv[1:]:
        print(json.dumps(trained(module, *argument.split(","))))


if __name__ == "__main__":
    main()
