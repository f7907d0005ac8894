"""The program that asks CUPTI's host API how many passes sets of metrics take, in a process of its own.

CUPTI is native code, so nothing else may live in its process. It is started as a script with an isolated interpreter,
takes one task on its standard input and answers with lines of JSON on its standard output. It needs no GPU and no
driver, which is why it is called through ``ctypes``: the package ``cupti-python`` refuses to load without a driver.

Grammar::

    task   := {"folder": text, "seconds": number, "memory_bytes": number, "asked": [question...]}
    question := {"chip": text, "names": [text...]} or {"chip": text}
    answer := {"version": number, "chips": [text...]}, then one for each question:
              {"passes": number} or {"bases": [text...]} or {"error": text}
"""

from __future__ import annotations

import ctypes
import json
import os
import sys
from pathlib import Path
from typing import Any

_INVALID_PARAMETER = 1
_RANGE_PROFILER = 0
_METRIC_TYPES = (0, 1, 2)  # counter, ratio, throughput
_SIZE, _POINTER, _TEXT = ctypes.c_size_t, ctypes.c_void_p, ctypes.c_char_p
_TEXTS = ctypes.POINTER(ctypes.c_char_p)


class _CuptiError(Exception):
    """CUPTI refused a call."""

    def __init__(self, message: str, code: int) -> None:
        super().__init__(message)
        self.code = code


def _parameters(**fields: Any) -> type[ctypes.Structure]:
    """The layout of a call's parameters: size of the structure, a private pointer, then the fields in order."""
    layout = [("size", _SIZE), ("private", _POINTER), *fields.items()]
    return type("Parameters", (ctypes.Structure,), {"_fields_": layout})


_Chips = _parameters(count=_SIZE, names=_TEXTS)
_Start = _parameters(kind=ctypes.c_int, chip=_TEXT, availability=_POINTER, host=_POINTER, single_pass_set=_TEXT)
_End = _parameters(host=_POINTER)
_Bases = _parameters(host=_POINTER, kind=ctypes.c_int, names=_TEXTS, count=_SIZE)
_Add = _parameters(host=_POINTER, names=_TEXTS, count=_SIZE)
_ImageSize = _parameters(host=_POINTER, bytes=_SIZE)
_Image = _parameters(host=_POINTER, bytes=_SIZE, image=_POINTER)
_Count = _parameters(bytes=_SIZE, image=_POINTER, passes=_SIZE)


def main() -> int:
    """Do the task; 0 if CUPTI could be asked."""
    task = json.loads(sys.stdin.buffer.read())
    _limit(task["memory_bytes"], task["seconds"])
    try:
        host = _Host(Path(task["folder"]))
        _say(version=host.version, chips=host.chips())
    except (OSError, AttributeError, IndexError, _CuptiError) as error:
        _say(error=str(error))
        return 1
    for asked in task["asked"]:
        try:
            if "names" in asked:
                _say(passes=host.passes(asked["chip"], asked["names"]))
            else:
                _say(bases=host.bases(asked["chip"]))
        except _CuptiError as error:
            _say(error=str(error))
    return 0


def _limit(memory_bytes: int, seconds: int) -> None:
    """Bound what the library can take; no core dumps."""
    try:
        import resource
    except ImportError:
        return
    for what, limit in (
        (resource.RLIMIT_CORE, 0),
        (resource.RLIMIT_AS, memory_bytes),
        (resource.RLIMIT_CPU, seconds),
    ):
        try:
            hard = resource.getrlimit(what)[1]
            resource.setrlimit(what, (limit if hard == resource.RLIM_INFINITY else min(limit, hard), hard))
        except (OSError, ValueError):
            continue


def _say(**answer: Any) -> None:
    sys.stdout.write(json.dumps(answer) + "\n")
    sys.stdout.flush()


class _Host:
    """CUPTI's host API, from the libraries in one folder."""

    def __init__(self, folder: Path) -> None:
        # CUPTI opens this one by its bare name: loaded first, it is not taken from another CUDA of the machine.
        ctypes.CDLL(str(folder / "libnvperf_host.so"), ctypes.RTLD_GLOBAL)
        self._cupti = ctypes.CDLL(str(sorted(folder.glob("libcupti.so*"))[0]))
        version = ctypes.c_uint32()
        self._cupti.cuptiGetVersion(ctypes.byref(version))
        self.version = version.value

    def chips(self) -> list[str]:
        """The chips that this CUPTI knows."""
        found = self._call("GetSupportedChips", _Chips())
        return [found.names[place].decode() for place in range(found.count)]

    def bases(self, chip: str) -> list[str]:
        """The base metrics that this CUPTI lists for a chip."""
        host = self._start(chip)
        try:
            lists = [self._call("GetBaseMetrics", _Bases(host=host, kind=kind)) for kind in _METRIC_TYPES]
            return sorted(found.names[place].decode() for found in lists for place in range(found.count))
        finally:
            self._call("Deinitialize", _End(host=host))

    def passes(self, chip: str, names: list[str]) -> int:
        """How many passes the metrics take together on a chip."""
        host = self._start(chip)
        try:
            array = (ctypes.c_char_p * len(names))(*(name.encode() for name in names))
            self._call("ConfigAddMetrics", _Add(host=host, names=array, count=len(names)))
            size = self._call("GetConfigImageSize", _ImageSize(host=host)).bytes
            buffer = ctypes.create_string_buffer(size)
            address = ctypes.addressof(buffer)
            self._call("GetConfigImage", _Image(host=host, bytes=size, image=address))
            return int(self._call("GetNumOfPasses", _Count(bytes=size, image=address)).passes)
        finally:
            self._call("Deinitialize", _End(host=host))

    def _start(self, chip: str) -> Any:
        """The handle of a chip. CUDA 12 takes the parameters without their last field only, CUDA 13 reads it always."""
        try:
            return self._call("Initialize", _Start(kind=_RANGE_PROFILER, chip=chip.encode())).host
        except _CuptiError as error:
            if error.code != _INVALID_PARAMETER:
                raise
        return self._call("Initialize", _Start(kind=_RANGE_PROFILER, chip=chip.encode()), last="host").host

    def _call(self, name: str, parameters: Any, *, last: str | None = None) -> Any:
        """The parameters after the call, which is told that they end with the field ``last``."""
        end = getattr(type(parameters), last or parameters._fields_[-1][0])
        parameters.size = end.offset + end.size
        code = getattr(self._cupti, f"cuptiProfilerHost{name}")(ctypes.byref(parameters))
        if code:
            text = ctypes.c_char_p()
            self._cupti.cuptiGetResultString(code, ctypes.byref(text))
            raise _CuptiError(f"{name}: {(text.value or b'').decode() or code}", code)
        return parameters


if __name__ == "__main__":
    code = main()
    sys.stdout.flush()
    os._exit(code)  # the library's own clean-up at exit is not waited for
