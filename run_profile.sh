#!/usr/bin/env bash
# Captures DeepSpeech2 training under a profiler and prints where the time went: 'run_profile.sh --help' says how.
#
# This file checks what was typed and finds or makes a Python; ds2prof/cli/run_profile.py does the rest.
set -euo pipefail

usage() {
    cat <<'HELP'
usage: bash run_profile.sh [auto|torch|nsight|nsys|nvprof|memory|smi] [options] [-- TRAINING OPTIONS]

Runs train_profiling.py under a profiler, one measurement for each batch size in measurements/, and prints a summary.

  auto      what works best here, and why (the default)
  torch     PyTorch's own profiler: operators, kernels and phases; works on the CPU too
  nsight    Nsight Compute: hardware counters of every launch of one iteration
  nsys      Nsight Systems: the timeline
  nvprof    the timeline on GPUs older than Ampere
  memory    what the memory holds: weights, gradients, optimizer state, activations and workspace, by layer
  smi       readings beside the run: GPU by NVML or nvidia-smi, host CPU by core

  --batch-sizes "4 8 16"   one capture for each (default: 4 without a GPU, else 4 8 16 24 32)
  --detail                 torch: shapes, modules, synchronization and memory too; durations come from the lean one
  --want QUANTITY          nsight: what to count instead of core, as for 'ds2prof metrics plan'
  --tag NAME               becomes part of the measurements' names
  --force                  replace measurements that are there; without it nothing is started
  --dry-run                print the exact commands, ready to be pasted, and run nothing
  -h, --help               this text

Without any argument, measurements are tagged by the time, so that the command can be typed again.

  bash run_profile.sh
  bash run_profile.sh nsight --batch-sizes 32
  bash run_profile.sh torch --tag layers -- --preset tiny --layers --profile-start 5 --profile-stop 8

DS2PROF_PYTHON                         the Python to use; without it an active one that has PyTorch and the other
                                       packages, else a private environment, .venv, made on first use
DS2PROF_PROFILE_START, .._STOP         the window, in iterations counted from 0
DS2PROF_MEASUREMENTS                   the folder to write to instead of measurements/
CUDA_VISIBLE_DEVICES                   empty: leave the GPUs alone

Exit codes: 0 done, 1 a capture failed or cannot work here, 2 usage, 130 and 143 on Ctrl-C and SIGTERM.
HELP
}

fail() {
    echo "run_profile.sh: $1" >&2
    exit "$2"
}

# --- What was typed. It is refused here, before anything is installed or started. ---

dry_run=no
mode=
words=("$@")
at=0
value_of() {
    [[ $((at + 1)) -lt ${#words[@]} ]] || fail "$1: needs a value" 2
    at=$((at + 1))
    value=${words[at]}
}
check_batch_sizes() {
    local size sizes
    read -ra sizes <<<"${1//,/ }"
    [[ ${#sizes[@]} -gt 0 ]] || fail "--batch-sizes '$1': give whole numbers in one argument, as \"4 8 16\"" 2
    for size in "${sizes[@]}"; do
        [[ $size =~ ^0*[1-9][0-9]*$ ]] || fail "--batch-sizes '$1': $size is no whole number from 1 on" 2
    done
}
check_tag() {
    [[ $1 =~ ^[A-Za-z0-9.-]+$ ]] || fail "--tag '$1': only letters, digits, '.' and '-' can stand in a file name here" 2
}
while [[ $at -lt ${#words[@]} ]]; do
    case ${words[at]} in
        --) break ;;
        -h | --help) usage; exit 0 ;;
        --batch-sizes) value_of --batch-sizes; check_batch_sizes "$value" ;;
        --batch-sizes=*) check_batch_sizes "${words[at]#*=}" ;;
        --tag) value_of --tag; check_tag "$value" ;;
        --tag=*) check_tag "${words[at]#*=}" ;;
        --want) value_of --want; [[ $value != -* ]] || fail "--want $value: needs a quantity" 2 ;;
        --want=*) ;;
        --force | --detail) ;;
        --dry-run) dry_run=yes ;;
        auto | torch | nsight | nsys | nvprof | memory | smi)
            [[ -z $mode ]] || fail "$mode and ${words[at]}: one profiler at a time" 2
            mode=${words[at]}
            ;;
        *) fail "${words[at]}: unknown argument; run_profile.sh --help lists them, training options go behind --" 2 ;;
    esac
    at=$((at + 1))
done

# --- A Python that has what is needed. ---

root=$(cd -- "$(dirname -- "$(readlink -f -- "${BASH_SOURCE[0]}")")" && pwd)

# What a Python lacks, in one line; nothing where it has all. Nothing is imported: PyTorch alone would take seconds.
lacking() {
    (cd -- "$root" && "$1" -c '
import sys
from importlib.util import find_spec

needed = ["torch", "click", "numpy", "pandas", "msgspec", "yaml"]
found = {name: find_spec(name) for name in needed}
missing = [name for name, spec in found.items() if spec is None or spec.origin is None]
print(", ".join((["Python 3.10 or newer"] if sys.version_info < (3, 10) else []) + missing))
' 2>/dev/null) || echo "a Python that runs"
}

find_python() {
    local candidate
    if [[ -n ${DS2PROF_PYTHON:-} ]]; then
        python=$(command -v -- "$DS2PROF_PYTHON") || fail "DS2PROF_PYTHON=$DS2PROF_PYTHON: there is no such program" 1
        [[ $python == /* ]] || python=$PWD/$python
        local missing
        missing=$(lacking "$python")
        [[ -z $missing ]] ||
            fail "DS2PROF_PYTHON=$DS2PROF_PYTHON: lacks $missing; add that, or unset it to have an environment made" 1
        return
    fi
    for candidate in "${VIRTUAL_ENV:+$VIRTUAL_ENV/bin/python}" "${CONDA_PREFIX:+$CONDA_PREFIX/bin/python}" python3; do
        if [[ -n $candidate ]] && candidate=$(command -v -- "$candidate") && [[ -z $(lacking "$candidate") ]]; then
            python=$candidate
            return
        fi
    done
    # Printing commands takes no PyTorch.
    local extras=train
    [[ $dry_run == no ]] || extras=
    "$root/scripts/environment.sh" "$root/.venv" "$extras"
    python=$root/.venv/bin/python
}

find_python
# Not by -m: that would look for ds2prof in the current folder first.
exec "$python" -c '
import sys
sys.path[0] = sys.argv.pop(1)
from ds2prof.cli.run_profile import main
sys.exit(main(sys.argv[1:]))
' "$root" "$@"
