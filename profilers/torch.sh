#!/usr/bin/env bash
# PyTorch's own profiler, in the process that it looks at. Arguments: the program.
#
# Our training script runs it and writes the trace itself; its command holds --profiler torch. Into any other program it
# is injected: a sitecustomize in front of PYTHONPATH waits until the program imports torch (ds2prof/inject).
#
#   DS2PROF_OUTPUT        the trace to write, .json.gz
#   DS2PROF_INJECT_SITE   the folder of that sitecustomize; absent for our training script. With it, {process} joins the
#                         trace's name: the process fills in rank<r>, or p<pid> outside of a distributed run
#   DS2PROF_WINDOW        START:STOP: those optimizer steps, counted from 0; all: the whole run; absent: the steps that
#                         ds2prof/inject/windows.py has as its default
#   DS2PROF_DETAIL        1: record what attribution needs besides
#   DS2PROF_ENVIRONMENT   NAME=value, one a line: set for the program
#   DS2PROF_DRY_RUN       1: print the command on one line instead of running it
#
#   DS2PROF_OUTPUT=trace.json.gz profilers/torch.sh python train_profiling.py --profiler torch --batch-size 4
set -euo pipefail
# shellcheck source=common.bash source-path=SCRIPTDIR
source "$(dirname -- "${BASH_SOURCE[0]}")/common.bash"

add_recorded_program trace json.gz "$@"
run_command
