#!/usr/bin/env bash
# Nsight Compute: the hardware counters of each launch in the window, as a CSV with one row a launch, or as a report.
# Arguments: the program and its arguments.
#
#   DS2PROF_OUTPUT        the file to write: .csv, or .ncu-rep for a report
#   DS2PROF_METRICS       the metrics, separated by commas: 'ds2prof metrics plan' makes such a list
#   DS2PROF_WINDOW        all | api (default) | START:STOP | nvtx:RANGE[@DOMAIN]. api: from cudaProfilerStart to
#                         cudaProfilerStop; of steps, what counts them in the program makes these calls
#   DS2PROF_OPTIONS       further options of ncu, one word a line; they go before those below
#   DS2PROF_ENVIRONMENT   NAME=value for the program, one a line
#   DS2PROF_LOCALE        LC_ALL for the program (default: as it is here; empty: none)
#   DS2PROF_TOOL          the profiler's executable (default: ncu)
#   DS2PROF_DRY_RUN       1: print the command on one line instead of running it
#
#   DS2PROF_OUTPUT=counters.csv DS2PROF_METRICS=gpu__time_duration.sum profilers/nsight.sh ./program
set -euo pipefail
# shellcheck source=common.bash source-path=SCRIPTDIR
source "$(dirname -- "${BASH_SOURCE[0]}")/common.bash"

tool=${DS2PROF_TOOL:-ncu}
output=${DS2PROF_OUTPUT:?the file to write}
window=${DS2PROF_WINDOW:-api}

command=(env LC_ALL=C "$tool")      # C: no thousands separators, a decimal point

# Ranges are what is replayed then, and cudaProfilerStart and -Stop mark them by themselves.
ranges=no
[[ " ${options[*]-} " =~ \ --replay-mode[=\ ](app-)?range\  ]] && ranges=yes
default --nvtx                      # which phases, layers and iterations a launch lies in
case $window in
    all) ;;
    nvtx:*@*)
        range=${window#nvtx:}
        # As a push/pop range and as a start/end range: which it is, the name does not tell.
        default --nvtx-include "${range##*@}@${range%@*}/" --nvtx-include "${range##*@}@${range%@*}"
        ;;
    nvtx:*)
        default --nvtx-include "${window#nvtx:}/" --nvtx-include "${window#nvtx:}"
        ;;
    *)
        if [[ $ranges == no ]]; then
            default --profile-from-start off    # until cudaProfilerStart
        fi
        ;;
esac
default --target-processes all      # children too
default --clock-control none        # clocks as in production, instead of locked to base
default --cache-control none        # caches as the program leaves them, instead of flushed before each pass
default --metrics "${DS2PROF_METRICS:?the metrics, separated by commas}"
command+=("${options[@]+"${options[@]}"}")
case $output in
    *.ncu-rep)
        command+=(--force-overwrite --export "${output//%/%%}")     # ncu expands %p, %h, %i and %q{NAME} in it
        ;;
    *)
        # The units of the CSV. Before 2020 the option had another name.
        if [[ ${tool##*/} == nv-nsight-cu-cli ]]; then
            default --units base
        else
            default --print-units base
        fi
        command+=(--csv --page raw --log-file "$output")
        ;;
esac
# The program keeps the locale that it would have without us.
locale=${DS2PROF_LOCALE-${LC_ALL:-}}
if [[ -n $locale ]]; then
    environment=("LC_ALL=$locale" "${environment[@]+"${environment[@]}"}")
else
    environment=(-u LC_ALL "${environment[@]+"${environment[@]}"}")
fi
add_program "$@"

run_command
