"""Small nvprof databases of our own: the golden cases, and what tests need besides.

``python -m tests.nvprof_support`` writes the golden cases anew.
"""

from __future__ import annotations

import sqlite3
import struct
import tempfile
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

GOLDEN = Path(__file__).resolve().parent / "golden" / "nvprof_sqlite"
PREFIX = "CUPTI_ACTIVITY_KIND_"
T0 = 1_600_000_000_000_000_000
US = 1_000
PROCESS, THREAD, OTHER_THREAD = 4242, 0xEADC3740, 77

_KERNEL = """
    cacheConfig:b sharedMemoryConfig registersPerThread partitionedGlobalCacheRequested partitionedGlobalCacheExecuted
    start end completed deviceId contextId streamId gridX gridY gridZ blockX blockY blockZ staticSharedMemory
    dynamicSharedMemory localMemoryPerThread localMemoryTotal correlationId gridId name queued@11 submitted@11
    launchType@11 isSharedMemoryCarveoutRequested@11 sharedMemoryCarveoutRequested@11 sharedMemoryExecuted@12
    graphNodeId@16 shmemLimitConfig@16 graphId@16 pAccessPolicyWindow:b@16 channelID@17 channelType@17 clusterX@18
    clusterY@18 clusterZ@18 clusterSchedulingPolicy@18 localMemoryTotal_v2@18 maxPotentialClusterSize@22
    maxActiveClusters@22
"""
_CALL = "cbid start end processId threadId correlationId returnValue"
_GRAPH = "graphNodeId@16 graphId@16 channelID@17 channelType@17"
_COPY = "copyKind srcKind dstKind flags bytes start end deviceId contextId streamId"
TABLES: Mapping[str, str] = {
    "CONCURRENT_KERNEL": _KERNEL,
    "KERNEL": _KERNEL,
    "CDP_KERNEL": """
        cacheConfig:b sharedMemoryConfig registersPerThread start end deviceId contextId streamId gridX gridY gridZ
        blockX blockY blockZ staticSharedMemory dynamicSharedMemory localMemoryPerThread localMemoryTotal correlationId
        gridId parentGridId queued submitted completed parentBlockX parentBlockY parentBlockZ name
    """,
    "MEMCPY": f"{_COPY} correlationId runtimeCorrelationId {_GRAPH} copyCount@26",
    "MEMCPY2": f"{_COPY} srcDeviceId srcContextId dstDeviceId dstContextId correlationId {_GRAPH}",
    "MEMSET": f"value bytes start end deviceId contextId streamId correlationId flags@9 memoryKind@9 {_GRAPH}",
    "RUNTIME": _CALL,
    "DRIVER": _CALL,
    "SYNCHRONIZATION@9": "type start end correlationId contextId streamId cudaEventId returnValue@26",
    "MARKER": "flags timestamp id objectKind objectId:b name domain@9",
    "MARKER_DATA": "flags id payloadKind payload:b color category",
    "OVERHEAD": "overheadKind objectKind objectId:b start end correlationId@22 overheadData:b@22",
    "DEVICE": """
        flags globalMemoryBandwidth globalMemorySize constantMemorySize l2CacheSize numThreadsPerWarp coreClockRate
        numMemcpyEngines numMultiprocessors maxIPC maxWarpsPerMultiprocessor maxBlocksPerMultiprocessor
        maxSharedMemoryPerMultiprocessor maxRegistersPerMultiprocessor maxRegistersPerBlock maxSharedMemoryPerBlock
        maxThreadsPerBlock maxBlockDimX maxBlockDimY maxBlockDimZ maxGridDimX maxGridDimY maxGridDimZ
        computeCapabilityMajor computeCapabilityMinor id eccEnabled uuid:b name isCudaVisible@16 isMigEnabled@17
        gpuInstanceId@17 computeInstanceId@17 migUuid:b@17
    """,
    "CONTEXT": "contextId deviceId computeApiKind nullStreamId parentContextId@22 isGreenContext@22",
    "NAME": "objectKind objectId:b name",
    "METRIC": "id value:b correlationId flags",
    "METRIC_INSTANCE": "id value:b instance correlationId flags",
    "EVENT": "id value domain correlationId",
    "ENVIRONMENT": "deviceId timestamp environmentKind data:b",
    "UNIFIED_MEMORY_COUNTER": "counterKind value start end address srcId dstId streamId processId flags@9",
    "GRAPH_TRACE@17": "correlationId start end deviceId graphId contextId streamId",
}
"""Kind of activity (with the version of the schema that brought it) -> its columns (with theirs; ``:b`` is a blob)."""


def since(word: str, version: int) -> bool:
    """Whether a schema of this version has what the word names."""
    return int(word.partition("@")[2] or 0) <= version


class File:
    """An nvprof database while it is filled. Columns that are not given are 0, or an empty blob."""

    def __init__(self, path: Path, version: int) -> None:
        self.connection = sqlite3.connect(path)
        self.connection.execute("PRAGMA page_size = 1024")
        self.version = version
        self._columns: dict[str, list[tuple[str, bool]]] = {}
        self._texts: dict[str, int] = {}
        self.connection.execute(
            "CREATE TABLE StringTable( _id_ INTEGER PRIMARY KEY AUTOINCREMENT, value TEXT NOT NULL UNIQUE )"
        )
        self.connection.execute("INSERT INTO StringTable VALUES (0, '-- null --')")
        self.connection.execute("CREATE TABLE Version( version INTEGER)")
        self.connection.execute("INSERT INTO Version VALUES (?)", (version,))
        for kind, words in TABLES.items():
            if since(kind, version):
                self._create(kind.partition("@")[0], [word for word in words.split() if since(word, version)])

    def _create(self, kind: str, words: Sequence[str]) -> None:
        columns = [(word.partition("@")[0].removesuffix(":b"), ":b" in word) for word in words]
        self._columns[kind] = columns
        declared = ", ".join(f"{name} {'BLOB' if is_blob else 'INT'} NOT NULL" for name, is_blob in columns)
        self.connection.execute(f"CREATE TABLE {PREFIX}{kind}(_id_ INTEGER PRIMARY KEY AUTOINCREMENT, {declared})")

    def text(self, text: str) -> int:
        """The number of a text."""
        if text not in self._texts:
            cursor = self.connection.execute("INSERT INTO StringTable (value) VALUES (?)", (text,))
            self._texts[text] = int(cursor.lastrowid or 0)
        return self._texts[text]

    def add(self, kind: str, **values: Any) -> None:
        """One row. Columns that this version lacks are dropped; texts become their numbers."""
        columns = self._columns[kind]
        row = [
            self.text(value) if isinstance(value := values.get(name, b"" if is_blob else 0), str) else value
            for name, is_blob in columns
        ]
        names = ", ".join(name for name, _ in columns)
        marks = ", ".join("?" * len(columns))
        self.connection.execute(f"INSERT INTO {PREFIX}{kind} ({names}) VALUES ({marks})", row)

    def close(self) -> None:
        """Write it."""
        self.connection.commit()
        self.connection.close()


def process(pid: int = PROCESS) -> bytes:
    """An ``objectId`` of a process."""
    return struct.pack("<III", pid, 0, 0)


def thread(tid: int = THREAD, pid: int = PROCESS) -> bytes:
    """An ``objectId`` of a thread."""
    return struct.pack("<III", pid, tid, 0)


def signed(tid: int) -> int:
    """A thread id as calls have it."""
    return tid - (1 << 32) if tid >= 1 << 31 else tid


def device(file: File, ordinal: int = 0, **values: Any) -> None:
    """A V100 and its context, whose number is one higher."""
    known = {
        "id": ordinal,
        "name": "Tesla V100-SXM2-16GB",
        "numMultiprocessors": 80,
        "globalMemorySize": 16_914_055_168,
        "globalMemoryBandwidth": 898_048_000,
        "coreClockRate": 1_530_000,
        "computeCapabilityMajor": 7,
        "maxWarpsPerMultiprocessor": 64,
        "numThreadsPerWarp": 32,
        "uuid": bytes(range(16)),
    }
    file.add("DEVICE", **{**known, **values})
    file.add("CONTEXT", contextId=ordinal + 1, deviceId=ordinal, nullStreamId=7)


def kernel(
    file: File, name: str, start_us: int, dur_us: int, *, kind: str = "CONCURRENT_KERNEL", **values: Any
) -> None:
    """A launch on device 0, stream 7, unless told otherwise."""
    known = {
        "start": T0 + start_us * US,
        "end": T0 + (start_us + dur_us) * US,
        "contextId": 1,
        "streamId": 7,
        "gridX": 80,
        "gridY": 1,
        "gridZ": 1,
        "blockX": 256,
        "blockY": 1,
        "blockZ": 1,
        "registersPerThread": 32,
        "cacheConfig": b"\0",
        "staticSharedMemory": 1024,
        "name": name,
    }
    file.add(kind, **{**known, **values})


def call(file: File, kind: str, cbid: int, start_us: int, dur_us: int, correlation: int, **values: Any) -> None:
    """A call of the first thread."""
    known = {
        "cbid": cbid,
        "start": T0 + start_us * US,
        "end": T0 + (start_us + dur_us) * US,
        "processId": PROCESS,
        "threadId": signed(THREAD),
        "correlationId": correlation,
    }
    file.add(kind, **{**known, **values})


def marker(file: File, flags: int, at_us: int, number: int, name: str | int = 0, **values: Any) -> None:
    """One marker of the first thread."""
    known = {"flags": flags, "timestamp": T0 + at_us * US, "id": number, "objectKind": 2, "objectId": thread()}
    file.add("MARKER", **{**known, "name": name, **values})


def timeline_v8(file: File) -> None:
    """Two devices, kernels that overlap, copies of all kinds, calls of runtime and driver."""
    device(file, 0)
    device(file, 1, uuid=bytes(16))
    device(file, 0)
    file.add("NAME", objectKind=1, objectId=process(), name="python train.py")
    call(file, "RUNTIME", 17, 0, 2, 1)
    call(file, "DRIVER", 307, 3, 1, 2)
    call(file, "RUNTIME", 13, 10, 5, 3)
    call(file, "RUNTIME", 13, 16, 5, 4, threadId=OTHER_THREAD)
    call(file, "RUNTIME", 9999, 22, 1, 5, returnValue=2)
    kernel(file, "_Z6kernelPfi", 20, 10, correlationId=3)
    kernel(file, "volta_sgemm_128x64_tn", 25, 10, correlationId=4, streamId=8, dynamicSharedMemory=2048)
    kernel(file, "_Z6kernelPfi", 22, 4, correlationId=3, deviceId=1, contextId=2)
    for number, (kind, source, destination) in enumerate([(1, 1, 3), (2, 3, 2), (8, 3, 3), (99, 0, 0)]):
        start = T0 + (40 + 3 * number) * US
        file.add("MEMCPY", copyKind=kind, srcKind=source, dstKind=destination, bytes=1 << 20, start=start,
                 end=start + 2 * US, contextId=1, streamId=7, correlationId=10 + number)  # fmt: skip
    file.add("MEMCPY2", copyKind=10, srcKind=3, dstKind=3, bytes=64, start=T0 + 60 * US, end=T0 + 61 * US, contextId=1,
             streamId=7, srcDeviceId=0, dstDeviceId=1, correlationId=20)  # fmt: skip
    file.add("MEMSET", value=0, bytes=4096, start=T0 + 62 * US, end=T0 + 63 * US, contextId=1, streamId=7,
             correlationId=21)  # fmt: skip


def markers_v11(file: File) -> None:
    """NVTX in two domains and threads, ranges cut at both ends, waits, overhead, readings of clocks and power."""
    device(file)
    file.add("NAME", objectKind=1, objectId=process(), name="python train.py")
    file.add("NAME", objectKind=2, objectId=thread(), name="main")
    marker(file, 2, 0, 1, "ds2prof:iteration:0")
    marker(file, 2, 1, 2, "ds2prof:phase:forward")
    marker(file, 4, 30, 2)
    marker(file, 4, 50, 1)
    marker(file, 2, 5, 3, "between threads", domain="other")
    marker(file, 4, 8, 3, objectId=thread(OTHER_THREAD), domain="other")
    marker(file, 1, 9, 4, "here")
    marker(file, 2, 51, 5, "ds2prof:iteration:1")
    marker(file, 4, 52, 6)
    marker(file, 2, 53, 7, "turned round")
    marker(file, 4, 52, 7)
    file.add("MARKER_DATA", flags=1, id=3, payloadKind=1, payload=struct.pack("<Q", 12), category=5)
    file.add("MARKER_DATA", flags=1, id=4, payloadKind=0, payload=struct.pack("<d", 0.5), category=0)
    call(file, "RUNTIME", 211, 10, 4, 100)
    call(file, "RUNTIME", 131, 40, 6, 101)
    kernel(file, "_ZN2at6native4sumsIfEEvPT_", 15, 8, correlationId=100)
    file.add(
        "SYNCHRONIZATION", type=3, start=T0 + 41 * US, end=T0 + 45 * US, correlationId=101, contextId=1, streamId=7
    )
    file.add("SYNCHRONIZATION", type=4, start=T0 + 46 * US, end=T0 + 47 * US, correlationId=0, contextId=9,
             streamId=0xFFFFFFFF)  # fmt: skip
    file.add("OVERHEAD", overheadKind=2 << 16, objectKind=1, objectId=process(), start=T0 + 2 * US, end=T0 + 6 * US)
    file.add("OVERHEAD", overheadKind=1 << 16, objectKind=2, objectId=thread(), start=T0 + 4 * US, end=T0 + 9 * US)
    for kind, numbers in ((1, (1530, 877)), (2, (55, 0)), (3, (250_500, 300_000)), (4, (40, 0)), (9, (1, 1))):
        file.add("ENVIRONMENT", timestamp=T0 + kind, environmentKind=kind, data=struct.pack("<5I", *numbers, 0, 0, 0))
    file.add("ENVIRONMENT", timestamp=-1, environmentKind=1, data=bytes(20))
    file.add("UNIFIED_MEMORY_COUNTER", counterKind=1, value=4096, start=T0, end=T0 + US)


def metric_numbers() -> dict[str, int]:
    """Name of a metric -> its lowest number in CUPTI's numbering."""
    from ds2prof.parsers.nvprof_metrics import names

    return {name: number for number, name in sorted(names().items(), reverse=True)}


def metrics_v17(file: File) -> None:
    """Metric mode: KERNEL, values of five kinds, a metric that no list has, events, two launches with one id."""
    device(file)
    numbers = metric_numbers()
    for number, correlation in enumerate((7, 8, 8)):
        kernel(file, f"_Z2k{number}v", 10 * number, 5, kind="KERNEL", correlationId=correlation)
    values = {
        "achieved_occupancy": struct.pack("<d", 0.5),
        "sm_efficiency": struct.pack("<d", 87.5),
        "dram_read_throughput": struct.pack("<Q", 900_000_000_000),
        "single_precision_fu_utilization": struct.pack("<I4x", 7),
        "inst_executed": struct.pack("<Q", 123_456),
        "dram_read_bytes": struct.pack("<Q", 1 << 33),
    }
    for name, value in values.items():
        file.add("METRIC", id=numbers[name], value=value, correlationId=7)
    for percentage in (10.0, 20.0):
        file.add("METRIC", id=numbers["sm_efficiency"], value=struct.pack("<d", percentage), correlationId=8)
    file.add("METRIC", id=0x7FFF0001, value=bytes(8), correlationId=7)
    file.add("METRIC", id=numbers["sm_efficiency"], value=b"\x01", correlationId=7)
    file.add("METRIC", id=numbers["inst_executed"], value=bytes(8), correlationId=99)
    file.add("EVENT", id=1, value=5, domain=0, correlationId=7)


def graphs_v26(file: File) -> None:
    """A file without a device, of two processes, times from the machine's start, clusters, graphs."""
    base = {"start": 5_000_000, "end": 5_004_000}
    for number, pid in enumerate((11, 12)):
        call(file, "DRIVER", 307, 0, 1, 1, start=4_000_000 + number, end=4_001_000, processId=pid)
        call(file, "RUNTIME", 211, 0, 1, 2 + number, start=4_002_000, end=4_003_000, processId=pid)
    kernel(file, "ambiguous", 0, 0, correlationId=1, **base)
    kernel(file, "first", 0, 0, correlationId=2, clusterX=2, clusterY=1, clusterZ=1, **base)
    kernel(file, "second", 0, 0, correlationId=3, graphId=4, graphNodeId=77, **base)
    kernel(file, "of no call", 0, 0, correlationId=0, **base)
    kernel(file, "without times", 0, 0, correlationId=2, start=0, end=0)
    file.add("GRAPH_TRACE", correlationId=3, graphId=5, contextId=1, streamId=7, start=6_000_000, end=6_100_000)


def empty_v12(file: File) -> None:
    """Nothing but the database itself."""


CASES: Mapping[str, tuple[int, Callable[[File], None]]] = {
    "timeline_v8": (8, timeline_v8),
    "markers_v11": (11, markers_v11),
    "metrics_v17": (17, metrics_v17),
    "graphs_v26": (26, graphs_v26),
    "empty_v12": (12, empty_v12),
}


def write(path: Path, version: int, fill: Callable[[File], None]) -> Path:
    """A database with those rows at ``path``."""
    path.unlink(missing_ok=True)
    file = File(path, version)
    fill(file)
    file.close()
    return path


def dump(path: Path) -> list[str]:
    """All that a database holds, as SQL."""
    connection = sqlite3.connect(f"{path.as_uri()}?mode=ro&immutable=1", uri=True)
    try:
        return list(connection.iterdump())
    finally:
        connection.close()


def main() -> None:
    """Write the golden cases."""
    for name, (version, fill) in CASES.items():
        folder = GOLDEN / name
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory() as made:
            content = write(Path(made) / "input", version, fill).read_bytes()
        (folder / "input.nvvp").write_bytes(content)
        (folder / "HOW.md").write_text(
            f"{fill.__doc__}\n\nMade by `python -m tests.nvprof_support` after version {version} of nvprof's schema,\n"
            "with the columns of that version. The numbers are invented; no real profile went into it.\n"
        )


if __name__ == "__main__":
    main()
