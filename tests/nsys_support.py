"""Nsight Systems exports made in memory: for the tests of their reader, and for its golden files.

``python -m tests.nsys_support`` writes the golden files anew.
"""

from __future__ import annotations

import io
import sqlite3
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from ds2prof.parsers import nsys_sqlite
from ds2prof.parsers.sources import HEAD_BYTES, Source
from ds2prof.tables import Profile

GOLDEN = Path(__file__).resolve().parent / "golden"  # not from conftest: the documentation writes files without pytest
VM = 1 << 48
SESSION_NS = 1_700_000_000_000_000_000
NO_STREAM = (1 << 32) - 1

Rows = Sequence[Mapping[str, Any]]


def _words(text: str) -> list[str]:
    return text.split()


def row(given: Mapping[str, Any] | None = None, **values: Any) -> dict[str, Any]:
    """A row with these values, over those of another."""
    return {**(given or {}), **values}


_KERNEL = _words(
    "start end deviceId contextId streamId correlationId globalPid demangledName shortName mangledName "
    "launchType cacheConfig registersPerThread gridX gridY gridZ blockX blockY blockZ staticSharedMemory "
    "dynamicSharedMemory localMemoryPerThread localMemoryTotal gridId sharedMemoryExecuted graphNodeId "
    "sharedMemoryLimitConfig"
)
_MEMCPY = _words(
    "start end deviceId contextId streamId correlationId globalPid bytes copyKind deprecatedSrcId srcKind "
    "dstKind srcDeviceId srcContextId dstDeviceId dstContextId migrationCause graphNodeId virtualAddress"
)
_MEMSET = _words("start end deviceId contextId streamId correlationId globalPid value bytes graphNodeId memKind")
_CALL = _words("start end eventClass globalTid correlationId nameId returnValue callchainId")
_SYNC = _words("start end deviceId contextId streamId correlationId globalPid syncType eventId")
_NVTX = _words(
    "start end eventType rangeId category color text:TEXT globalTid endGlobalTid textId domainId "
    "uint64Value int64Value doubleValue:REAL uint32Value int32Value floatValue:REAL jsonTextId "
    "jsonText:TEXT"
)
_GPU = _words(
    "vmId id name:TEXT busLocation:TEXT isDiscrete l2CacheSize totalMemory memoryBandwidth clockRate "
    "smCount pwGpuId uuid:TEXT luid chipName:TEXT cuDevice threadsPerWarp maxWarpsPerSm computeMajor "
    "computeMinor"
)
_OLD_GPU = _words(
    "vmId name:TEXT pciBusId:TEXT globalMemoryBandwidth globalMemorySize numThreadsPerWarp coreClockRate "
    "numMultiprocessors maxWarpsPerMultiprocessor computeCapabilityMajor computeCapabilityMinor deviceId "
    "pid"
)

COLUMNS: dict[str, Sequence[str]] = {
    "StringIds": ["id:INTEGER PRIMARY KEY", "value:TEXT"],
    "CUPTI_ACTIVITY_KIND_KERNEL": _KERNEL,
    "CUPTI_ACTIVITY_KIND_MEMCPY": _MEMCPY,
    "CUPTI_ACTIVITY_KIND_MEMSET": _MEMSET,
    "CUPTI_ACTIVITY_KIND_RUNTIME": _CALL,
    "CUPTI_ACTIVITY_KIND_SYNCHRONIZATION": _SYNC,
    "CUPTI_ACTIVITY_KIND_GRAPH_TRACE": (
        _words("start end deviceId contextId greenContextId streamId correlationId globalPid graphId graphExecId")
    ),
    "CUPTI_ACTIVITY_KIND_OVERHEAD": _words("start end eventClass globalTid correlationId nameId overheadType"),
    "CUDNN_EVENTS": _words("start end eventClass globalTid nameId"),
    "CUBLAS_EVENTS": _words("start end eventClass globalTid nameId"),
    "OSRT_API": _words("start end eventClass globalTid nameId returnValue nestingLevel callchainId"),
    "NVTX_EVENTS": _NVTX,
    "PROFILER_OVERHEAD": _words("start end globalTid nameId returnValue"),
    "GPU_METRICS": _words("timestamp typeId metricId value"),
    "TARGET_INFO_GPU_METRICS": _words("typeId sourceId typeName:TEXT metricId metricName:TEXT"),
    "TARGET_INFO_GPU": _GPU,
    "TARGET_INFO_CUDA_GPU": _OLD_GPU,
    "TARGET_INFO_CUDA_DEVICE": _words("gpuId cudaId pid uuid:TEXT numMultiprocessors"),
    "TARGET_INFO_CUDA_STREAM": _words("streamId hwId vmId processId contextId priority flag"),
    "TARGET_INFO_SESSION_START_TIME": ["utcEpochNs", "utcTime:TEXT", "localTime:TEXT"],
    "ANALYSIS_DETAILS": _words("globalVid duration startTime stopTime"),
    "PROCESSES": ["globalPid", "pid", "name:TEXT"],
    "ThreadNames": ["nameId", "priority", "globalTid"],
    "ProcessStreams": ["globalPid", "filenameId", "contentId"],
    "DIAGNOSTIC_EVENT": _words("timestamp timestampType source severity text:TEXT globalPid"),
    "EXPORT_META_DATA": ["name:TEXT", "value:TEXT"],
    "META_DATA_EXPORT": ["name:TEXT", "value:TEXT"],
    "META_DATA_CAPTURE": ["name:TEXT", "value:TEXT"],
}
"""Table -> its columns, as ``name`` or ``name:TYPE``; INTEGER where no type is given."""


def pid(process: int) -> int:
    """The serialized id of a process."""
    return VM | process << 24


def tid(process: int, thread: int) -> int:
    """The serialized id of a thread."""
    return pid(process) | thread


def strings(*texts: str) -> Rows:
    """StringIds of these texts, numbered from 1."""
    return [{"id": number, "value": text} for number, text in enumerate(texts, start=1)]


def pairs(**values: str) -> Rows:
    """Rows of names and values."""
    return [{"name": name, "value": value} for name, value in values.items()]


def kernel(start: int, end: int, **others: Any) -> dict[str, Any]:
    """A row of the kernels' table: of process 100 on device 0, stream 7, named by string 1."""
    usual = row(deviceId=0, contextId=1, streamId=7, correlationId=1, globalPid=pid(100), demangledName=1, shortName=2)
    grid = {f"{what}{axis}": 1 for what in ("grid", "block") for axis in "XYZ"}
    return {**usual, **grid, "start": start, "end": end, **others}


def export(
    tables: Mapping[str, Rows], *, columns: Mapping[str, Sequence[str]] | None = None, page_bytes: int = 1024
) -> bytes:
    """An SQLite file with these tables; ``columns`` replaces the declared ones of a table."""
    declared = {**COLUMNS, **(columns or {})}
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "export.sqlite"
        database = sqlite3.connect(path)
        database.executescript(f"PRAGMA page_size = {page_bytes}; PRAGMA synchronous = OFF; BEGIN")
        for table, rows in tables.items():
            kinds = dict([*each.split(":"), "INTEGER"][:2] for each in declared[table])
            listed = ", ".join(f'"{name}" {kind}' for name, kind in kinds.items())
            database.execute(f'CREATE TABLE "{table}" ({listed})')
            for row in rows:
                assert row.keys() <= kinds.keys(), (table, row.keys() - kinds.keys())
                names = ", ".join(f'"{name}"' for name in row)
                marks = ", ".join("?" * len(row))
                database.execute(f'INSERT INTO "{table}" ({names}) VALUES ({marks})', list(row.values()))
        database.commit()
        database.close()
        return path.read_bytes()


def source_of(content: bytes) -> Source:
    """The file's bytes as a source."""
    return Source("export.sqlite", content[:HEAD_BYTES], lambda: io.BufferedReader(io.BytesIO(content)))


def profile_of(tables: Mapping[str, Rows], **options: Any) -> Profile:
    """The profile in an export with these tables; StringIds hold ``full name`` and ``short`` where none are given."""
    given = tables if "StringIds" in tables else {"StringIds": strings("full name", "short"), **tables}
    return nsys_sqlite.parse(source_of(export(given, **options)))


def without(table: str, *names: str) -> dict[str, Sequence[str]]:
    """The columns of a table less some, as :func:`export` takes them."""
    return {table: [each for each in COLUMNS[table] if each.split(":")[0] not in names]}


def of_2020() -> bytes:
    """A file as of 2020: no metadata, no session start, CUDA's devices in kHz and kB/s."""
    return export(
        {
            "StringIds": strings("scale<float>(float *)", "scale", "cudaLaunchKernel_v7000", "poll", "python"),
            "CUPTI_ACTIVITY_KIND_KERNEL": [
                kernel(2_000, 5_000, correlationId=11, gridX=4, blockX=128, registersPerThread=16),
                kernel(6_000, 9_500, correlationId=12, gridX=4, blockX=128, registersPerThread=16),
            ],
            "CUPTI_ACTIVITY_KIND_RUNTIME": [
                row(start=1_000, end=1_500, eventClass=0, globalTid=tid(100, 101), correlationId=11, nameId=3),
                row(start=1_600, end=1_900, eventClass=0, globalTid=tid(100, 101), correlationId=12, nameId=3),
            ],
            "OSRT_API": [
                row(start=900, end=900, eventClass=31, globalTid=pid(100), nameId=4),
                row(start=950, end=990, eventClass=27, globalTid=tid(100, 101), nameId=4, nestingLevel=0),
            ],
            "TARGET_INFO_CUDA_GPU": [
                row(
                    vmId=VM,
                    name="Tesla V100-SXM2-16GB",
                    pciBusId="0000:04:00.0",
                    globalMemoryBandwidth=898_048_000,
                    globalMemorySize=16_945_512_448,
                    numThreadsPerWarp=32,
                    coreClockRate=1_530_000,
                    numMultiprocessors=80,
                    maxWarpsPerMultiprocessor=64,
                    computeCapabilityMajor=7,
                    computeCapabilityMinor=0,
                    deviceId=0,
                    pid=100,
                )
            ],
            "TARGET_INFO_CUDA_STREAM": [row(streamId=7, hwId=0, vmId=1, processId=100, contextId=1)],
            "ThreadNames": [row(nameId=5, priority=1, globalTid=tid(100, 101))],
        },
        columns=without("CUPTI_ACTIVITY_KIND_KERNEL", "mangledName"),
    )


def of_schema_2_9_1() -> bytes:
    """A file as of 2022.2: empty tables too, MPI's ranges, calls with backtraces, columns that a user added."""
    return export(
        {
            "EXPORT_META_DATA": pairs(EXPORT_PRODUCT_VERSION="2022.2.1.31", EXPORT_SCHEMA_VERSION="2.9.1"),
            "StringIds": strings(
                *("saxpy(double *, double)", "saxpy", "_Z5saxpyPdd", "cudaLaunchKernel_v7000", "cudaLaunchKernel"),
                *("MPI_Send", "cuInit", "TLS allocation"),
            ),
            "CUPTI_ACTIVITY_KIND_KERNEL": [kernel(30_000, 47_000, correlationId=140, mangledName=3)],
            "CUPTI_ACTIVITY_KIND_RUNTIME": [
                row(start=10_000, end=10_900, eventClass=1, globalTid=tid(100, 100), correlationId=1, nameId=7),
                row(start=20_100, end=21_900, eventClass=0, globalTid=tid(100, 100), correlationId=140, nameId=4),
                row(start=20_000, end=22_000, eventClass=67, globalTid=tid(100, 100), correlationId=140, nameId=5),
            ],
            "CUPTI_ACTIVITY_KIND_MEMCPY": [],
            "CUDNN_EVENTS": [],
            "CUPTI_ACTIVITY_KIND_SYNCHRONIZATION": [],
            "NVTX_EVENTS": [
                row(start=1_000, eventType=75, text="MPI", globalTid=tid(100, 100), domainId=1),
                row(start=2_000, end=9_000, eventType=59, textId=6, globalTid=tid(100, 100), domainId=1),
                row(start=9_500, eventType=39, text="MPI Rank 0", globalTid=tid(100, 100), domainId=0),
                row(start=19_000, end=22_500, eventType=59, text="saxpy", globalTid=tid(100, 100), domainId=0),
                row(start=23_000, eventType=60, text="open", globalTid=tid(100, 100), domainId=0, rangeId=1),
            ],
            "PROFILER_OVERHEAD": [row(start=500, end=800, globalTid=tid(100, 100), nameId=8, returnValue=0)],
            "TARGET_INFO_SESSION_START_TIME": [row(utcEpochNs=SESSION_NS, utcTime="2023-11-14T22:13:20")],
            "ANALYSIS_DETAILS": [row(globalVid=VM, duration=100_000, startTime=7_000, stopTime=107_000)],
            "PROCESSES": [
                row(globalPid=pid(100), pid=100, name="./saxpy"),
                row(globalPid=pid(1), pid=1, name="systemd"),
            ],
        },
        columns={"CUPTI_ACTIVITY_KIND_RUNTIME": [*_CALL, "name:TEXT"]},
    )


def of_schema_3_1_7() -> bytes:
    """A file as of 2023.2: a MIG slice, libraries, waits, copies and sets, ranges of a training run."""
    thread = tid(100, 100)
    return export(
        {
            "EXPORT_META_DATA": pairs(EXPORT_PRODUCT_VERSION="2023.2.3.1004", EXPORT_SCHEMA_VERSION="3.1.7"),
            "StringIds": strings(
                *("gemm<float>", "gemm", "cudaMemcpyAsync_v3020", "cudaGraphLaunch_v10000", "cudnnRNNForward"),
                *("cublasSgemm_v2", "iteration:7", "phase:forward", "cuStreamSynchronize"),
            ),
            "CUPTI_ACTIVITY_KIND_KERNEL": [
                kernel(40_000, 52_000, correlationId=5, graphNodeId=4_294_967_299),
                kernel(52_500, 60_500, correlationId=5, graphNodeId=4_294_967_300),
            ],
            "CUPTI_ACTIVITY_KIND_MEMCPY": [
                row(
                    start=20_000,
                    end=28_000,
                    deviceId=0,
                    contextId=1,
                    streamId=7,
                    correlationId=4,
                    globalPid=pid(100),
                    bytes=4096,
                    copyKind=1,
                    srcKind=1,
                    dstKind=2,
                ),
                row(
                    start=70_000,
                    end=71_000,
                    deviceId=0,
                    contextId=1,
                    streamId=14,
                    correlationId=8,
                    globalPid=pid(100),
                    bytes=64,
                    copyKind=8,
                    srcKind=2,
                    dstKind=2,
                    srcDeviceId=0,
                    dstDeviceId=0,
                ),
            ],
            "CUPTI_ACTIVITY_KIND_MEMSET": [
                row(
                    start=30_000,
                    end=31_000,
                    deviceId=0,
                    contextId=1,
                    streamId=7,
                    correlationId=9,
                    globalPid=pid(100),
                    value=0,
                    bytes=256,
                    memKind=2,
                ),
            ],
            "CUPTI_ACTIVITY_KIND_RUNTIME": [
                row(start=15_000, end=16_000, eventClass=0, globalTid=thread, correlationId=4, nameId=3),
                row(start=17_000, end=18_000, eventClass=0, globalTid=thread, correlationId=5, nameId=4),
                row(
                    start=62_000,
                    end=72_000,
                    eventClass=1,
                    globalTid=thread,
                    correlationId=10,
                    nameId=9,
                    returnValue=700,
                ),
            ],
            "CUPTI_ACTIVITY_KIND_SYNCHRONIZATION": [
                row(
                    start=62_500,
                    end=71_500,
                    deviceId=0,
                    contextId=1,
                    streamId=7,
                    correlationId=10,
                    globalPid=pid(100),
                    syncType=3,
                    eventId=0,
                ),
                row(
                    start=73_000,
                    end=73_500,
                    deviceId=0,
                    contextId=1,
                    streamId=NO_STREAM,
                    correlationId=11,
                    globalPid=pid(100),
                    syncType=4,
                    eventId=0,
                ),
            ],
            "CUDNN_EVENTS": [row(start=14_000, end=19_000, eventClass=28, globalTid=thread, nameId=5)],
            "CUBLAS_EVENTS": [row(start=14_500, end=14_900, eventClass=29, globalTid=thread, nameId=6)],
            "NVTX_EVENTS": [
                row(start=100, eventType=75, text="ds2prof", globalTid=thread, domainId=3),
                row(start=110, eventType=33, text="compute", globalTid=thread, domainId=3, category=2),
                row(start=10_000, end=80_000, eventType=59, textId=7, globalTid=thread, domainId=3),
                row(
                    start=12_000,
                    end=61_000,
                    eventType=60,
                    textId=8,
                    globalTid=thread,
                    endGlobalTid=tid(100, 101),
                    domainId=3,
                    category=2,
                    rangeId=1,
                    int64Value=-5,
                ),
                row(
                    start=13_000,
                    end=19_500,
                    eventType=59,
                    text="rnn",
                    globalTid=thread,
                    domainId=0,
                    jsonText='{"layer": 1}',
                ),
                row(start=13_500, eventType=34, text="here", globalTid=thread, domainId=0, doubleValue=0.5),
            ],
            "TARGET_INFO_GPU": [
                row(
                    vmId=VM,
                    id=2,
                    name="NVIDIA A30 MIG 2g.12gb",
                    busLocation="0000:17:00.0",
                    totalMemory=12_582_912_000,
                    memoryBandwidth=466_000_000_000,
                    clockRate=1_440_000_000,
                    smCount=28,
                    chipName="GA100",
                    cuDevice=0,
                    threadsPerWarp=32,
                    maxWarpsPerSm=64,
                    computeMajor=8,
                    computeMinor=0,
                    uuid="MIG-11111111-2222-3333-4444-555555555555",
                ),
            ],
            "TARGET_INFO_SESSION_START_TIME": [row(utcEpochNs=SESSION_NS)],
            "ANALYSIS_DETAILS": [row(globalVid=VM, duration=90_000, startTime=1, stopTime=90_001)],
            "PROCESSES": [row(globalPid=pid(100), pid=100, name="python")],
            "ProcessStreams": [row(globalPid=pid(100), filenameId=1, contentId=2)],
        }
    )


def of_schema_3_25() -> bytes:
    """A file as of 2026: two processes that see different GPUs as 0, whole graphs, sampled metrics, lost events."""
    kernel_columns = [
        *(each for each in _KERNEL if each != "mangledName"),
        "graphId",
        "clusterX",
        "clusterY",
        "clusterZ",
    ]
    gpu = row(
        vmId=VM,
        totalMemory=85_520_809_984,
        memoryBandwidth=3_352_320_000_000,
        clockRate=1_980_000_000,
        smCount=132,
        chipName="GH100",
        threadsPerWarp=32,
        maxWarpsPerSm=64,
        computeMajor=9,
        computeMinor=0,
        name="NVIDIA H100 80GB HBM3",
    )
    return export(
        {
            "META_DATA_EXPORT": pairs(
                EXPORT_PRODUCT_VERSION="2026.2.1.210", EXPORT_SCHEMA_VERSION="3.25.0", EXPORT_PARAM_TIME_SHIFT="0"
            ),
            "META_DATA_CAPTURE": [
                {"name": "DEVICE_DISPLAY_NAME", "value": "node1"},
                {"name": "PROCESS_0:CUDA_GRAPH_TRACE_OPTIONS:MODE", "value": "Graph"},
            ],
            "StringIds": strings(
                *("void conv<3>(half *)", "conv", "cudaLaunchKernelExC_v11060", "cudaGraphLaunch_v10000"),
                *("Lazy Function Loading", "CUPTI Buffer flush"),
            ),
            "CUPTI_ACTIVITY_KIND_KERNEL": [
                kernel(10_016, 30_016, correlationId=7, clusterX=2, clusterY=1, clusterZ=1, graphId=0),
                kernel(10_032, 20_032, correlationId=7, globalPid=pid(200), clusterX=0, clusterY=0, clusterZ=0),
            ],
            "CUPTI_ACTIVITY_KIND_GRAPH_TRACE": [
                row(
                    start=40_000,
                    end=60_000,
                    deviceId=0,
                    contextId=1,
                    greenContextId=0,
                    streamId=7,
                    correlationId=8,
                    globalPid=pid(100),
                    graphId=3,
                    graphExecId=5,
                ),
                row(
                    start=9_000,
                    end=31_000,
                    deviceId=0,
                    contextId=1,
                    greenContextId=0,
                    streamId=7,
                    correlationId=7,
                    globalPid=pid(100),
                    graphId=2,
                    graphExecId=4,
                ),
            ],
            "CUPTI_ACTIVITY_KIND_RUNTIME": [
                row(start=8_000, end=8_500, eventClass=0, globalTid=tid(100, 100), correlationId=7, nameId=3),
                row(start=8_100, end=8_600, eventClass=0, globalTid=tid(200, 201), correlationId=7, nameId=3),
                row(start=35_000, end=35_800, eventClass=0, globalTid=tid(100, 100), correlationId=8, nameId=4),
            ],
            "CUPTI_ACTIVITY_KIND_OVERHEAD": [
                row(start=7_000, end=7_900, eventClass=103, globalTid=tid(100, 100), nameId=5, overheadType=7),
            ],
            "PROFILER_OVERHEAD": [row(start=90_000, end=91_000, globalTid=tid(100, 100), nameId=6, overheadType=3)],
            "GPU_METRICS": [
                row(timestamp=10_000, typeId=0x1001, metricId=1, value=75),
                row(timestamp=10_000, typeId=0x1001, metricId=2, value=1_980),
                row(timestamp=20_000, typeId=0x1000, metricId=1, value=0),
            ],
            "TARGET_INFO_GPU_METRICS": [
                row(typeId=type_id, sourceId=1, typeName="GPU Metrics", metricId=number, metricName=name)
                for type_id in (0x1000, 0x1001)
                for number, name in ((1, "SMs Active [Throughput %]"), (2, "GPC Clock Frequency [MHz]"))
            ],
            "TARGET_INFO_GPU": [
                row(gpu, id=0, cuDevice=1, busLocation="0000:0A:00.0", uuid="00000000-0000-0000-0000-00000000000a"),
                row(gpu, id=1, cuDevice=0, busLocation="0000:0B:00.0", uuid="00000000-0000-0000-0000-00000000000b"),
            ],
            "TARGET_INFO_CUDA_DEVICE": [
                row(gpuId=1, cudaId=0, pid=100, numMultiprocessors=132),
                row(gpuId=0, cudaId=0, pid=200, numMultiprocessors=132),
            ],
            "TARGET_INFO_SESSION_START_TIME": [row(utcEpochNs=SESSION_NS)],
            "ANALYSIS_DETAILS": [row(globalVid=VM, duration=100_000, startTime=1, stopTime=100_001)],
            "PROCESSES": [row(globalPid=pid(number), pid=number, name="python") for number in (100, 200)],
            "DIAGNOSTIC_EVENT": [
                row(timestamp=0, timestampType=1, source=3, severity=1, text="Profiling has started."),
                row(
                    timestamp=9,
                    timestampType=1,
                    source=1,
                    severity=1,
                    globalPid=pid(100),
                    text="CUPTI events produced: 9, buffers: 1 of 2. Some CUPTI events might be missing.",
                ),
                row(
                    timestamp=9,
                    timestampType=2,
                    source=3,
                    severity=2,
                    globalPid=pid(100),
                    text="Not all NVTX events might have been collected.",
                ),
                row(
                    timestamp=9,
                    timestampType=2,
                    source=3,
                    severity=2,
                    globalPid=pid(100),
                    text="No NVTX events collected. Does the process use NVTX?",
                ),
            ],
        },
        columns={
            "CUPTI_ACTIVITY_KIND_KERNEL": kernel_columns,
            "PROFILER_OVERHEAD": _words("start end globalTid nameId overheadType"),
        },
    )


CASES = {
    "no_metadata_2020": of_2020,
    "schema_2_9_1": of_schema_2_9_1,
    "schema_3_1_7": of_schema_3_1_7,
    "schema_3_25": of_schema_3_25,
}
"""Golden case -> what makes its input."""

if __name__ == "__main__":
    for case, make in CASES.items():
        folder = GOLDEN / "nsys_sqlite" / case
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "input.sqlite").write_bytes(make())
