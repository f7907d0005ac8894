#!/usr/bin/env bash
# Measures all that is worth measuring on a GPU machine in a given time: 'scripts/gpu_campaign.sh --help' says what.
#
# This file finds a Python; scripts/gpu_campaign/ does the rest.
set -euo pipefail

usage() {
    cat <<'HELP'
usage: scripts/gpu_campaign.sh OUTPUT_FOLDER [options]

Runs what a GPU machine can tell, most valuable first, with what is installed there and without a network: one part after
another, each with a share of the time; what fails or overruns its share does not keep the rest from being run.

  doctor      what works on this machine            tests       the tests that need a GPU
  throughput  training without a profiler           deepmark    DeepMark's protocol, fastest and largest batch
  ancestor    against the ancestor's structure      latency     how long a batch takes to become text
  presets     every preset: trace and throughput    allreduce   how fast several GPUs add up tensors
  torch       PyTorch's traces, lean and in detail  nsys        the timeline by Nsight Systems
  nsight      hardware counters by Nsight Compute   calibrate   what capturing costs
  memory      allocations by what they are for      read        what ds2prof reads in the measurements
  smi         utilization of GPU and host, sampled

  --minutes N              the time for all of it (default: 15)
  --max-files K            no more than K files: results are packed into archives of at most 15 MiB
  --max-mib M              no more than M MiB in all, packed likewise
  --parts "torch nsight"   only these parts
  --preset NAME            the workload (default: tbd)
  --batch-sizes "4 32"     (default: 4 8 16 24 32)
  --device cuda|cpu        cpu rehearses, with preset tiny, what can be run without a GPU (default: cuda)
  --python PATH            the Python that has PyTorch (default: DS2PROF_PYTHON, else an active one, else python3)
  --dry-run                print the commands and run nothing
  -h, --help               this text

The folder must be new or empty. campaign.json in it says what was run, how it ended and why; summary.txt says so for
people. docs/CAMPAIGN.md has the details.

Exit codes: 0 each part delivered, or was skipped for a stated reason; 1 a part failed, or there is no GPU; 2 usage;
130 and 143 on Ctrl-C and SIGTERM.
HELP
}

fail() {
    echo "gpu_campaign.sh: $1" >&2
    exit "$2"
}

named=${DS2PROF_PYTHON:-}
named_by=DS2PROF_PYTHON
device=cuda
dry_run=no
passed=()
while [[ $# -gt 0 ]]; do
    case $1 in
        -h | --help) usage; exit 0 ;;
        --python) [[ $# -gt 1 ]] || fail "--python: needs a value" 2; named=$2 named_by=--python; shift 2 ;;
        --python=*) named=${1#*=} named_by=--python; shift ;;
        --device) device=${2:-}; passed+=("$1"); shift ;;
        --device=*) device=${1#*=}; passed+=("$1"); shift ;;
        --dry-run) dry_run=yes; passed+=("$1"); shift ;;
        *) passed+=("$1"); shift ;;
    esac
done
[[ ${#passed[@]} -gt 0 ]] || fail "OUTPUT_FOLDER is needed; --help says what else there is" 2

root=$(cd -- "$(dirname -- "$(readlink -f -- "${BASH_SOURCE[0]}")")/.." && pwd)

# What a Python lacks, in one line; nothing where it has all. Nothing is imported: PyTorch alone would take seconds, so
# whether it was built with CUDA is read in the file that says so.
lacking() {
    (cd -- "$root" && "$1" -c '
import re, sys
from importlib.util import find_spec
from pathlib import Path

needed = ["torch", "click", "numpy", "yaml"] if sys.argv[2] == "no" else ["click", "yaml"]
found = {name: find_spec(name) for name in needed}
missing = [name for name, spec in found.items() if spec is None or spec.origin is None]
if "torch" in needed and "torch" not in missing and sys.argv[1] != "cpu":
    version = Path(found["torch"].origin).with_name("version.py")
    if version.is_file() and re.search(r"(?m)^cuda\b[^=\n]*= *None", version.read_text()):
        missing.append("a PyTorch with CUDA")
print(", ".join((["Python 3.10 or newer"] if sys.version_info < (3, 10) else []) + missing))
' "$device" "$dry_run" 2>/dev/null) || echo "a Python that runs"
}

# A PyTorch without CUDA is taken where there is no better one: it is enough to say what was typed wrong, or that there is
# no GPU.
no_cuda="a PyTorch with CUDA"
find_python() {
    local candidate path missing second='' why=''
    if [[ -n $named ]]; then
        python=$(command -v -- "$named") || fail "$named_by $named: there is no such program" 1
        [[ $python == /* ]] || python=$PWD/$python
        missing=$(lacking "$python")
        [[ -z $missing || $missing == "$no_cuda" ]] || fail "$named_by $named: lacks $missing" 1
        return
    fi
    for candidate in "${VIRTUAL_ENV:+$VIRTUAL_ENV/bin/python}" "${CONDA_PREFIX:+$CONDA_PREFIX/bin/python}" python3; do
        if [[ -n $candidate ]] && path=$(command -v -- "$candidate"); then
            missing=$(lacking "$path")
            if [[ -z $missing ]]; then
                python=$path
                return
            fi
            [[ $missing != "$no_cuda" ]] || second=${second:-$path}
            why="$why; $path lacks $missing"
        fi
    done
    python=$second
    [[ -n $python || $device == cpu || -e /dev/nvidiactl || -e /dev/dxg ]] || command -v nvidia-smi >/dev/null ||
        fail "no NVIDIA GPU is visible here; --device cpu rehearses what can be run without one" 1
    [[ -n $python ]] || fail "no Python here has what is needed${why}; name one by --python" 1
}

find_python
# Not by -m: that would look for the modules in the current folder first.
exec "$python" -c '
import sys
root = sys.argv.pop(1)
sys.path[:1] = [root + "/scripts", root]
from gpu_campaign.cli import main
sys.exit(main(sys.argv[1:]))
' "$root" "${passed[@]}"
