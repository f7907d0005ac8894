#!/usr/bin/env bash
# nvprof: the timeline of the window, one .nvvp file for each process that used a GPU. Arguments: the program and its
# arguments.
#
#   DS2PROF_OUTPUT        the file to write, NAME.nvvp; each process writes NAME.<its id>.nvvp
#   DS2PROF_WINDOW        all | api (default) | START:STOP. api: from cudaProfilerStart to cudaProfilerStop; of steps,
#                         what counts them in the program makes these calls
#   DS2PROF_OPTIONS       further options of nvprof, one word a line
#   DS2PROF_ENVIRONMENT   NAME=value for the program, one a line
#   DS2PROF_TOOL          the profiler's executable (default: nvprof)
#   DS2PROF_DRY_RUN       1: print the command on one line instead of running it
#
#   DS2PROF_OUTPUT=timeline.nvvp profilers/nvprof.sh ./program
set -euo pipefail
# shellcheck source=common.bash source-path=SCRIPTDIR
source "$(dirname -- "${BASH_SOURCE[0]}")/common.bash"

output=${DS2PROF_OUTPUT:?the file to write}
output=${output//%/%%}              # nvprof expands %p, %h and %q{NAME} in it

command=("${DS2PROF_TOOL:-nvprof}")
if [[ ${DS2PROF_WINDOW:-api} != all ]]; then
    command+=(--profile-from-start off)     # until cudaProfilerStart
fi
command+=(
    --profile-child-processes       # nvprof insists on %p in the name then
    "${options[@]+"${options[@]}"}"
    --export-profile "${output%.nvvp}.%p.nvvp"
)
add_program "$@"

run_command
