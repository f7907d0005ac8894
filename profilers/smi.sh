#!/usr/bin/env bash
# The host's cores, the program's own share of them, and the GPUs, sampled beside the run; from the GPUs by NVML, else by
# nvidia-smi. Arguments: the program and its arguments.
#
#   DS2PROF_OUTPUT        the file to write, .csv
#   DS2PROF_OPTIONS       further options of the sampler, one a line: --period-ms N, --gpu auto|nvml|nvidia-smi|none
#   DS2PROF_ENVIRONMENT   NAME=value for the program, one a line
#   DS2PROF_STATUS        the file that the program marks its window in (default: one beside the output, for the run)
#   DS2PROF_TOOL          the Python that samples, 3.10 or newer; the program's may be another (default: python3)
#   DS2PROF_DRY_RUN       1: print the command on one line instead of running it
#
#   DS2PROF_OUTPUT=samples.csv profilers/smi.sh ./program
set -euo pipefail
# shellcheck source=common.bash source-path=SCRIPTDIR
source "$(dirname -- "${BASH_SOURCE[0]}")/common.bash"

here=$(cd -- "$(dirname -- "${BASH_SOURCE[0]}")" && pwd)
sampler=$here/../ds2prof/sampling/__main__.py           # a checkout
[[ -f $sampler ]] || sampler=$here/../sampling/__main__.py
sampler=$(realpath -- "$sampler")

# -I and -S: nothing that the program's Python path holds is loaded into the sampler.
command=(
    "${DS2PROF_TOOL:-python3}" -I -S "$sampler"
    --period-ms 100
    "${options[@]+"${options[@]}"}"                     # of an option given twice the last one counts
    --output "${DS2PROF_OUTPUT:?the file to write}"
    --
)
add_program "$@"

run_command
