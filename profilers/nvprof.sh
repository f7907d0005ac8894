#!/usr/bin/env bash
# nvprof: the timeline between cudaProfilerStart and cudaProfilerStop, one .nvvp file for each process that used a GPU.
# Arguments: the program and its arguments.
#
#   DS2PROF_OUTPUT    the file to write, NAME.nvvp; each process writes NAME.<its id>.nvvp
#   DS2PROF_TOOL      the profiler's executable (default: nvprof)
#   DS2PROF_DRY_RUN   1: print the command on one line instead of running it
#
#   DS2PROF_OUTPUT=timeline.nvvp profilers/nvprof.sh ./program
set -euo pipefail

output=${DS2PROF_OUTPUT:?the file to write}
output=${output//%/%%}              # nvprof expands %p, %h and %q{NAME} in it

command=(
    "${DS2PROF_TOOL:-nvprof}"
    --profile-from-start off        # until cudaProfilerStart
    --profile-child-processes       # nvprof insists on %p in the name then
    --export-profile "${output%.nvvp}.%p.nvvp"
    "$@"
)

if [[ ${DS2PROF_DRY_RUN:-0} == 1 ]]; then
    printf '%q ' "${command[@]}"
    echo
    exit
fi
exec "${command[@]}"
