#!/usr/bin/env bash
# Who holds the memory, told from inside of the program by ds2prof/inject/memory.py. Arguments: the program.
#
# Our training script writes the file itself; its command holds --profiler memory. Into any other program it is injected:
# a sitecustomize in front of PYTHONPATH waits until the program imports torch (ds2prof/inject).
#
#   DS2PROF_OUTPUT        the file to write, .csv; on a CUDA device PyTorch's snapshot goes beside it, .snapshot.pickle
#   DS2PROF_INJECT_SITE   the folder of that sitecustomize; absent for our training script. With it, {process} joins the
#                         file's name: the process fills in rank<r>, or p<pid> outside of a distributed run
#   DS2PROF_WINDOW        START:STOP: those optimizer steps, counted from 0; all: the whole run; absent: the steps that
#                         ds2prof/inject/windows.py has as its default
#   DS2PROF_ENVIRONMENT   NAME=value, one a line: set for the program
#   DS2PROF_DRY_RUN       1: print the command on one line instead of running it
#
#   DS2PROF_OUTPUT=memory.csv profilers/memory.sh python train_profiling.py --profiler memory --batch-size 4
set -euo pipefail

: "${DS2PROF_OUTPUT:?the file to write}"
environment=()
while IFS= read -r line; do
    [[ -z $line ]] || environment+=("$line")
done <<<"${DS2PROF_ENVIRONMENT:-}"

if [[ -z ${DS2PROF_INJECT_SITE:-} ]]; then
    command=("$@" --output "$DS2PROF_OUTPUT")
else
    # Absolute, since the program may go to another folder before it has anything to write.
    output=$DS2PROF_OUTPUT
    [[ $output == /* ]] || output=$PWD/$output
    environment+=(
        "PYTHONPATH=$DS2PROF_INJECT_SITE${PYTHONPATH:+:$PYTHONPATH}"
        DS2PROF_INJECT=memory
        "DS2PROF_INJECT_OUTPUT=${output%.csv}.{process}.csv"
    )
    case ${DS2PROF_WINDOW:-} in
        all) environment+=(DS2PROF_WINDOW=all) ;;
        [0-9]*:[0-9]*)
            environment+=("DS2PROF_PROFILE_START=${DS2PROF_WINDOW%:*}" "DS2PROF_PROFILE_STOP=${DS2PROF_WINDOW#*:}")
            ;;
    esac
    command=("$@")
fi
[[ ${#environment[@]} -eq 0 ]] || command=(env "${environment[@]}" "${command[@]}")

if [[ ${DS2PROF_DRY_RUN:-0} == 1 ]]; then
    printf '%q ' "${command[@]}"
    echo
    exit
fi
exec "${command[@]}"
