#!/usr/bin/env bash
# PyTorch's own profiler: the training script runs it and writes the trace. Arguments: the training command, which
# holds --profiler torch.
#
#   DS2PROF_OUTPUT    the trace to write, .json.gz
#   DS2PROF_DRY_RUN   1: print the command on one line instead of running it
#
#   DS2PROF_OUTPUT=trace.json.gz profilers/torch.sh python train_profiling.py --profiler torch --batch-size 4
set -euo pipefail

command=("$@" --output "${DS2PROF_OUTPUT:?the trace to write}")

if [[ ${DS2PROF_DRY_RUN:-0} == 1 ]]; then
    printf '%q ' "${command[@]}"
    echo
    exit
fi
exec "${command[@]}"
