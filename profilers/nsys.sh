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

output=${DS2PROF_OUTPUT:?the report to write}
output=${output//%/%%}              # nsys expands %p, %h and %q{NAME} in it
window=${DS2PROF_WINDOW:-api}
options=()
while IFS= read -r line; do [[ -z $line ]] || options+=("$line"); done <<<"${DS2PROF_OPTIONS:-}"
environment=()
while IFS= read -r line; do [[ -z $line ]] || environment+=("$line"); done <<<"${DS2PROF_ENVIRONMENT:-}"

command=("${DS2PROF_TOOL:-nsys}" profile)
# An option of ours, unless DS2PROF_OPTIONS has it: nsys takes none twice.
default() {
    local given
    for given in "${options[@]+"${options[@]}"}"; do
        [[ ${given%%=*} != "${1%%=*}" ]] || return 0
    done
    command+=("$1")
}

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
if [[ ${#environment[@]} -gt 0 ]]; then
    command+=(env "${environment[@]}")
fi
command+=("$@")

if [[ ${DS2PROF_DRY_RUN:-0} == 1 ]]; then
    printf '%q ' "${command[@]}"
    echo
    exit
fi
exec "${command[@]}"
