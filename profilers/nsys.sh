#!/usr/bin/env bash
# Nsight Systems: the timeline between cudaProfilerStart and cudaProfilerStop. Arguments: the program and its arguments.
#
#   DS2PROF_OUTPUT    the report to write, .nsys-rep
#   DS2PROF_TOOL      the profiler's executable (default: nsys)
#   DS2PROF_DRY_RUN   1: print the command on one line instead of running it
#
#   DS2PROF_OUTPUT=timeline.nsys-rep profilers/nsys.sh ./program
set -euo pipefail

output=${DS2PROF_OUTPUT:?the report to write}
output=${output//%/%%}              # nsys expands %p, %h and %q{NAME} in it

command=(
    "${DS2PROF_TOOL:-nsys}" profile
    "--trace=cuda,nvtx,cudnn,cublas"
    --sample=none --cpuctxsw=none                       # nothing of the host beyond CUDA's calls and NVTX
    --capture-range=cudaProfilerApi                     # until cudaProfilerStart
    --capture-range-end=stop                            # the default kills the program at the window's end
    --cuda-graph-trace=node                             # kernels inside graphs, not graphs as a whole
    --env-var=NSYS_NVTX_PROFILER_REGISTER_ONLY=0        # unregistered NVTX strings count too
    --output="$output"
    --force-overwrite=true
    "$@"
)

if [[ ${DS2PROF_DRY_RUN:-0} == 1 ]]; then
    printf '%q ' "${command[@]}"
    echo
    exit
fi
exec "${command[@]}"
