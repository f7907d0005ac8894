"""What a call into CUDA, HIP or Level Zero does to the thread that makes it, read off its name.

A name that no rule knows is ordinary host work. Waits on the device (``cudaStreamWaitEvent``) and queries return at
once and are none of these. Names come as the tools write them: with versions (``cuMemAlloc_v2``) and stream suffixes
(``cudaMemcpyAsync_ptsz``).
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Final

import numpy as np
import numpy.typing as npt

from ds2prof.tables import Table

SYNCHRONIZE: Final = 1
ALLOCATION: Final = 2
MODULE_LOAD: Final = 3
STREAM_WAIT: Final = 4
"""Classes of calls; 0 is any other call."""

_SUFFIXES: Final = re.compile(r"(?:_v\d+|_pt[ds][sz])+$")
_RULES: Final = (
    (
        SYNCHRONIZE,
        re.compile(
            r"(?:cuda|hip)(?:Device|Thread|Stream|Event)Synchronize"
            r"|cu(?:Ctx|Stream|Event)Synchronize|hipCtxSynchronize"
            r"|(?:cuda|cu|hip)Memcpy(?!\w*Async)\w*"  # a copy that returns when it is done
            r"|ze(?:CommandQueue|CommandListHost|EventHost|FenceHost)Synchronize"
            r"|(?:ur|pi)(?:QueueFinish|EventWait|EventsWait)|hsa_(?:amd_)?signal_wait_\w+"
        ),
    ),
    (
        ALLOCATION,
        re.compile(
            r"(?:cuda|hip)(?:Ext)?(?:Malloc|Free)\w*|(?:cuda|hip)Host(?:Alloc|Malloc|Free|Register|Unregister)"
            r"|cuMem(?:Alloc|Free|HostAlloc|HostRegister|HostUnregister)\w*"
            r"|(?:cu|hip)Mem(?:Create|Release|Map|MapArrayAsync|Unmap|AddressReserve|AddressFree|SetAccess)"
            r"|(?:cuda|cu|hip)MemPool(?:Create|Destroy|TrimTo)|cuArray(?:3D)?(?:Create|Destroy)|hipArray(?:Create|Destroy)"
            r"|ze(?:MemAlloc\w+|MemFree)|(?:ur|pi)(?:ext)?USM(?:Host|Device|Shared)?(?:Alloc|Free)\w*"
            r"|hsa_amd_memory_pool_(?:allocate|free)|hsa_memory_(?:allocate|free)"
        ),
    ),
    (
        MODULE_LOAD,
        re.compile(
            r"(?:cu|hip)Module(?:Load\w*|Unload|GetFunction|GetGlobal)"
            r"|(?:cu|cuda|hip)Library(?:Load\w*|Unload|GetKernel|GetModule)"
            r"|cu(?:KernelGetFunction|FuncLoad|Link(?:Create|AddData|AddFile|Complete|Destroy))|hipLink\w+"
            r"|(?:nvrtc|hiprtc)\w+|nvJitLink\w+|nvPTXCompiler\w+|__(?:cuda|hip)RegisterFatBinary"
            r"|ze(?:Module(?:Create|Destroy)|KernelCreate)|urProgram(?:Build|Compile|Link)\w*|hsa_executable_\w+"
        ),
    ),
    (STREAM_WAIT, re.compile(r"(?:cuda|cu|hip)StreamWaitEvent")),
)
_ASYNCHRONOUS_COPY: Final = re.compile(r"(?:cuda|cu|hip)Memcpy\w*Async\w*")
_TOLD_TWICE: Final = ("sync", "backtrace", "osrt")
"""Domains of rows that are no calls into the driver, or are told by another row too."""


def call_class(name: str) -> int:
    """The class of a call by its name; 0 for one that is none of them."""
    plain = _SUFFIXES.sub("", name)
    return next((found for found, rule in _RULES if rule.fullmatch(plain)), 0)


def is_asynchronous_copy(name: str) -> bool:
    """Whether the call may return before its copy is done (it waits all the same where memory is pageable)."""
    return _ASYNCHRONOUS_COPY.fullmatch(_SUFFIXES.sub("", name)) is not None


def call_classes(api: Table) -> npt.NDArray[np.int8]:
    """The class of each row of ``api``; 0 for rows without a thread, whose caller is not known."""
    found = _by_name(api, [call_class(text) for text in api["name"].categories or ()])
    domains = [int(text in _TOLD_TWICE) for text in api["domain"].categories or ()]
    twice = np.array([*domains, 0], dtype=np.bool_)[api["domain"].values]
    found[twice | ~api["thread"].present] = 0
    return found


def asynchronous_copies(api: Table) -> npt.NDArray[np.bool_]:
    """Mask of the calls that ask for a copy and may return before it is done."""
    return np.asarray(_by_name(api, [int(is_asynchronous_copy(text)) for text in api["name"].categories or ()]) > 0)


def _by_name(api: Table, of_category: Sequence[int]) -> npt.NDArray[np.int8]:
    found: npt.NDArray[np.int8] = np.array([*of_category, 0], dtype=np.int8)[api["name"].values]
    return found
