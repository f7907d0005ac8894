"""Write an SQLite export of Nsight Systems with a chosen number of kernels, for ``benchmarks/sqlite_exports.py``.

Deterministic. Three streams that overlap, 160 kernels drawn unevenly, a launch call for each kernel, a range for every
hundredth. With ``--ranges training`` the ranges are those of a training run: iterations of 1,000 launches, each with
seven phases and 24 layers. The tables and columns are those of schema 3.0.0 (nsys 2022.4), so that ``nsys stats`` reads
it too.
"""

from __future__ import annotations

import argparse
import random
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

KERNEL_COLUMNS = (
    "start", "end", "deviceId", "contextId", "streamId", "correlationId", "globalPid", "demangledName", "shortName",
    "mangledName", "launchType", "cacheConfig", "registersPerThread", "gridX", "gridY", "gridZ", "blockX", "blockY",
    "blockZ", "staticSharedMemory", "dynamicSharedMemory", "localMemoryPerThread", "localMemoryTotal", "gridId",
    "sharedMemoryExecuted", "graphNodeId", "sharedMemoryLimitConfig",
)  # fmt: skip
CALL_COLUMNS = ("start", "end", "eventClass", "globalTid", "correlationId", "nameId", "returnValue", "callchainId")
RANGE_COLUMNS = (
    "start", "end", "eventType", "rangeId", "category", "color", "text", "globalTid", "endGlobalTid", "textId",
    "domainId", "uint64Value", "int64Value", "doubleValue", "uint32Value", "int32Value", "floatValue", "jsonTextId",
    "jsonText",
)  # fmt: skip
GPU = {
    "vmId": "INTEGER", "id": "INTEGER", "name": "TEXT", "busLocation": "TEXT", "isDiscrete": "INTEGER",
    "l2CacheSize": "INTEGER", "totalMemory": "INTEGER", "memoryBandwidth": "INTEGER", "clockRate": "INTEGER",
    "smCount": "INTEGER", "uuid": "TEXT", "chipName": "TEXT", "cuDevice": "INTEGER", "computeMajor": "INTEGER",
    "computeMinor": "INTEGER",
}  # fmt: skip
NAMES = 160
NAME_ID, SHORT_ID, CALL_ID, RANGE_ID = 1000, 2000, 3000, 3001
GLOBAL_PID = 4242 << 24
LAUNCH_NS = 3000
STEP_LAUNCHES = 1000
PHASES = {"data": 4, "h2d": 6, "forward": 300, "loss": 20, "backward": 500, "clip": 20, "optimizer": 150}
"""Phase -> launches of it in an iteration."""
LAYERS = 24
DOMAIN_ID = 1
PHASE_ID, LAYER_ID = 4000, 5000


def strings() -> Iterator[tuple[int, str]]:
    """The names, by id."""
    for number in range(NAMES):
        short = f"{('gemm', 'elementwise', 'reduce', 'lstm_cell')[number % 4]}_kernel_{number}"
        yield NAME_ID + number, f"void ns::{short}<float, ({number % 7})int, true>(ns::Params<float>, int)"
        yield SHORT_ID + number, short
    yield CALL_ID, "cudaLaunchKernel_v7000"
    yield RANGE_ID, "step"
    for number, phase in enumerate(PHASES):
        yield PHASE_ID + number, f"phase:{phase}"
    for number in range(LAYERS):
        yield LAYER_ID + number, f"layer:rnn.{number}"


def kernels(count: int) -> Iterator[tuple[int | None, ...]]:
    """Rows of the table of kernels, in order of their starts."""
    draw = random.Random(2)
    start = 1_000_000_000
    for number in range(count):
        start += draw.randrange(500, 6000)
        name = min(int(draw.expovariate(0.04)), NAMES - 1)
        dur = 900 + 61 * name + draw.randrange(1000)
        grid, block = 1 + 37 * name % 513, 128 << name % 3
        yield (
            start, start + dur, 0, 1, 7 + number % 3, number + 1, GLOBAL_PID, NAME_ID + name, SHORT_ID + name, None, 0,
            0, 32 + name % 96, grid, 1, 1, block, 1, 1, 0, 4096 * (name % 5), 0, 57_802_752, number + 1, 32768, None, 0,
        )  # fmt: skip


def calls(count: int) -> Iterator[tuple[int | None, ...]]:
    """The launch call of each kernel, on one thread."""
    for start, _, *rest in kernels(count):
        assert start is not None
        yield start - LAUNCH_NS - 400, start - LAUNCH_NS, 0, GLOBAL_PID | 4242, rest[3], CALL_ID, 0, None


def ranges(count: int) -> Iterator[tuple[int | None, ...]]:
    """A push/pop range that spans each hundred launches, its name a registered string."""
    first = None
    for number, (start, *_) in enumerate(kernels(count)):
        assert start is not None
        if number % 100 == 0:
            first = start
        elif number % 100 == 99 and first is not None:
            blanks = (None,) * 9
            yield (
                first - LAUNCH_NS - 500, start - LAUNCH_NS, 59, None, None, None, None, GLOBAL_PID | 4242, None,
                RANGE_ID, *blanks,
            )  # fmt: skip


def training_ranges(count: int) -> Iterator[tuple[int | None, ...]]:
    """The iterations, phases and layers of a training run, in a domain of ds2prof's."""
    blanks, thread = (None,) * 7, GLOBAL_PID | 4242
    yield 0, None, 75, None, None, None, "ds2prof", thread, None, None, DOMAIN_ID, *blanks, None
    begun = [0, 0, 0]
    times = [start - LAUNCH_NS - 500 for start, *_ in kernels(count) if start is not None]
    phase_of = [number for number, launches in enumerate(PHASES.values()) for _ in range(launches)]
    for number, time in enumerate([*times, times[-1] + 400]):
        step, within = divmod(number, STEP_LAUNCHES)
        is_last = number == count
        if number and (is_last or within == 0):
            text = f"iteration:{step - (within == 0)}"
            yield begun[0], time, 60, step, None, None, text, thread, thread, None, DOMAIN_ID, *blanks, None
        phase, layer = phase_of[within], within * LAYERS // STEP_LAUNCHES
        before = (number - 1) % STEP_LAUNCHES
        if number and (is_last or phase != phase_of[before]):
            name = PHASE_ID + phase_of[before]
            yield begun[1], time, 60, count + number, None, None, None, thread, thread, name, DOMAIN_ID, *blanks, None
        if number and (is_last or layer != before * LAYERS // STEP_LAUNCHES):
            name = LAYER_ID + before * LAYERS // STEP_LAUNCHES
            yield begun[2], time, 59, None, None, None, None, thread, None, name, DOMAIN_ID, *blanks, None
        begun = [
            time if within == 0 else begun[0],
            time if phase != phase_of[before] else begun[1],
            time if layer != before * LAYERS // STEP_LAUNCHES else begun[2],
        ]
        if number == 0:
            begun = [time] * 3


RANGES = {"hundreds": ranges, "training": training_ranges}


def write(path: Path, count: int, *, kind: str = "hundreds") -> None:
    """Write the database, with ranges of a kind."""
    path.unlink(missing_ok=True)
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("PRAGMA journal_mode = OFF")
        connection.execute("PRAGMA synchronous = OFF")
        gpu = ", ".join(f"{name} {kind}" for name, kind in GPU.items())
        connection.execute("CREATE TABLE StringIds (id INTEGER NOT NULL PRIMARY KEY, value TEXT NOT NULL)")
        connection.execute("CREATE TABLE EXPORT_META_DATA (name TEXT NOT NULL, value TEXT)")
        connection.execute(f"CREATE TABLE TARGET_INFO_GPU ({gpu})")
        connection.execute(
            "CREATE TABLE ANALYSIS_DETAILS (globalVid INTEGER, duration INTEGER, startTime INTEGER, stopTime INTEGER)"
        )
        connection.executemany("INSERT INTO StringIds VALUES (?, ?)", strings())
        connection.execute("INSERT INTO EXPORT_META_DATA VALUES ('EXPORT_SCHEMA_VERSION', '3.0.0')")
        values = (
            0, 0, "NVIDIA A100-SXM4-40GB", "0000:07:00.0", 1, 41943040, 42505273344, 1555200000000, 1410000000, 108,
            None,
            "GA100", 0, 8, 0,
        )  # fmt: skip
        connection.execute(f"INSERT INTO TARGET_INFO_GPU VALUES ({', '.join('?' * len(GPU))})", values)
        _fill(connection, "CUPTI_ACTIVITY_KIND_KERNEL", KERNEL_COLUMNS, kernels(count))
        _fill(connection, "CUPTI_ACTIVITY_KIND_RUNTIME", CALL_COLUMNS, calls(count))
        _fill(connection, "NVTX_EVENTS", RANGE_COLUMNS, RANGES[kind](count))
        (end,) = connection.execute("SELECT max(end) FROM CUPTI_ACTIVITY_KIND_KERNEL").fetchone()
        connection.execute("INSERT INTO ANALYSIS_DETAILS VALUES (0, ?, 0, ?)", (end + 1_000_000, end + 1_000_000))
        connection.commit()


def _fill(
    connection: sqlite3.Connection, table: str, columns: tuple[str, ...], rows: Iterator[tuple[int | None, ...]]
) -> None:
    kinds = ("TEXT" if name in ("text", "jsonText") else "REAL" if name[:5] in ("doubl", "float") else "INTEGER" for name in columns)  # fmt: skip  # noqa: E501
    declared = ", ".join(f"{name} {kind}" for name, kind in zip(columns, kinds, strict=True))
    connection.execute(f"CREATE TABLE {table} ({declared})")
    connection.executemany(f"INSERT INTO {table} VALUES ({', '.join('?' * len(columns))})", rows)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--kernels", type=int, required=True, help="how many kernels (and launch calls)")
    parser.add_argument("--output", type=Path, required=True, help="the file to write")
    parser.add_argument("--ranges", choices=RANGES, default="hundreds", help="which ranges it has")
    options = parser.parse_args()
    options.output.parent.mkdir(parents=True, exist_ok=True)
    write(options.output, options.kernels, kind=options.ranges)
    print(f"{options.output}: {options.output.stat().st_size} bytes, {options.kernels} kernels")


if __name__ == "__main__":
    main()
