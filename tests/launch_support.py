"""Stand-ins for NVIDIA's tools, which behave as the real ones do without a GPU, and machines to run them on."""

from __future__ import annotations

import os
from pathlib import Path

from ds2prof.capture.processes import Patience
from ds2prof.machine import Gpu, Machine

V100 = Gpu(ordinal=0, name="Tesla V100-SXM2-16GB", uuid="GPU-1", compute_capability="7.0", memory_bytes=1 << 34)
H200 = Gpu(ordinal=0, name="NVIDIA H200", uuid="GPU-2", compute_capability="9.0", memory_bytes=1 << 37)
OLD = Machine(gpus=(V100,), driver="470.1", cuda="11.4", counters_permitted=True)
NEW = Machine(gpus=(H200,), driver="580.1", cuda="13.0", counters_permitted=True)
NO_GPU = Machine(cpu="a processor")
QUICK = Patience(after_signal_s=5, after_term_s=2, after_end_s=0.3)

# The stand-ins: argv goes to $FAKE_ARGV, the program is run, and files and messages are those of the real tools.
HEAD = """#!/usr/bin/env bash
for word in "$@"; do
    case $word in --help | --query-metrics | --list-chips) exit 1 ;; -* | profile) ;; *) break ;; esac
done
if [[ ${1:-} == --version ]]; then echo "NVIDIA tool, Version 2022.3.0.0, Release version 11.8.87"; exit; fi
if [[ -n ${FAKE_ARGV:-} ]]; then printf '%s\\0' "$@" >"$FAKE_ARGV"; fi
"""
NCU = """
while [[ $1 != --log-file ]]; do shift; done
out=$2; shift 2
"$@"; code=$?
if [[ $code != 0 ]]; then echo "==ERROR== The application returned an error code ($code)." >>"$out"; fi
case ${FAKE:-} in
    empty) echo "==WARNING== No kernels were profiled." >>"$out" ;;
    forbidden) echo "==ERROR== ERR_NVGPUCTRPERM - The user does not have permission" >>"$out"; exit 1 ;;
    *) printf '"ID","Process ID","Kernel Name"\\n"0","1","k"\\n' >>"$out" ;;
esac
exit $code
"""
NVPROF = """
while [[ $1 != --export-profile ]]; do shift; done
out=${2//%%/%}; shift 2
"$@"; code=$?
if [[ $code != 0 ]]; then echo "======== Error: Application returned non-zero code $code" >&2; exit 9; fi
for process in ${FAKE_PROCESSES-77}; do
    { printf 'SQLite format 3\\0'; head -c 84 /dev/zero; } >"${out/\\%p/$process}"
done
"""
NSYS = """
for word in "$@"; do case $word in --output=*) out=${word#--output=} ;; esac; done
out=${out//%%/%}
while [[ $1 != --force-overwrite=true ]]; do shift; done
shift
"$@"; code=$?
case ${FAKE:-} in
    raw) echo raw >"${out%.nsys-rep}.qdstrm" ;;
    empty) echo "Generated:" ;;
    *) echo report >"$out" ;;
esac
exit $code
"""
TOOLS = {"ncu": NCU, "nv-nsight-cu-cli": NCU, "nvprof": NVPROF, "nsys": NSYS}
SMI = """#!/usr/bin/env bash
case "$*" in
    *compute_cap*) echo "0, GPU-2, 143771, 9.0, NVIDIA H200" ;;
    *clocks*) echo "0, 1980, 3201, [N/A], 31" ;;
    *) echo "| NVIDIA-SMI 580.1.2      Driver Version: 580.1.2      CUDA Version: 13.0 |" ;;
esac
"""
TRAINING = """
import json, sys
value = lambda name: sys.argv[sys.argv.index(name) + 1]
print("training", flush=True)
if "--fail" in sys.argv:
    raise SystemExit(int(value("--fail")))
if "--output" in sys.argv:
    out = value("--output")
    open(out, "w").write("trace")
    facts = {"schema": "ds2prof-meta/1", "tool": "torch.profiler", "precision": "bf16", "versions": {"cudnn": "9"}}
    open(out + ".meta.json", "w").write(json.dumps(facts))
"""


def executable(path: Path, text: str) -> Path:
    path.write_text(text)
    path.chmod(0o755)
    return path


def stand_ins(folder: Path) -> dict[str, str]:
    """An environment whose PATH begins with ``folder``, which holds the stand-ins now."""
    folder.mkdir()
    for name, text in TOOLS.items():
        executable(folder / name, HEAD + text)
    return {**os.environ, "PATH": f"{folder}:{os.environ['PATH']}", "FAKE_ARGV": str(folder / "argv")}
