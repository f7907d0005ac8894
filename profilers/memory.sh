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
# shellcheck source=common.bash source-path=SCRIPTDIR
source "$(dirname -- "${BASH_SOURCE[0]}")/common.bash"

add_recorded_program memory csv "$@"
run_command
