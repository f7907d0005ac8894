"""What the numbers in rocprofv3's records stand for: kernels, operations, markers, counters, devices."""

from __future__ import annotations

import functools

from ds2prof.parsers.kineto_columns import INT64_MAX
from ds2prof.parsers.rocprof_records import (
    Agent,
    CounterName,
    Damage,
    Kind,
    Message,
    Metadata,
    Process,
    Strings,
    Symbol,
)
from ds2prof.tables import Column, int_column, text_column

GPU = 2
_GPU_HEAPS = (1, 2)
_OPERATION_BITS = 32


class Names:
    """The names of one process.

    What is named by the thousand is looked up in the file when a table first wants it.

    Attributes:
        metadata: what is said of the process.
        process: its id.
        agents: its GPUs, by ordinal.
        device_of: handle of a GPU -> its ordinal.
    """

    def __init__(self, found: Process, damage: Damage) -> None:
        self._found = found
        self._damage = damage
        self.metadata = damage.one(found.metadata, Metadata, part="metadata")
        self.process = _positive(self.metadata.pid)
        gpus = [agent for agent in damage.few(found.agents, Agent, part="agents") if agent.type == GPU]
        gpus.sort(key=lambda agent: (agent.node_id is None, agent.node_id or 0))
        self.agents = {_ordinal(agent, place): agent for place, agent in enumerate(gpus)}
        self.device_of = {agent.id.handle: device for device, agent in self.agents.items()}
        self._strings = damage.one(found.strings, Strings, part="strings")

    @functools.cached_property
    def _kinds(self) -> list[Kind]:
        return self._damage.few(self._strings.buffer_records, Kind, part="kinds of records")

    @functools.cached_property
    def _message_of(self) -> dict[int | None, str]:
        found = self._damage.many(self._strings.marker_api, Message, part="texts of markers")
        return {message.key: message.value for some in found for message in some}

    @functools.cached_property
    def counter_of(self) -> dict[int | None, str]:
        """Handle of a counter -> its name."""
        found = self._damage.few(self._found.counters, CounterName, part="counters")
        return {counter.id.handle: counter.name for counter in found if counter.name}

    @functools.cached_property
    def _symbol_of(self) -> dict[int | None, Symbol]:
        found = self._damage.few(self._found.kernel_symbols, Symbol, part="kernel_symbols")
        return {symbol.kernel_id: symbol for symbol in found}

    @functools.cached_property
    def registers_of(self) -> dict[int | None, int | None]:
        """Kernel -> vector registers of a work-item."""
        return {kernel: _positive(symbol.arch_vgpr_count) for kernel, symbol in self._symbol_of.items()}

    def kernel(self, kernel: int | None) -> str:
        """The kernel's demangled name; a stand-in where the file does not name it."""
        symbol = self._symbol_of.get(kernel)
        return (symbol and (symbol.formatted_kernel_name or _bare(symbol.kernel_name))) or f"kernel {kernel}"

    def mangled(self, kernel: int | None) -> str | None:
        """The kernel's mangled name, without the suffix of its descriptor."""
        symbol = self._symbol_of.get(kernel)
        return (symbol and _bare(symbol.kernel_name)) or None

    def operation(self, key: int) -> str:
        """The name of an operation: kind in the upper bits, operation in the lower 32."""
        kind, operation = key >> _OPERATION_BITS, key & ((1 << _OPERATION_BITS) - 1)
        if not 0 <= kind < len(self._kinds):
            return f"operation {operation} of kind {kind}"
        known = self._kinds[kind]
        if operation < len(known.operations):
            return known.operations[operation]
        return f"operation {operation} of {known.kind}"

    def message(self, correlation: int | None) -> str:
        """The text of a range or mark; empty where the file has none."""
        return self._message_of.get(correlation, "")


def device_columns(processes: list[Names]) -> dict[str, Column]:
    """The table of devices: each ordinal once."""
    agents: dict[int, Agent] = {}
    for names in processes:
        for device, agent in names.agents.items():
            agents.setdefault(device, agent)
    found = [agents[device] for device in sorted(agents)]
    return {
        "device": int_column(sorted(agents)),
        "name": text_column([agent.product_name.strip() or agent.name.strip() or None for agent in found]),
        "vendor": text_column(["amd"] * len(found)),
        "bus_id": text_column([_bus_id(agent) for agent in found]),
        "sms": int_column([_positive(agent.cu_count) for agent in found]),
        "memory_bytes": int_column([_memory_bytes(agent) for agent in found]),
        "sm_clock_hz": int_column([_product(agent.max_engine_clk_fcompute, 1_000_000) for agent in found]),
        "max_threads_per_sm": int_column([_product(agent.max_waves_per_cu, agent.wave_front_size) for agent in found]),
        "warp_size": int_column([_positive(agent.wave_front_size) for agent in found]),
    }


def _ordinal(agent: Agent, place: int) -> int:
    given = agent.logical_node_type_id
    return given if given is not None and 0 <= given <= INT64_MAX else place


def _bare(name: str) -> str:
    return name.removesuffix(".kd")


def _positive(value: int | None) -> int | None:
    return value if value is not None and 0 < value <= INT64_MAX else None


def _product(count: int | None, size: int | None) -> int | None:
    known = _positive(count), _positive(size)
    return None if known[0] is None or known[1] is None else _positive(known[0] * known[1])


def _memory_bytes(agent: Agent) -> int | None:
    return _positive(sum(bank.size_in_bytes or 0 for bank in agent.mem_banks if bank.heap_type in _GPU_HEAPS))


def _bus_id(agent: Agent) -> str | None:
    """Domain, bus, device and function, from the kernel driver's number for the last three."""
    place, domain = agent.location_id, agent.domain
    if place is None or domain is None or not (0 < place < 1 << 16 and 0 <= domain < 1 << 16):
        return None
    return f"{domain:04x}:{place >> 8:02x}:{place >> 3 & 31:02x}.{place & 7}"
