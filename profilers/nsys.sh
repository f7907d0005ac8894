#!/usr/bin/env bash
# Nsight Systems: the timeline of the window. Arguments: the program and its arguments.
#
#   DS2PROF_OUTPUT        the report to write, .nsys-rep
#   DS2PROF_WINDOW        all | api (default) | START:STOP | nvtx:RANGE[@DOMAIN]. api: from cudaProfilerStart to
#                         cudaProfilerStop; of steps, what counts them in the program makes these calls
#   DS2PROF_OPTIONS       further options of nsys, one a line; they go before those below. ds2prof puts
#                         --cuda-graph-trace=node here where the version knows it: kernels inside graphs, one by one
#   DS2PROF_ENVIRONMENT   NAME=value for the program, one a line
#   DS2PROF_TOOL          the profiler's executable (default: nsys)
#   DS2PROF_DRY_RUN       1: print the command on one line instead of running it
#
#   DS2PROF_OUTPUT=timeline.nsys-rep profilers/nsys.sh ./program
set -euo pipefail
# shellcheck source=common.bash source-path=SCRIPTDIR
source "$(dirname -- "${BASH_SOURCE[0]}")/common.bash"

output=${DS2PROF_OUTPUT:?the report to write}
output=${output//%/%%}              # nsys expands %p, %h and %q{NAME} in it
window=${DS2PROF_WINDOW:-api}

command=("${DS2PROF_TOOL:-nsys}" profile)
default --trace=cuda,nvtx,cudnn,cublas
default --sample=none               # nothing of the host beyond CUDA's calls and NVTX
default --cpuctxsw=none
case $window in
    all) ;;
    nvtx:*)
        default --capture-range=nvtx
        default "--nvtx-capture=${window#nvtx:}"
        ;;
    *) default --capture-range=cudaProfilerApi ;;
esac
if [[ $window != all ]]; then
    default --capture-range-end=stop                    # nsys's own default kills the program at the window's end
fi
# Unregistered NVTX strings count too.
registered=NSYS_NVTX_PROFILER_REGISTER_ONLY=0
for at in "${!options[@]}"; do
    if [[ ${options[at]} == --env-var=* && ${options[at]} != *NSYS_NVTX_PROFILER_REGISTER_ONLY* ]]; then
        options[at]+=,$registered
    fi
done
default "--env-var=$registered"
command+=("${options[@]+"${options[@]}"}" "--output=$output" --force-overwrite=true)
add_program "$@"

run_command
