"""Stand-ins for what the sampler asks: /proc trees, nvidia-smi of several generations, and an NVML made of C."""

from __future__ import annotations

import csv
import os
import subprocess
import sys
from pathlib import Path

from tests.conftest import ROOT
from tests.launch_support import executable
from tests.smi_support import PYTHON_HERE

SAMPLER = ROOT / "ds2prof" / "sampling" / "__main__.py"

# Behaves as nvidia-smi does: refuses a list with one field that it does not know, prints rows for all GPUs in a loop.
SMI = f"""{PYTHON_HERE}
import os, sys, time
from datetime import datetime, timezone
mode = os.environ.get("FAKE_SMI", "new")
query = next(word for word in sys.argv if word.startswith("--query-gpu=")).partition("=")[2].split(",")
period = int(next(word for word in sys.argv if word.startswith("--loop-ms=")).partition("=")[2]) / 1e3
if mode == "hangs":
    time.sleep(600)
if mode == "no driver":
    print("NVIDIA-SMI has failed because it couldn't communicate with the NVIDIA driver. Make sure of it.")
    sys.exit(9)
unknown = {{"old": "clocks_event_reasons", "older": "clocks_"}}.get(mode)
for field in query:
    if unknown and field.startswith(unknown) or mode == "older" and field == "utilization.memory":
        print(f'Field "{{field}}" is not a valid field to query.')
        sys.exit(2)
says = {{
    "utilization.gpu": "37", "utilization.memory": "12", "memory.used": "1024", "power.draw": "71.20",
    "clocks.current.sm": "1410", "clocks.current.memory": "1593", "temperature.gpu": "41", "pstate": "P0",
    "memory.total": "81920", "name": "NVIDIA A100-SXM4-80GB",
}}
if mode == "absent":
    says |= {{"power.draw": "[N/A]", "utilization.gpu": "[Unknown Error]", "temperature.gpu": "[Not Supported]"}}
for turn in range(10**6):
    for index in range(int(os.environ.get("FAKE_GPUS", "1"))):
        now = datetime.now(timezone.utc)
        stamp = f"{{now:%Y/%m/%d %H:%M:%S}}.{{now.microsecond // 1000:03d}}"
        row = {{**says, "timestamp": stamp, "index": str(index), "uuid": f"GPU-{{index}}{{index}}"}}
        print(", ".join(row.get(f, "Active" if "sw_power" in f else "Not Active") for f in query), flush=True)
    if mode == "dies" and turn == 2:
        print("Unable to determine the device handle for GPU 0000:01:00.0: GPU is lost.  Reboot the system to recover.")
        sys.exit(15)
    time.sleep(period)
"""

# The functions of nvml.h that are used, for two GPUs; the second is cut into one slice and has no energy counter.
NVML = r"""
#include <stdio.h>
#include <string.h>
typedef struct { unsigned gpu, memory; } Rates;
typedef struct { unsigned version; unsigned long long total, reserved, free, used; } Memory2;
typedef struct device { unsigned index, is_slice; } Device;
static Device gpus[2] = {{0, 0}, {1, 0}}, slice = {1, 1};
static unsigned long long energy_mj = 1000000;
int nvmlInit_v2(void) { return INIT; }
const char *nvmlErrorString(int code) { return "Driver Not Loaded"; }
int nvmlDeviceGetCount_v2(unsigned *n) { *n = 2; return 0; }
int nvmlDeviceGetHandleByIndex_v2(unsigned i, Device **d) {
    if (i > 1) return 2;
    *d = &gpus[i];
    return 0;
}
int nvmlDeviceGetHandleByUUID(const char *u, Device **d) {
    *d = !strcmp(u, "MIG-5") ? &slice : !strcmp(u, "GPU-00") ? &gpus[0] : !strcmp(u, "GPU-11") ? &gpus[1] : 0;
    return *d ? 0 : 6;
}
int nvmlDeviceGetIndex(Device *d, unsigned *i) { *i = d->index; return 0; }
int nvmlDeviceGetName(Device *d, char *b, unsigned n) { snprintf(b, n, "NVIDIA H200"); return 0; }
int nvmlDeviceGetUUID(Device *d, char *b, unsigned n) {
    if (d->is_slice) snprintf(b, n, "MIG-5");
    else snprintf(b, n, "GPU-%u%u", d->index, d->index);
    return 0;
}
int nvmlDeviceGetMigMode(Device *d, unsigned *now, unsigned *then) { *now = *then = d->index; return 0; }
int nvmlDeviceGetMaxMigDeviceCount(Device *d, unsigned *n) { *n = 7; return 0; }
int nvmlDeviceGetMigDeviceHandleByIndex(Device *d, unsigned i, Device **s) {
    if (i != 2) return 6;
    *s = &slice;
    return 0;
}
int nvmlDeviceGetDeviceHandleFromMigDeviceHandle(Device *s, Device **d) {
    if (!s->is_slice) return 2;
    *d = &gpus[1];
    return 0;
}
int nvmlDeviceGetUtilizationRates(Device *d, Rates *r) {
    if (d->index) return 3;
    r->gpu = 87;
    r->memory = 43;
    return 0;
}
int nvmlDeviceGetMemoryInfo_v2(Device *d, Memory2 *m) {
    if (m->version != (sizeof(Memory2) | 2 << 24)) return 25;
    m->total = 1ull << (d->is_slice ? 34 : 37);
    m->reserved = 5;
    m->free = 6;
    m->used = d->is_slice ? 12345678901ull : 98765432101ull;
    return 0;
}
int nvmlDeviceGetPowerUsage(Device *d, unsigned *mw) { *mw = 654321; return 0; }
int nvmlDeviceGetTotalEnergyConsumption(Device *d, unsigned long long *mj) {
    if (d->index) return 3;
    *mj = energy_mj += 5000;
    return 0;
}
int nvmlDeviceGetClockInfo(Device *d, int kind, unsigned *mhz) {
    *mhz = kind == 1 ? 1755 : kind == 2 ? 3201 : 7;
    return 0;
}
int nvmlDeviceGetTemperature(Device *d, int sensor, unsigned *c) { *c = sensor ? 99 : 55; return 0; }
int nvmlDeviceGetPerformanceState(Device *d, int *p) { *p = d->index ? 32 : 0; return 0; }
int nvmlDeviceGetCurrentClocksThrottleReasons(Device *d, unsigned long long *r) { *r = 0x4 | 0x40; return 0; }
"""


def smi_folder(folder: Path) -> str:
    """A PATH on which the stand-in comes first."""
    folder.mkdir(exist_ok=True)
    executable(folder / "nvidia-smi", SMI)
    return f"{folder}:{os.environ['PATH']}"


def nvml_folder(folder: Path, *, code: int = 0) -> str:
    """A folder with a libnvidia-ml.so.1 for LD_LIBRARY_PATH; ``code`` is what it says to be initialized."""
    folder.mkdir(exist_ok=True)
    source = folder / "nvml.c"
    source.write_text(NVML)
    library = folder / "libnvidia-ml.so.1"
    subprocess.run(["cc", "-shared", "-fPIC", "-w", f"-DINIT={code}", "-o", library, source], check=True)
    return str(folder)


def sample(
    output: Path, *command: str, options: tuple[str, ...] = (), **environ: str
) -> subprocess.CompletedProcess[str]:
    """The sampler's end, run by its path as ``profilers/smi.sh`` does."""
    words = [sys.executable, "-I", "-S", SAMPLER, "--period-ms", "20", *options, "--output", output, "--", *command]
    kept = {name: value for name, value in os.environ.items() if name not in ("DS2PROF_STATUS", "CUDA_VISIBLE_DEVICES")}
    return subprocess.run(words, env={**kept, **environ}, capture_output=True, text=True, timeout=60, check=False)


def until_read(output: Path, metric: str, *, times: int = 1) -> tuple[str, ...]:
    """A program that ends when so many readings of a metric stand in the sampler's file."""
    return ("sh", "-c", f"until [ $(grep -c ,{metric}, '{output}') -ge {times} ]; do sleep 0.02; done")


def rows(output: Path, metric: str) -> list[dict[str, str]]:
    """The rows of a metric, as a plain CSV reader gives them."""
    with output.open(encoding="utf-8", newline="") as lines:
        return [row for row in csv.DictReader(lines) if row["metric"] == metric]


def stat_line(
    name: str,
    *,
    user: int = 0,
    nice: int = 0,
    system: int = 0,
    idle: int = 0,
    iowait: int = 0,
    irq: int = 0,
    softirq: int = 0,
    steal: int = 0,
    guest: int = 0,
) -> str:
    return f"{name}  {user} {nice} {system} {idle} {iowait} {irq} {softirq} {steal} {guest} 0"


def process(
    proc: Path,
    pid: int,
    *,
    parent: int = 1,
    own: int = 0,
    children: int = 0,
    pages: int = 10,
    threads: int = 1,
    name: str = "python",
) -> None:
    """A process in a tree that stands for /proc; again, with other numbers, in the same files."""
    folder = proc / str(pid)
    folder.mkdir(parents=True, exist_ok=True)
    fields = [
        parent,
        pid,
        pid,
        0,
        -1,
        0,
        0,
        0,
        0,
        0,
        own,
        0,
        children,
        0,
        20,
        0,
        threads,
        0,
        5,
        1 << 20,
        pages,
        *[0] * 28,
    ]
    (folder / "stat").write_text(f"{pid} ({name}) S " + " ".join(map(str, fields)) + "\n")


def thread(proc: Path, pid: int, tid: int, *, run_ns: int) -> None:
    folder = proc / str(pid) / "task" / str(tid)
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "schedstat").write_text(f"{run_ns} 77 3\n")
