"""The program that reads an Nsight Compute report through NVIDIA's library, in a process of its own.

The library is native code, and a damaged report can take it down, so nothing else may live in its process. It is
started as a script with an isolated interpreter, takes one task on its standard input and answers with frames on its
standard output. It imports the standard library and ``ncu_report`` alone.

Grammar::

    task    := JSON object, see ``ncu_rep_process``
    answer  := frame*
    frame   := u32 bytes of the facts, u32 count of numbers, facts, numbers      little-endian
    facts   := JSON object: of the report (first), of one result, or {"error": text} (last)
    numbers := of each metric of the result's columns a double (NaN for none), then of each of its series the values as
               doubles and the times as whole numbers of 64 bits
"""

from __future__ import annotations

import json
import math
import sys
from array import array
from typing import Any

_NAN = math.nan
_DEVICE = "device__attribute_"
_NO_COLUMNS = (_DEVICE, "breakdown:", "group:")
_SERIES = ("pmsampling:", "warpsampling:")
_DEVICE_NUMBERS = ("launch__device_id", "device__attribute_device_index")
_KINDS = {
    "KERNEL": "kernel",
    "RANGE": "range",
    "GRAPH": "graph",
    "CMDLIST": "command_list",
    "SUBGRID_SCHEDULE": "subgrid_schedule",
}
_MAX_TIME = (1 << 63) - 1


class _DamagedError(Exception):
    """The library reads a result in part only."""


def main() -> int:
    """Do the task; 0 if it was done."""
    task = json.loads(sys.stdin.buffer.read())
    _limit(task["memory_bytes"], task["answer_bytes"], task["seconds"])
    sys.path.insert(0, task["library"])
    try:
        import ncu_report

        _Answer(task, ncu_report).write()
    except Exception as error:  # whatever the library raises is the answer
        name = "" if isinstance(error, _DamagedError) else f"{type(error).__name__}: "
        _frame({"error": f"{name}{error}"[:400]})
        return 1
    sys.stdout.buffer.flush()
    return 0


def _limit(memory_bytes: int, answer_bytes: int, seconds: int) -> None:
    """Bound what a hostile report can make the library take; no core dumps."""
    try:
        import resource
    except ImportError:
        return
    limits = [(resource.RLIMIT_CORE, 0), (resource.RLIMIT_FSIZE, answer_bytes)]
    limits += [(resource.RLIMIT_AS, memory_bytes), (resource.RLIMIT_CPU, seconds)]
    for what, limit in limits:
        try:
            hard = resource.getrlimit(what)[1]
            resource.setrlimit(what, (limit if hard == resource.RLIM_INFINITY else min(limit, hard), hard))
        except (OSError, ValueError):
            continue


def _frame(facts: dict[str, Any], numbers: bytes = b"") -> None:
    text = json.dumps(facts, separators=(",", ":"), ensure_ascii=False).encode("utf-8", "replace")
    out = sys.stdout.buffer
    out.write(len(text).to_bytes(4, "little") + (len(numbers) // 8).to_bytes(4, "little"))
    out.write(text)
    out.write(numbers)


class _Answer:
    """Answers one task: some of the results of one report."""

    def __init__(self, task: dict[str, Any], library: Any) -> None:
        self._task = task
        self._wanted = frozenset(task["wanted"])
        self._only = frozenset(task["only"])
        metric, action = library.IMetric, library.IAction
        numeric = ("DOUBLE", "FLOAT", "UINT32", "UINT64")
        self._numeric = frozenset(getattr(metric, f"ValueKind_{name}") for name in numeric)
        self._kinds = {getattr(action, f"WorkloadType_{name}", None): kind for name, kind in _KINDS.items()}
        self._demangled, self._mangled = action.NameBase_DEMANGLED, action.NameBase_MANGLED
        self._function = action.NameBase_FUNCTION
        self._report = library.load_report(task["path"])
        self._layout_of: dict[tuple[str, ...], int] = {tuple(names): code for code, names in enumerate(task["sets"])}
        self._layouts: dict[int, tuple[list[str], list[str]]] = {}
        self._told: set[tuple[int, float | None]] = set()
        self._devices: set[float | None] = set()

    def write(self) -> None:
        """A frame for the report, then one for each result of the task."""
        ranges = [self._report.range_by_idx(place) for place in range(self._report.num_ranges())]
        places = [(found, number) for found in ranges for number in range(found.num_actions())]
        _frame({"results": len(places)})
        for place in range(self._task["first"], min(self._task["stop"], len(places))):
            found, number = places[place]
            self._result(found.action_by_idx(number), place)

    def _result(self, action: Any, place: int) -> None:
        layout, is_expected = self._layout(action, place)
        columns, series = self._layouts[layout]
        device = self._device(action)
        facts: dict[str, Any] = {
            "layout": layout,
            "is_expected": is_expected,
            "kind": self._kinds.get(action.workload_type()),
            "name": action.name(self._demangled) or "",
            "mangled": action.name(self._mangled) or "",
            "device": device,
        }
        if (layout, device) not in self._told:
            self._told.add((layout, device))
            facts["metrics"] = columns
            facts["units"] = [self._unit(action, name) for name in columns]
        if device is not None and device not in self._devices:
            self._devices.add(device)
            facts["attributes"] = self._attributes(action)
        if "rules" in self._wanted:
            facts["rules"] = [_rule(rule) for rule in action.rule_results()]
        if "nvtx" in self._wanted:
            facts["started"], facts["pushed"] = _open_ranges(action.nvtx_state())
        numbers = self._values(action, columns).tobytes()
        if series and "samples" in self._wanted:
            found = [self._series(action, name) for name in series]
            facts["series"] = [one[0] for one in found]
            numbers += b"".join(one[1] for one in found)
        _frame(facts, numbers)

    def _layout(self, action: Any, place: int) -> tuple[int, bool]:
        """The code of the result's metrics, and whether the result is the one that the file has in this place."""
        expected, name = self._task["results"][place : place + 1], action.name(self._function)
        if name is None:
            raise _DamagedError(f"result {place} of the report is damaged")
        is_expected = bool(expected) and expected[0][1] == name
        if is_expected:
            layout, names = expected[0][0], self._task["sets"][expected[0][0]]
        else:
            names = _readable(action)
            layout = self._layout_of.setdefault(tuple(names), len(self._layout_of))
        if layout not in self._layouts:
            series = [name for name in names if name.startswith(_SERIES)]
            columns = [name for name in names if not name.startswith(_NO_COLUMNS + _SERIES)]
            if self._only:
                columns = [name for name in columns if name in self._only]
            self._layouts[layout] = columns, series
        return layout, is_expected

    def _number(self, action: Any, name: str) -> float:
        metric = action.metric_by_name(name)
        return _NAN if metric is None else self._value(metric)

    def _value(self, metric: Any) -> float:
        value: float = metric.as_double()
        if value == 0.0 and not (metric.has_value() and metric.kind() in self._numeric):
            return _NAN
        return value

    def _values(self, action: Any, names: list[str]) -> array[float]:
        metrics = list(map(action.metric_by_name, names))
        if None in metrics:
            raise _DamagedError(f"{metrics.count(None)} of {len(metrics)} metrics of {action.name()} cannot be read")
        return array("d", map(self._value, metrics))

    def _unit(self, action: Any, name: str) -> str:
        metric = action.metric_by_name(name)
        return "" if metric is None else metric.unit()

    def _device(self, action: Any) -> float | None:
        for name in _DEVICE_NUMBERS:
            value = self._number(action, name)
            if math.isfinite(value):
                return value
        return None

    def _attributes(self, action: Any) -> dict[str, str]:
        found = {}
        for name in _readable(action):
            metric = action.metric_by_name(name) if name.startswith(_DEVICE) else None
            if metric is not None and metric.has_value():
                found[name[len(_DEVICE) :]] = str(metric.value())
        return found

    def _series(self, action: Any, name: str) -> tuple[list[Any], bytes]:
        """Name, unit, length and whether there are times; the values and the times."""
        metric = action.metric_by_name(name)
        if metric is None:
            return [name, "", 0, False], b""
        count = metric.num_instances()
        values = array("d", [metric.as_double(place) for place in range(count)])
        times = metric.correlation_ids() if metric.has_correlation_ids() else None
        if times is None or times.num_instances() != count:
            return [name, metric.unit(), count, False], values.tobytes()
        at = array("q", [min(times.as_uint64(place), _MAX_TIME) for place in range(count)])
        return [name, metric.unit(), count, True], values.tobytes() + at.tobytes()


def _readable(action: Any) -> list[str]:
    """The names of the result's metrics that are text: the library takes no others."""
    return [name for name in action.metric_names() if name.isprintable()]


def _rule(rule: Any) -> list[Any]:
    """Name, section, kind (as a number), text, kind of the speedup (as a number) and the speedup in percent."""
    content: dict[str, Any] = rule.rule_message() if rule.has_rule_message() else {"message": "", "type": 0}
    speedup: dict[str, Any] = rule.speedup_estimation() if rule.has_speedup_estimation() else {"type": 0}
    percent = speedup.get("speedup")
    if percent is not None and not math.isfinite(percent):
        percent = None
    names = [rule.rule_identifier(), rule.section_identifier()]
    return [*names, int(content["type"]), content["message"], int(speedup["type"]), percent]


def _open_ranges(state: Any) -> tuple[list[list[str]], list[list[str]]]:
    """The ranges open at a launch, as (domain, name): those started, and those pushed, outermost first."""
    started: list[list[str]] = []
    pushed: list[list[str]] = []
    for code in state.domains() if state is not None else ():
        domain = state.domain_by_id(code)
        started += [[domain.name(), name] for name in domain.start_end_ranges()]
        for place in range(len(domain.push_pop_ranges())):  # in the order of the stack; the names alone are sorted
            pushed.append([domain.name(), domain.push_pop_range(place).name()])
    return started, pushed


if __name__ == "__main__":
    sys.exit(main())
