#!/usr/bin/env bash
# Nsight Compute: the hardware counters of each launch between cudaProfilerStart and cudaProfilerStop, as a CSV with
# one row a launch. Arguments: the program and its arguments.
#
#   DS2PROF_OUTPUT    the file to write, .csv
#   DS2PROF_METRICS   the metrics, separated by commas
#   DS2PROF_TOOL      the profiler's executable (default: ncu)
#   DS2PROF_DRY_RUN   1: print the command on one line instead of running it
#
#   DS2PROF_OUTPUT=counters.csv DS2PROF_METRICS=gpu__time_duration.sum profilers/nsight.sh ./program
set -euo pipefail

tool=${DS2PROF_TOOL:-ncu}
units=--print-units
if [[ ${tool##*/} == nv-nsight-cu-cli ]]; then
    units=--units
fi

command=(
    env LC_ALL=C                    # no thousands separators, a decimal point
    "$tool"
    --csv --page raw "$units" base
    --profile-from-start off        # until cudaProfilerStart
    --target-processes all          # children too
    --clock-control none            # clocks as in production, instead of locked to base
    --cache-control none            # caches as the program leaves them, instead of flushed before each pass
    --metrics "${DS2PROF_METRICS:?the metrics, separated by commas}"
    --log-file "${DS2PROF_OUTPUT:?the file to write}"
    "$@"
)

if [[ ${DS2PROF_DRY_RUN:-0} == 1 ]]; then
    printf '%q ' "${command[@]}"
    echo
    exit
fi
exec "${command[@]}"
